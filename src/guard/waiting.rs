//! The middleware of policies that may let a call wait for its turn.
//!
//! A call that may go at once goes on the instance that was readied, as under [`Guard`](super::Guard). One
//! that must wait gives the readied instance up, so that nothing of the inner service is held meanwhile,
//! waits in its future, and then readies a clone under its permit, as under
//! [`Deferred`](super::deferred::Deferred).

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{Guarded, Settle, attended, deferred::DeferredFuture};
use crate::error::{CarryRejection, Rejection};

/// Decides whether a call may go now, later, or not at all.
pub(crate) trait Queue<Req, Res, Err> {
    /// Leave for one call. Dropping it abandons the call.
    type Permit: Settle<Res, Err>;
    /// A place in the queue. Dropping it gives the place up.
    type Wait: Future<Output = Result<Self::Permit, Rejection>>;

    /// Asks for leave or for a place.
    fn enter(&self, request: &Req) -> Turn<Self::Permit, Self::Wait>;
}

/// When a call may go.
#[derive(Debug)]
pub(crate) enum Turn<P, W> {
    Now(P),
    Later(W),
    Never(Rejection),
}

/// Holds the inner service, readied or not, as its caller left it.
#[derive(Debug)]
pub(crate) struct Waiting<S, Q> {
    inner: S,
    queue: Q,
}

impl<S: Clone, Q: Clone> Clone for Waiting<S, Q> {
    fn clone(&self) -> Self {
        // Readiness is not cloned.
        Self::new(self.inner.clone(), self.queue.clone())
    }
}

impl<S, Q> Waiting<S, Q> {
    pub(crate) fn new(inner: S, queue: Q) -> Self {
        Self { inner, queue }
    }

    pub(crate) fn queue(&self) -> &Q {
        &self.queue
    }
}

impl<S, Q, Req> Service<Req> for Waiting<S, Q>
where
    S: Service<Req> + Clone,
    S::Error: CarryRejection,
    Q: Queue<Req, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = WaitingFuture<S, Req, S::Future, Q::Permit, Q::Wait>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.queue.enter(&request) {
            Turn::Now(permit) => {
                let mut permit = Some(permit);
                let future = attended(&mut permit, || self.inner.call(request));
                let guarded = Guarded::Calling { future, permit };
                WaitingFuture::Going { deferred: DeferredFuture::Calling { guarded } }
            }
            Turn::Never(rejection) => {
                WaitingFuture::Going { deferred: DeferredFuture::refused(rejection) }
            }
            Turn::Later(wait) => {
                // Neither of these is ready; the one that is goes.
                let (stays, goes) = (self.inner.clone(), self.inner.clone());
                drop(mem::replace(&mut self.inner, stays));
                WaitingFuture::Waiting { wait, call: Some((goes, request)) }
            }
        }
    }
}

pin_project! {
    /// Waits for its turn, then is as any deferred call.
    #[derive(Debug)]
    #[project = WaitingProjection]
    pub(crate) enum WaitingFuture<S, Req, F, P, W> {
        Waiting { #[pin] wait: W, call: Option<(S, Req)> },
        Going { #[pin] deferred: DeferredFuture<S, Req, F, P> },
    }
}

impl<S, Req, P, W> Future for WaitingFuture<S, Req, S::Future, P, W>
where
    S: Service<Req>,
    S::Error: CarryRejection,
    P: Settle<S::Response, S::Error>,
    W: Future<Output = Result<P, Rejection>>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The usual call has not waited.
        if let WaitingProjection::Going { deferred } = self.as_mut().project() {
            return deferred.poll(cx);
        }
        self.poll_wait(cx, DeferredFuture::poll)
    }
}

impl<S: Service<Req>, Req, P, W> WaitingFuture<S, Req, S::Future, P, W> {
    /// Waits, and from then on does what `go` does with the deferred call.
    #[inline(never)]
    pub(super) fn poll_wait<O>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        go: impl FnOnce(Pin<&mut DeferredFuture<S, Req, S::Future, P>>, &mut Context<'_>) -> Poll<O>,
    ) -> Poll<O>
    where
        W: Future<Output = Result<P, Rejection>>,
    {
        loop {
            let deferred = match self.as_mut().project() {
                WaitingProjection::Going { deferred } => return go(deferred, cx),
                WaitingProjection::Waiting { wait, call } => match ready!(wait.poll(cx)) {
                    Ok(permit) => {
                        DeferredFuture::Readying { call: call.take(), permit: Some(permit) }
                    }
                    Err(rejection) => DeferredFuture::refused(rejection),
                },
            };
            self.set(Self::Going { deferred });
        }
    }
}
