//! A client's stack for HTTP or gRPC, in one call.

use tower_layer::Layer;

use super::Client;
use crate::{
    circuit_breaker::CircuitBreakerLayer,
    grpc::{AttemptLayer, GrpcClassifier, PeekTrailers, PeekTrailersLayer, TellAttempt},
    http::{HttpClassifier, ReplayRequest},
    policy::retry::Hints,
    retry::{RetryLayer, RetryPolicy},
};

/// What stands right above the service in a client of gRPC: the error layer, or whatever is in its place, and
/// above it [`AttemptLayer`] and [`PeekTrailersLayer`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct GrpcEdge<E> {
    error: E,
    peek: PeekTrailersLayer,
}

impl<E> GrpcEdge<E> {
    /// Above this layer, and with a look of the default length.
    pub const fn new(error: E) -> Self {
        Self { error, peek: PeekTrailersLayer::new() }
    }

    /// Sets how long a head may wait for its first frame, as
    /// `.map_error(|edge| edge.peek(PeekTrailersLayer::new().limit(…)))`.
    pub fn peek(mut self, peek: PeekTrailersLayer) -> Self {
        self.peek = peek;
        self
    }

    /// The layer below.
    pub const fn error(&self) -> &E {
        &self.error
    }
}

impl<S, E: Layer<S>> Layer<S> for GrpcEdge<E> {
    type Service = PeekTrailers<TellAttempt<E::Service>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.peek.layer(AttemptLayer::new().layer(self.error.layer(inner)))
    }
}

/// What [`Client::http`] makes of the [`StandardClient`](super::StandardClient).
pub type HttpClient<F, T, L, B, A, E> = Client<
    F,
    T,
    L,
    B,
    RetryLayer<HttpClassifier, ReplayRequest>,
    CircuitBreakerLayer<HttpClassifier>,
    A,
    E,
>;

/// What [`Client::grpc`] makes of the [`StandardClient`](super::StandardClient).
pub type GrpcClient<F, T, L, B, A, E> = Client<
    F,
    T,
    L,
    B,
    RetryLayer<GrpcClassifier, ReplayRequest>,
    CircuitBreakerLayer<GrpcClassifier>,
    A,
    GrpcEdge<E>,
>;

impl<F, T, L, B, J, R, K, A, E> Client<F, T, L, B, RetryLayer<J, R>, CircuitBreakerLayer<K>, A, E> {
    /// Makes it one for HTTP.
    ///
    /// | place | becomes |
    /// |---|---|
    /// | retry | judges by [`HttpClassifier::retry`]; sends again what is idempotent or has an `Idempotency-Key`, by [`ReplayRequest::new`]; obeys `Retry-After` as [`Hints::http`] does, if it has no jitter of its own for hints |
    /// | circuit breaker | judges by [`HttpClassifier::breaker`]; stays open for as long as `Retry-After` says |
    ///
    /// All else stays, and so does the state of each policy. For statuses or requests of your own, change the
    /// retry after this: `.map_retry(|retry| retry.classify_with(HttpClassifier::retry().status(…)))`. Requests
    /// whose bodies are not `Clone` need a [`ReplayBodyLayer`](crate::http::ReplayBodyLayer) above the stack.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use portcullis::stack;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), portcullis::ConfigError> {
    /// let client = ServiceBuilder::new()
    ///     .layer(stack::client("search").build()?.http())
    ///     .service(service_fn(|_: Request<()>| async {
    ///         let status = if portcullis::retry::attempt() == Some(1) { 503 } else { 200 };
    ///         Ok::<_, std::io::Error>(Response::builder().status(status).body(()).unwrap())
    ///     }));
    /// assert_eq!(client.oneshot(Request::new(())).await.unwrap().status(), 200);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    pub fn http(self) -> HttpClient<F, T, L, B, A, E> {
        self.map_retry(|retry| {
            obey(retry.policy(), |hints| match hints.jitter {
                0.0 => hints.jitter(Hints::http().jitter),
                _ => hints,
            });
            retry.classify_with(HttpClassifier::retry()).replay_with(ReplayRequest::new())
        })
        .map_circuit_breaker(|breaker| breaker.classify_with(HttpClassifier::breaker()))
    }

    /// Makes it one for gRPC.
    ///
    /// | place | becomes |
    /// |---|---|
    /// | retry | judges by [`GrpcClassifier::retry`]; sends any request again, by [`ReplayRequest::grpc`]; obeys a pushback exactly, and begins its back-off anew after it, as [`Hints::grpc`] does |
    /// | circuit breaker | judges by [`GrpcClassifier::breaker`] |
    /// | error | a [`GrpcEdge`]: the layer that is there, and above it [`AttemptLayer`] and [`PeekTrailersLayer`] |
    ///
    /// All else stays, and so does the state of each policy. Over a service whose error is a `tonic::Status`,
    /// say [`without_error`](Client::without_error) first.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::Empty;
    /// use portcullis::{grpc::Code, stack};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), portcullis::ConfigError> {
    /// let client = ServiceBuilder::new()
    ///     .layer(stack::client("users").build()?.grpc())
    ///     .service(service_fn(|request: Request<()>| async move {
    ///         let again = request.headers().contains_key("grpc-previous-rpc-attempts");
    ///         let code = if again { Code::Ok } else { Code::Unavailable };
    ///         let response = Response::builder().header("grpc-status", code.to_header_value());
    ///         Ok::<_, std::io::Error>(response.body(Empty::<Bytes>::new()).unwrap())
    ///     }));
    /// assert_eq!(client.oneshot(Request::new(())).await.unwrap().headers()["grpc-status"], "0");
    /// # Ok(())
    /// # }
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    pub fn grpc(self) -> GrpcClient<F, T, L, B, A, E> {
        self.map_retry(|retry| {
            obey(retry.policy(), |hints| hints.restart(Hints::grpc().restart));
            retry.classify_with(GrpcClassifier::retry()).replay_with(ReplayRequest::grpc())
        })
        .map_circuit_breaker(|breaker| breaker.classify_with(GrpcClassifier::breaker()))
        .map_error(GrpcEdge::new)
    }
}

/// Changes what a retry makes of hints, and nothing else of it.
fn obey(retry: &RetryPolicy, change: impl FnOnce(Hints) -> Hints) {
    let mut config = retry.config();
    config.hints = change(config.hints);
    // It was valid, and a share of a tenth or a new beginning is, too.
    let _ = retry.reconfigure(config);
}
