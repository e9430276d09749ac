//! [`PanicGuard`]: the handle of one panic guard, for inspection, command, and use without Tower.

use std::{
    any::Any,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    CatchPanicLayer,
    core::{Core, CoreRef},
    future::Caught,
};
use crate::{
    error::{CarryRejection, ConfigError},
    options::Options,
    policy::{
        Command, Explanation,
        catch_panic::{CatchPanicConfig, Snapshot},
    },
    registry::{commands, managed},
};

/// One panic guard. Clones share it, as do the layers and services made from it.
///
/// ```
/// use portcullis::{CatchPanicConfig, Error, PanicGuard, Reason};
///
/// let guard = PanicGuard::new(CatchPanicConfig::new("plugin"))?;
/// let caught = guard.call(|| -> Result<u32, Error<()>> { panic!("a bug") });
/// let Err(Error::Rejected(refusal)) = caught else { panic!("it was caught") };
/// assert_eq!(refusal.reason(), Reason::Panicked);
/// assert_eq!(guard.snapshot().panics, 1);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct PanicGuard {
    pub(super) core: CoreRef,
}

impl PanicGuard {
    /// A panic guard.
    ///
    /// # Errors
    /// [`ConfigError`] for an empty name.
    pub fn new(config: CatchPanicConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// A panic guard with an observer of its own. It has no use for a clock.
    ///
    /// # Errors
    /// [`ConfigError`] for an empty name.
    pub fn with(config: CatchPanicConfig, options: Options) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { core: CoreRef::new(Core::new(&config, options)) })
    }

    /// This guard, with a hook that sees what each panic threw: see [`message`](super::message). Mode and
    /// counts stay shared. The hook runs on the task that panicked; if it panics itself, that ends there.
    ///
    /// ```
    /// use portcullis::{CatchPanicConfig, PanicGuard, catch_panic};
    ///
    /// let guard = PanicGuard::new(CatchPanicConfig::new("plugin"))?
    ///     .on_panic(|payload| eprintln!("{}", catch_panic::message(payload).unwrap_or("?")));
    /// # let _ = guard;
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    #[must_use]
    pub fn on_panic(self, hook: impl Fn(&(dyn Any + Send)) + Send + Sync + 'static) -> Self {
        Self { core: CoreRef::new(self.core.with_hook(Arc::new(hook))) }
    }

    /// This guard, kept for as long as the process lives: its handles, layers and calls then count no
    /// references, which saves two atomic operations per call. For guards that a program makes once,
    /// where it starts; what is leaked is never freed.
    pub fn leak(&self) -> Self {
        Self { core: self.core.leak() }
    }

    /// A layer on this guard.
    pub fn layer(&self) -> CatchPanicLayer {
        CatchPanicLayer::of(self.clone())
    }

    /// The name that its rejections and events carry.
    pub fn name(&self) -> &'static str {
        self.core.name
    }

    /// Everything at one moment.
    pub fn snapshot(&self) -> Snapshot {
        self.core.live.snapshot()
    }

    /// Whether panics end here, and how many did.
    pub fn explain(&self) -> Explanation {
        self.core.live.explain()
    }

    /// The configuration. It holds nothing that could be changed live.
    pub fn config(&self) -> CatchPanicConfig {
        self.core.live.config()
    }

    /// Runs a closure, and turns its panic into an error.
    ///
    /// # Errors
    /// The closure's own error, or the [`Rejection`](crate::Rejection) in it if it panicked.
    #[inline]
    pub fn call<T, E: CarryRejection>(&self, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.core.attempt(run).unwrap_or_else(|rejection| Err(rejection.into()))
    }

    /// Runs a future, and turns a panic in its polls into an error. Dropping what is returned drops the
    /// future.
    ///
    /// The future's error must be able to carry a refusal; wrap one that cannot by
    /// `.map_err(Error::Inner)`.
    pub fn run<F, T, E>(&self, future: F) -> Run<F>
    where
        F: Future<Output = Result<T, E>>,
        E: CarryRejection,
    {
        Run { caught: Caught::begin(Ok(future), || self.core.clone()) }
    }

    commands! {
        /// Reports panics and lets them go on, until [`enable`](Self::enable).
        shadow: Shadow;

        /// Lets panics go on until commanded otherwise, and says nothing.
        disable: Disable;

        /// Back to work.
        enable: Enable;

        /// Counts from zero again.
        reset: Reset;
    }

    /// Does what an operator says. It holds from the next panic on, also of calls that have begun.
    ///
    /// # Errors
    /// [`ConfigError`] for `command`, for one that only circuits know. Nothing has changed then.
    pub fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.core.live.command(command)
    }
}

managed!(PanicGuard: CatchPanic, CatchPanic);

impl fmt::Debug for PanicGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snapshot { mode, panics } = self.snapshot();
        f.debug_struct("PanicGuard")
            .field("name", &self.name())
            .field("mode", &mode)
            .field("panics", &panics)
            .finish()
    }
}

pin_project! {
    /// The future of [`PanicGuard::run`]. Dropping it drops the future inside.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<F> {
        #[pin]
        caught: Caught<F, CoreRef>,
    }
}

impl<F, T, E> Future for Run<F>
where
    F: Future<Output = Result<T, E>>,
    E: CarryRejection,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().caught.poll(cx)
    }
}
