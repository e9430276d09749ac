//! The Tower layer of one timeout for bodies.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    BodyTimeLimit, BodyTimeoutConfig,
    body::TimedBody,
    core::{BodyRef, References},
};
use crate::{deadline, error::ConfigError, http::inner, options::Options};

/// Puts a timeout on the bodies of a service's responses: see [`body_timeout`](super).
///
/// One layer value is one timeout: its clones and every service it makes share its mode, its numbers and
/// its counts.
#[derive(Clone)]
#[must_use]
pub struct BodyTimeoutLayer {
    references: References,
}

impl BodyTimeoutLayer {
    /// A layer with a timeout of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: BodyTimeoutConfig) -> Result<Self, ConfigError> {
        BodyTimeLimit::new(config).map(Self::of)
    }

    /// A layer with an observer of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: BodyTimeoutConfig, options: Options) -> Result<Self, ConfigError> {
        BodyTimeLimit::with(config, options).map(Self::of)
    }

    pub(super) fn of(limit: BodyTimeLimit) -> Self {
        Self { references: References::of(limit, |limit| &limit.core) }
    }

    /// The timeout, to inspect or command it.
    pub fn body_time_limit(&self) -> &BodyTimeLimit {
        self.references.handle()
    }
}

impl fmt::Debug for BodyTimeoutLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyTimeoutLayer").field("limit", self.body_time_limit()).finish()
    }
}

impl<S> Layer<S> for BodyTimeoutLayer {
    type Service = BodyTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BodyTimeout { inner, references: self.references.clone() }
    }
}

/// The service made by [`BodyTimeoutLayer`]. Its readiness and its error are the inner service's.
#[derive(Clone)]
pub struct BodyTimeout<S> {
    inner: S,
    references: References,
}

impl<S: fmt::Debug> fmt::Debug for BodyTimeout<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyTimeout")
            .field("inner", &self.inner)
            .field("limit", self.body_time_limit())
            .finish()
    }
}

impl<S> BodyTimeout<S> {
    /// The timeout, to inspect or command it.
    pub fn body_time_limit(&self) -> &BodyTimeLimit {
        self.references.handle()
    }
}

inner!(BodyTimeout<S>, "bodies of its own calls are not looked at", "without the timeout");

impl<S, B, Req> Service<Req> for BodyTimeout<S>
where
    S: Service<Req, Response = Response<B>>,
    B: Body,
{
    type Response = Response<TimedBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let (core, deadline) = (Some(self.references.get()), deadline::current());
        ResponseFuture { future: self.inner.call(request), core, deadline }
    }
}

pin_project! {
    /// The response future of [`BodyTimeout`]. Dropping it drops the inner future, and nothing else is held.
    pub struct ResponseFuture<F> {
        #[pin]
        future: F,
        // There until it goes into the body.
        core: Option<BodyRef>,
        // What held when the call was made.
        deadline: Option<Instant>,
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<TimedBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match ready!(this.future.poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(error)),
        };
        Poll::Ready(Ok(response.map(|body| match this.core.take() {
            Some(core) => TimedBody::under(core, *this.deadline, body),
            None => TimedBody::new(body),
        })))
    }
}
