//! [`AttemptLayer`]: tells the service how many attempts went before.

use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::{http::inner, retry};

/// The header of gRPC that says how many attempts went before this one.
const PREVIOUS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// Writes `grpc-previous-rpc-attempts: n` into every attempt after the first, so that the service can tell
/// retries from calls. Put it below a [`RetryLayer`](crate::RetryLayer), anywhere.
///
/// It reads [`retry::attempt`](crate::retry::attempt) in `call`. A first attempt, and a call outside of any
/// retry, stays as it is. It has no state, allocates nothing but the header's entry, and adds no future.
///
/// ```
/// use http::{HeaderMap, Request, Response};
/// use portcullis::{Error, ErrorLayer, RetryConfig, RetryLayer, grpc::AttemptLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let client = ServiceBuilder::new()
///     .layer(RetryLayer::new(RetryConfig::new("users"))?)
///     .layer(AttemptLayer::new())
///     .layer(ErrorLayer::new())
///     .service(service_fn(|request: Request<()>| async move {
///         match request.headers().get("grpc-previous-rpc-attempts") {
///             None => Err("try again"),
///             Some(attempts) => Ok(attempts.clone()),
///         }
///     }));
/// assert_eq!(client.oneshot(Request::new(())).await.unwrap(), "1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AttemptLayer;

impl AttemptLayer {
    /// The layer; it has nothing to configure.
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for AttemptLayer {
    type Service = TellAttempt<S>;

    fn layer(&self, inner: S) -> TellAttempt<S> {
        TellAttempt { inner }
    }
}

/// The service made by [`AttemptLayer`].
#[derive(Clone, Copy, Debug)]
pub struct TellAttempt<S> {
    inner: S,
}

inner!(TellAttempt<S>, "it is told of no attempt", "without the layer");

impl<S, B> Service<Request<B>> for TellAttempt<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(attempt @ 2..) = retry::attempt() {
            // Without room among tens of thousands of headers, it is left out.
            let _ = request.headers_mut().try_insert(PREVIOUS, HeaderValue::from(attempt - 1));
        }
        self.inner.call(request)
    }
}
