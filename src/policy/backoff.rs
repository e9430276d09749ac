//! How long to wait before the next attempt.
//!
//! A delay grows with the number of the retry, is capped, and is then spread by jitter. Everything
//! saturates: no number of retries and no duration overflows.

use std::time::Duration;

use crate::{
    error::ConfigError,
    policy::{
        check::{Check, ensure},
        nanos,
    },
};

/// Delays between attempts. The default is exponential: 50 ms, ×2, up to 20 s, with full jitter, as the
/// AWS SDKs wait.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Backoff, Jitter};
///
/// let backoff = Backoff::exponential(Duration::from_millis(100), 2.0).jitter(Jitter::None);
/// let delays = [1, 2, 3].map(|retry| backoff.delay(retry, 0.0, None).as_millis());
/// assert_eq!(delays, [100, 200, 400]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub struct Backoff {
    /// How the delay grows with the number of the retry.
    pub growth: Growth,
    /// The longest delay before jitter. Default 20 s; none for [`Backoff::constant`].
    pub max: Duration,
    /// How the delay is spread, so that clients that failed together do not come back together.
    pub jitter: Jitter,
}

/// How a delay grows with the number of the retry.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Growth {
    /// It does not.
    Constant {
        /// The delay; zero tries again at once.
        delay: Duration,
    },
    /// By the same step each time.
    Linear {
        /// The delay before the first retry.
        base: Duration,
        /// What each further retry adds.
        step: Duration,
    },
    /// By the same factor each time.
    Exponential {
        /// The delay before the first retry.
        base: Duration,
        /// What each further retry multiplies the delay by, `>= 1.0`.
        factor: f64,
    },
}

/// How a capped delay `d` is spread by a random number `r` in `0.0..1.0`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Jitter {
    /// Not at all: `d`.
    None,
    /// Over everything from zero: `r·d`. Spreads best.
    Full,
    /// Over the upper half: `d/2 + r·d/2`.
    Equal,
    /// Around `d` by this share of it, `0.0..=1.0`: `d·(1 - share) + 2·share·d·r`. This one may exceed
    /// the cap, by its share.
    Proportional(f64),
    /// Between the base and three times the delay before this one, at most the cap:
    /// `min(max, base + r·(3·previous - base))`. The growth is the jitter's own; of
    /// [`growth`](Backoff::growth) only the base counts.
    Decorrelated,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(50), 2.0)
    }
}

impl Backoff {
    /// The longest delay unless told otherwise.
    const MAX: Duration = Duration::from_secs(20);

    /// The same delay every time, without cap or jitter.
    pub const fn constant(delay: Duration) -> Self {
        Self { growth: Growth::Constant { delay }, max: Duration::MAX, jitter: Jitter::None }
    }

    /// `base`, then `step` more each time, up to 20 s, with full jitter.
    pub const fn linear(base: Duration, step: Duration) -> Self {
        Self { growth: Growth::Linear { base, step }, max: Self::MAX, jitter: Jitter::Full }
    }

    /// `base`, then `factor` times as long each time, up to 20 s, with full jitter.
    pub const fn exponential(base: Duration, factor: f64) -> Self {
        Self { growth: Growth::Exponential { base, factor }, max: Self::MAX, jitter: Jitter::Full }
    }

    /// Sets the longest delay before jitter.
    pub const fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Sets how delays are spread.
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The delay before retry number `retry`, where 1 is the first, for a random number in `0.0..=1.0`.
    /// `previous` is the delay before the retry before this one, which decorrelated jitter starts from.
    pub fn delay(&self, retry: u32, random: f64, previous: Option<Duration>) -> Duration {
        // A comparison with NaN is false, and `clamp` would keep it.
        let random = if random > 0.0 { random.min(1.0) } else { 0.0 };
        let delay = self.before_jitter(retry);
        let long = nanos(delay) as f64;
        match self.jitter {
            Jitter::None => delay,
            Jitter::Full => whole(random * long),
            Jitter::Equal => whole(long / 2.0 + random * long / 2.0),
            Jitter::Proportional(share) => {
                whole(long * (1.0 - share) + 2.0 * share * long * random)
            }
            Jitter::Decorrelated => {
                let base = nanos(self.before_jitter(1)) as f64;
                let upper = previous.map_or(base, |previous| nanos(previous) as f64) * 3.0;
                whole(base + random * (upper - base).max(0.0)).min(self.max)
            }
        }
    }

