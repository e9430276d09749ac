//! A timeout for bodies whose numbers an operator changes while they are read.

use std::time::{Duration, Instant};

use super::{Snapshot, config::BodyTimeoutConfig};
use crate::{
    error::{ConfigError, PolicyKind},
    policy::{Cause, Command, Explanation, Mode, Now, command::ModeSwitch},
    sync::{AtomicU64, Mutex, Ordering},
};

/// The numbers in force. Read once per body, under a lock.
#[derive(Debug)]
pub(crate) struct Live {
    mode: ModeSwitch,
    timed_out: AtomicU64,
    config: Mutex<BodyTimeoutConfig>,
}

/// What one body must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) idle: Option<Duration>,
    pub(crate) end: Option<Instant>,
}

impl Live {
    /// Of a valid configuration.
    pub(crate) fn new(config: BodyTimeoutConfig) -> Self {
        Self {
            mode: ModeSwitch::new(Mode::Enforce),
            timed_out: AtomicU64::new(0),
            config: Mutex::new(config),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode.get()
    }

    /// The limits of a body whose head is there, under the deadline that held when the call was made. The time
    /// is read only if there is a limit that begins now.
    pub(crate) fn limits(&self, deadline: Option<Instant>, now: impl Now) -> Limits {
        let (idle, total, until_deadline) = {
            let config = self.config.lock();
            (config.idle, config.total, config.until_deadline)
        };
        let end = total.and_then(|total| now.now().checked_add(total));
        let end = match (end, deadline.filter(|_| until_deadline)) {
            (Some(end), Some(deadline)) => Some(end.min(deadline)),
            (only, None) | (None, only) => only,
        };
        Limits { idle, end }
    }

    /// A body ran out of time.
    #[cold]
    pub(crate) fn count_timeout(&self) {
        self.timed_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn config(&self) -> BodyTimeoutConfig {
        self.config.lock().clone()
    }

    /// Bodies that have begun keep the limits they began with.
    pub(crate) fn reconfigure(&self, config: BodyTimeoutConfig) -> Result<(), ConfigError> {
        config.validate()?;
        let mut kept = self.config.lock();
        if config.name != kept.name {
            let why = format!("a timeout keeps its name, which is `{}`", kept.name);
            return Err(ConfigError::new("name", config.name, why));
        }
        *kept = config;
        Ok(())
    }

    pub(crate) fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.mode.command(PolicyKind::BodyTimeout, command)?;
        if command == Command::Reset {
            self.timed_out.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let config = self.config.lock();
        Snapshot {
            mode: self.mode.get(),
            idle: config.idle,
            total: config.total,
            timed_out: self.timed_out.load(Ordering::Relaxed),
        }
    }

    /// What a body may expect: every call is admitted.
    pub(crate) fn explain(&self) -> Explanation {
        let config = self.config.lock();
        let mode = self.mode.get();
        Explanation {
            policy: config.name,
            state: mode.as_str(),
            shadow: mode == Mode::Shadow,
            admits: true,
            would_admit: true,
            cause: match mode {
                Mode::Disabled => Cause::Command(Command::Disable),
                _ => Cause::BodyLimits { idle: config.idle, total: config.total },
            },
            until: None,
            opened_by: None,
        }
    }
}
