//! A token bucket, with the time as an argument.
//!
//! [`Bucket`] is a whole limiter without clock, runtime or Tower: share it by reference, and take tokens
//! with [`try_acquire`](Bucket::try_acquire), or ahead of time with [`reserve`](Bucket::reserve).
//! Semantics and defaults are those of [`rate_limit`](crate::rate_limit).
//!
//! ```
//! use std::time::{Duration, Instant};
//! use portcullis::{RateLimitConfig, policy::bucket::Bucket};
//!
//! # fn main() -> Result<(), portcullis::ConfigError> {
//! let start = Instant::now();
//! let bucket = Bucket::new(RateLimitConfig::per_second("search", 3), start)?;
//! assert!(bucket.try_acquire(3, start).is_ok());
//!
//! let refusal = bucket.try_acquire(1, start).unwrap_err();
//! let third = Duration::from_nanos(333_333_334);
//! assert_eq!(refusal.retry_after, Some(third));
//! assert!(bucket.try_acquire(1, start + third).is_ok());
//! # Ok(())
//! # }
//! ```
//!
//! # Exactness
//! Every time and every token is a whole number: see the arithmetic in the source. In any interval of
//! length `t` the bucket gives at most `burst + rate × t` tokens, among any number of threads, and through
//! any change of the rate; and it gives each as soon as that allows, where the rate, in tokens per
//! nanosecond, is a fraction with a numerator of at most 2²⁰: any up to a million a second, and any multiple
//! of a hundred thousand up to 10¹¹. At other rates each token comes back at most 2⁻²⁰ ns late.
//!
//! # Cost
//! Taking tokens reads the clock and exchanges one word. A refusal reads both and writes nothing.
//! Reservations, their return, and changes of the rate take a short lock, which nobody who takes tokens
//! without a reservation ever waits for.

pub(crate) mod config;
pub(crate) mod keyed;
pub(crate) mod line;
mod planned;
pub(crate) mod rate;
mod snapshot;
mod word;

use std::time::{Duration, Instant};

use self::{
    config::RateLimitConfig,
    planned::Plans,
    rate::{Ask, Rate},
    word::{FURTHEST, Seen, Word},
};
pub use self::{
    keyed::{Buckets, Grant, KeyedRateLimitSnapshot, Level},
    planned::Reservation,
    snapshot::RateLimitSnapshot,
};
use crate::{
    error::{ConfigError, Reason},
    policy::Now,
    sync::Mutex,
};

/// A token bucket, exact and without a lock where tokens are taken.
#[derive(Debug)]
pub struct Bucket {
    /// When it was made; all times are told from it.
    base: Instant,
    word: Word,
    plans: Mutex<Plans>,
}

/// Why tokens are refused, and when they would be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// [`RateLimited`](Reason::RateLimited), or [`OverBurst`](Reason::OverBurst) if so many can never be;
    /// [`KeysFull`](Reason::KeysFull) if there is no bucket for the key.
    pub reason: Reason,
    /// The time until they are all there, if nobody else takes any; `None` if they never will be. Asked
    /// again after exactly this, the bucket gives them. Where there is no bucket for the key, no other is known
    /// to be full, and to make room, any sooner.
    pub retry_after: Option<Duration>,
}

