//! The Tower layer of one circuit.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Circuit,
    core::Core,
    permit::{Held, WithCore, judge},
};
use crate::{
    error::{CarryRejection, ConfigError, Rejection},
    event::Event,
    guard::{Guard, Guarded, Parking, Policy, Ready},
    options::Options,
    outcome::{Classify, DefaultClassifier, Outcome},
    policy::breaker::config::CircuitBreakerConfig,
};

/// Puts a circuit breaker in front of a service.
///
/// One layer value is one circuit: its clones and every service it makes share it, across routes and
/// connections. A second layer value is a second circuit.
#[must_use]
pub struct CircuitBreakerLayer<C = DefaultClassifier> {
    shared: Arc<Shared<C>>,
}

/// A circuit with the classifier of one layer.
struct Shared<C> {
    circuit: Circuit,
    classify: C,
}

impl CircuitBreakerLayer {
    /// A layer with a circuit of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: CircuitBreakerConfig) -> Result<Self, ConfigError> {
        Circuit::new(config).map(Self::of)
    }

    /// A layer with a clock or an observer of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: CircuitBreakerConfig, options: Options) -> Result<Self, ConfigError> {
        Circuit::with(config, options).map(Self::of)
    }

    pub(super) fn of(circuit: Circuit) -> Self {
        Self { shared: Arc::new(Shared { circuit, classify: DefaultClassifier }) }
    }
}

impl<C> CircuitBreakerLayer<C> {
    /// The circuit, to inspect or command it.
    pub fn circuit(&self) -> &Circuit {
        &self.shared.circuit
    }

    /// Judges results by a closure. The circuit stays the same.
    pub fn classify<F, Res, Err>(self, classify: F) -> CircuitBreakerLayer<F>
    where
        F: Fn(&Result<Res, Err>) -> Outcome,
    {
        self.classify_with(classify)
    }

    /// Judges results by a named classifier. The circuit stays the same.
    pub fn classify_with<D>(self, classify: D) -> CircuitBreakerLayer<D> {
        let circuit = self.shared.circuit.clone();
        CircuitBreakerLayer { shared: Arc::new(Shared { circuit, classify }) }
    }
}

impl<C> Clone for CircuitBreakerLayer<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<C> fmt::Debug for CircuitBreakerLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer").field("circuit", &self.shared.circuit).finish()
    }
}

impl<S, C> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreaker<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker { guard: Guard::new(inner, Judged(self.shared.clone())) }
    }
}

/// The service made by [`CircuitBreakerLayer`].
///
/// It refuses at once while the circuit does, even over a service that is never ready: see
/// [readiness](crate::docs::readiness).
#[derive(Debug)]
pub struct CircuitBreaker<S, C = DefaultClassifier> {
    guard: Guard<S, Judged<C>>,
}

impl<S, C> CircuitBreaker<S, C> {
    /// The circuit, to inspect or command it.
    pub fn circuit(&self) -> &Circuit {
        &self.guard.policy().0.circuit
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        self.guard.inner()
    }

    /// The service inside; calling it goes around the circuit.
    pub fn get_mut(&mut self) -> &mut S {
        self.guard.inner_mut()
    }

    /// The service inside, without the circuit.
    pub fn into_inner(self) -> S {
        self.guard.into_inner()
    }
}

impl<S: Clone, C> Clone for CircuitBreaker<S, C> {
    fn clone(&self) -> Self {
        Self { guard: self.guard.clone() }
    }
}

impl<S, C, Req> Service<Req> for CircuitBreaker<S, C>
where
    S: Service<Req>,
    S::Error: CarryRejection,
    C: Classify<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C>;

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
    /// The response future of [`CircuitBreaker`]. Dropping it abandons the call and gives a probe's
    /// slot back.
    pub struct ResponseFuture<F, C = DefaultClassifier> {
        #[pin]
        guarded: Guarded<F, Held<Judged<C>>>,
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, C, Res, Err> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Res, Err>>,
    C: Classify<Res, Err>,
    Err: CarryRejection,
{
    type Output = Result<Res, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().guarded.poll(cx)
    }
}

/// A circuit as the guard's policy.
pub(super) struct Judged<C>(Arc<Shared<C>>);

impl<C> Judged<C> {
    fn core(&self) -> &Core {
        &self.0.circuit.core
    }
}

impl<C> Clone for Judged<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> fmt::Debug for Judged<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.circuit.fmt(f)
    }
}

impl<C> WithCore for Judged<C> {
    type Classifier = C;

    #[inline]
    fn core(&self) -> &Core {
        self.core()
    }

    #[inline]
    fn classifier(&self) -> &C {
        &self.0.classify
    }
}

impl<C, Req, Res, Err> Policy<Req, Res, Err> for Judged<C>
where
    C: Classify<Res, Err>,
{
    type Permit = Held<Self>;

    #[inline]
    fn admit(&self, _request: &Req) -> Result<Self::Permit, Rejection> {
        self.core().admit().map(|permit| Held::new(self.clone(), permit))
    }
}

impl<C, Res, Err> Ready<Res, Err> for Judged<C>
where
    C: Classify<Res, Err>,
{
    #[inline]
    fn refuses(&self) -> Option<Rejection> {
        let core = self.core();
        core.breaker.refuses(core.clock).map(|refusal| core.rejection(refusal))
    }

    fn refused(&self, rejection: &Rejection) {
        let core = self.core();
        core.breaker.count_refusal();
        core.observers.tell(|| Event::Rejected(*rejection));
    }

    fn not_ready(&self, result: &Result<Res, Err>) {
        let core = self.core();
        let (outcome, hint) = judge(&self.0.classify, result);
        core.breaker.not_ready(outcome, hint, core.clock);
        core.after();
    }

    fn parking(&self) -> &Parking {
        &self.core().parking
    }
}
