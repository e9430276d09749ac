//! What a retry is told: plain values with defaults, checked once where they are used.

use super::RetryBudget;
use crate::{
    error::ConfigError,
    policy::{
        backoff::Backoff,
        budget::config::BudgetConfig,
        check::{ensure, named},
        retry::{Hints, Rules},
    },
};

/// How a retry behaves. Every field is plain data; [`Default`] gives the values of the table in
/// [`retry`](crate::retry), and setters take `self` by value.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Backoff, BudgetConfig, Hints, RetryConfig};
///
/// let config = RetryConfig::new("payments")
///     .attempts(4)
///     .backoff(Backoff::exponential(Duration::from_millis(100), 2.0).max(Duration::from_secs(5)))
///     .hints(Hints::http())
///     .budget(BudgetConfig::new(0.1));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub struct RetryConfig {
    /// The policy's name in every event and metric. Default `"retry"`.
    pub name: &'static str,
    /// How many attempts a call may have, the first included; 1 never retries, `u32::MAX` is as good
    /// as no limit. Default 3.
    pub attempts: u32,
    /// The delays between attempts. Default exponential: 50 ms, ×2, up to 20 s, full jitter.
    pub backoff: Backoff,
    /// What a service may say about the delay. Default: exact, up to 60 s.
    pub hints: Hints,
    /// How many retries all calls together may cause. Default: 20 % of calls plus 10 a second, of the
    /// policy's own.
    pub budget: BudgetUse,
    /// Whether refusals of our own policies that never reached the service are retried. Default `false`.
    pub retry_refusals: bool,
    /// Whether to retry inside another retry's attempt. Default `false`.
    pub nested: bool,
    /// Seeds jitter, so that a run can be repeated. Default: drawn once.
    pub seed: Option<u64>,
}

/// Which budget a retry has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum BudgetUse {
    /// One of its own, made with the policy on the policy's clock.
    Own(BudgetConfig),
    /// One that others may have, too.
    Shared(RetryBudget),
    /// None: each call has as many attempts as it may.
    None,
}

impl From<BudgetConfig> for BudgetUse {
    fn from(config: BudgetConfig) -> Self {
        Self::Own(config)
    }
}

impl From<RetryBudget> for BudgetUse {
    fn from(budget: RetryBudget) -> Self {
        Self::Shared(budget)
    }
}

impl From<&RetryBudget> for BudgetUse {
    fn from(budget: &RetryBudget) -> Self {
        Self::Shared(budget.clone())
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            name: "retry",
            attempts: 3,
            backoff: Backoff::default(),
            hints: Hints::default(),
            budget: BudgetUse::Own(BudgetConfig::default()),
            retry_refusals: false,
            nested: false,
            seed: None,
        }
    }
}

impl RetryConfig {
    /// The defaults under a name. A name known only at run time goes through [`intern`](crate::intern).
    pub fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// Sets the name.
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets how many attempts a call may have, the first included.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Bounds a call by budget and deadline alone.
    pub fn unlimited_attempts(self) -> Self {
        self.attempts(u32::MAX)
    }

    /// Sets the delays between attempts.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets what a service may say about the delay.
    pub fn hints(mut self, hints: Hints) -> Self {
        self.hints = hints;
        self
    }

    /// Sets the budget: a [`BudgetConfig`] for one of its own, a [`RetryBudget`] for one that is shared.
    pub fn budget(mut self, budget: impl Into<BudgetUse>) -> Self {
        self.budget = budget.into();
        self
    }

    /// Goes without a budget. When everything fails, the service gets as many times the load as a call
    /// has attempts.
    pub fn no_budget(mut self) -> Self {
        self.budget = BudgetUse::None;
        self
    }

    /// Sets whether refusals of our own policies that never reached the service are retried, after the
    /// time that they name or else the back-off. Those that can never pass are not.
    pub fn retry_refusals(mut self, on: bool) -> Self {
        self.retry_refusals = on;
        self
    }

    /// Sets whether to retry inside another retry's attempt, which multiplies the attempts of the two.
    pub fn nested(mut self, on: bool) -> Self {
        self.nested = on;
        self
    }

    /// Seeds jitter.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Checks every value.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that cannot work, its value, and what it needs.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name)?;
        let why = "must be at least 1: the first attempt counts";
        ensure(self.attempts > 0, "attempts", self.attempts, why)?;
        self.backoff.validate()?;
        self.hints.check()?;
        match &self.budget {
            BudgetUse::Own(budget) => budget.validate(),
            BudgetUse::Shared(_) | BudgetUse::None => Ok(()),
        }
    }

    pub(super) fn rules(&self) -> Rules {
        Rules::new(self.attempts, self.backoff).hints(self.hints)
    }
}
