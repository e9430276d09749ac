//! Tokens taken ahead of time, by hand.

use std::{fmt, time::Duration};

use super::core::{Core, CoreRef, wake};
use crate::{
    error::Rejection,
    policy::{Mode, bucket},
};

/// Tokens that are taken already and may be used after [`wait`](Self::wait): see
/// [`RateLimiter::reserve`](super::RateLimiter::reserve).
///
/// Dropped before that time has come, it gives the tokens back; from then on they count as used. Tokens
/// that later reservations were planned with are not given back, since their waits stay.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{RateLimitConfig, RateLimiter};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let limiter = RateLimiter::new(RateLimitConfig::per_second("mail", 10).burst(1))?;
/// limiter.try_acquire().unwrap();
/// let reservation = limiter.reserve(1, Some(Duration::from_secs(1))).unwrap();
/// assert_eq!(reservation.wait(), Duration::from_millis(100));
/// tokio::time::sleep(reservation.wait()).await;
/// // … the call …
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a reservation before its time gives its tokens back"]
pub struct Reservation {
    core: CoreRef,
    /// Nanoseconds since the limiter was made.
    made: u64,
    wait: Duration,
    tokens: u64,
    /// The bucket's side of it, and its number; none where nothing was taken.
    planned: Option<(bucket::Reservation, u64)>,
}

impl Reservation {
    pub(super) fn make(
        core: &CoreRef,
        tokens: u64,
        max_wait: Option<Duration>,
    ) -> Result<Self, Rejection> {
        let made = core.bucket.nanos(core.clock);
        let mode = core.mode.get();
        let of = |wait, planned| Self { core: core.clone(), made, wait, tokens, planned };
        if mode == Mode::Disabled {
            return Ok(of(Duration::ZERO, None));
        }
        let reserved = core.line.lock().reserve(&core.bucket, tokens, max_wait, made);
        let reservation = match (reserved, mode) {
            (Ok((planned, number)), Mode::Enforce) => of(planned.wait(), Some((planned, number))),
            // Nobody waits in shadow.
            (Ok((planned, number)), _) => of(Duration::ZERO, Some((planned, number))),
            (Err(refusal), Mode::Enforce) => return Err(core.refuse(refusal)),
            (Err(refusal), _) => {
                core.would_refuse(refusal.reason);
                of(Duration::ZERO, None)
            }
        };
        // Whatever its wait, it did not wait in line.
        core.count(Duration::ZERO);
        Ok(reservation)
    }

    /// How long to wait before using the tokens, from the time at which they were reserved.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// How many tokens.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Gives the tokens back, unless their time has passed.
    pub fn cancel(mut self) {
        self.give_back();
    }

    /// Keeps the tokens taken, whatever becomes of this value, and says how long to wait for them from the
    /// time at which they were reserved.
    pub fn keep(mut self) -> Duration {
        self.planned = None;
        self.wait
    }

    fn give_back(&mut self) {
        if let Some((planned, number)) = self.planned.take() {
            let core: &Core = &self.core;
            let nanos = core.bucket.nanos(core.clock);
            let left = core.line.lock().cancel(&core.bucket, planned, number, nanos);
            wake(left);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let passed = self.core.bucket.nanos(self.core.clock).saturating_sub(self.made);
        // At its time it may just have been used.
        if Duration::from_nanos(passed) < self.wait {
            self.give_back();
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("policy", &self.core.name)
            .field("tokens", &self.tokens)
            .field("wait", &self.wait)
            .finish()
    }
}
