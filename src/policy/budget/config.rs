//! What a retry budget is told.

use std::time::Duration;

use crate::{
    error::ConfigError,
    policy::check::{Check, Shown, ensure},
};

/// Parts of a token: a ratio of 0.3 is 300 000 of them, exactly.
pub(super) const TOKEN: u64 = 1_000_000;
/// The largest ratio: a thousand retries per call.
const LARGEST_RATIO: f64 = 1_000.0;
/// The largest number of tokens a second.
const LARGEST_RATE: f64 = 1e9;

/// What a retry budget allows. The default is 20 % of calls plus 10 a second, over 10 s.
///
/// ```
/// use std::time::Duration;
/// use portcullis::BudgetConfig;
///
/// let a_tenth = BudgetConfig::new(0.1).per_second(1.0).ttl(Duration::from_secs(30));
/// let of_grpc = BudgetConfig::grpc(100, 0.1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub enum BudgetConfig {
    /// A share of the calls of the last `ttl`, plus a reserve; the budget of Finagle and tower.
    Share {
        /// Retries per call, `0.0..=1000.0`, reckoned in millionths. Default 0.2.
        ratio: f64,
        /// Retries a second besides, `0.0..=1e9`: over `ttl` they are a reserve that is there before
        /// any call. Default 10.
        per_second: f64,
        /// How long a call counts, and a retry, too; at least a microsecond. Default 10 s.
        ttl: Duration,
    },
    /// The retry throttling of gRPC (gRFC A6): full at first; a failure that could be retried takes a
    /// token, a success puts `ratio` back, and a retry needs more than half of the tokens.
    Grpc {
        /// How many tokens there can be, at least 1.
        max_tokens: u32,
        /// What a success puts back, `0.000001..=1000.0`.
        ratio: f64,
    },
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self::new(0.2)
    }
}

impl BudgetConfig {
    /// This share of calls, plus 10 retries a second, over 10 s.
    pub const fn new(ratio: f64) -> Self {
        Self::Share { ratio, per_second: 10.0, ttl: Duration::from_secs(10) }
    }

    /// The retry throttling of a gRPC service config.
    pub const fn grpc(max_tokens: u32, token_ratio: f64) -> Self {
        Self::Grpc { max_tokens, ratio: token_ratio }
    }

    /// Sets how many retries a second there are besides the share of calls. gRPC's throttling has none
    /// and stays as it is.
    pub const fn per_second(mut self, tokens: f64) -> Self {
        if let Self::Share { ratio, ttl, .. } = self {
            self = Self::Share { ratio, per_second: tokens, ttl };
        }
        self
    }

    /// Sets how long calls and retries count. gRPC's throttling does not know time and stays as it is.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        if let Self::Share { ratio, per_second, .. } = self {
            self = Self::Share { ratio, per_second, ttl };
        }
        self
    }

    /// Checks every value.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match *self {
            Self::Share { ratio, per_second, ttl } => {
                in_range("budget.ratio", ratio, LARGEST_RATIO)?;
                in_range("budget.per_second", per_second, LARGEST_RATE)?;
                let why = "must be at least a microsecond, or no call would count";
                ensure(ttl >= Duration::from_micros(1), "budget.ttl", Shown(ttl), why)
            }
            Self::Grpc { max_tokens, ratio } => {
                ensure(max_tokens > 0, "budget.max_tokens", max_tokens, "must be at least 1")?;
                in_range("budget.ratio", ratio, LARGEST_RATIO)?;
                let why = "must be at least a millionth, or no token would ever come back";
                ensure(parts(ratio) > 0, "budget.ratio", ratio, why)
            }
        }
    }
}

fn in_range(field: &'static str, value: f64, most: f64) -> Check {
    let why = format!("must be in 0.0..={most}");
    ensure((0.0..=most).contains(&value), field, value, why)?;
    let why = "must be zero or at least a millionth";
    ensure(value == 0.0 || parts(value) > 0, field, value, why)
}

/// A number of tokens in parts, to the nearest.
pub(super) fn parts(tokens: f64) -> u64 {
    (tokens * TOKEN as f64).round() as u64
}