impl Bucket {
    /// A full bucket.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: RateLimitConfig, now: Instant) -> Result<Self, ConfigError> {
        let word = Word::new(config.rate()?);
        Ok(Self { base: now, word, plans: Mutex::new(Plans::new(config)) })
    }

    /// Takes `n` tokens, all or none. Zero tokens are always there.
    ///
    /// # Errors
    /// The [`Refusal`], when they are not there; nothing is taken then.
    #[inline(always)]
    pub fn try_acquire(&self, n: u64, now: impl Now) -> Result<(), Refusal> {
        if n == 0 {
            return Ok(());
        }
        let nanos = self.nanos(now);
        let seen = self.word.see();
        if let Some(now) = seen.units(nanos) {
            match seen.rate.ask(seen.full_at(), now, n) {
                Ask::Granted { full_at } if self.word.swap(seen, full_at) => return Ok(()),
                Ask::Granted { .. } => {}
                Ask::After { wait, .. } => return Err(limited(seen.rate.scale, wait)),
                Ask::Never => return Err(OVER_BURST),
            }
        }
        self.try_again(n, nanos)
    }

    /// Apart, so that the usual way keeps everything in registers.
    #[inline(never)]
    fn try_again(&self, n: u64, nanos: u64) -> Result<(), Refusal> {
        loop {
            let (seen, now) = self.see(nanos);
            match seen.rate.ask(seen.full_at(), now, n) {
                Ask::Granted { full_at } if self.word.swap(seen, full_at) => return Ok(()),
                Ask::Granted { .. } => {}
                refused => return Err(refusal(seen.rate, refused)),
            }
        }
    }

    /// What [`try_acquire`](Self::try_acquire) would answer; nothing is taken.
    ///
    /// # Errors
    /// The [`Refusal`] that it would give.
    pub fn foretell(&self, n: u64, now: impl Now) -> Result<(), Refusal> {
        if n == 0 {
            return Ok(());
        }
        let (seen, now) = self.see(self.nanos(now));
        match seen.rate.ask(seen.full_at(), now, n) {
            Ask::Granted { .. } => Ok(()),
            refused => Err(refusal(seen.rate, refused)),
        }
    }

    /// How many whole tokens there are; none while some are owed.
    pub fn remaining(&self, now: impl Now) -> u64 {
        let (seen, now) = self.see(self.nanos(now));
        seen.rate.tokens(seen.full_at(), now)
    }

    /// How many tokens there are, parts of one included; negative while reservations have taken some
    /// ahead of time. For showing, not for deciding: a floating-point number is not exact.
    pub fn tokens(&self, now: impl Now) -> f64 {
        let (seen, now) = self.see(self.nanos(now));
        let there = i128::from(seen.rate.whole()) - i128::from(seen.full_at().saturating_sub(now));
        there as f64 / seen.rate.interval as f64
    }

    /// The time until it is full, if nobody takes any more; `None` if it never will be.
    pub fn reset_after(&self, now: impl Now) -> Option<Duration> {
        let (seen, now) = self.see(self.nanos(now));
        match seen.full_at().saturating_sub(now) {
            0 => Some(Duration::ZERO),
            lacking => seen.rate.duration(lacking),
        }
    }

    /// Changes rate and burst from now on. Tokens there or owed stay as many, up to the new burst; the
    /// waits of reservations stay as they were planned.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work: `permits`, when the tokens that are owed
    /// would take too long to come back. Nothing has changed then.
    pub fn reconfigure(&self, config: RateLimitConfig, now: impl Now) -> Result<(), ConfigError> {
        self.convert(config, self.nanos(now)).map(drop)
    }

    /// [`reconfigure`](Self::reconfigure), giving the rates before and after.
    pub(crate) fn convert(
        &self,
        config: RateLimitConfig,
        nanos: u64,
    ) -> Result<(Rate, Rate), ConfigError> {
        let to = config.rate()?;
        let mut plans = self.plans.lock();
        let from = self.word.see().rate;
        let (seen, now) = self.see_under(&plans, nanos);
        let now = planned::absolute(&seen, now);
        let told_anew = |seen: &Seen| {
            let full_at = from.convert(seen.ahead(nanos), 0, &to, 0);
            (full_at <= FURTHEST / 2).then_some(full_at)
        };
        if !self.word.change(nanos, to, told_anew) {
            let why = "the tokens that are owed would take too long to come back at this rate";
            return Err(ConfigError::new("permits", config.permits, why));
        }
        if (from.scale, from.interval) != (to.scale, to.interval) {
            let (seen, then) = self.see_under(&plans, nanos);
            plans.change_rate(from, to, now, planned::absolute(&seen, then));
        }
        plans.config = config;
        Ok((from, to))
    }

    /// Full again, as when it was made; reservations that were made before return nothing.
    pub fn reset(&self, now: impl Now) {
        self.reset_at(self.nanos(now));
    }

    pub(crate) fn reset_at(&self, nanos: u64) {
        let mut plans = self.plans.lock();
        let rate = self.word.see().rate;
        self.word.change(nanos, rate, |_| Some(0));
        plans.begin_anew();
    }

    /// The configuration in force.
    pub fn config(&self) -> RateLimitConfig {
        self.plans.lock().config.clone()
    }

    /// How many tokens there can be.
    pub(crate) fn burst(&self) -> u64 {
        self.word.see().rate.burst
    }

    #[inline(always)]
    pub(crate) fn nanos(&self, now: impl Now) -> u64 {
        now.nanos_since(self.base)
    }

    /// The word and the time in its units.
    fn see(&self, nanos: u64) -> (Seen, u64) {
        let mut seen = self.word.see();
        loop {
            match seen.units(nanos) {
                Some(now) => return (seen, now),
                None => seen = self.move_origin(nanos),
            }
        }
    }

    /// Counts units from now on, since those since the origin have become too many.
    #[cold]
    fn move_origin(&self, nanos: u64) -> Seen {
        let plans = self.plans.lock();
        self.move_origin_under(&plans, nanos)
    }

    fn move_origin_under(&self, _lock: &Plans, nanos: u64) -> Seen {
        let seen = self.word.see();
        // Somebody else may have done it while this thread waited for the lock.
        if seen.units(nanos).is_none() {
            self.word.change(nanos, seen.rate, |seen| Some(seen.ahead(nanos)));
        }
        self.word.see()
    }
}

const OVER_BURST: Refusal = Refusal { reason: Reason::OverBurst, retry_after: None };

#[inline]
fn limited(scale: u64, wait: u64) -> Refusal {
    Refusal { reason: Reason::RateLimited, retry_after: rate::duration(scale, wait) }
}

fn refusal(rate: Rate, ask: Ask) -> Refusal {
    match ask {
        Ask::After { wait, .. } => limited(rate.scale, wait),
        _ => OVER_BURST,
    }
}
