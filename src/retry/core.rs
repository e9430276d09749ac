//! What every handle, layer and service of one retry shares, and what one call holds of it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{RetryBudget, RetryConfig, attempt::attempt, config::BudgetUse};
use crate::{
    clock, deadline,
    error::{PolicyKind, Reason, Rejection},
    event::{Event, Observers},
    options::Options,
    outcome::{Hint, Outcome},
    policy::{
        budget::Withdrawal,
        command::{Mode, ModeSwitch},
        retry::{Attempt, Ends, Progress, RetryEnd, Rules, Snapshot, Verdict},
        rng::Rng,
        tally::Tally,
    },
    sync::{self, AtomicU64, Mutex, Ordering, reference::Ref},
};

/// Keeps a retry alive for a handle or a call.
pub(super) type CoreRef = Ref<Core>;
/// Gives those to calls.
pub(super) type References = sync::reference::References<Core>;

/// A wait that no clock can tell the end of ends after thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

#[derive(Debug)]
pub(super) struct Core {
    pub(super) name: &'static str,
    pub(super) mode: ModeSwitch,
    pub(super) config: Mutex<RetryConfig>,
    /// What every call asks: see [`Quick`].
    quick: AtomicU64,
    rules: Mutex<Rules>,
    pub(super) budget: Option<RetryBudget>,
    rng: Mutex<Rng>,
    observers: Observers,
    counts: Counts,
}

/// What of the configuration every call asks, in one word.
#[derive(Clone, Copy)]
pub(super) struct Quick(u64);

impl Quick {
    const NESTED: u64 = 1 << 32;
    const REFUSALS: u64 = 1 << 33;

    fn new(config: &RetryConfig) -> Self {
        let nested = if config.nested { Self::NESTED } else { 0 };
        let refusals = if config.retry_refusals { Self::REFUSALS } else { 0 };
        Self(u64::from(config.attempts) | nested | refusals)
    }

    #[inline]
    pub(super) fn attempts(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    fn nested(self) -> bool {
        self.0 & Self::NESTED != 0
    }

    pub(super) fn retries_refusals(self) -> bool {
        self.0 & Self::REFUSALS != 0
    }
}

/// Calls that have ended.
#[derive(Debug, Default)]
struct Counts {
    ends: [Tally; RetryEnd::ALL.len()],
    retried_successes: AtomicU64,
    /// Attempts beyond each call's first.
    retries: AtomicU64,
}

impl Core {
    /// A retry of a valid configuration.
    pub(super) fn new(
        config: RetryConfig,
        options: Options,
    ) -> Result<Self, crate::error::ConfigError> {
        config.validate()?;
        let budget = match &config.budget {
            BudgetUse::Own(budget) => Some(RetryBudget::on(*budget, options.clock)?),
            BudgetUse::Shared(budget) => Some(budget.clone()),
            BudgetUse::None => None,
        };
        Ok(Self {
            name: config.name,
            mode: ModeSwitch::new(Mode::Enforce),
            quick: AtomicU64::new(Quick::new(&config).0),
            rules: Mutex::new(config.rules()),
            budget,
            rng: Mutex::new(Rng::new(config.seed)),
            observers: options.observers,
            counts: Counts::default(),
            config: Mutex::new(config),
        })
    }

    #[inline]
    pub(super) fn quick(&self) -> Quick {
        Quick(self.quick.load(Ordering::Relaxed))
    }

    /// Takes over a valid configuration for the same budget.
    pub(super) fn take_over(&self, current: &mut RetryConfig, config: RetryConfig) {
        if config.seed != current.seed {
            *self.rng.lock() = Rng::new(config.seed);
        }
        *self.rules.lock() = config.rules();
        self.quick.store(Quick::new(&config).0, Ordering::Relaxed);
        *current = config;
    }

    /// A call begins; `None` if it is none of ours.
    #[inline]
    pub(super) fn begin(&self) -> Option<Beginning> {
        let shadow = match self.mode.get() {
            Mode::Enforce => false,
            Mode::Shadow => true,
            Mode::Disabled => return None,
        };
        let quick = self.quick();
        let nested = !quick.nested() && attempt().is_some();
        if !nested {
            if let Some(budget) = &self.budget {
                budget.record_call();
            }
        }
        let single = nested.then_some(RetryEnd::Nested);
        Some(Beginning { again: !shadow && !nested && quick.attempts() > 1, single, shadow })
    }

