//! Pure decisions: `now` in, verdict out.
//!
//! Nothing here reads a clock, sleeps, spawns, or knows Tower; every decision takes the time as an
//! argument, so tests are lists of instants and simulations run on any clock. The layers and handles
//! of this crate are thin shells over these types.

pub mod backoff;
pub mod body_timeout;
pub mod breaker;
pub mod bucket;
pub mod budget;
pub mod bulkhead;
pub mod catch_panic;
mod cause;
pub(crate) mod check;
pub(crate) mod command;
pub mod fallback;
mod in_flight;
pub mod retry;
pub(crate) mod rng;
mod snapshot;
pub(crate) mod table;
pub(crate) mod tally;
pub mod timeout;
pub mod window;

use std::time::{Duration, Instant};

pub use self::{
    cause::{Cause, Explanation},
    command::{Command, Mode},
    snapshot::PolicySnapshot,
};

/// Where a decision gets the time from: an [`Instant`], or something that reads a clock only if the
/// decision needs it.
pub trait Now: Copy {
    /// The time; asked for only where the decision depends on it.
    fn now(self) -> Instant;

    /// Nanoseconds from `origin` until [`now`](Self::now); zero for times before it. A clock that counts
    /// them anyway can say so without making an instant.
    #[inline(always)]
    fn nanos_since(self, origin: Instant) -> u64 {
        nanos(self.now().saturating_duration_since(origin))
    }
}

impl Now for Instant {
    #[inline]
    fn now(self) -> Instant {
        self
    }
}

/// A source of time that is read on first use, and then remembered.
#[derive(Debug)]
pub(crate) struct Once<N> {
    source: Option<N>,
    /// Nanoseconds since the policy was made.
    read: u64,
}

impl<N: Now> Once<N> {
    #[inline]
    pub(crate) fn new(source: N) -> Self {
        Self { source: Some(source), read: 0 }
    }

    /// Nanoseconds since `origin`; zero for times before it.
    #[inline]
    pub(crate) fn since(&mut self, origin: Instant) -> u64 {
        if let Some(source) = self.source.take() {
            self.read = source.nanos_since(origin);
        }
        self.read
    }
}

/// A duration in nanoseconds; 584 years at the most.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(duration.subsec_nanos()))
}
