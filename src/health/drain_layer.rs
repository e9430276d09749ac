//! Counts the requests of a server for its drain.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Drain, InFlight};
use crate::http::inner;

/// Counts each request of a server as in flight, from its arrival until its response's body ends or is
/// dropped. It refuses nothing: until the listener is closed, whoever comes is served.
///
/// Responses over HTTP/1 that are given while draining ask for the connection to be closed, so that clients
/// do not find out by an error; [`keep_connections`](Self::keep_connections) leaves that to the server.
#[derive(Clone, Debug)]
#[must_use]
pub struct DrainLayer {
    drain: Drain,
    close: bool,
}

impl DrainLayer {
    pub(super) fn of(drain: &Drain) -> Self {
        Self { drain: drain.clone(), close: true }
    }

    /// Adds no `Connection: close` to responses while draining.
    pub fn keep_connections(mut self) -> Self {
        self.close = false;
        self
    }

    /// What it counts for.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }
}

impl<S> Layer<S> for DrainLayer {
    type Service = Drained<S>;

    fn layer(&self, inner: S) -> Drained<S> {
        Drained { inner, layer: self.clone() }
    }
}

/// The service made by [`DrainLayer`].
#[derive(Clone, Debug)]
pub struct Drained<S> {
    inner: S,
    layer: DrainLayer,
}

inner!(Drained<S>, "what is asked of it is not counted", "alone");

impl<S, A, B> Service<Request<A>> for Drained<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<TrackedBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<A>) -> Self::Future {
        let tracked = self.layer.drain.track();
        // Later versions have no such header, and a way of their own.
        let close = self.layer.close && request.version() <= Version::HTTP_11;
        ResponseFuture { future: self.inner.call(request), tracked: Some(tracked), close }
    }
}

pin_project! {
    /// The response future of [`Drained`]. Dropping it ends the request, as far as draining goes.
    pub struct ResponseFuture<F> {
        #[pin]
        future: F,
        tracked: Option<InFlight>,
        // Whether its connection is to be closed, should the drain have begun by then.
        close: bool,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<TrackedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answered = ready!(this.future.poll(cx));
        let tracked = this.tracked.take();
        let closes = *this.close && tracked.as_ref().is_some_and(InFlight::is_draining);
        Poll::Ready(answered.map(|response| {
            let mut response = response.map(|body| TrackedBody { body, tracked });
            if closes && !response.headers().contains_key(CONNECTION) {
                // Without room among tens of thousands of headers, it is left out.
                let close = HeaderValue::from_static("close");
                let _ = response.headers_mut().try_insert(CONNECTION, close);
            }
            response
        }))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

pin_project! {
    /// A body whose request is in flight until it has ended, failed or been dropped. One made by `Default` or
    /// `From` counts for nothing, for whoever answers in the service's place.
    #[derive(Debug, Default)]
    pub struct TrackedBody<B> {
        #[pin]
        body: B,
        tracked: Option<InFlight>,
    }
}

impl<B> TrackedBody<B> {
    /// A body that counts for nothing, of whoever answers in the service's place.
    pub fn new(body: B) -> Self {
        Self { body, tracked: None }
    }
}

impl<B: From<String>> From<String> for TrackedBody<B> {
    fn from(text: String) -> Self {
        Self::new(text.into())
    }
}

impl<B: From<bytes::Bytes>> From<bytes::Bytes> for TrackedBody<B> {
    fn from(bytes: bytes::Bytes) -> Self {
        Self::new(bytes.into())
    }
}

impl<B: Body> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            *this.tracked = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
