//! The Tower layer of circuits by key.

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

use super::Circuits;
use crate::{
    circuit_breaker::permit::Held,
    error::{CarryRejection, ConfigError, Rejection},
    guard::{
        Policy,
        deferred::{Deferred, DeferredFuture},
    },
    options::Options,
    outcome::{Classify, DefaultClassifier, Outcome},
    plan,
    policy::breaker::config::CircuitBreakerConfig,
};

/// Puts a circuit breaker per key in front of a service: per upstream host, shard or tenant.
///
/// The key comes from the request. The service made is always ready, since nothing can be said before
/// there is a key: it decides in `call`, and readies a clone of the inner service in the future. So it
/// needs an inner service that is `Clone`, and nothing of the inner service is held while idle.
///
/// ```
/// use portcullis::{CircuitBreakerConfig, ErrorLayer, KeyedCircuitBreakerLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let config = CircuitBreakerConfig::new("shards");
/// let layer = KeyedCircuitBreakerLayer::new(config, 1_000, |request: &(u32, &str)| request.0)?;
/// let circuits = layer.circuits().clone();
/// let service = ServiceBuilder::new()
///     .layer(layer)
///     .layer(ErrorLayer::new())
///     .service(service_fn(|(_, name): (u32, &'static str)| async move {
///         Ok::<_, std::io::Error>(name.len())
///     }));
/// assert_eq!(service.oneshot((7, "abc")).await.unwrap(), 3);
/// assert_eq!(circuits.get(&7).unwrap().snapshot().successes, 1);
/// # Ok(())
/// # }
/// ```
///
/// The classifier is cloned with every call: one that is more than a function or a few words belongs in
/// an `Arc`.
#[must_use]
pub struct KeyedCircuitBreakerLayer<K, F, C = DefaultClassifier> {
    shared: Arc<Shared<K, F, C>>,
}

struct Shared<K, F, C> {
    circuits: Circuits<K>,
    key: F,
    classify: C,
}

impl<K: Hash + Eq + Clone, F> KeyedCircuitBreakerLayer<K, F> {
    /// Circuits of their own, at most `max_keys`; `key` says which one a request belongs to.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new<Req>(
        config: CircuitBreakerConfig,
        max_keys: usize,
        key: F,
    ) -> Result<Self, ConfigError>
    where
        F: Fn(&Req) -> K,
    {
        Ok(Self::of(Circuits::new(config, max_keys, Options::default())?, key))
    }

    /// A layer on these circuits.
    pub fn of<Req>(circuits: Circuits<K>, key: F) -> Self
    where
        F: Fn(&Req) -> K,
    {
        Self { shared: Arc::new(Shared { circuits, key, classify: DefaultClassifier }) }
    }
}

impl<K, F, C> KeyedCircuitBreakerLayer<K, F, C> {
    /// The circuits, to inspect or command them.
    pub fn circuits(&self) -> &Circuits<K> {
        &self.shared.circuits
    }

    /// Judges results by a closure. The circuits stay the same.
    pub fn classify<D, Res, Err>(self, classify: D) -> KeyedCircuitBreakerLayer<K, F, D>
    where
        F: Clone,
        D: Fn(&Result<Res, Err>) -> Outcome,
    {
        self.classify_with(classify)
    }

    /// Judges results by a named classifier. The circuits stay the same.
    pub fn classify_with<D>(self, classify: D) -> KeyedCircuitBreakerLayer<K, F, D>
    where
        F: Clone,
    {
        let Shared { circuits, key, .. } = &*self.shared;
        let shared = Shared { circuits: circuits.clone(), key: key.clone(), classify };
        KeyedCircuitBreakerLayer { shared: Arc::new(shared) }
    }
}

impl<K, F, C> Clone for KeyedCircuitBreakerLayer<K, F, C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K, F, C> fmt::Debug for KeyedCircuitBreakerLayer<K, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreakerLayer").finish_non_exhaustive()
    }
}

impl<S, K, F, C> Layer<S> for KeyedCircuitBreakerLayer<K, F, C> {
    type Service = KeyedCircuitBreaker<S, K, F, C>;

    fn layer(&self, inner: S) -> Self::Service {
        plan::note(|| self.circuits().part());
        KeyedCircuitBreaker { deferred: Deferred::new(inner, ByKey(self.shared.clone())) }
    }
}

/// The service made by [`KeyedCircuitBreakerLayer`].
pub struct KeyedCircuitBreaker<S, K, F, C = DefaultClassifier> {
    deferred: Deferred<S, ByKey<K, F, C>>,
}

impl<S, K, F, C> KeyedCircuitBreaker<S, K, F, C> {
    /// The circuits, to inspect or command them.
    pub fn circuits(&self) -> &Circuits<K> {
        &self.deferred.policy().0.circuits
    }
}

impl<S: Clone, K, F, C> Clone for KeyedCircuitBreaker<S, K, F, C> {
    fn clone(&self) -> Self {
        Self { deferred: self.deferred.clone() }
    }
}

impl<S, K, F, C> fmt::Debug for KeyedCircuitBreaker<S, K, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreaker").finish_non_exhaustive()
    }
}

impl<S, K, F, C, Req> Service<Req> for KeyedCircuitBreaker<S, K, F, C>
where
    S: Service<Req> + Clone,
    S::Error: CarryRejection,
    K: Hash + Eq + Clone,
    F: Fn(&Req) -> K,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.deferred.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ResponseFuture { deferred: self.deferred.call(request) }
    }
}

pin_project! {
    /// The response future of [`KeyedCircuitBreaker`]. Dropping it abandons the call and gives a probe's
    /// slot back.
    pub struct ResponseFuture<S, Req, Fut, C = DefaultClassifier> {
        #[pin]
        pub(in crate::circuit_breaker) deferred: DeferredFuture<S, Req, Fut, Held<C>>,
    }
}

impl<S, Req, Fut, C> fmt::Debug for ResponseFuture<S, Req, Fut, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<S, Req, C> Future for ResponseFuture<S, Req, S::Future, C>
where
    S: Service<Req>,
    S::Error: CarryRejection,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().deferred.poll(cx)
    }
}

/// Circuits by key as the guard's policy.
struct ByKey<K, F, C>(Arc<Shared<K, F, C>>);

impl<K, F, C> Clone for ByKey<K, F, C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, F, C, Req, Res, Err> Policy<Req, Res, Err> for ByKey<K, F, C>
where
    K: Hash + Eq + Clone,
    F: Fn(&Req) -> K,
    C: Classify<Res, Err> + Clone,
{
    type Permit = Held<C>;

    fn admit(&self, request: &Req) -> Result<Self::Permit, Rejection> {
        let Shared { circuits, key, classify } = &*self.0;
        let core = circuits.core_or_untracked(key(request));
        // Cloned first: if that panics, no permit is lost.
        let classify = classify.clone();
        let permit = core.admit()?;
        Ok(Held::new(core, classify, permit))
    }
}
