//! A timeout whose numbers an operator changes while calls are made.

use std::time::{Duration, Instant};

use super::{Snapshot, Verdict, config::TimeoutConfig, decide};
use crate::{
    error::{ConfigError, PolicyKind},
    policy::{Cause, Command, Explanation, Mode, Now, command::ModeSwitch, nanos},
    sync::{AtomicU64, Mutex, Ordering},
};

/// No limit, in nanoseconds: 584 years.
const NONE: u64 = u64::MAX;

/// The numbers in force, by relaxed loads for calls and under a lock for whoever changes them.
#[derive(Debug)]
pub(crate) struct Live {
    mode: ModeSwitch,
    /// Nanoseconds, or [`NONE`].
    limit: AtomicU64,
    min_remaining: AtomicU64,
    timed_out: AtomicU64,
    refused: AtomicU64,
    config: Mutex<TimeoutConfig>,
}

/// Too little time is left to start a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooShort;

impl Live {
    /// Of a valid configuration.
    pub(crate) fn new(config: TimeoutConfig) -> Self {
        Self {
            mode: ModeSwitch::new(Mode::Enforce),
            limit: AtomicU64::new(config.limit.map_or(NONE, nanos)),
            min_remaining: AtomicU64::new(nanos(config.min_remaining)),
            timed_out: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            config: Mutex::new(config),
        }
    }

    #[inline]
    pub(crate) fn mode(&self) -> Mode {
        self.mode.get()
    }

    /// The deadline of a call that starts now, or that it may not. `own` is the limit that its request sets.
    #[inline]
    pub(crate) fn decide(
        &self,
        own: Option<Duration>,
        outer: Option<Instant>,
        now: impl Now,
    ) -> Result<Option<Instant>, TooShort> {
        let limit = own.or_else(|| match self.limit.load(Ordering::Relaxed) {
            NONE => None,
            limit => Some(Duration::from_nanos(limit)),
        });
        let least = Duration::from_nanos(self.min_remaining.load(Ordering::Relaxed));
        match decide(limit, outer, least, now) {
            Verdict::Start { deadline } => Ok(deadline),
            Verdict::Refuse { .. } => self.decide_again(own, outer, now),
        }
    }

    /// While the numbers are being changed, a call may see one of before and one of after, which together
    /// could refuse what neither configuration does. So nobody is refused without the lock.
    #[cold]
    fn decide_again(
        &self,
        own: Option<Duration>,
        outer: Option<Instant>,
        now: impl Now,
    ) -> Result<Option<Instant>, TooShort> {
        let (limit, least) = {
            let config = self.config.lock();
            (own.or(config.limit), config.min_remaining)
        };
        match decide(limit, outer, least, now) {
            Verdict::Start { deadline } => Ok(deadline),
            Verdict::Refuse { .. } => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(TooShort)
            }
        }
    }

    /// A call ran out of time.
    #[cold]
    pub(crate) fn count_timeout(&self) {
        self.timed_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn config(&self) -> TimeoutConfig {
        self.config.lock().clone()
    }

    /// Calls that have started keep the deadline they started with.
    pub(crate) fn reconfigure(&self, config: TimeoutConfig) -> Result<(), ConfigError> {
        config.validate()?;
        let mut kept = self.config.lock();
        if config.name != kept.name {
            let why = format!("a timeout keeps its name, which is `{}`", kept.name);
            return Err(ConfigError::new("name", config.name, why));
        }
        self.limit.store(config.limit.map_or(NONE, nanos), Ordering::Relaxed);
        self.min_remaining.store(nanos(config.min_remaining), Ordering::Relaxed);
        *kept = config;
        Ok(())
    }

    pub(crate) fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.mode.command(PolicyKind::Timeout, command)?;
        if command == Command::Reset {
            self.timed_out.store(0, Ordering::Relaxed);
            self.refused.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let config = self.config.lock();
        Snapshot {
            mode: self.mode.get(),
            limit: config.limit,
            min_remaining: config.min_remaining,
            timed_out: self.timed_out.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// What would become of a call made now under the deadline that holds here.
    pub(crate) fn explain(&self, outer: Option<Instant>, now: impl Now) -> Explanation {
        let config = self.config.lock();
        let mode = self.mode.get();
        let verdict = decide(config.limit, outer, config.min_remaining, now);
        let would_admit = mode == Mode::Disabled || matches!(verdict, Verdict::Start { .. });
        Explanation {
            policy: config.name,
            state: mode.as_str(),
            shadow: mode == Mode::Shadow,
            admits: would_admit || mode == Mode::Shadow,
            would_admit,
            cause: match mode {
                Mode::Disabled => Cause::Command(Command::Disable),
                _ => Cause::TimeLimit { limit: config.limit },
            },
            until: None,
            opened_by: None,
        }
    }
}
