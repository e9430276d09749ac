//! Nothing to import: this package's tests put the library between real servers and clients.

/// The examples of the guide to clients.
#[cfg(doctest)]
#[doc = include_str!("../../../src/docs/clients.md")]
struct Clients;
