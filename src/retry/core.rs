//! What every handle, layer and service of one retry shares.

use super::{RetryBudget, RetryConfig, attempt::attempt, config::BudgetUse};
use crate::{
    error::ConfigError,
    event::{Event, Observers},
    options::Options,
    policy::{
        command::{Mode, ModeSwitch},
        retry::{Ends, RetryEnd, Rules, Snapshot},
        rng::Rng,
        tally::Tally,
    },
    sync::{self, AtomicU64, Mutex, Ordering, reference::Ref},
};

/// Keeps a retry alive for a handle or a call.
pub(super) type CoreRef = Ref<Core>;
/// Keeps it alive for a call of a layer.
pub(super) type CallRef = sync::reference::CallRef<Core>;
/// The handle, and references for calls.
pub(super) type References = sync::reference::References<super::RetryPolicy, Core>;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) name: &'static str,
    pub(super) mode: ModeSwitch,
    pub(super) config: Mutex<RetryConfig>,
    /// What every call asks: see [`Quick`].
    quick: AtomicU64,
    pub(super) rules: Mutex<Rules>,
    pub(super) budget: Option<RetryBudget>,
    pub(super) rng: Mutex<Rng>,
    pub(super) observers: Observers,
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
    pub(super) fn new(config: RetryConfig, options: Options) -> Result<Self, ConfigError> {
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

    /// A call begins; how it may go on.
    #[inline]
    pub(super) fn begin(&self) -> Manner {
        let quick = self.quick();
        let manner = match self.mode.get() {
            Mode::Disabled => return Manner::Unwatched,
            Mode::Enforce | Mode::Shadow if !quick.nested() && attempt().is_some() => {
                return Manner::Nested;
            }
            Mode::Enforce if quick.attempts() > 1 => Manner::Again,
            Mode::Enforce => Manner::Once,
            Mode::Shadow => Manner::Shadow,
        };
        if let Some(budget) = &self.budget {
            budget.record_call();
        }
        manner
    }

    /// A call has succeeded at its first attempt, as nearly all do.
    #[inline]
    pub(super) fn first_success(&self) {
        if let Some(budget) = &self.budget {
            budget.record_success();
        }
        self.counts.ends[RetryEnd::Success as usize].add_one();
        self.observers.tell_of_call(|| Event::RetryEnded {
            policy: self.name,
            attempts: 1,
            end: RetryEnd::Success,
        });
    }

    /// A call has ended in another way.
    #[cold]
    pub(super) fn end(&self, attempts: u32, end: RetryEnd) {
        if (attempts, end) == (1, RetryEnd::Success) {
            return self.first_success();
        }
        if let (RetryEnd::Success, Some(budget)) = (end, &self.budget) {
            budget.record_success();
        }
        self.counts.ends[end as usize].add_one();
        if attempts > 1 {
            self.counts.retries.fetch_add(u64::from(attempts - 1), Ordering::Relaxed);
            if end == RetryEnd::Success {
                self.counts.retried_successes.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.observers.tell(|| Event::RetryEnded { policy: self.name, attempts, end });
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

/// How a call may go on after its first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// With another attempt, as far as can be known.
    Again,
    /// With none, since one is all that is allowed.
    Once,
    /// With none, since it is part of another retry's attempt.
    Nested,
    /// With none, but what would be is told.
    Shadow,
    /// The policy does not look.
    Unwatched,
}
