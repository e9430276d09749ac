//! Nothing to import: this package's tests put the library between real servers and clients.

/// The page on configuration, whose examples read TOML.
#[cfg(doctest)]
#[doc = include_str!("../../../src/docs/configuration.md")]
struct Configuration;

/// The examples of the guide to clients.
#[cfg(doctest)]
#[doc = include_str!("../../../src/docs/clients.md")]
struct Clients;

/// The page on health, whose examples need what this package has.
#[cfg(doctest)]
#[doc = include_str!("../../../src/docs/health.md")]
struct Health;

/// The page on servers, whose examples need axum and tonic.
#[cfg(doctest)]
#[doc = include_str!("../../../src/docs/frameworks.md")]
struct Frameworks;
