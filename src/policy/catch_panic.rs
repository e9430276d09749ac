//! What a layer that catches panics is told and shows. There is nothing to decide.

use crate::{
    error::{ConfigError, PolicyKind},
    policy::{Cause, Command, Explanation, Mode, check::named, command::ModeSwitch},
    sync::{AtomicU64, Ordering},
};

/// How panics are caught: there is nothing to set but a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct CatchPanicConfig {
    /// The policy's name in every rejection, event and metric. Default `"catch_panic"`.
    pub name: &'static str,
}

impl Default for CatchPanicConfig {
    fn default() -> Self {
        Self::new("catch_panic")
    }
}

impl CatchPanicConfig {
    /// A configuration with a name.
    pub const fn new(name: &'static str) -> Self {
        Self { name }
    }

    /// Sets the name.
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Checks every value.
    ///
    /// # Errors
    /// A [`ConfigError`] for an empty name.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name)
    }
}

/// A panic guard at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Whether panics end here, are only reported, or neither.
    pub mode: Mode,
    /// Panics that were caught, since the guard was made or reset; those that were only reported in shadow
    /// among them.
    pub panics: u64,
}

/// The mode and the count of one guard.
#[derive(Debug)]
pub(crate) struct Live {
    name: &'static str,
    mode: ModeSwitch,
    panics: AtomicU64,
}

impl Live {
    /// Of a valid configuration.
    pub(crate) fn new(config: &CatchPanicConfig) -> Self {
        let mode = ModeSwitch::new(Mode::Enforce);
        Self { name: config.name, mode, panics: AtomicU64::new(0) }
    }

    /// There was a panic: what is to become of it. It counts, unless the guard is disabled.
    #[cold]
    pub(crate) fn take(&self) -> Mode {
        let mode = self.mode.get();
        if mode != Mode::Disabled {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        mode
    }

    pub(crate) fn config(&self) -> CatchPanicConfig {
        CatchPanicConfig::new(self.name)
    }

    pub(crate) fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.mode.command(PolicyKind::CatchPanic, command)?;
        if command == Command::Reset {
            self.panics.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { mode: self.mode.get(), panics: self.panics.load(Ordering::Relaxed) }
    }

    pub(crate) fn explain(&self) -> Explanation {
        let Snapshot { mode, panics } = self.snapshot();
        Explanation {
            policy: self.name,
            state: mode.as_str(),
            shadow: mode == Mode::Shadow,
            admits: true,
            would_admit: true,
            cause: match mode {
                Mode::Disabled => Cause::Command(Command::Disable),
                _ => Cause::Panics { caught: panics },
            },
            until: None,
            opened_by: None,
        }
    }
}
