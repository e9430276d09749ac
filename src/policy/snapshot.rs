//! Any policy at one moment.

use super::{body_timeout, breaker, bucket, bulkhead, catch_panic, fallback, retry, timeout};

/// A policy at one moment, whatever its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PolicySnapshot {
    /// A circuit.
    CircuitBreaker(breaker::Snapshot),
    /// A rate limiter.
    RateLimit(bucket::RateLimitSnapshot),
    /// Rate limiters by key.
    KeyedRateLimit(bucket::KeyedRateLimitSnapshot),
    /// A bulkhead.
    Bulkhead(bulkhead::Snapshot),
    /// A timeout.
    Timeout(timeout::Snapshot),
    /// A timeout for bodies.
    BodyTimeout(body_timeout::Snapshot),
    /// A panic guard.
    CatchPanic(catch_panic::Snapshot),
    /// A retry.
    Retry(retry::Snapshot),
    /// A fallback.
    Fallback(fallback::Snapshot),
}
