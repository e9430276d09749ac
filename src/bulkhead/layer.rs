//! The Tower layer that refuses at once.

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
    Bulkhead,
    core::{CallRef, References},
    permit::Held,
};
use crate::{
    error::{CarryRejection, ConfigError, Rejection},
    guard::{Guard, Guarded, Policy, Ready},
    options::Options,
    plan::{self, Part},
    policy::bulkhead::BulkheadConfig,
};

/// Lets so many calls at once into a service, and refuses the others at once.
///
/// One layer value is one bulkhead: its clones and every service it makes share it, across routes and
/// connections. A second layer value is a second bulkhead.
#[derive(Clone)]
#[must_use]
pub struct BulkheadLayer {
    entrance: Entrance,
}

impl BulkheadLayer {
    /// A layer with a bulkhead of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work; `queue` among them, which is for
    /// [`QueuedBulkheadLayer`](super::QueuedBulkheadLayer).
    pub fn new(config: BulkheadConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// A layer with an observer of its own.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with(config: BulkheadConfig, options: Options) -> Result<Self, ConfigError> {
        if config.queue > 0 {
            let why = "is for a `QueuedBulkheadLayer`: a `BulkheadLayer` refuses at once";
            return Err(ConfigError::new("queue", config.queue, why));
        }
        Bulkhead::with(config, options).map(Self::of)
    }

    pub(super) fn of(bulkhead: Bulkhead) -> Self {
        Self { entrance: Entrance::to(bulkhead) }
    }

    /// The bulkhead, to inspect or command it.
    pub fn bulkhead(&self) -> &Bulkhead {
        self.entrance.bulkhead()
    }
}

impl fmt::Debug for BulkheadLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadLayer").field("bulkhead", self.bulkhead()).finish()
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = Bulkheaded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        plan::note(|| Part::Bulkhead {
            name: self.bulkhead().name(),
            limit: self.bulkhead().config().max_in_flight,
            max_wait: None,
        });
        Bulkheaded { guard: Guard::new(inner, self.entrance.clone()) }
    }
}

/// The service made by [`BulkheadLayer`].
#[derive(Clone)]
pub struct Bulkheaded<S> {
    guard: Guard<S, Entrance>,
}

impl<S: fmt::Debug> fmt::Debug for Bulkheaded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.guard.fmt(f)
    }
}

impl<S> Bulkheaded<S> {
    /// The bulkhead, to inspect or command it.
    pub fn bulkhead(&self) -> &Bulkhead {
        self.guard.policy().bulkhead()
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        self.guard.inner()
    }

    /// The service inside; calling it goes around the bulkhead.
    pub fn get_mut(&mut self) -> &mut S {
        self.guard.inner_mut()
    }

    /// The service inside, without the bulkhead.
    pub fn into_inner(self) -> S {
        self.guard.into_inner()
    }
}

impl<S, Req> Service<Req> for Bulkheaded<S>
where
    S: Service<Req>,
    S::Error: CarryRejection,
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
    /// The response future of [`Bulkheaded`]. Dropping it gives the slot back.
    pub struct ResponseFuture<F> {
        #[pin]
        pub(super) guarded: Guarded<F, Held<CallRef>>,
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

/// A bulkhead as the policy of a guard.
#[derive(Clone)]
pub(super) struct Entrance {
    references: References,
}

impl Entrance {
    pub(super) fn to(bulkhead: Bulkhead) -> Self {
        Self { references: References::of(bulkhead, |bulkhead| &bulkhead.core) }
    }

    #[inline(always)]
    pub(super) fn bulkhead(&self) -> &Bulkhead {
        self.references.handle()
    }

    /// A reference for a call on this thread.
    #[inline(always)]
    pub(super) fn reference(&self) -> CallRef {
        self.references.get()
    }
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bulkhead().fmt(f)
    }
}

impl<Req, Res, Err> Policy<Req, Res, Err> for Entrance {
    type Permit = Held<CallRef>;

    #[inline(always)]
    fn admit(&self, _request: &Req) -> Result<Held<CallRef>, Rejection> {
        self.bulkhead().core.try_enter(|| self.reference())
    }
}

// Full now says nothing about full then: it refuses in `call` alone.
impl<Res, Err> Ready<Res, Err> for Entrance {}
