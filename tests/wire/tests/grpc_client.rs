//! tonic's channel, and clients as they are generated, below a retry and a breaker that judge gRPC.

mod scripted;

#[path = "grpc_client/echo.rs"]
mod echo;

use std::{future::ready, time::Duration};

use axum::body::Body as AxumBody;
use bytes::Bytes;
use echo::{Client, request, tonic_server};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, Empty, Full};
use portcullis::{
    Backoff, CarryRejection, CircuitBreakerConfig, CircuitBreakerLayer, ErrorLayer, Hints, Jitter,
    Reason, RetryConfig, RetryEnd, RetryPolicy, State,
    grpc::{AttemptLayer, Code, GrpcClassifier, PeekTrailersLayer, pushback},
    http::ReplayBodyLayer,
    stack,
};
use scripted::{Server, assert_shareable, breaker, nobody, retry, status};
use tonic::{
    Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::{ServiceBuilder, ServiceExt};

/// An answer that consists of trailers only.
fn only(code: Code, pushback: Option<&str>) -> Response<AxumBody> {
    let mut response = Response::new(AxumBody::empty());
    *response.headers_mut() = end(code, pushback);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn end(code: Code, pushback: Option<&str>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.to_header_value());
    if let Some(pushback) = pushback {
        let value = HeaderValue::from_str(pushback).expect("a valid value");
        trailers.insert(pushback::NAME, value);
    }
    trailers
}

/// A head, perhaps a message, and the code in the trailers.
fn trailing(message: &'static str, code: Code, pushback: Option<&str>) -> Response<AxumBody> {
    let trailers = end(code, pushback);
    let body = match message {
        "" => AxumBody::new(Empty::<Bytes>::new().with_trailers(ready(Some(Ok(trailers))))),
        message => {
            AxumBody::new(Full::new(echo::framed(message)).with_trailers(ready(Some(Ok(trailers)))))
        }
    };
    Response::builder().header("content-type", "application/grpc").body(body).expect("valid")
}

fn fine() -> Response<AxumBody> {
    trailing("hello", Code::Ok, None)
}

async fn channel(server: &Server) -> Channel {
    Endpoint::from_shared(server.uri()).expect("an address").connect().await.expect("it connects")
}

/// Makes the one request of these tests once more: it has no state of its own.
fn again(first: &http::Request<Body>) -> Option<http::Request<Body>> {
    Some(request(first.uri().clone()))
}

fn slow_backoff() -> RetryConfig {
    let backoff = Backoff::constant(Duration::from_millis(90)).jitter(Jitter::None);
    RetryConfig::new("users").backoff(backoff).hints(Hints::grpc())
}

/// One call of the channel through a retry that looks at trailers; the codes of the answer's head and end.
async fn call(
    server: &Server,
    config: RetryConfig,
) -> (Option<Code>, scripted::Told, http::Response<impl http_body::Body>) {
    let (layer, told) = retry(config);
    let client = ServiceBuilder::new()
        .layer(layer.classify_with(GrpcClassifier::retry()).replay(again))
        // However busy the machine is that this runs on.
        .layer(PeekTrailersLayer::new().limit(Duration::MAX))
        .layer(AttemptLayer::new())
        .layer(ErrorLayer::new())
        .service(channel(server).await);
    let answer = client.oneshot(request("/test.Echo/Say".parse().expect("a path"))).await;
    let answer = answer.expect("an answer");
    (portcullis::grpc::code_of_trailers(answer.headers()), told, answer)
}

#[tokio::test]
async fn a_pushback_is_obeyed_exactly_and_the_service_told_of_attempts() {
    let server = Server::start(|request| match request {
        1 => only(Code::Unavailable, Some("7")),
        2 => only(Code::ResourceExhausted, Some("0")),
        _ => fine(),
    })
    .await;
    let (code, told, _) = call(&server, slow_backoff()).await;
    assert_eq!(code, None, "it is in the trailers");
    assert_eq!(told.delays(), [Duration::from_millis(7), Duration::ZERO]);
    assert_eq!(told.ends(), [(3, RetryEnd::Success)]);
    let previous: Vec<_> = server
        .seen()
        .iter()
        .map(|headers| headers.get("grpc-previous-rpc-attempts").cloned())
        .collect();
    let [one, two] = ["1", "2"].map(|number| Some(HeaderValue::from_static(number)));
    assert_eq!(previous, [None, one, two]);
}

#[tokio::test]
async fn a_negative_or_unreadable_pushback_ends_the_call() {
    for value in ["-1", "soon", "", "2147483648"] {
        let server = Server::start(move |_| only(Code::Unavailable, Some(value))).await;
        let (code, told, _) = call(&server, slow_backoff()).await;
        assert_eq!(code, Some(Code::Unavailable));
        assert_eq!(told.ends(), [(1, RetryEnd::ToldToStop)], "{value:?}");
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test]
async fn a_failure_in_trailers_right_behind_the_head_is_tried_again() {
    let server = Server::start(|request| match request {
        1 => trailing("", Code::Unavailable, None),
        2 => trailing("", Code::Unavailable, Some("3")),
        _ => fine(),
    })
    .await;
    let (code, told, answer) = call(&server, slow_backoff()).await;
    assert_eq!(code, None);
    assert_eq!(told.delays(), [90, 3].map(Duration::from_millis));
    // The frame that was looked at is given back.
    let Ok(body) = answer.into_body().collect().await else { panic!("the body is whole") };
    let trailers = body.trailers().expect("there are trailers").clone();
    assert_eq!(body.to_bytes(), echo::framed("hello"));
    assert_eq!(portcullis::grpc::code_of_trailers(&trailers), Some(Code::Ok));
}

#[tokio::test]
async fn what_follows_a_message_and_what_is_no_use_is_not_tried_again() {
    for (answer, code) in [
        (trailing as fn(_, _, _) -> _, None),
        ((|_, code, pushback| only(code, pushback)) as fn(_, _, _) -> _, Some(Code::Internal)),
    ] {
        let server = Server::start(move |_| answer("hello", Code::Internal, None)).await;
        let (seen, told, _) = call(&server, slow_backoff()).await;
        assert_eq!(seen, code);
        assert_eq!(told.ends(), [(1, RetryEnd::Success)]);
        assert_eq!(server.count(), 1);
    }
    // After its first message a call cannot be taken back, whatever the code.
    let server = Server::start(|_| trailing("hello", Code::Unavailable, None)).await;
    let (_, told, _) = call(&server, slow_backoff()).await;
    assert_eq!((told.ends(), server.count()), (vec![(1, RetryEnd::Success)], 1));
}

#[tokio::test]
async fn an_answer_of_a_proxy_is_judged_by_its_http_status() {
    let server = Server::start(|request| match request {
        1 => status(503, &[]),
        2 => status(404, &[]),
        _ => fine(),
    })
    .await;
    let (_, told, answer) = call(&server, slow_backoff()).await;
    assert_eq!(answer.status(), 404);
    assert_eq!(told.ends(), [(2, RetryEnd::Success)]);
}

/// A client as it is generated, over a channel whose errors are statuses.
#[tokio::test]
async fn refusals_reach_a_generated_client_with_code_and_pushback() {
    let server = Server::start(|_| only(Code::Unavailable, Some("30000"))).await;
    let (breaker, told) = breaker();
    let circuit = breaker.circuit().clone();
    let channel = ServiceBuilder::new()
        .layer(breaker.classify_with(GrpcClassifier::breaker()))
        .map_err(|error: tonic::transport::Error| Status::from_error(error.into()))
        .service(channel(&server).await);
    let mut client = Client::new(channel);
    for _ in 0..3 {
        let status = client.say("hello").await.expect_err("the service says so");
        assert_eq!((status.code(), status.rejection()), (tonic::Code::Unavailable, None));
    }
    assert_eq!(told.sleeps(), [Duration::from_secs(30)], "as the service asked");
    let status = client.say("hello").await.expect_err("the circuit is open");
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let refusal = *status.rejection().expect("it is ours");
    assert_eq!((refusal.reason(), refusal.policy()), (Reason::CircuitOpen, "api"));
    assert_eq!(status.message(), refusal.to_string());
    let told = status.metadata().get(pushback::NAME).expect("there is a pushback");
    let told: u64 = told.to_str().expect("ASCII").parse().expect("a number");
    let after = refusal.retry_after().expect("the wait is known");
    assert!(u128::from(told) == after.as_nanos().div_ceil(1_000_000), "{told} ms for {after:?}");
    assert_eq!(server.count(), 3);
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test]
async fn the_callers_own_faults_do_not_open_the_circuit() {
    let server = Server::start(|_| only(Code::NotFound, None)).await;
    let (breaker, _) = breaker();
    let circuit = breaker.circuit().clone();
    let channel = ServiceBuilder::new()
        .layer(breaker.classify_with(GrpcClassifier::breaker()))
        .map_err(|error: tonic::transport::Error| Status::from_error(error.into()))
        .service(channel(&server).await);
    let mut client = Client::new(channel);
    for _ in 0..5 {
        let status = client.say("hello").await.expect_err("the service says so");
        assert_eq!(status.code(), tonic::Code::NotFound);
    }
    assert_eq!((circuit.state(), circuit.snapshot().successes), (State::Closed, 5));
}

#[tokio::test]
async fn a_refused_connection_is_a_failure_of_the_service() {
    let endpoint = Endpoint::from_shared(format!("http://{}", nobody().await)).expect("an address");
    let (breaker, _) = breaker();
    let circuit = breaker.circuit().clone();
    let channel = ServiceBuilder::new()
        .layer(breaker.classify_with(GrpcClassifier::breaker()))
        .map_err(|error: tonic::transport::Error| Status::from_error(error.into()))
        .service(endpoint.connect_lazy());
    let mut client = Client::new(channel);
    for _ in 0..3 {
        let status = client.say("hello").await.expect_err("nobody listens");
        assert_eq!((status.code(), status.rejection()), (tonic::Code::Unavailable, None));
    }
    assert_eq!(circuit.state(), State::Open);
}

/// A whole stack in front of a real server of tonic, which fails and then does not.
#[tokio::test]
async fn a_standard_stack_becomes_one_for_grpc() {
    let server = tonic_server(|call| match call {
        1 => {
            let mut status = Status::resource_exhausted("busy");
            status.metadata_mut().insert(pushback::NAME, 4.into());
            Err(status)
        }
        2 => Ok("hello"),
        _ => Err(Status::permission_denied("not you")),
    })
    .await;
    let (layer, told) = retry(RetryConfig::new("users"));
    let layers = stack::client("users").build().expect("valid numbers");
    let layers = layers.with_retry(layer).without_error().grpc();
    assert_eq!(layers.retry().policy().config().hints, Hints::grpc());
    let registry = portcullis::Registry::new();
    layers.register(&registry).expect("every place is known");
    let circuit = layers.circuit_breaker().circuit().clone();
    let channel = ServiceBuilder::new()
        .layer(ReplayBodyLayer::new())
        .layer(layers)
        .map_err(|error: tonic::transport::Error| Status::from_error(error.into()))
        .map_request(|request: http::Request<_>| request.map(Body::new))
        .service(server.channel().await);
    assert_shareable::<_, http::Request<Body>>(&channel);
    let mut client = Client::new(channel);
    assert_eq!(client.say("hello").await.expect("the second attempt succeeds"), "hello");
    assert_eq!(told.delays(), [Duration::from_millis(4)]);
    let status = client.say("hello").await.expect_err("it may not");
    assert_eq!((status.code(), status.message()), (tonic::Code::PermissionDenied, "not you"));
    assert_eq!(server.count(), 3);
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.failures, snapshot.successes), (1, 2));
}

