//! A retry budget, as a pure decision: how many retries a stream of calls may cause.
//!
//! Every call earns a share of a retry, whatever becomes of it, and a retry spends a whole one; a small
//! reserve lets a quiet client retry at all. So retries stay a bounded share of the load, also when
//! everything fails. The algorithm is that of Finagle's `RetryBudget` and tower's `TpsBudget`; gRPC's retry
//! throttling is the other kind.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use portcullis::{BudgetConfig, policy::budget::Budget};
//!
//! # #[expect(clippy::disallowed_methods, reason = "any instant to begin with")]
//! let now = Instant::now();
//! let budget = Budget::new(BudgetConfig::new(0.2).per_second(0.0), now)?;
//! (0..5).for_each(|_| budget.record_call(now));
//! assert!(budget.try_withdraw(now).is_some());
//! assert!(budget.try_withdraw(now).is_none());
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! # What holds
//!
//! - At every retry, the retries of the last `ttl`, itself included, are at most `ratio` × the calls of
//!   the last `ttl` + `per_second` × `ttl`, for any pattern, from any number of threads. Ratios are
//!   reckoned in whole millionths: 0.3 is 0.3.
//! - A call counts for `ttl`, a retry as well. Time is divided into hundredths of `ttl`: a call may count
//!   for up to one less, a retry for up to one more, never the other way round.
//! - Whatever the idle time before, an operation is O(1): it empties a hundred numbers at the most.
//!
//! # Cost
//!
//! [`count_call`](Budget::count_call) is two additions in the thread's own memory; it reads the clock and
//! takes a short lock once per batch of calls. Everything else takes the lock. A budget is 3 KiB.

pub mod config;
mod ledger;
mod share;
mod throttle;

use std::time::Instant;

use self::{
    config::{BudgetConfig, TOKEN},
    ledger::Terms,
    share::{Share, Taken},
    throttle::Throttle,
};
use crate::{
    error::ConfigError,
    policy::{Now, nanos},
    sync::Mutex,
};

/// A budget that several retries may share.
#[derive(Debug)]
pub struct Budget {
    rule: Rule,
    /// What is in force, for whoever asks or changes it.
    config: Mutex<BudgetConfig>,
}

#[derive(Debug)]
enum Rule {
    Share(Share),
    Grpc(Throttle),
}

/// A retry that the budget has paid for. Dropping it says that the retry is made.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a withdrawal that is dropped is spent"]
pub struct Withdrawal(Option<Taken>);

/// A budget at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BudgetSnapshot {
    /// How many tokens there are. Below zero where calls have expired whose retries still count.
    pub tokens: f64,
    /// The calls that count; zero for gRPC's throttling, which counts none.
    pub calls: u64,
    /// The retries that count; zero for gRPC's throttling.
    pub retries: u64,
}

