//! Nothing to import: this package's tests put the library between real servers and clients.

/// The page on health, whose examples need what this package has.
#[cfg(doctest)]
#[doc = include_str!("../../../src/docs/health.md")]
struct Health;
