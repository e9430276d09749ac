//! The Tower layer of one panic guard.

use std::{
    any::Any,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    PanicGuard,
    core::{CallRef, References},
    future::Caught,
};
use crate::{
    error::{CarryRejection, ConfigError},
    options::Options,
    plan::{self, Part},
    policy::catch_panic::CatchPanicConfig,
};

/// Turns panics of a service into errors.
///
/// One layer value is one guard: its clones and every service it makes share its mode and its count.
#[derive(Clone)]
#[must_use]
pub struct CatchPanicLayer {
    references: References,
}

impl CatchPanicLayer {
    /// A layer with a guard of its own.
    ///
    /// # Errors
    /// [`ConfigError`] for an empty name.
    pub fn new(config: CatchPanicConfig) -> Result<Self, ConfigError> {
        PanicGuard::new(config).map(Self::of)
    }

    /// A layer with an observer of its own.
    ///
    /// # Errors
    /// [`ConfigError`] for an empty name.
    pub fn with(config: CatchPanicConfig, options: Options) -> Result<Self, ConfigError> {
        PanicGuard::with(config, options).map(Self::of)
    }

    pub(super) fn of(guard: PanicGuard) -> Self {
        Self { references: References::of(guard, |guard| &guard.core) }
    }

    /// A layer on the same guard, with a hook that sees what each panic threw: see
    /// [`PanicGuard::on_panic`].
    pub fn on_panic(self, hook: impl Fn(&(dyn Any + Send)) + Send + Sync + 'static) -> Self {
        Self::of(self.panic_guard().clone().on_panic(hook))
    }

    /// The guard, to inspect or command it.
    pub fn panic_guard(&self) -> &PanicGuard {
        self.references.handle()
    }
}

impl fmt::Debug for CatchPanicLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchPanicLayer").field("panic_guard", self.panic_guard()).finish()
    }
}

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> Self::Service {
        plan::note(|| Part::CatchPanic { name: self.panic_guard().name() });
        CatchPanic { inner, references: self.references.clone() }
    }
}

/// The service made by [`CatchPanicLayer`].
#[derive(Clone)]
pub struct CatchPanic<S> {
    inner: S,
    references: References,
}

impl<S: fmt::Debug> fmt::Debug for CatchPanic<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchPanic")
            .field("inner", &self.inner)
            .field("panic_guard", self.panic_guard())
            .finish()
    }
}

impl<S> CatchPanic<S> {
    /// The guard, to inspect or command it.
    pub fn panic_guard(&self) -> &PanicGuard {
        self.references.handle()
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside; calling it goes around the guard.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the guard.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, Req> Service<Req> for CatchPanic<S>
where
    S: Service<Req>,
    S::Error: CarryRejection,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let core = &self.references.handle().core;
        core.attempt(|| self.inner.poll_ready(cx))
            .unwrap_or_else(|rejection| Poll::Ready(Err(rejection.into())))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let references = &self.references;
        let called = references.handle().core.attempt(|| self.inner.call(request));
        ResponseFuture { caught: Caught::begin(called, || references.get()) }
    }
}

pin_project! {
    /// The response future of [`CatchPanic`]. Dropping it drops the inner future.
    pub struct ResponseFuture<F> {
        #[pin]
        caught: Caught<F, CallRef>,
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
        self.project().caught.poll(cx)
    }
}
