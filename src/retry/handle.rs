//! [`RetryPolicy`]: the handle of one retry, for inspection, command, and use without Tower.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    RetryBudget, RetryConfig, RetryLayer,
    config::BudgetUse,
    core::{Core, CoreRef, Manner},
    driver::{Again, Driver, attended},
    held::Held,
};
use crate::{
    error::{CarryRejection, ConfigError, PolicyKind},
    options::Options,
    outcome::{Classify, DefaultClassifier},
    plan::{BudgetFacts, Part},
    policy::{Cause, Command, Explanation, Mode, budget::config::BudgetConfig, retry::Snapshot},
    registry::{commands, managed},
};

/// One retry. Clones share it, as do the layers and services made from it.
///
/// ```
/// use portcullis::{Error, RetryConfig, RetryPolicy};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let policy = RetryPolicy::new(RetryConfig::new("db"))?;
///
/// let mut asked = 0;
/// let answer = policy.run(|| {
///     asked += 1;
///     let fails = asked < 3;
///     async move { if fails { Err(Error::Inner("connection reset")) } else { Ok("row") } }
/// });
/// assert_eq!(answer.await, Ok("row"));
/// assert_eq!(asked, 3);
/// assert_eq!(policy.snapshot().retried_successes, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RetryPolicy {
    pub(super) core: CoreRef,
}

