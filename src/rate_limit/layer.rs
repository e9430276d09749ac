//! The Tower layer that refuses.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    RateLimiter,
    cost::{Cost, OneToken},
    turn::Passed,
};
use crate::{
    error::{CarryRejection, ConfigError, Rejection},
    guard::{Guard, Guarded, Policy, Ready},
    options::Options,
    plan::{self, Part},
    policy::bucket::config::RateLimitConfig,
};

/// Puts a rate limiter in front of a service: a call whose tokens are not there is refused at once.
///
/// One layer value is one limiter: its clones and every service it makes share it, across routes and
/// connections. A second layer value is a second limiter.
///
/// What a request costs is said by a closure, which is cloned with every service:
///
/// ```
/// use portcullis::{RateLimitConfig, RateLimitLayer};
///
/// let bytes = RateLimitLayer::new(RateLimitConfig::per_second("upload", 1_000_000))?
///     .cost(|body: &Vec<u8>| body.len() as u64);
/// # let _ = bytes;
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct RateLimitLayer<C = OneToken> {
    limited: Limited<C>,
}

impl RateLimitLayer {
    /// A layer with a limiter of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: RateLimitConfig) -> Result<Self, ConfigError> {
        RateLimiter::new(config).map(Self::of)
    }

    /// A layer with a clock or an observer of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: RateLimitConfig, options: Options) -> Result<Self, ConfigError> {
        RateLimiter::with(config, options).map(Self::of)
    }

    pub(super) fn of(limiter: RateLimiter) -> Self {
        Self { limited: Limited { limiter, cost: OneToken } }
    }
}

impl<C> RateLimitLayer<C> {
    /// The limiter, to inspect or command it.
    pub fn limiter(&self) -> &RateLimiter {
        &self.limited.limiter
    }

    /// Says by a closure how many tokens a request costs. The limiter stays the same.
    pub fn cost<F, Req>(self, cost: F) -> RateLimitLayer<F>
    where
        F: Fn(&Req) -> u64,
    {
        self.cost_with(cost)
    }

    /// Says by a named value how many tokens a request costs. The limiter stays the same.
    pub fn cost_with<D>(self, cost: D) -> RateLimitLayer<D> {
        RateLimitLayer { limited: Limited { limiter: self.limited.limiter, cost } }
    }
}

impl<C> fmt::Debug for RateLimitLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("limiter", self.limiter()).finish()
    }
}

impl<S, C: Clone> Layer<S> for RateLimitLayer<C> {
    type Service = RateLimit<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        plan::note(|| Part::RateLimit { name: self.limiter().name(), max_wait: None });
        RateLimit { guard: Guard::new(inner, self.limited.clone()) }
    }
}

/// The service made by [`RateLimitLayer`].
#[derive(Clone)]
pub struct RateLimit<S, C = OneToken> {
    guard: Guard<S, Limited<C>>,
}

impl<S: fmt::Debug, C> fmt::Debug for RateLimit<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.guard.fmt(f)
    }
}

impl<S, C> RateLimit<S, C> {
    /// The limiter, to inspect or command it.
    pub fn limiter(&self) -> &RateLimiter {
        &self.guard.policy().limiter
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        self.guard.inner()
    }

    /// The service inside; calling it goes around the limiter.
    pub fn get_mut(&mut self) -> &mut S {
        self.guard.inner_mut()
    }

    /// The service inside, without the limiter.
    pub fn into_inner(self) -> S {
        self.guard.into_inner()
    }
}

impl<S, C, Req> Service<Req> for RateLimit<S, C>
where
    S: Service<Req>,
    S::Error: CarryRejection,
    C: Cost<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.guard.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        ResponseFuture { guarded: self.guard.call(request) }
    }
}

pin_project! {
    /// The response future of [`RateLimit`]. Its tokens were taken before it was made; dropping it gives
    /// none back.
    pub struct ResponseFuture<F> {
        #[pin]
        guarded: Guarded<F, Passed>,
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, Res, Err> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, Err>>,
    Err: CarryRejection,
{
    type Output = Result<Res, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().guarded.poll(cx)
    }
}

/// A limiter with the cost of one layer, as the guard's policy.
#[derive(Clone)]
struct Limited<C> {
    limiter: RateLimiter,
    cost: C,
}

impl<C> fmt::Debug for Limited<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limiter.fmt(f)
    }
}

impl<C: Cost<Req>, Req, Res, Err> Policy<Req, Res, Err> for Limited<C> {
    type Permit = Passed;

    #[inline(always)]
    fn admit(&self, request: &Req) -> Result<Passed, Rejection> {
        self.limiter.core.admit(self.cost.cost(request)).map(|()| Passed)
    }
}

/// What a request costs is not known beforehand.
impl<C, Res, Err> Ready<Res, Err> for Limited<C> {}
