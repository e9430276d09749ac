//! The Tower layer of one circuit.

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
    Circuit,
    core::{CallRef, References},
    permit::{Held, judge},
};
use crate::{
    error::{CarryRejection, ConfigError, Rejection},
    guard::{Guard, Guarded, Parking, Policy, Ready},
    options::Options,
    outcome::{Classify, DefaultClassifier, Outcome},
    plan,
    policy::breaker::config::CircuitBreakerConfig,
};

/// Puts a circuit breaker in front of a service.
///
/// One layer value is one circuit: its clones and every service it makes share it, across routes and
/// connections. A second layer value is a second circuit.
///
/// The classifier is cloned with every call: one that is more than a function or a few words belongs in
/// an `Arc`.
#[derive(Clone)]
#[must_use]
pub struct CircuitBreakerLayer<C = DefaultClassifier> {
    judged: Judged<C>,
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
        let references = References::of(circuit, |circuit| &circuit.core);
        Self { judged: Judged { references, classify: DefaultClassifier } }
    }
}

impl<C> CircuitBreakerLayer<C> {
    /// The circuit, to inspect or command it.
    pub fn circuit(&self) -> &Circuit {
        self.judged.circuit()
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
        let Judged { references, .. } = self.judged;
        CircuitBreakerLayer { judged: Judged { references, classify } }
    }
}

impl<C> fmt::Debug for CircuitBreakerLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer").field("circuit", self.circuit()).finish()
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreaker<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        plan::note(|| self.circuit().core.part());
        CircuitBreaker { guard: Guard::new(inner, self.judged.clone()) }
    }
}

/// The service made by [`CircuitBreakerLayer`].
///
/// It refuses at once while the circuit does, even over a service that is never ready: see
/// [readiness](crate::docs::readiness).
#[derive(Clone)]
pub struct CircuitBreaker<S, C = DefaultClassifier> {
    guard: Guard<S, Judged<C>>,
}

impl<S: fmt::Debug, C> fmt::Debug for CircuitBreaker<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.guard.fmt(f)
    }
}

impl<S, C> CircuitBreaker<S, C> {
    /// The circuit, to inspect or command it.
    pub fn circuit(&self) -> &Circuit {
        self.guard.policy().circuit()
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

impl<S, C, Req> Service<Req> for CircuitBreaker<S, C>
where
    S: Service<Req>,
    S::Error: CarryRejection,
    C: Classify<S::Response, S::Error> + Clone,
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
        pub(super) guarded: Guarded<F, Held<C, CallRef>>,
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

/// A circuit with the classifier of one layer, as the guard's policy.
#[derive(Clone)]
struct Judged<C> {
    references: References,
    classify: C,
}

impl<C> Judged<C> {
    #[inline(always)]
    fn circuit(&self) -> &Circuit {
        self.references.handle()
    }
}

impl<C> fmt::Debug for Judged<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.circuit().fmt(f)
    }
}

impl<C, Req, Res, Err> Policy<Req, Res, Err> for Judged<C>
where
    C: Classify<Res, Err> + Clone,
{
    type Permit = Held<C, CallRef>;

    #[inline(always)]
    fn admit(&self, _request: &Req) -> Result<Self::Permit, Rejection> {
        let core = &self.circuit().core;
        // Cloned first: if that panics, no permit is lost.
        let classify = self.classify.clone();
        let permit = core.admit()?;
        Ok(Held::new(self.references.get(), classify, permit))
    }
}

impl<C, Res, Err> Ready<Res, Err> for Judged<C>
where
    C: Classify<Res, Err>,
{
    #[inline(always)]
    fn refuses(&self) -> Option<Rejection> {
        let core = &self.circuit().core;
        if core.breaker.admits_plainly() { None } else { core.surely_refuses() }
    }

    fn refused(&self, rejection: &Rejection) {
        self.circuit().core.refuse(*rejection);
    }

    fn not_ready(&self, result: &Result<Res, Err>) {
        let core = &self.circuit().core;
        let (outcome, hint) = judge(&self.classify, result);
        core.breaker.not_ready(outcome, hint, core.clock);
        core.after();
    }

    fn parking(&self) -> Option<&Parking> {
        Some(&self.circuit().core.parking)
    }
}
