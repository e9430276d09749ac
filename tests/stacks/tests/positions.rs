//! Where frameworks take a layer or a service, and what they ask of it. Proven by compiling.

use std::{convert::Infallible, error::Error as StdError, time::Duration};

use axum::{
    Router, error_handling::HandleErrorLayer, extract::Request, response::Response, routing::get,
};
use http::StatusCode;
use portcullis::{
    BulkheadConfig, CatchPanicConfig, CatchPanicLayer, CircuitBreaker, CircuitBreakerConfig,
    CircuitBreakerLayer, Error, ErrorLayer, Failed, FallbackConfig, FallbackLayer,
    KeyedCircuitBreakerLayer, KeyedRateLimitLayer, Outcome, QueuedBulkheadLayer, RateLimitConfig,
    TimeoutConfig, TimeoutLayer, WaitingRateLimitLayer, Waits,
    stack::{self, StandardClient},
};
use tonic::{
    body::Body,
    client::GrpcService,
    transport::{Channel, Endpoint},
};
use tower::{BoxError, Layer, Service, ServiceBuilder};

fn breaker() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new(CircuitBreakerConfig::new("position")).expect("a valid config")
}

/// What every one of these positions asks for together.
fn fits<S, Req>(service: S) -> S
where
    S: Service<Req, Error: Send + Sync, Future: Send + 'static> + Clone + Send + Sync + 'static,
{
    service
}

async fn unavailable(_: Error<Infallible>) -> StatusCode {
    StatusCode::SERVICE_UNAVAILABLE
}

fn server_errors(result: &Result<Response, Error<Infallible>>) -> Outcome {
    match result {
        Ok(response) if response.status().is_server_error() => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Ignored,
    }
}

#[test]
fn around_a_router_a_method_router_and_a_route() {
    let stack = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(unavailable))
        .layer(breaker().classify(server_errors))
        .layer(ErrorLayer::new());
    let by_path = KeyedCircuitBreakerLayer::new(
        CircuitBreakerConfig::new("position"),
        64,
        |request: &Request| request.uri().path().len(),
    )
    .expect("a valid config");
    let keyed = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(unavailable))
        .layer(by_path)
        .layer(ErrorLayer::new());
    let _: Router = Router::new()
        .route("/", get(async || "fine").layer(stack.clone()))
        .route_layer(keyed.clone())
        .layer(keyed)
        .layer(stack);
    // By hand and boxed, for a stack that already speaks `BoxError`.
    let boxed = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(async |_: BoxError| StatusCode::SERVICE_UNAVAILABLE))
        .layer(breaker())
        .map_err(|error: Infallible| -> BoxError { match error {} });
    let _: Router = Router::new().route("/", get(async || "fine")).layer(boxed);
    // Around the whole router, as one service.
    let router: Router = Router::new();
    let whole = ServiceBuilder::new().layer(breaker()).layer(ErrorLayer::new()).service(router);
    fits::<_, Request>(whole);
}

#[test]
fn around_a_reqwest_client() {
    let client = reqwest::Client::new();
    let lifted =
        ServiceBuilder::new().layer(breaker()).layer(ErrorLayer::new()).service(client.clone());
    fits::<_, reqwest::Request>(lifted);
    let boxed = ServiceBuilder::new()
        .layer(breaker())
        .timeout(std::time::Duration::from_secs(1))
        .service(client);
    fits::<_, reqwest::Request>(boxed);
}

/// What a generated client asks of what it is given.
fn generated_client<T>(_: T)
where
    T: GrpcService<Body, Error: Into<Box<dyn StdError + Send + Sync>>> + Clone + Send + 'static,
{
}

fn lazy_channel() -> Channel {
    Endpoint::from_static("http://127.0.0.1:1").connect_lazy()
}

#[tokio::test]
async fn around_a_channel() {
    let lifted =
        ServiceBuilder::new().layer(breaker()).layer(ErrorLayer::new()).service(lazy_channel());
    generated_client(fits::<_, http::Request<Body>>(lifted));
    let boxed = ServiceBuilder::new()
        .layer(breaker())
        .map_err(|error: tonic::transport::Error| BoxError::from(error))
        .service(lazy_channel());
    generated_client(fits::<_, http::Request<Body>>(boxed));
    // Named in a struct of one's own, without a type parameter of ours.
    struct Clients {
        users: CircuitBreaker<portcullis::LiftError<Channel>>,
    }
    let clients = Clients { users: breaker().layer(ErrorLayer::new().layer(lazy_channel())) };
    generated_client(fits::<_, http::Request<Body>>(clients.users));
}

#[tokio::test]
async fn inside_a_tonic_server() {
    let stack = ServiceBuilder::new().layer(breaker()).layer(ErrorLayer::new()).into_inner();
    // `Error<Infallible>` is an error like any other to tonic, so this compiles; a refusal then resets
    // the stream, which is why `tests/tonic.rs` turns it into a status first.
    let server = tonic::transport::Server::builder().layer(stack).add_service(by_name::Nothing);
    // The bounds stand on `serve`; nothing listens, since this future is not polled.
    drop(server.serve(([127, 0, 0, 1], 0).into()));
}

const SECOND: Duration = Duration::from_secs(1);

fn client() -> StandardClient {
    stack::client("position").build().expect("a valid config")
}

fn tokens() -> WaitingRateLimitLayer {
    let rate = RateLimitConfig::per_second("position", 10);
    WaitingRateLimitLayer::new(rate, Waits::default()).expect("a valid config")
}

fn room() -> QueuedBulkheadLayer {
    let config = BulkheadConfig::new("position", 10).queue(10);
    QueuedBulkheadLayer::new(config).expect("a valid config")
}