impl Budget {
    /// A budget as nobody has used it.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: BudgetConfig, now: Instant) -> Result<Self, ConfigError> {
        config.validate()?;
        let rule = match config {
            BudgetConfig::Grpc { max_tokens, ratio } => {
                Rule::Grpc(Throttle::new(max_tokens, ratio))
            }
            BudgetConfig::Share { .. } => Rule::Share(Share::new(terms(config), now)),
        };
        Ok(Self { rule, config: Mutex::new(config) })
    }

    /// A call is made, at exactly this time.
    pub fn record_call(&self, now: Instant) {
        if let Rule::Share(share) = &self.rule {
            share.record(now);
        }
    }

    /// A call is made; the cheap way. The time is asked for once per batch of calls: see
    /// [the module](self).
    #[inline(always)]
    pub fn count_call(&self, now: impl Now) {
        if let Rule::Share(share) = &self.rule {
            share.count(now);
        }
    }

    /// An attempt succeeded, which matters to gRPC's throttling alone.
    #[inline(always)]
    pub fn record_success(&self) {
        if let Rule::Grpc(throttle) = &self.rule {
            throttle.success();
        }
    }

    /// An attempt failed in a way that is worth another. Whether another is allowed as far as that is
    /// decided here: by gRPC's throttling.
    pub fn record_failure(&self) -> bool {
        match &self.rule {
            Rule::Grpc(throttle) => throttle.failure(),
            Rule::Share(_) => true,
        }
    }

    /// Pays for a retry, if there is a token.
    pub fn try_withdraw(&self, now: impl Now) -> Option<Withdrawal> {
        match &self.rule {
            Rule::Share(share) => share.take(now.now()).map(|taken| Withdrawal(Some(taken))),
            Rule::Grpc(throttle) => throttle.allows().then_some(Withdrawal(None)),
        }
    }

    /// Whether a retry could be paid for.
    pub fn has_token(&self, now: impl Now) -> bool {
        match &self.rule {
            Rule::Share(share) => share.read(now.now()).0 >= i128::from(TOKEN),
            Rule::Grpc(throttle) => throttle.allows(),
        }
    }

    /// Takes back what was paid for a retry that was not made.
    pub fn refund(&self, withdrawal: Withdrawal) {
        if let (Rule::Share(share), Withdrawal(Some(taken))) = (&self.rule, withdrawal) {
            share.give_back(taken);
        }
    }

    /// How many whole tokens there are. Those of gRPC's throttling pay for nothing: more than half must
    /// be there.
    pub fn balance(&self, now: impl Now) -> u64 {
        let parts = match &self.rule {
            Rule::Share(share) => u64::try_from(share.read(now.now()).0.max(0)).unwrap_or(u64::MAX),
            Rule::Grpc(throttle) => throttle.tokens(),
        };
        parts / TOKEN
    }

    /// Everything at one moment.
    pub fn snapshot(&self, now: impl Now) -> BudgetSnapshot {
        let tokens = |parts: f64| parts / TOKEN as f64;
        match &self.rule {
            Rule::Share(share) => {
                let (parts, calls, retries) = share.read(now.now());
                BudgetSnapshot { tokens: tokens(parts as f64), calls, retries }
            }
            Rule::Grpc(throttle) => {
                BudgetSnapshot { tokens: tokens(throttle.tokens() as f64), calls: 0, retries: 0 }
            }
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> BudgetConfig {
        *self.config.lock()
    }

    /// Changes the numbers live; the calls and retries that count go on counting, for the new time to
    /// live. What was withdrawn before another time to live cannot be refunded after.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work, or `budget` if it is of the other kind.
    /// Nothing has changed then.
    pub fn reconfigure(&self, config: BudgetConfig, now: impl Now) -> Result<(), ConfigError> {
        config.validate()?;
        let mut current = self.config.lock();
        match (&self.rule, config) {
            (Rule::Share(share), BudgetConfig::Share { .. }) => {
                share.reconfigure(terms(config), now.now());
            }
            (Rule::Grpc(throttle), BudgetConfig::Grpc { max_tokens, ratio }) => {
                throttle.reconfigure(max_tokens, ratio);
            }
            (_, other) => {
                let why = "is of another kind than this budget, which keeps its own";
                return Err(ConfigError::new("budget", format!("{other:?}"), why));
            }
        }
        *current = config;
        Ok(())
    }

    /// Forgets all calls, retries and failures.
    pub fn reset(&self, now: impl Now) {
        let config = self.config.lock();
        match &self.rule {
            Rule::Share(share) => share.reset(terms(*config), now.now()),
            Rule::Grpc(throttle) => throttle.reset(),
        }
    }
}

/// What calls pay under a valid configuration.
fn terms(config: BudgetConfig) -> Terms {
    match config {
        BudgetConfig::Share { ratio, per_second, ttl } => Terms::new(ratio, per_second, nanos(ttl)),
        BudgetConfig::Grpc { .. } => Terms::new(0.0, 0.0, u64::MAX),
    }
}
