//! The layer and the service over a layer and a service whose permits are held.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    body::HeldBody,
    kept::HoldsPermit,
    trailers::{ClassifyTrailers, HeadDecides},
};

/// A layer, or a service made by one, whose permits and outcomes are held to the end of the response's body:
/// what `hold_body()` makes of one. See [`hold`](super).
///
/// The classifier of trailers is cloned with every call: one that is more than a function or a few words
/// belongs in an `Arc`.
#[derive(Clone)]
#[must_use]
pub struct HoldBody<L, T = HeadDecides> {
    inner: L,
    trailers: T,
}

impl<L> HoldBody<L> {
    pub(super) fn of(inner: L) -> Self {
        Self { inner, trailers: HeadDecides }
    }
}

impl<L, T> HoldBody<L, T> {
    pub(super) fn judging<D>(self, trailers: D) -> HoldBody<L, D> {
        HoldBody { inner: self.inner, trailers }
    }

    /// The layer, or the service, whose permits are held.
    pub fn get_ref(&self) -> &L {
        &self.inner
    }

    /// The layer, or the service, itself: what it admits ends at the head.
    pub fn into_inner(self) -> L {
        self.inner
    }
}

impl<L: fmt::Debug, T> fmt::Debug for HoldBody<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HoldBody").field(&self.inner).finish()
    }
}

impl<S, L: Layer<S>, T: Clone> Layer<S> for HoldBody<L, T> {
    type Service = HoldBody<L::Service, T>;

    fn layer(&self, inner: S) -> Self::Service {
        HoldBody { inner: self.inner.layer(inner), trailers: self.trailers.clone() }
    }
}

impl<S, T, B, Req> Service<Req> for HoldBody<S, T>
where
    S: Service<Req, Response = Response<B>>,
    S::Future: HoldsPermit<B, S::Error>,
    B: Body,
    T: ClassifyTrailers + Clone,
{
    type Response = Response<HeldBody<B, T>>;
    type Error = S::Error;
    type Future = HoldBodyFuture<S::Future, T>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        // Cloned first: if that panics, nothing has been asked for.
        let trailers = Some(self.trailers.clone());
        HoldBodyFuture { inner: self.inner.call(request), trailers }
    }
}

pin_project! {
    /// The response future of a service whose permits are held. Dropping it is as dropping the layer's own.
    #[must_use = "futures do nothing unless polled"]
    pub struct HoldBodyFuture<F, T = HeadDecides> {
        #[pin]
        inner: F,
        // There until it goes into the body.
        trailers: Option<T>,
    }
}

impl<F, T> fmt::Debug for HoldBodyFuture<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldBodyFuture").finish_non_exhaustive()
    }
}

impl<F, T, B, E> Future for HoldBodyFuture<F, T>
where
    F: Future<Output = Result<Response<B>, E>> + HoldsPermit<B, E>,
    B: Body,
{
    type Output = Result<Response<HeldBody<B, T>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (result, kept) = ready!(this.inner.poll_head(cx));
        let held = kept.zip(this.trailers.take());
        Poll::Ready(result.map(|response| {
            response.map(|body| match held {
                Some((kept, trailers)) => HeldBody::holding(body, kept, trailers),
                None => HeldBody::new(body),
            })
        }))
    }
}