    /// The longest delay before retry number `retry`, whatever is random.
    pub(crate) fn longest(&self, retry: u32) -> Duration {
        match self.jitter {
            Jitter::Decorrelated if retry > 0 => self.max,
            _ => self.delay(retry, 1.0, None),
        }
    }

    /// The longest that all delays between `attempts` attempts can take together.
    pub(crate) fn longest_sum(&self, attempts: u32) -> Duration {
        /// After so many the delay is taken as it is then.
        const COUNTED: u32 = 256;
        let retries = attempts.saturating_sub(1);
        let counted = (1..=retries.min(COUNTED)).map(|retry| self.longest(retry));
        let sum = counted.fold(Duration::ZERO, Duration::saturating_add);
        match retries.saturating_sub(COUNTED) {
            0 => sum,
            more => sum.saturating_add(self.longest(retries).saturating_mul(more)),
        }
    }

    /// Grown and capped.
    fn before_jitter(&self, retry: u32) -> Duration {
        let steps = retry.saturating_sub(1);
        let grown = match self.growth {
            Growth::Constant { delay } => delay,
            Growth::Linear { base, step } => base.saturating_add(step.saturating_mul(steps)),
            Growth::Exponential { base, factor } => {
                // Zero times infinity is no number.
                let base = nanos(base).min(nanos(self.max)) as f64;
                let steps = i32::try_from(steps).unwrap_or(i32::MAX);
                if base == 0.0 { Duration::ZERO } else { whole(base * factor.powi(steps)) }
            }
        };
        grown.min(self.max)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Growth::Exponential { factor, .. } = self.growth {
            ensure(
                factor.is_finite() && factor >= 1.0,
                "backoff.factor",
                factor,
                "must be a finite number of at least 1.0",
            )?;
        }
        self.check_jitter()
    }

    fn check_jitter(&self) -> Check {
        match self.jitter {
            Jitter::Proportional(share) => ensure(
                (0.0..=1.0).contains(&share),
                "backoff.jitter",
                share,
                "must be a share in 0.0..=1.0",
            ),
            _ => Ok(()),
        }
    }
}

/// So many nanoseconds, rounded; as a cast, this saturates at 584 years.
fn whole(nanos: f64) -> Duration {
    Duration::from_nanos(nanos.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_delays_add_up() {
        let ms = Duration::from_millis;
        let sum = |backoff: Backoff, attempts| backoff.longest_sum(attempts);
        assert_eq!(sum(Backoff::default(), 1), Duration::ZERO);
        assert_eq!(sum(Backoff::default(), 3), ms(150));
        // 50 ms doubled up to 25.6 s is cut off at 20 s, and 20 s each from there.
        assert_eq!(sum(Backoff::default(), 12), ms(50 * 511 + 20_000 * 2));
        let constant = Backoff::constant(ms(10));
        assert_eq!(sum(constant, 1_001), ms(10_000));
        assert_eq!(sum(constant, u32::MAX), ms(10) * (u32::MAX - 1));
        assert_eq!(sum(Backoff::constant(Duration::MAX), u32::MAX), Duration::MAX);
        let half = Jitter::Proportional(0.5);
        assert_eq!(sum(constant.jitter(half), 3), ms(30));
        assert_eq!(sum(Backoff::default().jitter(Jitter::Decorrelated), 3), ms(40_000));
    }
}
