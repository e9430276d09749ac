//! The Tower layer of rate limits by key.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::super::{
    cost::{Cost, OneToken},
    turn::Passed,
};
use super::RateLimiters;
use crate::{
    error::{CarryRejection, ConfigError, Rejection},
    guard::{Guard, Guarded, Policy, Ready},
    options::Options,
    plan::{self, Part},
    policy::bucket::{config::RateLimitConfig, keyed::Keys},
};

/// Puts a rate limit per key in front of a service: per client, tenant or address.
///
/// The key comes from the request by a closure, and so may the cost, which is one token otherwise. The
/// decision is taken in `call`, at once: a call is refused or goes to the service that was readied, so
/// the inner service need be nothing but a `Service`. One layer value is one table: its clones and every
/// service it makes share it.
///
/// ```
/// use portcullis::{Error, ErrorLayer, KeyedRateLimitLayer, RateLimitConfig};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let config = RateLimitConfig::per_second("tenants", 100).burst(10);
/// let layer = KeyedRateLimitLayer::new(config, 10_000, |request: &(u32, &str)| request.0)?
///     .cost(|request: &(u32, &str)| request.1.len() as u64);
/// let tenants = layer.limiters().clone();
/// let service = ServiceBuilder::new()
///     .layer(layer)
///     .layer(ErrorLayer::new())
///     .service(service_fn(|(_, name): (u32, &'static str)| async move {
///         Ok::<_, std::io::Error>(name.len())
///     }));
/// assert_eq!(service.clone().oneshot((7, "a query")).await.unwrap(), 7);
/// assert_eq!(tenants.remaining(&7), 3);
/// let Err(Error::Rejected(refusal)) = service.oneshot((7, "a query")).await else {
///     panic!("seven tokens are not left");
/// };
/// println!("{refusal}");     // tenants: the rate limit is used up; retry after 40ms
/// # Ok(())
/// # }
/// ```
///
/// A key that owns memory, such as a `String`, is made for every call by the closure: an `Arc<str>` kept
/// with the request, a number or an address costs nothing.
#[must_use]
pub struct KeyedRateLimitLayer<K, F, W = OneToken> {
    shared: Arc<Shared<K, F, W>>,
}

struct Shared<K, F, W> {
    limiters: RateLimiters<K>,
    key: F,
    cost: W,
}

impl<K: Hash + Eq, F> KeyedRateLimitLayer<K, F> {
    /// Limiters of their own, for at most `keys`; `key` says which one a request belongs to.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new<Req>(
        config: RateLimitConfig,
        keys: impl Into<Keys>,
        key: F,
    ) -> Result<Self, ConfigError>
    where
        F: Fn(&Req) -> K,
    {
        Ok(Self::of(RateLimiters::new(config, keys, Options::default())?, key))
    }

    /// A layer on these limiters.
    pub fn of<Req>(limiters: RateLimiters<K>, key: F) -> Self
    where
        F: Fn(&Req) -> K,
    {
        Self { shared: Arc::new(Shared { limiters, key, cost: OneToken }) }
    }
}

impl<K, F, W> KeyedRateLimitLayer<K, F, W> {
    /// The limiters, to inspect or command them.
    pub fn limiters(&self) -> &RateLimiters<K> {
        &self.shared.limiters
    }

    /// Says by a closure how many tokens a request costs. The limiters stay the same.
    pub fn cost<V, Req>(self, cost: V) -> KeyedRateLimitLayer<K, F, V>
    where
        F: Clone,
        V: Fn(&Req) -> u64,
    {
        self.cost_with(cost)
    }

    /// Says by a named value how many tokens a request costs. The limiters stay the same.
    pub fn cost_with<V>(self, cost: V) -> KeyedRateLimitLayer<K, F, V>
    where
        F: Clone,
    {
        let Shared { limiters, key, .. } = &*self.shared;
        let shared = Shared { limiters: limiters.clone(), key: key.clone(), cost };
        KeyedRateLimitLayer { shared: Arc::new(shared) }
    }
}

impl<K, F, W> Clone for KeyedRateLimitLayer<K, F, W> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K, F, W> fmt::Debug for KeyedRateLimitLayer<K, F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimitLayer")
            .field("limiters", self.limiters())
            .finish_non_exhaustive()
    }
}

impl<S, K, F, W> Layer<S> for KeyedRateLimitLayer<K, F, W> {
    type Service = KeyedRateLimit<S, K, F, W>;

    fn layer(&self, inner: S) -> Self::Service {
        plan::note(|| Part::RateLimit { name: self.limiters().name(), max_wait: None });
        KeyedRateLimit { guard: Guard::new(inner, ByKey(self.shared.clone())) }
    }
}

/// The service made by [`KeyedRateLimitLayer`]. It is ready when the inner service is.
pub struct KeyedRateLimit<S, K, F, W = OneToken> {
    guard: Guard<S, ByKey<K, F, W>>,
}

impl<S, K, F, W> KeyedRateLimit<S, K, F, W> {
    /// The limiters, to inspect or command them.
    pub fn limiters(&self) -> &RateLimiters<K> {
        &self.guard.policy().0.limiters
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        self.guard.inner()
    }

    /// The service inside; calling it goes around the limiters.
    pub fn get_mut(&mut self) -> &mut S {
        self.guard.inner_mut()
    }

    /// The service inside, without the limiters.
    pub fn into_inner(self) -> S {
        self.guard.into_inner()
    }
}

impl<S: Clone, K, F, W> Clone for KeyedRateLimit<S, K, F, W> {
    fn clone(&self) -> Self {
        Self { guard: self.guard.clone() }
    }
}

impl<S, K, F, W> fmt::Debug for KeyedRateLimit<S, K, F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimit").field("limiters", self.limiters()).finish_non_exhaustive()
    }
}

impl<S, K, F, W, Req> Service<Req> for KeyedRateLimit<S, K, F, W>
where
    S: Service<Req>,
    S::Error: CarryRejection,
    K: Hash + Eq,
    F: Fn(&Req) -> K,
    W: Cost<Req>,
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
    /// The response future of [`KeyedRateLimit`]. Tokens were taken in `call`: dropping it gives none back,
    /// since the service has been asked.
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

/// Limiters by key as the guard's policy.
struct ByKey<K, F, W>(Arc<Shared<K, F, W>>);

impl<K, F, W> Clone for ByKey<K, F, W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, F, W, Req, Res, Err> Policy<Req, Res, Err> for ByKey<K, F, W>
where
    K: Hash + Eq,
    F: Fn(&Req) -> K,
    W: Cost<Req>,
{
    type Permit = Passed;

    #[inline]
    fn admit(&self, request: &Req) -> Result<Passed, Rejection> {
        let Shared { limiters, key, cost } = &*self.0;
        limiters.try_acquire_owned(key(request), cost.cost(request)).map(|()| Passed)
    }
}

impl<K, F, W, Res, Err> Ready<Res, Err> for ByKey<K, F, W> {}
