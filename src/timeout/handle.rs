//! [`TimeLimit`]: the handle of one timeout, for inspection, command, and use without Tower.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    TimeoutLayer,
    core::{Core, CoreRef},
    future::Timed,
};
use crate::{
    deadline,
    error::{CarryRejection, ConfigError},
    options::Options,
    policy::{
        Command, Explanation,
        timeout::{Snapshot, config::TimeoutConfig},
    },
    registry::{commands, managed},
};

/// One timeout. Clones share it, as do the layers and services made from it.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Error, Reason, TimeLimit, TimeoutConfig};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let limit = TimeLimit::new(TimeoutConfig::new("db", Duration::from_secs(1)))?;
///
/// async fn query() -> Result<u32, std::io::Error> {
///     std::future::pending().await
/// }
///
/// // The error must be able to carry a refusal: `Error::Inner` wraps one that cannot.
/// let cut = limit.run(async { query().await.map_err(Error::Inner) }).await;
/// let Err(Error::Rejected(refusal)) = cut else { panic!("it never answers") };
/// assert_eq!(refusal.reason(), Reason::Timeout);
/// assert_eq!(refusal.to_string(), "db: the service did not answer in time");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TimeLimit {
    pub(super) core: CoreRef,
}

impl TimeLimit {
    /// A timeout on tokio's clock.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: TimeoutConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// A timeout with a clock or an observer of its own. The clock says when a call begins; its deadline is
    /// waited for on tokio's, so the two should run together.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: TimeoutConfig, options: Options) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { core: CoreRef::new(Core::new(config, options)) })
    }

    /// This timeout, kept for as long as the process lives: its handles, layers and calls then count no
    /// references, which saves two atomic operations per call. For timeouts that a program makes once,
    /// where it starts; what is leaked is never freed.
    pub fn leak(&self) -> Self {
        Self { core: self.core.leak() }
    }

    /// A layer on this timeout.
    pub fn layer(&self) -> TimeoutLayer {
        TimeoutLayer::of(self.clone())
    }

    /// The name that its rejections and events carry.
    pub fn name(&self) -> &'static str {
        self.core.name
    }

    /// Everything at one moment.
    pub fn snapshot(&self) -> Snapshot {
        self.core.live.snapshot()
    }

    /// What a call made here and now may expect: how long it may take, and whether it would be refused
    /// because the ambient deadline is too near.
    pub fn explain(&self) -> Explanation {
        self.core.live.explain(deadline::current(), self.core.clock)
    }

    /// The configuration in force.
    pub fn config(&self) -> TimeoutConfig {
        self.core.live.config()
    }

    /// Runs a future under the limit, which is measured from here and not from the first poll. The ambient
    /// deadline is set while the future is polled. Dropping what is returned drops the future.
    ///
    /// The future's error must be able to carry a refusal; wrap one that cannot by
    /// `.map_err(Error::Inner)`.
    pub fn run<F, T, E>(&self, future: F) -> Run<F>
    where
        F: Future<Output = Result<T, E>>,
        E: CarryRejection,
    {
        self.run_for(None, future)
    }

    /// [`run`](Self::run) with a limit for this call alone, as
    /// [`limit_from`](TimeoutLayer::limit_from) gives one to a request.
    pub fn run_within<F, T, E>(&self, limit: Duration, future: F) -> Run<F>
    where
        F: Future<Output = Result<T, E>>,
        E: CarryRejection,
    {
        self.run_for(Some(limit), future)
    }

    fn run_for<F>(&self, own: Option<Duration>, future: F) -> Run<F> {
        let timed =
            Timed::begin(&self.core, future, |_| own, || self.core.clone(), |future| future);
        Run { timed }
    }

    commands! {
        /// Reports what it would do, and cuts and refuses nothing, until [`enable`](Self::enable).
        shadow: Shadow;

        /// Leaves calls alone until commanded otherwise.
        disable: Disable;

        /// Back to work.
        enable: Enable;

        /// Counts from zero again.
        reset: Reset;
    }

    /// Does what an operator says. A call that has begun ends as it began.
    ///
    /// # Errors
    /// [`ConfigError`] for `command`, for one that only circuits know. Nothing has changed then.
    pub fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.core.live.command(command)
    }

    /// Changes the configuration live. Calls that have begun keep their deadline; mode and counts stay.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work, or `name` if it differs: a timeout keeps its
    /// name. Nothing has changed then.
    pub fn reconfigure(&self, config: TimeoutConfig) -> Result<(), ConfigError> {
        self.core.live.reconfigure(config)
    }
}

managed!(TimeLimit: Timeout, Timeout);

impl fmt::Debug for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snapshot { mode, limit, .. } = self.snapshot();
        f.debug_struct("TimeLimit")
            .field("name", &self.name())
            .field("mode", &mode)
            .field("limit", &limit)
            .finish()
    }
}

pin_project! {
    /// The future of [`TimeLimit::run`]. Dropping it drops the future inside, and nothing else is held.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<F> {
        #[pin]
        timed: Timed<F, CoreRef>,
    }
}

impl<F, T, E> Future for Run<F>
where
    F: Future<Output = Result<T, E>>,
    E: CarryRejection,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().timed.poll(cx)
    }
}