/// The standard server, and each of its layers in another way, around a router, a method router and a route.
#[test]
fn a_servers_stack_around_a_router_a_method_router_and_a_route() {
    let by_path = |request: &Request| request.uri().path().len();
    let rate = RateLimitConfig::per_second("position", 10);
    let keyed = KeyedRateLimitLayer::new(rate, 64, by_path).expect("a valid config");
    let server = stack::server("position").build().expect("a valid config").with_rate_limit(keyed);
    let standard =
        ServiceBuilder::new().layer(HandleErrorLayer::new(unavailable)).layer(server.clone());
    let _: Router = Router::new()
        .route("/", get(async || "fine").layer(standard.clone()))
        .route_layer(standard.clone())
        .layer(standard);
    let limit = TimeoutConfig::new("position", SECOND);
    let waiting = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(unavailable))
        .layer(tokens())
        .layer(room())
        .layer(
            TimeoutLayer::new(limit)
                .expect("a valid config")
                .limit_from(|request: &Request| request.headers().get("patience").map(|_| SECOND)),
        )
        .layer(CatchPanicLayer::new(CatchPanicConfig::new("position")).expect("a valid config"))
        .layer(ErrorLayer::new());
    let _: Router = Router::new()
        .route("/", get(async || "fine").layer(waiting.clone()))
        .route_layer(waiting.clone())
        .layer(waiting);
    // Around the whole router, as one service.
    let router: Router = Router::new();
    fits::<_, Request>(server.map_bulkhead(|_| room()).layer(router));
}

/// A fallback that answers leaves nothing for axum to handle but the type.
#[test]
fn a_fallback_in_place_of_an_error_handler() {
    let answer = |failed: Failed<Response, Error<Infallible>>| match failed {
        Failed::Error(_) => Ok(axum::response::IntoResponse::into_response("later")),
        Failed::Response(response) => Ok(response),
    };
    let answers = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(unavailable))
        .layer(
            FallbackLayer::function(FallbackConfig::new("position"), answer)
                .expect("a valid config"),
        )
        .layer(stack::server("position").build().expect("a valid config"));
    let _: Router = Router::new().route("/", get(async || "fine")).layer(answers);
}

/// `reqwest::Request` is not `Clone`: how it is made once more is said, or nothing is tried again.
#[test]
fn a_clients_stack_around_a_reqwest_client() {
    let reqwest = reqwest::Client::new();
    let replays = client().map_retry(|retry| retry.replay(reqwest::Request::try_clone));
    fits::<_, reqwest::Request>(replays.clone().layer(reqwest.clone()));
    fits::<_, reqwest::Request>(client().without_retry().layer(reqwest.clone()));
    let waits = replays.with_rate_limit(tokens()).with_bulkhead(room());
    fits::<_, reqwest::Request>(waits.clone().layer(reqwest.clone()));
    // Over a stack that speaks `BoxError`.
    let boxed = ServiceBuilder::new()
        .layer(waits.without_error())
        .map_err(BoxError::from)
        .service(reqwest.clone());
    fits::<_, reqwest::Request>(boxed);
    let by_host = KeyedCircuitBreakerLayer::new(
        CircuitBreakerConfig::new("position"),
        64,
        |request: &reqwest::Request| request.url().host_str().map(str::to_owned),
    )
    .expect("a valid config");
    let keyed = client().without_retry().with_circuit_breaker(by_host);
    fits::<_, reqwest::Request>(keyed.layer(reqwest));
}

/// A gRPC request's body is not `Clone`.
#[tokio::test]
async fn a_clients_stack_around_a_channel() {
    let stack = client().without_retry().with_rate_limit(tokens()).with_bulkhead(room());
    let lifted = stack.clone().layer(lazy_channel());
    generated_client(fits::<_, http::Request<Body>>(lifted));
    let boxed = ServiceBuilder::new()
        .layer(stack.without_error())
        .map_err(|error: tonic::transport::Error| BoxError::from(error))
        .service(lazy_channel());
    generated_client(fits::<_, http::Request<Body>>(boxed));
    // Named in a struct of one's own, without a type parameter.
    type Unretried = stack::Client<
        tower::layer::util::Identity,
        TimeoutLayer,
        tower::layer::util::Identity,
        portcullis::BulkheadLayer,
        tower::layer::util::Identity,
        CircuitBreakerLayer,
        TimeoutLayer,
        ErrorLayer,
    >;
    struct Clients {
        users: <Unretried as Layer<Channel>>::Service,
    }
    let clients = Clients { users: client().without_retry().layer(lazy_channel()) };
    generated_client(fits::<_, http::Request<Body>>(clients.users));
}

#[tokio::test]
async fn a_servers_stack_inside_a_tonic_server() {
    let stack = stack::server("position").build().expect("a valid config");
    let waits = stack.clone().with_rate_limit(tokens()).with_bulkhead(room());
    let builder = || tonic::transport::Server::builder();
    drop(builder().layer(stack).add_service(by_name::Nothing).serve(([127, 0, 0, 1], 0).into()));
    drop(builder().layer(waits).add_service(by_name::Nothing).serve(([127, 0, 0, 1], 0).into()));
}

mod by_name {
    use super::*;
    use std::{
        future::{Ready, ready},
        task::{Context, Poll},
    };

    #[derive(Clone, Debug)]
    pub(super) struct Nothing;

    impl tonic::server::NamedService for Nothing {
        const NAME: &'static str = "nothing.Nothing";
    }

    impl Service<http::Request<Body>> for Nothing {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            ready(Ok(tonic::Status::unimplemented("nothing").into_http()))
        }
    }
}
