//! The arithmetic of a token bucket in whole numbers.
//!
//! A bucket is one number: the time at which it will be full again. Taking `n` tokens moves that time on
//! by `n` intervals; they are there if it is then no further ahead than a whole burst. This is the
//! generic cell rate algorithm (ITU-T I.371) in its virtual-scheduling form, and equal to a bucket that
//! is filled continuously.
//!
//! For a rate of `p` tokens per `q` nanoseconds, reduced, time is counted in units of `1/p` ns: an
//! interval is `q` units, and nothing is ever rounded. Where `p` exceeds 2²⁰ the unit is 2⁻²⁰ ns and the
//! interval is rounded up, so that the bucket gives never more than its rate, and each token at most
//! a unit late: a millionth of the rate at a thousand million a second.

use std::time::Duration;

use crate::{
    error::ConfigError,
    policy::check::{Check, Shown, ensure},
};

/// The finest unit of time: this many in a nanosecond.
const FINEST: u64 = 1 << 20;
/// The longest that a whole burst may take to come back.
const LONGEST: u64 = 1 << 57;

/// A rate and a burst, in units of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Units in a nanosecond; zero where tokens never come back, so that time stands still.
    pub(crate) scale: u64,
    /// Units in which one token comes back.
    pub(crate) interval: u64,
    /// How many tokens there can be.
    pub(crate) burst: u64,
}

/// What becomes of a request for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// They are there; the bucket is full again at this time.
    Granted { full_at: u64 },
    /// They will be there after this wait, and the bucket full again at this time.
    After { full_at: u64, wait: u64 },
    /// More than a whole burst.
    Never,
}

impl Rate {
    /// `permits` tokens per `per`, and at most `burst` at once.
    ///
    /// # Errors
    /// [`ConfigError`] for `per`, `permits` or `burst`, when they cannot be reckoned with.
    pub(crate) fn new(permits: u64, per: Duration, burst: u64) -> Result<Self, ConfigError> {
        check(permits, per, burst)?;
        if permits == 0 {
            return Ok(Self { scale: 0, interval: 1, burst });
        }
        let per = per.as_nanos();
        let shared = gcd(u128::from(permits), per);
        let (permits, per) = (u128::from(permits) / shared, per / shared);
        let (scale, interval) = match u64::try_from(permits) {
            Ok(permits) if permits <= FINEST => (permits, per),
            _ => (FINEST, (per * u128::from(FINEST)).div_ceil(permits)),
        };
        let whole = interval.saturating_mul(burst.into());
        let fits = u64::try_from(interval).ok().filter(|_| whole <= LONGEST.into());
        let too_long = || {
            let why = format!("{burst} tokens would take too long to come back at this rate");
            ConfigError::new("burst", burst, why)
        };
        Ok(Self { scale, interval: fits.ok_or_else(too_long)?, burst })
    }

    /// Nanoseconds in units; `None` where they are too many to count, and the origin must move on.
    #[inline(always)]
    pub(crate) fn units(&self, nanos: u64) -> Option<u64> {
        nanos.checked_mul(self.scale).filter(|units| *units <= LONGEST * 2)
    }

    /// Units as a duration, rounded up, so that who waits for it has waited long enough; `None` where
    /// time stands still.
    pub(crate) fn duration(&self, units: u64) -> Option<Duration> {
        duration(self.scale, units)
    }

    /// A whole burst, in units.
    #[inline(always)]
    pub(crate) fn whole(&self) -> u64 {
        self.interval * self.burst
    }

    /// How much of what was `taken` can come back so long after it was `due`. A bucket without it might
    /// have been full meanwhile, and what comes to a full bucket is lost; it was not for a whole burst's
    /// time, less its own tokens.
    pub(super) fn in_time(&self, taken: u64, after: u128) -> u64 {
        let left = u128::from(self.whole()).saturating_sub(after);
        u64::try_from(left).map_or(taken, |left| if after == 0 { taken } else { taken.min(left) })
    }

    /// Asks a bucket that is full at `full_at` for `n` tokens.
    #[inline(always)]
    pub(crate) fn ask(&self, full_at: u64, now: u64, n: u64) -> Ask {
        if n > self.burst {
            return Ask::Never;
        }
        // No more than a burst, which was found to fit.
        let full_at = full_at.max(now).saturating_add(n * self.interval);
        match full_at.saturating_sub(now.saturating_add(self.whole())) {
            0 => Ask::Granted { full_at },
            wait => Ask::After { full_at, wait },
        }
    }

    /// Whole tokens in a bucket that is full at `full_at`; none while it owes some.
    pub(crate) fn tokens(&self, full_at: u64, now: u64) -> u64 {
        self.whole().saturating_sub(full_at.saturating_sub(now)) / self.interval
    }

