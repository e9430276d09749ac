//! The Tower layer under which a call may wait.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    RateLimiter,
    core::{Core, Entry},
    cost::{Cost, OneToken},
    turn::{Passed, Place},
    waits::Waits,
};
use crate::{
    error::{CarryRejection, ConfigError},
    guard::waiting::{Queue, Turn, Waiting, WaitingFuture},
    options::Options,
    plan::{self, Part},
    policy::bucket::config::RateLimitConfig,
};

/// Puts a rate limiter in front of a service: a call whose tokens are not there waits for them in turn,
/// within the bounds of [`Waits`].
///
/// The inner service must be `Clone`: a call that waits holds nothing of it meanwhile, and readies a clone
/// afterwards. One layer value is one limiter, as for [`RateLimitLayer`](super::RateLimitLayer).
///
/// ```
/// use std::time::Duration;
/// use portcullis::{ErrorLayer, RateLimitConfig, WaitingRateLimitLayer, rate_limit::Waits};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let config = RateLimitConfig::per_second("search", 10).burst(1);
/// let client = ServiceBuilder::new()
///     .layer(WaitingRateLimitLayer::new(config, Waits::up_to(Duration::from_millis(250)))?)
///     .layer(ErrorLayer::new())
///     .service(service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n) }));
///
/// let start = tokio::time::Instant::now();
/// assert_eq!(client.clone().oneshot(1).await.unwrap(), 1);
/// assert_eq!(client.clone().oneshot(2).await.unwrap(), 2);
/// assert_eq!(start.elapsed().as_millis(), 100);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct WaitingRateLimitLayer<C = OneToken> {
    patient: Patient<C>,
}

impl WaitingRateLimitLayer {
    /// A layer with a limiter of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: RateLimitConfig, waits: Waits) -> Result<Self, ConfigError> {
        RateLimiter::new(config).map(|limiter| Self::of(limiter, waits))
    }

    /// A layer with a clock or an observer of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(
        config: RateLimitConfig,
        waits: Waits,
        options: Options,
    ) -> Result<Self, ConfigError> {
        RateLimiter::with(config, options).map(|limiter| Self::of(limiter, waits))
    }

    pub(super) fn of(limiter: RateLimiter, waits: Waits) -> Self {
        Self { patient: Patient { limiter, waits, cost: OneToken } }
    }
}

impl<C> WaitingRateLimitLayer<C> {
    /// The limiter, to inspect or command it.
    pub fn limiter(&self) -> &RateLimiter {
        &self.patient.limiter
    }

    /// How long a call may wait, and how many.
    pub fn waits(&self) -> Waits {
        self.patient.waits
    }

    /// Says by a closure how many tokens a request costs. The limiter stays the same.
    pub fn cost<F, Req>(self, cost: F) -> WaitingRateLimitLayer<F>
    where
        F: Fn(&Req) -> u64,
    {
        self.cost_with(cost)
    }

    /// Says by a named value how many tokens a request costs. The limiter stays the same.
    pub fn cost_with<D>(self, cost: D) -> WaitingRateLimitLayer<D> {
        let Patient { limiter, waits, .. } = self.patient;
        WaitingRateLimitLayer { patient: Patient { limiter, waits, cost } }
    }
}

impl<C> fmt::Debug for WaitingRateLimitLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingRateLimitLayer")
            .field("limiter", self.limiter())
            .field("waits", &self.waits())
            .finish()
    }
}

impl<S, C: Clone> Layer<S> for WaitingRateLimitLayer<C> {
    type Service = WaitingRateLimit<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        plan::note(|| {
            let Waits { max_wait, max_queued } = self.patient.waits;
            let waits = max_queued > 0 && max_wait > Duration::ZERO;
            Part::RateLimit { name: self.limiter().name(), max_wait: waits.then_some(max_wait) }
        });
        WaitingRateLimit { waiting: Waiting::new(inner, self.patient.clone()) }
    }
}

/// The service made by [`WaitingRateLimitLayer`].
#[derive(Clone)]
pub struct WaitingRateLimit<S, C = OneToken> {
    waiting: Waiting<S, Patient<C>>,
}

impl<S: fmt::Debug, C> fmt::Debug for WaitingRateLimit<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.waiting.fmt(f)
    }
}

impl<S, C> WaitingRateLimit<S, C> {
    /// The limiter, to inspect or command it.
    pub fn limiter(&self) -> &RateLimiter {
        &self.waiting.queue().limiter
    }
}

impl<S, C, Req> Service<Req> for WaitingRateLimit<S, C>
where
    S: Service<Req> + Clone,
    S::Error: CarryRejection,
    C: Cost<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = WaitingResponseFuture<S, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.waiting.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        WaitingResponseFuture { future: self.waiting.call(request) }
    }
}

pin_project! {
    /// The response future of [`WaitingRateLimit`]. Dropping it before its turn gives place and tokens up;
    /// afterwards the tokens are spent.
    pub struct WaitingResponseFuture<S: Service<Req>, Req> {
        #[pin]
        future: WaitingFuture<S, Req, S::Future, Passed, Place>,
    }
}

impl<S: Service<Req>, Req> fmt::Debug for WaitingResponseFuture<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingResponseFuture").finish_non_exhaustive()
    }
}

impl<S, Req> Future for WaitingResponseFuture<S, Req>
where
    S: Service<Req>,
    S::Error: CarryRejection,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx)
    }
}

/// A limiter with the cost and the patience of one layer, as the middleware's queue.
#[derive(Clone)]
struct Patient<C> {
    limiter: RateLimiter,
    waits: Waits,
    cost: C,
}

impl<C> fmt::Debug for Patient<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limiter.fmt(f)
    }
}

impl<C: Cost<Req>, Req, Res, Err> Queue<Req, Res, Err> for Patient<C> {
    type Permit = Passed;
    type Wait = Place;

    #[inline]
    fn enter(&self, request: &Req) -> Turn<Passed, Place> {
        match Core::enter(&self.limiter.core, self.cost.cost(request), &self.waits) {
            Ok(Entry::Now) => Turn::Now(Passed),
            Ok(Entry::Later(place)) => Turn::Later(place),
            Err(rejection) => Turn::Never(rejection),
        }
    }
}
