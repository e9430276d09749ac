//! Nothing to import: this package's tests put the library between real servers and clients.

/// The page on configuration, whose examples read TOML.
#[cfg(doctest)]
#[doc = include_str!("../../../src/docs/configuration.md")]
struct Configuration;