    /// When a bucket with as many tokens, or as many owed, is full at another rate; never earlier than
    /// exactness would have it. Tokens above the new burst are gone.
    pub(crate) fn convert(&self, full_at: u64, now: u64, to: &Self, then: u64) -> u64 {
        let missing = u128::from(full_at.saturating_sub(now));
        let missing = missing.saturating_sub(u128::from(self.whole()));
        let owed = (missing * u128::from(to.interval)).div_ceil(u128::from(self.interval));
        let there = u128::from(self.whole().saturating_sub(full_at.saturating_sub(now)));
        let there = there * u128::from(to.interval) / u128::from(self.interval);
        let lacking = u128::from(to.whole()).saturating_sub(there) + owed;
        then.saturating_add(u64::try_from(lacking).unwrap_or(u64::MAX))
    }
}

/// A wait, or how late one is, at another rate, rounded up.
pub(super) fn told_anew(wait: u128, from: Rate, to: Rate) -> u128 {
    // What is too long to count is as good as for ever.
    let longest = u128::MAX / 2;
    let wait = wait.checked_mul(to.interval.into()).unwrap_or(longest);
    wait.min(longest).div_ceil(from.interval.into())
}

/// [`Rate::duration`] at so many units in a nanosecond.
#[inline]
pub(crate) fn duration(scale: u64, units: u64) -> Option<Duration> {
    match scale {
        0 => None,
        // Most rates: a division costs as much as the rest of a refusal.
        1 => Some(Duration::from_nanos(units)),
        _ => Some(Duration::from_nanos(units.div_ceil(scale))),
    }
}

fn check(permits: u64, per: Duration, burst: u64) -> Check {
    ensure(per > Duration::ZERO, "per", Shown(per), "must be longer than zero")?;
    ensure(burst <= LONGEST || permits > 0, "burst", burst, "is too many to count")
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_rounded_up_to_a_million_a_second() {
        for permits in [1, 3, 7, 99, 100, 999_983, 1_000_000] {
            let rate = Rate::new(permits, SECOND, permits).unwrap();
            assert_eq!(rate.units(1_000_000_000), Some(rate.interval * permits), "{permits}");
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate::new(3, SECOND, 3).unwrap();
        let now = rate.units(5_000_000_000).unwrap();
        let Ask::Granted { full_at } = rate.ask(0, now, 3) else { panic!("it is full") };
        assert_eq!(rate.tokens(full_at, now), 0);
        let Ask::After { wait, .. } = rate.ask(full_at, now, 1) else { panic!("it is empty") };
        assert_eq!(rate.duration(wait), Some(Duration::from_nanos(333_333_334)));
        assert!(matches!(rate.ask(full_at, now + wait, 1), Ask::Granted { .. }));
        assert!(matches!(rate.ask(full_at, now + wait - 1, 1), Ask::After { wait: 1, .. }));
        assert_eq!(rate.ask(full_at, now, 4), Ask::Never);
    }

    #[test]
    fn without_a_rate_time_stands_still() {
        let rate = Rate::new(0, SECOND, 2).unwrap();
        let Ask::Granted { full_at } = rate.ask(0, 0, 2) else { panic!("it is full") };
        let later = rate.units(u64::MAX).unwrap();
        assert!(matches!(rate.ask(full_at, later, 1), Ask::After { .. }));
        assert_eq!(rate.duration(1), None);
    }

    #[test]
    fn what_cannot_be_reckoned_with_is_named() {
        for (permits, per, burst, field) in [
            (1, Duration::ZERO, 1, "per"),
            (1, Duration::MAX, 1, "burst"),
            (1, SECOND, u64::MAX, "burst"),
        ] {
            assert_eq!(Rate::new(permits, per, burst).unwrap_err().field(), field);
        }
        assert!(Rate::new(u64::MAX, Duration::from_nanos(1), 1).is_ok());
        assert_eq!(Rate::new(1, SECOND, 0).unwrap().ask(0, 0, 1), Ask::Never);
    }

    #[test]
    fn another_rate_keeps_the_tokens() {
        let slow = Rate::new(1, SECOND, 10).unwrap();
        let fast = Rate::new(7, SECOND, 4).unwrap();
        let Ask::Granted { full_at } = slow.ask(0, 0, 7) else { panic!("it is full") };
        assert_eq!(fast.tokens(slow.convert(full_at, 0, &fast, 0), 0), 3);
        assert_eq!(fast.tokens(slow.convert(0, 0, &fast, 0), 0), 4, "at most the new burst");
    }
}
