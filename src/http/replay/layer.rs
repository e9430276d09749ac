//! The Tower layer that makes bodies replayable.

use std::task::{Context, Poll};

use http::Request;
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::body::{CAP, ReplayBody};
use crate::http::inner;

/// Turns `Request<B>` into `Request<ReplayBody<B>>`: directly above the retry.
///
/// It keeps nothing by itself, and costs nothing where the retry asks for no second attempt.
/// Its [`cap`](Self::cap) is 64 KiB by default.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ReplayBodyLayer {
    cap: usize,
}

impl ReplayBodyLayer {
    /// A layer whose bodies keep 64 KiB.
    pub const fn new() -> Self {
        Self { cap: CAP }
    }

    /// Sets how many bytes of a body are kept while it is sent, at most. One that is longer is sent once. All
    /// calls under way together keep so much each.
    pub const fn cap(self, bytes: usize) -> Self {
        Self { cap: bytes }
    }
}

impl Default for ReplayBodyLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ReplayBodyLayer {
    type Service = WithReplayBody<S>;

    fn layer(&self, inner: S) -> WithReplayBody<S> {
        WithReplayBody { inner, cap: self.cap }
    }
}

/// The service made by [`ReplayBodyLayer`]. Its future is the inner service's.
#[derive(Clone, Copy, Debug)]
pub struct WithReplayBody<S> {
    inner: S,
    cap: usize,
}

inner!(WithReplayBody<S>, "it takes bodies that replay", "which takes bodies that replay");

impl<S, B> Service<Request<B>> for WithReplayBody<S>
where
    S: Service<Request<ReplayBody<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.inner.call(request.map(|body| ReplayBody::with_cap(body, self.cap)))
    }
}