    /// Counts a call that has ended and tells of it.
    #[inline]
    fn end(&self, attempts: u32, end: RetryEnd) {
        if let (RetryEnd::Success, Some(budget)) = (end, &self.budget) {
            budget.record_success();
        }
        self.counts.ends[end as usize].add_one();
        let event = || Event::RetryEnded { policy: self.name, attempts, end };
        if attempts > 1 {
            self.counts.retries.fetch_add(u64::from(attempts - 1), Ordering::Relaxed);
            if end == RetryEnd::Success {
                self.counts.retried_successes.fetch_add(1, Ordering::Relaxed);
            }
        } else if end == RetryEnd::Success {
            // Every call that goes well.
            return self.observers.tell_of_call(event);
        }
        self.observers.tell(event);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        // First, so that no call is missing whose retries are counted.
        let retries = self.counts.retries.load(Ordering::Relaxed);
        let retried_successes = self.counts.retried_successes.load(Ordering::Relaxed);
        let ends = Ends::new(|end| self.counts.ends[end as usize].sum());
        Snapshot {
            mode: self.mode.get(),
            max_attempts: self.quick().attempts(),
            calls: ends.total(),
            attempts: ends.total() + retries,
            first_try_successes: ends.of(RetryEnd::Success).saturating_sub(retried_successes),
            retried_successes,
            ends,
            budget: self.budget.as_ref().map(RetryBudget::snapshot),
        }
    }
}

/// How a call begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    /// Whether there may be further attempts, as far as can be known.
    pub(super) again: bool,
    single: Option<RetryEnd>,
    shadow: bool,
}

/// What one call holds. Dropping it says that the caller went away, and refunds what was paid for an
/// attempt that has not begun.
pub(super) struct Held {
    core: CoreRef,
    progress: Progress,
    /// How many attempts have begun.
    begun: u32,
    single: Option<RetryEnd>,
    shadow: bool,
    ended: bool,
    /// What the attempt that runs, or is to come, has cost.
    paid: Option<Withdrawal>,
}

/// A wait before another attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) delay: Duration,
    pub(super) until: Instant,
}

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub(super) hint: Option<Hint>,
    /// Whether a policy below refused it, so that it says nothing about the service.
    pub(super) refused: bool,
    /// Whether the request can be sent once more.
    pub(super) replayable: bool,
}

impl Held {
    #[inline]
    pub(super) fn new(core: CoreRef, beginning: Beginning) -> Self {
        let Beginning { single, shadow, .. } = beginning;
        let progress = Progress::new();
        Self { core, progress, begun: 1, single, shadow, ended: false, paid: None }
    }

    /// The number of the attempt that runs, or is to come.
    #[inline]
    pub(super) fn attempt(&self) -> u32 {
        self.progress.attempts()
    }

    /// The attempt that was paid for begins; whether it is the last one allowed.
    pub(super) fn begin(&mut self) -> bool {
        self.begun = self.progress.attempts();
        self.begun >= self.core.quick().attempts()
    }

    /// A policy below refused the attempt: the service has not seen it, and nothing is paid for it.
    /// Whether there may be another one.
    pub(super) fn repeats(&mut self, refusal: &Rejection) -> bool {
        self.refund();
        self.core.quick().retries_refusals() && !refusal.reason().is_permanent()
    }

    fn refund(&mut self) {
        if let (Some(budget), Some(paid)) = (&self.core.budget, self.paid.take()) {
            budget.refund(paid);
        }
    }

    /// What follows a failed attempt: a wait before another one, or the end.
    #[cold]
    pub(super) fn failed(&mut self, failed: Failed) -> Result<Wait, RetryEnd> {
        let core = &self.core;
        let budget = core.budget.as_ref();
        let allowed = failed.refused || budget.is_none_or(RetryBudget::record_failure);
        let unreplayable =
            (!failed.replayable && !self.shadow).then_some(RetryEnd::NotReplayable);
        let now = clock::tokio_now();
        let seen = Attempt::new(Outcome::Failure, now)
            .hint(failed.hint)
            .single(self.single.or(unreplayable))
            .deadline(deadline::current())
            .random(core.rng.lock().share());
        let rules = *core.rules.lock();
        let shadow = self.shadow;
        let mut paid = None;
        let pay = || match budget {
            None => true,
            Some(_) if !allowed => false,
            // Asked, but not taken.
            Some(budget) if shadow => budget.has_token(),
            Some(budget) => {
                paid = budget.try_withdraw();
                paid.is_some()
            }
        };
        match self.progress.decide(&rules, seen, pay) {
            Verdict::Stop(end) => Err(end),
            Verdict::After(_) if shadow => Err(RetryEnd::Shadow),
            Verdict::After(delay) => {
                self.paid = paid;
                let (policy, attempt) = (core.name, self.progress.attempts());
                core.observers.tell(|| Event::Retrying { policy, attempt, delay });
                Ok(Wait { delay, until: now.checked_add(delay).unwrap_or_else(|| now + FAR) })
            }
        }
    }

    /// The deadline has passed while another attempt waited, and no error is at hand to answer with.
    pub(super) fn too_late(&self) -> Rejection {
        let rejection = Rejection::new(Reason::DeadlineTooShort, self.core.name)
            .with_kind(PolicyKind::Retry)
            .with_attempted();
        self.core.observers.tell(|| Event::Rejected(rejection));
        rejection
    }

    /// The call has its last answer.
    #[inline]
    pub(super) fn end(mut self, end: RetryEnd) {
        self.close(end);
    }

    #[inline]
    fn close(&mut self, end: RetryEnd) {
        self.ended = true;
        if self.begun != self.progress.attempts() {
            self.refund();
        }
        self.core.end(self.begun, end);
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        if !self.ended {
            self.close(RetryEnd::Abandoned);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("policy", &self.core.name).finish_non_exhaustive()
    }
}
