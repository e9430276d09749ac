//! [`ErrorLayer`]: lifts a foreign error once, right above the service.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    error::Error,
    plan::{self, Part},
};

/// Turns a service's own error `E` into [`Error<E>`], which can carry a refusal.
///
/// Put it last in a `ServiceBuilder`, directly above the service. It is the boundary of a stack: a
/// rejection that a nested stack wrapped in its own error type stays an [`Error::Inner`], a failure
/// of the service below.
///
/// Not needed where the error can carry a [`Rejection`](crate::Rejection) already: `BoxError`, or an enum of
/// your own.
///
/// ```
/// use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let service = ServiceBuilder::new()
///     .layer(CircuitBreakerLayer::new(CircuitBreakerConfig::new("db"))?)
///     .layer(ErrorLayer::new())
///     .service(service_fn(|_: ()| async { Err::<(), _>(std::fmt::Error) }));
/// assert_eq!(service.oneshot(()).await, Err(Error::Inner(std::fmt::Error)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ErrorLayer;

impl ErrorLayer {
    /// The layer; it has nothing to configure.
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for ErrorLayer {
    type Service = LiftError<S>;

    fn layer(&self, inner: S) -> LiftError<S> {
        plan::note(|| Part::ErrorLayer);
        LiftError { inner }
    }
}

/// The service made by [`ErrorLayer`].
#[derive(Clone, Copy, Debug)]
pub struct LiftError<S> {
    inner: S,
}

impl<S, Req> Service<Req> for LiftError<S>
where
    S: Service<Req>,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ResponseFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    /// The response future of [`LiftError`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.project().inner.poll(cx)).map_err(Error::Inner))
    }
}
