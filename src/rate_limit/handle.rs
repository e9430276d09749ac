//! [`RateLimiter`]: the handle of one limiter, for inspection, command, and use without Tower.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    RateLimitLayer, Reservation, WaitingRateLimitLayer,
    core::{Core, CoreRef, Entry},
    turn::Place,
    waits::Waits,
};
use crate::{
    error::{ConfigError, Rejection},
    options::Options,
    policy::{
        Command, Explanation, Mode,
        bucket::{RateLimitSnapshot, config::RateLimitConfig},
    },
    registry::{commands, managed},
};

/// One rate limiter. Clones share it, as do the layers and services made from it.
///
/// ```
/// use portcullis::{RateLimitConfig, RateLimiter, Reason};
///
/// let limiter = RateLimiter::new(RateLimitConfig::per_second("mail", 10).burst(2))?;
/// assert!(limiter.try_acquire().is_ok());
/// assert!(limiter.try_acquire().is_ok());
///
/// let refusal = limiter.try_acquire().unwrap_err();
/// assert_eq!(refusal.reason(), Reason::RateLimited);
/// assert!(refusal.retry_after().unwrap().as_millis() <= 100);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RateLimiter {
    pub(super) core: CoreRef,
}

impl RateLimiter {
    /// A full limiter on tokio's clock.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: RateLimitConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// A full limiter with a clock or an observer of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: RateLimitConfig, options: Options) -> Result<Self, ConfigError> {
        Core::new(config, options).map(|core| Self { core: CoreRef::new(core) })
    }

    /// This limiter, kept for as long as the process lives: its handles, layers and calls then count no
    /// references. For limiters that a program makes once, where it starts; what is leaked is never freed.
    pub fn leak(&self) -> Self {
        Self { core: self.core.leak() }
    }

    /// A layer that refuses a call whose tokens are not there. Every request costs one token.
    pub fn layer(&self) -> RateLimitLayer {
        RateLimitLayer::of(self.clone())
    }

    /// A layer under which a call may wait for its tokens. Every request costs one token.
    pub fn waiting_layer(&self, waits: Waits) -> WaitingRateLimitLayer {
        WaitingRateLimitLayer::of(self.clone(), waits)
    }

    /// The name that its rejections and events carry.
    pub fn name(&self) -> &'static str {
        self.core.name
    }

    /// Takes one token.
    ///
    /// # Errors
    /// The [`Rejection`], when there is none.
    #[inline]
    pub fn try_acquire(&self) -> Result<(), Rejection> {
        self.core.admit(1)
    }

    /// Takes `tokens`, all or none. Zero tokens are always there.
    ///
    /// # Errors
    /// The [`Rejection`], when they are not there; nothing is taken then. It is permanent
    /// ([`OverBurst`](crate::Reason::OverBurst)) when they never can be.
    #[inline]
    pub fn try_acquire_n(&self, tokens: u64) -> Result<(), Rejection> {
        self.core.admit(tokens)
    }

    /// Takes one token, or waits for it by the default [`Waits`].
    pub fn acquire(&self) -> Acquire {
        self.acquire_n(1)
    }

    /// Takes `tokens`, or waits for them by the default [`Waits`].
    pub fn acquire_n(&self, tokens: u64) -> Acquire {
        self.acquire_within(tokens, Waits::default())
    }

    /// Takes `tokens`, or waits for them. Whether, and in which place, is decided now and not at the
    /// first poll. Answers with the [`Rejection`] without having waited when the tokens would come too
    /// late: see [waiting](crate::rate_limit#waiting).
    ///
    /// ```
    /// use std::time::Duration;
    /// use portcullis::{RateLimitConfig, RateLimiter, rate_limit::Waits};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), portcullis::ConfigError> {
    /// let limiter = RateLimiter::new(RateLimitConfig::per_second("mail", 10).burst(1))?;
    /// let start = tokio::time::Instant::now();
    /// for _ in 0..3 {
    ///     limiter.acquire_within(1, Waits::up_to(Duration::from_secs(1))).await.unwrap();
    /// }
    /// assert_eq!(start.elapsed().as_millis(), 200);
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire_within(&self, tokens: u64, waits: Waits) -> Acquire {
        let state = match Core::enter(&self.core, tokens, &waits) {
            Ok(Entry::Now) => Acquiring::Now { answer: Some(Ok(())) },
            Ok(Entry::Later(place)) => Acquiring::Later { place },
            Err(rejection) => Acquiring::Now { answer: Some(Err(rejection)) },
        };
        Acquire { state }
    }

    /// Takes `tokens` now, to be used after [`Reservation::wait`]; `None` is without a bound.
    ///
    /// # Errors
    /// The [`Rejection`], at once, when that would be longer than `max_wait`, or for ever; nothing is
    /// taken then.
    pub fn reserve(
        &self,
        tokens: u64,
        max_wait: Option<Duration>,
    ) -> Result<Reservation, Rejection> {
        Reservation::make(&self.core, tokens, max_wait)
    }

    /// How many whole tokens there are now; none while some are owed.
    pub fn remaining(&self) -> u64 {
        self.core.bucket.remaining(self.core.clock)
    }

    /// The time until it is full, if nobody takes any more tokens; `None` if it never will be.
    pub fn reset_after(&self) -> Option<Duration> {
        self.core.bucket.reset_after(self.core.clock)
    }

    /// How many calls wait for their turn.
    pub fn queued(&self) -> usize {
        self.core.line.lock().len()
    }

    /// What it does with its verdicts.
    pub fn mode(&self) -> Mode {
        self.core.mode.get()
    }

    /// Everything at one moment, computed for now.
    pub fn snapshot(&self) -> RateLimitSnapshot {
        self.core.snapshot()
    }

    /// Whether one that costs one token and does not wait would be let in now, why, and when that changes.
    pub fn explain(&self) -> Explanation {
        self.core.explain()
    }

    /// The configuration in force.
    pub fn config(&self) -> RateLimitConfig {
        self.core.bucket.config()
    }

    /// Changes rate and burst from now on. Tokens there or owed stay as many, up to the new burst. Calls
    /// that wait keep their places and are told their turns anew, which may come earlier, later, or too late
    /// to wait for; the waits of reservations made by hand stay as they were planned.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work: `permits`, when the tokens that are owed
    /// would take too long to come back, or `name` if it differs: a limiter keeps its name. Nothing has
    /// changed then.
    pub fn reconfigure(&self, config: RateLimitConfig) -> Result<(), ConfigError> {
        self.core.reconfigure(config)
    }

    commands! {
        /// Decides and reports, but never refuses nor lets anybody wait, until [`enable`](Self::enable).
        /// Whoever waits goes.
        shadow: Shadow;

        /// Lets everything through and counts nothing, until [`enable`](Self::enable). Whoever waits goes.
        disable: Disable;

        /// Back to work.
        enable: Enable;

        /// Fills the bucket. Whoever waits is served from it, in order.
        reset: Reset;
    }

    /// Does what an operator says: `Shadow`, `Disable`, `Enable` or `Reset`.
    ///
    /// # Errors
    /// [`ConfigError`] for `command` when it is one for circuits. Nothing has changed then.
    pub fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.core.command(command)
    }
}

managed!(RateLimiter: RateLimit, RateLimit);

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("name", &self.name())
            .field("mode", &self.mode())
            .field("remaining", &self.remaining())
            .finish()
    }
}

pin_project! {
    /// The future of [`RateLimiter::acquire`]. Dropping it before its turn gives place and tokens up.
    ///
    /// Polling it again after it has finished panics.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled, and dropping this one gives the tokens up"]
    pub struct Acquire {
        #[pin]
        state: Acquiring,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = AcquiringProjection]
    enum Acquiring {
        Now { answer: Option<Result<(), Rejection>> },
        Later { #[pin] place: Place },
    }
}

impl Future for Acquire {
    type Output = Result<(), Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            AcquiringProjection::Now { answer } => {
                Poll::Ready(answer.take().expect("a future was polled after it had finished"))
            }
            AcquiringProjection::Later { place } => {
                place.poll(cx).map(|answer| answer.map(|_passed| ()))
            }
        }
    }
}
