//! Any policy at one moment.

use super::{breaker, fallback};

/// A policy at one moment, whatever its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PolicySnapshot {
    /// A circuit.
    CircuitBreaker(breaker::Snapshot),
    /// A fallback.
    Fallback(fallback::Snapshot),
}