impl RetryPolicy {
    /// A retry on tokio's clock.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: RetryConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// A retry with an observer of its own, or a clock for a budget of its own. Delays are tokio's.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: RetryConfig, options: Options) -> Result<Self, ConfigError> {
        Ok(Self { core: CoreRef::new(Core::new(config, options)?) })
    }

    /// This retry, kept for as long as the process lives: calls then count no references. See
    /// [`Circuit::leak`](crate::Circuit::leak).
    pub fn leak(&self) -> Self {
        Self { core: self.core.leak() }
    }

    /// A layer on this retry, with the default classifier and requests that are cloned.
    pub fn layer(&self) -> RetryLayer {
        RetryLayer::of(self.clone())
    }

    /// The name that its events carry.
    pub fn name(&self) -> &'static str {
        self.core.name
    }

    /// The budget, if there is one.
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.core.budget.as_ref()
    }

    /// Whether it acts on its verdicts.
    pub fn mode(&self) -> Mode {
        self.core.mode.get()
    }

    /// Everything at one moment.
    pub fn snapshot(&self) -> Snapshot {
        self.core.snapshot()
    }

    /// What it may do, and how much of its budget is left.
    pub fn explain(&self) -> Explanation {
        let mode = self.mode();
        Explanation {
            policy: self.name(),
            state: mode.as_str(),
            shadow: mode == Mode::Shadow,
            admits: true,
            would_admit: true,
            cause: Cause::Retries {
                attempts: self.core.quick().attempts(),
                tokens: self.budget().map(RetryBudget::balance),
            },
            until: None,
            opened_by: None,
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> RetryConfig {
        let mut config = self.core.config.lock().clone();
        if let (BudgetUse::Own(own), Some(budget)) = (&mut config.budget, self.budget()) {
            // Its own handle may have changed it.
            *own = budget.config();
        }
        config
    }

    /// Calls `make` for each attempt, the first one now, until its future gives a result that is not
    /// worth another, or there may be none. Dropping the future returned abandons the call.
    ///
    /// The future's error must be able to carry a refusal; wrap one that cannot by
    /// `.map_err(Error::Inner)`.
    pub fn run<M, F, T, E>(&self, make: M) -> Run<M, F, E>
    where
        M: FnMut() -> F,
        F: Future<Output = Result<T, E>>,
        E: CarryRejection,
    {
        self.run_classified(DefaultClassifier, make)
    }

    /// [`run`](Self::run) with a classifier of its own: [`Outcome::Failure`](crate::Outcome) means "try
    /// again".
    pub fn run_classified<C, M, F, T, E>(&self, classify: C, mut make: M) -> Run<M, F, E, C>
    where
        C: Classify<T, E>,
        M: FnMut() -> F,
        F: Future<Output = Result<T, E>>,
        E: CarryRejection,
    {
        let manner = self.core.begin();
        let mut held = Held::new(self.core.clone(), manner);
        let may_repeat = manner == Manner::Again;
        let first = attended(&mut held, may_repeat, &mut make);
        let again = may_repeat.then_some(Made { make, result: PhantomData });
        let driver = Driver::new(first, again, classify, held);
        Run { driver }
    }

    commands! {
        /// Decides and reports, but never calls a second time, until [`enable`](Self::enable).
        shadow: Shadow;

        /// Makes one attempt per call and counts nothing, until [`enable`](Self::enable).
        disable: Disable;

        /// Back to work.
        enable: Enable;

        /// Empties a budget of its own of calls and retries. One that is shared is
        /// [reset](RetryBudget::reset) by itself; the snapshot's counts only ever grow.
        reset: Reset;
    }

    /// Does what an operator says. Calls that have begun go on as they began.
    ///
    /// # Errors
    /// [`ConfigError`] for a command that only circuits know.
    pub fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.core.mode.command(PolicyKind::Retry, command)?;
        if let (Command::Reset, BudgetUse::Own(_)) = (command, &self.core.config.lock().budget) {
            if let Some(budget) = self.budget() {
                budget.reset();
            }
        }
        Ok(())
    }

    /// Changes the configuration live and keeps counts and budget: a budget of its own counts on by the
    /// new numbers. Calls that have begun take the new numbers at their next decision.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work, `name` if it differs, or `budget` if it is
    /// another one: a retry keeps its name and its budget. Nothing has changed then.
    pub fn reconfigure(&self, config: RetryConfig) -> Result<(), ConfigError> {
        config.validate()?;
        if config.name != self.name() {
            let why = format!("a retry keeps its name, which is `{}`", self.name());
            return Err(ConfigError::new("name", config.name, why));
        }
        let mut current = self.core.config.lock();
        match (&current.budget, &config.budget) {
            (BudgetUse::Own(_), BudgetUse::Own(new)) => {
                if let Some(budget) = self.budget() {
                    budget.reconfigure(*new)?;
                }
            }
            (old, new) if old == new => {}
            (_, new) => {
                let why = "is another one: a retry keeps its budget, whose numbers can change";
                return Err(ConfigError::new("budget", format!("{new:?}"), why));
            }
        }
        self.core.take_over(&mut current, config);
        Ok(())
    }

    /// What a stack that is checked should know.
    pub(super) fn facts(&self) -> Part {
        let config = self.core.config.lock();
        let budget = self.budget().map(|budget| {
            let (ratio, per_second) = match budget.config() {
                BudgetConfig::Share { ratio, per_second, .. } => (ratio, per_second),
                // Once half of its tokens are gone there is no retry until calls succeed again.
                BudgetConfig::Grpc { .. } => (0.0, 0.0),
            };
            BudgetFacts { id: budget.id(), ratio, per_second }
        });
        Part::Retry {
            name: self.name(),
            attempts: config.attempts,
            budget,
            longest_delays: config.backoff.longest_sum(config.attempts),
            longest_hint: config.hints.longest(),
            retries_refusals: config.retry_refusals,
            nested: config.nested,
        }
    }
}

managed!(RetryPolicy: Retry, Retry);

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("name", &self.name())
            .field("mode", &self.mode())
            .finish()
    }
}

/// Attempts that a closure makes.
struct Made<M, F, E> {
    make: M,
    result: PhantomData<fn() -> (F, E)>,
}

impl<M: FnMut() -> F, F, E> Again for Made<M, F, E> {
    type Error = E;
    type Future = F;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn begin(&mut self, _is_last: bool) -> F {
        (self.make)()
    }

    fn is_replayable(&self) -> bool {
        true
    }

    fn take_over(&self) -> bool {
        true
    }
}

pin_project! {
    /// The future of [`RetryPolicy::run`]. Dropping it abandons the call at any point: what the budget
    /// paid for an attempt that has not begun goes back.
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<M, F, E, C = DefaultClassifier> {
        #[pin]
        driver: Driver<Made<M, F, E>, F, E, C, CoreRef>,
    }
}

impl<M, F, E, C> fmt::Debug for Run<M, F, E, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}

impl<M, F, E, C, T> Future for Run<M, F, E, C>
where
    M: FnMut() -> F,
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
    E: CarryRejection,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().driver.poll(cx)
    }
}
