//! Where frameworks take a layer or a service, and what they ask of it. Proven by compiling.

use std::{convert::Infallible, error::Error as StdError};

use axum::{
    Router, error_handling::HandleErrorLayer, extract::Request, response::Response, routing::get,
};
use http::StatusCode;
use portcullis::{
    CircuitBreaker, CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer,
    KeyedCircuitBreakerLayer, Outcome,
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
