//! A real client: hyper-util's, and reqwest's, over servers whose bodies break.

use std::io;

use http_body_util::BodyExt;
use portcullis::{
    BulkheadConfig, BulkheadLayer, CircuitBreakerConfig, CircuitBreakerLayer, Classify,
    DefaultClassifier, Error, ErrorLayer, Event, Outcome, State,
};
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::sides::{Log, Server, client, data, raw, soon, written};

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("films").no_failure_rate().consecutive_failures(2)
}

fn settled(event: &Event) -> bool {
    matches!(event, Event::Settled { .. } | Event::Abandoned { .. })
}

#[tokio::test]
async fn a_body_that_is_reset_half_way_is_a_failure() {
    for http2 in [false, true] {
        let breaker = CircuitBreakerLayer::new(config()).expect("a valid config").hold_body();
        let circuit = breaker.circuit().clone();
        // Nothing is in front of the server.
        let server = Server::start(tower::layer::util::Identity::new()).await;
        let mut films =
            ServiceBuilder::new().layer(breaker).layer(ErrorLayer::new()).service(client(http2));
        for failures in 1..3 {
            let (writer, body) = written();
            server.answers(body);
            let response = soon(films.ready().await.expect("ready").call(server.request())).await;
            let response = response.expect("a head");
            assert_eq!((response.status().as_u16(), circuit.snapshot().calls), (200, failures - 1));
            writer.send(data("a frame")).await.expect("somebody reads");
            writer.send(Err(io::Error::other("the film tore"))).await.expect("somebody reads");
            let torn = soon(response.into_body().collect()).await;
            assert!(torn.is_err(), "{torn:?}");
            assert_eq!(circuit.snapshot().failures, failures);
        }
        assert_eq!(circuit.state(), State::Open);
        let refused = films.ready().await.expect("ready").call(server.request()).await;
        assert!(matches!(refused, Err(Error::Rejected(_))));
    }
}

#[tokio::test]
async fn whole_bodies_are_successes_and_dropped_ones_are_nothing() {
    for http2 in [false, true] {
        let log = Log::new();
        let breaker = CircuitBreakerLayer::with(config(), log.options()).expect("a valid config");
        let circuit = breaker.circuit().clone();
        let server = Server::start(tower::layer::util::Identity::new()).await;
        let films = ServiceBuilder::new()
            .layer(breaker.hold_body())
            .layer(ErrorLayer::new())
            .service(client(http2));
        let begin = || soon(films.clone().oneshot(server.request()));

        // With its length, without any, and empty: told at the end, and by nobody's asking further.
        for text in ["all of it", ""] {
            server.answers(text.into());
            let read = soon(begin().await.expect("a head").into_body().collect()).await;
            assert_eq!(read.expect("a body").to_bytes(), text);
        }
        let (writer, body) = written();
        server.answers(body);
        let response = begin().await.expect("a head");
        writer.send(data("a frame")).await.expect("somebody reads");
        drop(writer);
        assert_eq!(
            soon(response.into_body().collect()).await.expect("a body").to_bytes(),
            "a frame"
        );
        assert_eq!(circuit.snapshot().successes, 3);

        let (writer, body) = written();
        server.answers(body);
        let mut response = begin().await.expect("a head");
        writer.send(data("a frame")).await.expect("somebody reads");
        assert!(soon(response.body_mut().frame()).await.expect("a frame").is_ok());
        drop(response);
        log.until(4, settled).await;
        let now = circuit.snapshot();
        assert_eq!((now.successes, now.failures), (3, 0));
        // The server is rid of it, too.
        soon(writer.closed()).await;
    }
}

