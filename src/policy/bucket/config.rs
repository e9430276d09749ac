//! What a rate limiter is told: plain values, checked once where they are used.

use std::time::Duration;

use super::rate::Rate;
use crate::{error::ConfigError, policy::check::named};

const SECOND: Duration = Duration::from_secs(1);

/// How a rate limiter behaves: so many permits per so long, and at most a burst at once.
///
/// The rate is required. Setters take `self` by value.
///
/// ```
/// use std::time::Duration;
/// use portcullis::RateLimitConfig;
///
/// let fair = RateLimitConfig::per_second("search", 100);
/// let slow = RateLimitConfig::new("reports", 5, Duration::from_secs(60)).burst(2);
/// assert!(fair.validate().is_ok() && slow.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct RateLimitConfig {
    /// The policy's name in every rejection, event and metric.
    pub name: &'static str,
    /// How many tokens come back in `per`. Zero means that none ever does.
    pub permits: u64,
    /// The time in which `permits` tokens come back, one after the other and not all at its end.
    pub per: Duration,
    /// How many tokens there can be: the most that can pass at once after a pause, and the most that
    /// one request may cost; with zero, nothing that costs anything ever passes. Default `None`: as many
    /// as come back in one second, rounded up, and at least one.
    pub burst: Option<u64>,
}

impl RateLimitConfig {
    /// `permits` per `per`. A name known only at run time goes through [`intern`](crate::intern).
    pub const fn new(name: &'static str, permits: u64, per: Duration) -> Self {
        Self { name, permits, per, burst: None }
    }

    /// `permits` per second.
    pub const fn per_second(name: &'static str, permits: u64) -> Self {
        Self::new(name, permits, SECOND)
    }

    /// Sets the name.
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets how many tokens there can be: the most that can pass at once, and the most that one request
    /// may cost.
    pub const fn burst(mut self, tokens: u64) -> Self {
        self.burst = Some(tokens);
        self
    }

    /// How many tokens there can be, given or by default.
    pub fn burst_tokens(&self) -> u64 {
        self.burst.unwrap_or_else(|| {
            let permits = u128::from(self.permits).saturating_mul(SECOND.as_nanos());
            // Without a period there is no rate, which `validate` will say.
            let per = self.per.as_nanos().max(1);
            u64::try_from(permits.div_ceil(per)).unwrap_or(u64::MAX).max(1)
        })
    }

    /// Checks every value and their combination.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that cannot work, its value, and what it needs: an
    /// empty `name`, a `per` of zero, or a `burst` that would take longer to come back than can be
    /// counted, which is at least 137 seconds at any rate, and years at round ones.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.rate().map(drop)
    }

    /// The rate and the burst in units of time.
    pub(crate) fn rate(&self) -> Result<Rate, ConfigError> {
        named(self.name)?;
        Rate::new(self.permits, self.per, self.burst_tokens())
    }
}
