//! Nothing to import: this package's tests put the library between real servers and clients.
