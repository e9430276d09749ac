//! The rate limiter: what it lets through, how it lets wait, and what it shows.
//!
//! A line id in a test's documentation names the defect of another library that the test rules out.
#![allow(clippy::unwrap_used, reason = "a test may panic, and picks any instant to begin with")]

mod support;

#[path = "rate_limit/bucket.rs"]
mod bucket;
#[path = "rate_limit/fifo.rs"]
mod fifo;
#[path = "rate_limit/late.rs"]
mod late;
#[path = "rate_limit/layers.rs"]
mod layers;
#[path = "rate_limit/model.rs"]
mod model;
#[path = "rate_limit/operators.rs"]
mod operators;
#[path = "rate_limit/reserved.rs"]
mod reserved;
#[path = "rate_limit/waiting.rs"]
mod waiting;
#[path = "rate_limit/wakers.rs"]
mod wakers;

use std::time::{Duration, Instant};

use portcullis::{RateLimitConfig, RateLimiter, clock};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// So many a second, at most `burst` at once.
fn per_second(permits: u64, burst: u64) -> RateLimitConfig {
    RateLimitConfig::per_second("api", permits).burst(burst)
}

/// The same, with nothing left.
fn drained(permits: u64, burst: u64) -> RateLimiter {
    let limiter = RateLimiter::new(per_second(permits, burst)).unwrap();
    limiter.try_acquire_n(burst).unwrap();
    limiter
}

/// Virtual time since `start`.
fn passed(start: Instant) -> Duration {
    clock::tokio_now() - start
}
