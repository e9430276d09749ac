//! The middleware of policies that need the request to decide: always ready, it readies a clone of the
//! inner service in the future, under the permit.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{Guarded, Policy, Settle, attended, settle};
use crate::error::{CarryRejection, Rejection};

/// Holds the inner service as a template, which is never readied itself.
#[derive(Clone, Debug)]
pub(crate) struct Deferred<S, P> {
    inner: S,
    policy: P,
}

impl<S, P> Deferred<S, P> {
    pub(crate) fn new(inner: S, policy: P) -> Self {
        Self { inner, policy }
    }

    pub(crate) fn policy(&self) -> &P {
        &self.policy
    }
}

impl<S, P, Req> Service<Req> for Deferred<S, P>
where
    S: Service<Req> + Clone,
    S::Error: CarryRejection,
    P: Policy<Req, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = DeferredFuture<S, Req, S::Future, P::Permit>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match self.policy.admit(&request) {
            Ok(permit) => DeferredFuture::Readying {
                call: Some((self.inner.clone(), request)),
                permit: Some(permit),
            },
            Err(rejection) => DeferredFuture::refused(rejection),
        }
    }
}

pin_project! {
    /// Readies a clone, then is as any guarded call.
    #[derive(Debug)]
    #[project = DeferredProjection]
    pub(crate) enum DeferredFuture<S, Req, F, P> {
        Readying { call: Option<(S, Req)>, permit: Option<P> },
        Calling { #[pin] guarded: Guarded<F, P> },
    }
}

impl<S, Req, F, P> DeferredFuture<S, Req, F, P> {
    pub(super) fn refused(rejection: Rejection) -> Self {
        Self::Calling { guarded: Guarded::Refused { rejection: Some(rejection) } }
    }
}

impl<S, Req, P> Future for DeferredFuture<S, Req, S::Future, P>
where
    S: Service<Req>,
    S::Error: CarryRejection,
    P: Settle<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let DeferredProjection::Calling { guarded } = self.as_mut().project() {
            return guarded.poll(cx);
        }
        self.poll_readying(cx, Guarded::poll, |not_ready| not_ready)
    }
}

impl<S: Service<Req>, Req, P> DeferredFuture<S, Req, S::Future, P> {
    /// Readies and calls, and from then on does what `go` does with the guarded call.
    #[inline(never)]
    pub(super) fn poll_readying<O>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        go: impl FnOnce(Pin<&mut Guarded<S::Future, P>>, &mut Context<'_>) -> Poll<O>,
        not_ready: impl FnOnce(Result<S::Response, S::Error>) -> O,
    ) -> Poll<O>
    where
        P: Settle<S::Response, S::Error>,
    {
        loop {
            let (call, permit) = match self.as_mut().project() {
                DeferredProjection::Calling { guarded } => return go(guarded, cx),
                DeferredProjection::Readying { call, permit } => (call, permit),
            };
            let Some((mut service, request)) = call.take() else {
                panic!("a response future was polled after it had finished");
            };
            match attended(permit, || service.poll_ready(cx)) {
                Poll::Pending => {
                    *call = Some((service, request));
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => {
                    let result = Err(error);
                    settle(permit, &result);
                    return Poll::Ready(not_ready(result));
                }
                Poll::Ready(Ok(())) => {
                    let future = attended(permit, || service.call(request));
                    let permit = permit.take();
                    self.set(Self::Calling { guarded: Guarded::Calling { future, permit } });
                }
            }
        }
    }
}
