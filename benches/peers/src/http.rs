//! The service under layers that take nothing but HTTP requests.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use axum::body::Body;
use http::{Request, Response};
use tower_service::Service;

use crate::service::{Fault, answer};

/// Always ready, answers at once with an empty body.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Page;

impl Service<Request<u64>> for Page {
    type Response = Response<Body>;
    type Error = Fault;
    type Future = Ready<Result<Response<Body>, Fault>>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Request<u64>) -> Self::Future {
        ready(answer(*request.body()).map(|_| Response::new(Body::empty())))
    }
}

/// Makes an HTTP request of a number.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AsRequest<S>(S);

impl<S> AsRequest<S> {
    /// Over a service that takes HTTP requests.
    pub const fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S: Service<Request<u64>>> Service<u64> for AsRequest<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: u64) -> S::Future {
        self.0.call(Request::new(request))
    }
}