/// Without Tower, around the methods of a generated client.
#[tokio::test]
async fn a_generated_clients_methods_are_judged_as_they_are() {
    let server = tonic_server(|call| match call {
        1 | 2 => Err(Status::unavailable("not yet")),
        3 => Ok("hello"),
        _ => Err(Status::internal("broken")),
    })
    .await;
    let client = Client::new(server.channel().await);
    let retry = RetryPolicy::new(
        RetryConfig::new("users").backoff(Backoff::constant(Duration::from_millis(1))),
    )
    .expect("a valid config");
    let say = || {
        let mut client = client.clone();
        async move { client.call("hello").await }
    };
    let said = retry.run_classified(GrpcClassifier::retry(), say).await;
    assert_eq!(said.expect("the third attempt succeeds").into_inner(), "hello");
    let broken = retry.run_classified(GrpcClassifier::retry(), say).await;
    assert_eq!(broken.expect_err("not tried again").code(), tonic::Code::Internal);
    assert_eq!(server.count(), 4);
}

/// Above the transport's own error a refusal is foreign to tonic, which does not know its code: so the
/// transport's error becomes a status below.
#[tokio::test]
async fn a_status_below_the_layers_is_what_keeps_the_code() {
    let server = Server::start(|_| fine()).await;
    let open = || {
        let layer = CircuitBreakerLayer::new(CircuitBreakerConfig::new("api")).expect("valid");
        layer.circuit().force_open();
        layer
    };
    let above = ServiceBuilder::new()
        .layer(open())
        .layer(ErrorLayer::new())
        .service(channel(&server).await);
    let status = Client::new(above).say("hello").await.expect_err("the circuit is open");
    assert_eq!(status.code(), tonic::Code::Unknown);
    assert!(status.rejection().is_some(), "found among the sources all the same");
    let below = ServiceBuilder::new()
        .layer(open())
        .map_err(|error: tonic::transport::Error| Status::from_error(error.into()))
        .service(channel(&server).await);
    let status = Client::new(below).say("hello").await.expect_err("the circuit is open");
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(server.count(), 0);
}
