//! The Tower layer that lets calls wait for their turn.

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
    core::{CallRef, Entry},
    layer::Entrance,
    permit::Held,
    wait::Wait,
};
use crate::{
    error::{CarryRejection, ConfigError},
    guard::waiting::{Queue, Turn, Waiting, WaitingFuture},
    options::Options,
    plan::{self, Part},
    policy::bulkhead::BulkheadConfig,
};

/// Lets so many calls at once into a service, and others wait for their turn: not more than the
/// configured queue, and not longer than the configured wait or the ambient deadline.
///
/// A call that need not wait goes on the instance that was readied. One that waits gives that instance up
/// and readies a clone when its turn has come, so that nothing of the service is held meanwhile: the
/// service must be `Clone`.
///
/// One layer value is one bulkhead: its clones and every service it makes share it, across routes and
/// connections. A second layer value is a second bulkhead.
#[derive(Clone)]
#[must_use]
pub struct QueuedBulkheadLayer {
    entrance: Entrance,
}

impl QueuedBulkheadLayer {
    /// A layer with a bulkhead of its own. With a queue of 0 it refuses at once.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: BulkheadConfig) -> Result<Self, ConfigError> {
        Bulkhead::new(config).map(Self::of)
    }

    /// A layer with an observer of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: BulkheadConfig, options: Options) -> Result<Self, ConfigError> {
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

impl fmt::Debug for QueuedBulkheadLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedBulkheadLayer").field("bulkhead", self.bulkhead()).finish()
    }
}

impl<S> Layer<S> for QueuedBulkheadLayer {
    type Service = QueuedBulkhead<S>;

    fn layer(&self, inner: S) -> Self::Service {
        plan::note(|| {
            let config = self.bulkhead().config();
            Part::Bulkhead {
                name: config.name,
                limit: config.max_in_flight,
                max_wait: (config.queue > 0).then_some(config.max_wait),
            }
        });
        QueuedBulkhead { waiting: Waiting::new(inner, self.entrance.clone()) }
    }
}

/// The service made by [`QueuedBulkheadLayer`].
#[derive(Clone)]
pub struct QueuedBulkhead<S> {
    waiting: Waiting<S, Entrance>,
}

impl<S: fmt::Debug> fmt::Debug for QueuedBulkhead<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.waiting.fmt(f)
    }
}

impl<S> QueuedBulkhead<S> {
    /// The bulkhead, to inspect or command it.
    pub fn bulkhead(&self) -> &Bulkhead {
        self.waiting.queue().bulkhead()
    }
}

impl<S, Req> Service<Req> for QueuedBulkhead<S>
where
    S: Service<Req> + Clone,
    S::Error: CarryRejection,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = QueuedResponseFuture<S, Req, S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.waiting.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        QueuedResponseFuture { waiting: self.waiting.call(request) }
    }
}

pin_project! {
    /// The response future of [`QueuedBulkhead`]. Dropping it gives up the place in the queue, or the slot.
    pub struct QueuedResponseFuture<S, Req, F> {
        #[pin]
        pub(super) waiting: WaitingFuture<S, Req, F, Held<CallRef>, Wait<CallRef>>,
    }
}

impl<S, Req, F> fmt::Debug for QueuedResponseFuture<S, Req, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedResponseFuture").finish_non_exhaustive()
    }
}

impl<S, Req> Future for QueuedResponseFuture<S, Req, S::Future>
where
    S: Service<Req>,
    S::Error: CarryRejection,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().waiting.poll(cx)
    }
}

impl<Req, Res, Err> Queue<Req, Res, Err> for Entrance {
    type Permit = Held<CallRef>;
    type Wait = Wait<CallRef>;

    #[inline(always)]
    fn enter(&self, _request: &Req) -> Turn<Held<CallRef>, Wait<CallRef>> {
        match self.bulkhead().core.enter(|| self.reference()) {
            Entry::In(held) => Turn::Now(held),
            Entry::Waits(core, ticket) => Turn::Later(Wait::new(core, ticket)),
            Entry::Out(rejection) => Turn::Never(rejection),
        }
    }
}
