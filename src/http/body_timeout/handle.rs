//! [`BodyTimeLimit`]: the handle of one timeout for bodies, for inspection and command.

use std::fmt;

use super::{
    BodyTimeoutConfig, BodyTimeoutLayer,
    core::{Core, CoreRef},
};
use crate::{
    error::ConfigError,
    options::Options,
    policy::{Command, Explanation, body_timeout::Snapshot},
    registry::{commands, managed},
};

/// One timeout for bodies. Clones share it, as do the layers and services made from it.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Registry, http::{BodyTimeLimit, BodyTimeoutConfig}};
///
/// let limit = BodyTimeLimit::new(BodyTimeoutConfig::new("downloads", Duration::from_secs(15)))?;
/// let registry = Registry::new();
/// registry.add(&limit)?;
/// println!("{}", limit.explain());
/// limit.reconfigure(limit.config().idle(Duration::from_secs(5)))?;
/// assert_eq!(limit.snapshot().timed_out, 0);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct BodyTimeLimit {
    pub(super) core: CoreRef,
}

impl BodyTimeLimit {
    /// A timeout.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: BodyTimeoutConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// A timeout with an observer of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: BodyTimeoutConfig, options: Options) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { core: CoreRef::new(Core::new(config, options)) })
    }

    /// This timeout, kept for as long as the process lives: its handles, layers and bodies then count no
    /// references, which saves two atomic operations per call. For timeouts that a program makes once, where it
    /// starts; what is leaked is never freed.
    pub fn leak(&self) -> Self {
        Self { core: self.core.leak() }
    }

    /// A layer on this timeout.
    pub fn layer(&self) -> BodyTimeoutLayer {
        BodyTimeoutLayer::of(self.clone())
    }

    /// The name that its rejections and events carry.
    pub fn name(&self) -> &'static str {
        self.core.name
    }

    /// Everything at one moment.
    pub fn snapshot(&self) -> Snapshot {
        self.core.live.snapshot()
    }

    /// How long a body may take. Every call is admitted.
    pub fn explain(&self) -> Explanation {
        self.core.live.explain()
    }

    /// The configuration in force.
    pub fn config(&self) -> BodyTimeoutConfig {
        self.core.live.config()
    }

    commands! {
        /// Reports what it would cut, and cuts nothing, until [`enable`](Self::enable).
        shadow: Shadow;

        /// Leaves bodies alone until commanded otherwise.
        disable: Disable;

        /// Back to work.
        enable: Enable;

        /// Counts from zero again.
        reset: Reset;
    }

    /// Does what an operator says. A body that has begun ends as it began.
    ///
    /// # Errors
    /// [`ConfigError`] for `command`, for one that only circuits know. Nothing has changed then.
    pub fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.core.live.command(command)
    }

    /// Changes the configuration live. Bodies that have begun keep their limits; mode and counts stay.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work, or `name` if it differs: a timeout keeps its
    /// name. Nothing has changed then.
    pub fn reconfigure(&self, config: BodyTimeoutConfig) -> Result<(), ConfigError> {
        self.core.live.reconfigure(config)
    }
}

managed!(BodyTimeLimit: BodyTimeout, BodyTimeout);

impl fmt::Debug for BodyTimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snapshot { mode, idle, total, .. } = self.snapshot();
        f.debug_struct("BodyTimeLimit")
            .field("name", &self.name())
            .field("mode", &mode)
            .field("idle", &idle)
            .field("total", &total)
            .finish()
    }
}