/// A connection that ends before the length that the head announced.
#[tokio::test]
async fn a_body_that_is_shorter_than_announced_is_a_failure() {
    let (address, task, served) =
        raw(&["HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", "not a hundred bytes"]).await;
    let breaker = CircuitBreakerLayer::new(config()).expect("a valid config").hold_body();
    let slots =
        BulkheadLayer::new(BulkheadConfig::new("films", 1)).expect("a valid config").hold_body();
    let (circuit, bulkhead) = (breaker.circuit().clone(), slots.bulkhead().clone());
    let films = ServiceBuilder::new()
        .layer(slots)
        .layer(breaker)
        .layer(ErrorLayer::new())
        .service(client(false));
    let request = http::Request::get(format!("http://{address}/"));
    let request = request.body(http_body_util::Empty::new()).expect("a request");
    let response = soon(films.oneshot(request)).await.expect("a head");
    assert_eq!((bulkhead.in_flight(), circuit.snapshot().calls), (1, 0));
    assert!(soon(response.into_body().collect()).await.is_err());
    assert_eq!((bulkhead.in_flight(), circuit.snapshot().failures), (0, 1));
    assert_eq!(*served.lock().expect("whole"), 1);
    task.abort();
}

/// reqwest answers with a type of its own, which is an `http::Response` one line below the layer.
#[tokio::test]
async fn a_reqwest_client_holds_to_the_end_of_its_bodies() {
    let breaker = CircuitBreakerLayer::new(config()).expect("a valid config");
    let breaker = breaker
        .classify(|result: &Result<http::Response<reqwest::Body>, _>| match result {
            Ok(response) if response.status().is_server_error() => Outcome::Failure,
            other => DefaultClassifier.classify(other),
        })
        .hold_body();
    let circuit = breaker.circuit().clone();
    let server = Server::start(tower::layer::util::Identity::new()).await;
    let films = ServiceBuilder::new()
        .layer(breaker)
        .layer(ErrorLayer::new())
        .map_response(http::Response::<reqwest::Body>::from)
        .service(reqwest::Client::new());
    let url: reqwest::Url = format!("http://{}/", server.address).parse().expect("a URL");
    let begin =
        || soon(films.clone().oneshot(reqwest::Request::new(reqwest::Method::GET, url.clone())));

    server.answers("all of it".into());
    let read = soon(begin().await.expect("a head").into_body().collect()).await;
    assert_eq!(read.expect("a body").to_bytes(), "all of it");
    assert_eq!(circuit.snapshot().successes, 1);

    let (writer, body) = written();
    server.answers(body);
    let response = begin().await.expect("a head");
    writer.send(data("a frame")).await.expect("somebody reads");
    writer.send(Err(io::Error::other("the film tore"))).await.expect("somebody reads");
    assert!(soon(response.into_body().collect()).await.is_err());
    assert_eq!(circuit.snapshot().failures, 1);
}

/// gRPC has its status behind the body, over HTTP/2.
#[tokio::test]
async fn a_status_in_the_trailers_is_seen_by_whoever_judges_them() {
    let breaker = CircuitBreakerLayer::new(config()).expect("a valid config").hold_body();
    let breaker =
        breaker.classify_trailers(|trailers: &http::HeaderMap| match trailers.get("grpc-status") {
            Some(code) if code == "0" => Outcome::Success,
            _ => Outcome::Failure,
        });
    let circuit = breaker.circuit().clone();
    let server = Server::start(tower::layer::util::Identity::new()).await;
    let calls = ServiceBuilder::new().layer(breaker).layer(ErrorLayer::new()).service(client(true));
    for (status, successes, failures) in [("0", 1, 0), ("14", 1, 1), ("0", 2, 1)] {
        let (writer, body) = written();
        server.answers(body);
        let response = soon(calls.clone().oneshot(server.request())).await.expect("a head");
        writer.send(data("a message")).await.expect("somebody reads");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static(status));
        writer.send(Ok(http_body::Frame::trailers(trailers))).await.expect("somebody reads");
        let read = soon(response.into_body().collect()).await.expect("a body");
        assert_eq!(read.trailers().expect("trailers")["grpc-status"], status);
        assert_eq!(
            (circuit.snapshot().successes, circuit.snapshot().failures),
            (successes, failures)
        );
    }
}
