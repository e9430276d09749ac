//! [`RetryBudget`]: a budget with a clock, to share among retries.

use std::{fmt, sync::Arc};

use crate::{
    clock::Clock,
    error::ConfigError,
    options::Options,
    policy::budget::{Budget, BudgetSnapshot, Withdrawal, config::BudgetConfig},
};

/// A retry budget. Clones share it: give one to every layer that retries towards the same dependency, and
/// they stay within it together.
///
/// ```
/// use portcullis::{BudgetConfig, RetryBudget, RetryConfig, RetryLayer};
///
/// let budget = RetryBudget::new(BudgetConfig::new(0.1))?;
/// let reads = RetryLayer::new(RetryConfig::new("reads").budget(&budget))?;
/// let writes = RetryLayer::new(RetryConfig::new("writes").budget(&budget))?;
/// assert_eq!(budget.balance(), 100);      // the reserve: 10 a second for 10 s
/// # let _ = (reads, writes);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RetryBudget {
    shared: Arc<Shared>,
}

struct Shared {
    budget: Budget,
    clock: Clock,
}

impl RetryBudget {
    /// A budget on tokio's clock.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: BudgetConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// A budget with a clock of its own, which counts for every retry that shares it. A budget tells
    /// nobody of events: the retries do.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: BudgetConfig, options: Options) -> Result<Self, ConfigError> {
        Self::on(config, options.clock)
    }

    /// The retry throttling of a gRPC service config (gRFC A6).
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn grpc(max_tokens: u32, token_ratio: f64) -> Result<Self, ConfigError> {
        Self::new(BudgetConfig::grpc(max_tokens, token_ratio))
    }

    pub(super) fn on(config: BudgetConfig, clock: Clock) -> Result<Self, ConfigError> {
        let (clock, now) = clock.start();
        let budget = Budget::new(config, now)?;
        Ok(Self { shared: Arc::new(Shared { budget, clock }) })
    }

    /// Tells it from every other budget there is.
    pub(super) fn id(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    /// How many whole tokens there are.
    pub fn balance(&self) -> u64 {
        self.shared.budget.balance(self.shared.clock)
    }

    /// Everything at one moment.
    pub fn snapshot(&self) -> BudgetSnapshot {
        self.shared.budget.snapshot(self.shared.clock)
    }

    /// The configuration in force.
    pub fn config(&self) -> BudgetConfig {
        self.shared.budget.config()
    }

    /// Changes the numbers live; what counts goes on counting.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work, or `budget` if it is of the other kind.
    /// Nothing has changed then.
    pub fn reconfigure(&self, config: BudgetConfig) -> Result<(), ConfigError> {
        self.shared.budget.reconfigure(config, self.shared.clock)
    }

    /// Forgets all calls, retries and failures.
    pub fn reset(&self) {
        self.shared.budget.reset(self.shared.clock);
    }

    /// A call is made: what a layer does by itself, for whoever retries by hand.
    #[inline(always)]
    pub fn record_call(&self) {
        self.shared.budget.count_call(self.shared.clock);
    }

    /// An attempt succeeded, which matters to gRPC's throttling alone.
    #[inline(always)]
    pub fn record_success(&self) {
        self.shared.budget.record_success();
    }

    /// An attempt failed in a way that is worth another; whether gRPC's throttling allows that.
    pub fn record_failure(&self) -> bool {
        self.shared.budget.record_failure()
    }

    /// Whether a retry could be paid for now.
    pub fn has_token(&self) -> bool {
        self.shared.budget.has_token(self.shared.clock)
    }

    /// Pays for a retry, if there is a token.
    pub fn try_withdraw(&self) -> Option<Withdrawal> {
        self.shared.budget.try_withdraw(self.shared.clock)
    }

    /// Takes back what was paid for a retry that was not made.
    pub fn refund(&self, withdrawal: Withdrawal) {
        self.shared.budget.refund(withdrawal);
    }
}

impl PartialEq for RetryBudget {
    /// Whether the two are one budget.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget")
            .field("config", &self.config())
            .field("balance", &self.balance())
            .finish()
    }
}
