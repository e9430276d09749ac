//! hyper's client below a retry and a breaker that judge HTTP.

mod scripted;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error as HyperError, connect::HttpConnector},
    rt::TokioExecutor,
};
use portcullis::{
    Backoff, Error, ErrorLayer, HintMode, Hints, Jitter, Outcome, Reason, RetryConfig, RetryEnd,
    State, http::HttpClassifier, stack,
};
use scripted::{Server, assert_shareable, breaker, nobody, retry, status};
use tower::{Service, ServiceBuilder, ServiceExt};

type Hyper = Client<HttpConnector, Full<Bytes>>;
type Failed = Error<HyperError>;

fn hyper() -> Hyper {
    Client::builder(TokioExecutor::new()).build_http()
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).expect("a valid request")
}

/// One call, as a task of the application would make it.
async fn call<S>(service: &S, uri: &str) -> Result<http::Response<Incoming>, Failed>
where
    S: Service<Request<Full<Bytes>>, Response = http::Response<Incoming>, Error = Failed> + Clone,
{
    service.clone().oneshot(get(uri)).await
}

/// The real server's answers, the paused clock's waits: what is waited for is what the event says.
#[tokio::test(start_paused = true)]
async fn a_retry_comes_back_when_the_service_says() {
    let server = Server::start(|request| match request {
        1 => status(503, &[("retry-after", "3")]),
        2 => status(429, &[("retry-after", "7")]),
        _ => status(200, &[]),
    })
    .await;
    let (layer, told) = retry(RetryConfig::new("api").hints(Hints::http()));
    let client = ServiceBuilder::new()
        .layer(layer.classify_with(HttpClassifier::retry()))
        .layer(ErrorLayer::new())
        .service(hyper());
    let answer = call(&client, &server.uri()).await.expect("the third attempt succeeds");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(server.count(), 3);
    let delays = told.delays();
    assert_eq!(delays.len(), 2);
    for (delay, asked) in delays.iter().zip([3, 7].map(Duration::from_secs)) {
        assert!((asked..=asked + asked / 10).contains(delay), "{delay:?} for {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_date_in_retry_after_is_understood() {
    let server = Server::start(|request| match request {
        1 => status(503, &[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")]),
        2 => status(503, &[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")]),
        _ => status(200, &[]),
    })
    .await;
    let hints = Hints::default().mode(HintMode::Capped);
    let backoff = Backoff::constant(Duration::from_millis(70)).jitter(Jitter::None);
    let (layer, told) = retry(RetryConfig::new("api").hints(hints).backoff(backoff));
    let client = ServiceBuilder::new()
        .layer(layer.classify_with(HttpClassifier::retry()))
        .layer(ErrorLayer::new())
        .service(hyper());
    call(&client, &server.uri()).await.expect("the third attempt succeeds");
    // One that has passed forbids nothing, and the back-off stands.
    assert_eq!(told.delays(), [Duration::from_secs(60), Duration::from_millis(70)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_far_ahead_ends_the_call() {
    let server = Server::start(|_| status(503, &[("retry-after", "86400")])).await;
    let (layer, told) = retry(RetryConfig::new("api").hints(Hints::http()));
    let client = ServiceBuilder::new()
        .layer(layer.classify_with(HttpClassifier::retry()))
        .layer(ErrorLayer::new())
        .service(hyper());
    let answer = call(&client, &server.uri()).await.expect("the response is passed on");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(told.ends(), [(1, RetryEnd::HintTooLong)]);
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn what_the_request_is_at_fault_for_is_neither_tried_again_nor_held_against_the_service() {
    let server = Server::start(|_| status(404, &[("retry-after", "1")])).await;
    let (retry, told) = retry(RetryConfig::new("api"));
    let (breaker, _) = breaker();
    let circuit = breaker.circuit().clone();
    let client = ServiceBuilder::new()
        .layer(retry.classify_with(HttpClassifier::retry()))
        .layer(breaker.classify_with(HttpClassifier::breaker()))
        .layer(ErrorLayer::new())
        .service(hyper());
    for _ in 0..5 {
        let answer = call(&client, &server.uri()).await.expect("the response is passed on");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(server.count(), 5);
    assert_eq!(told.delays(), []);
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.state, snapshot.successes, snapshot.failures), (State::Closed, 5, 0));
}

#[tokio::test]
async fn a_breaker_opens_for_as_long_as_the_service_asks() {
    let server = Server::start(|_| status(500, &[("retry-after", "30")])).await;
    let (breaker, told) = breaker();
    let client = ServiceBuilder::new()
        .layer(breaker.classify_with(HttpClassifier::breaker()))
        .layer(ErrorLayer::new())
        .service(hyper());
    for _ in 0..3 {
        let answer = call(&client, &server.uri()).await.expect("the response is passed on");
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(told.sleeps(), [Duration::from_secs(30)]);
    match call(&client, &server.uri()).await {
        Err(Error::Rejected(refusal)) => {
            assert_eq!(refusal.reason(), Reason::CircuitOpen);
            let after = refusal.retry_after().expect("the wait is known");
            assert!(after > Duration::from_secs(1), "not the breaker's own second: {after:?}");
        }
        other => panic!("the circuit is open: {other:?}"),
    }
    assert_eq!(server.count(), 3, "a refused call does not arrive");
}

#[tokio::test]
async fn a_refused_connection_is_a_failure_of_the_service() {
    let uri = format!("http://{}/", nobody().await);
    let (breaker, _) = breaker();
    let circuit = breaker.circuit().clone();
    let client = ServiceBuilder::new()
        .layer(breaker.classify_with(HttpClassifier::breaker()))
        .layer(ErrorLayer::new())
        .service(hyper());
    for _ in 0..3 {
        match call(&client, &uri).await {
            Err(Error::Inner(error)) => assert!(error.is_connect(), "{error:?}"),
            other => panic!("nobody listens: {other:?}"),
        }
    }
    assert_eq!(circuit.state(), State::Open);
}

/// Retry and breaker in their usual order, put there by one call.
#[tokio::test(start_paused = true)]
async fn a_standard_stack_becomes_one_for_http() {
    let server = Server::start(|request| match request {
        1 => status(503, &[("retry-after", "2")]),
        _ => status(if request % 2 == 0 { 200 } else { 500 }, &[]),
    })
    .await;
    let (layer, told) = retry(RetryConfig::new("api"));
    // The clock is paused while real sockets are read: nothing here is to be cut by a timer.
    let layers = stack::client("api").build().expect("valid numbers");
    let layers = layers.without_total_timeout().without_attempt_timeout().with_retry(layer).http();
    assert_eq!(layers.retry().policy().config().hints, Hints::http());
    let circuit = layers.circuit_breaker().circuit().clone();
    let client = ServiceBuilder::new().layer(layers).service(hyper());
    assert_shareable::<_, Request<Full<Bytes>>>(&client);
    assert_eq!(call(&client, &server.uri()).await.expect("an answer").status(), 200);
    // Not tried again, and yet a failure of the service.
    assert_eq!(call(&client, &server.uri()).await.expect("an answer").status(), 500);
    assert_eq!(server.count(), 3);
    let [delay] = told.delays()[..] else { panic!("one further attempt") };
    assert!((2_000..=2_200).contains(&delay.as_millis()), "{delay:?}");
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.failures, snapshot.successes), (2, 1));
}

/// A response that a layer of this process gave in the service's place.
#[tokio::test]
async fn our_own_refusals_are_not_the_services_failures() {
    let server = Server::start(|_| status(200, &[])).await;
    let refusal = portcullis::Rejection::new(Reason::BulkheadFull, "inside");
    let (retry, told) = retry(RetryConfig::new("api"));
    let (breaker, _) = breaker();
    let circuit = breaker.circuit().clone();
    let client = ServiceBuilder::new()
        .layer(retry.classify_with(HttpClassifier::retry()))
        .layer(breaker.classify_with(HttpClassifier::breaker()))
        .layer(ErrorLayer::new())
        .map_response(move |mut response: http::Response<Incoming>| {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response.extensions_mut().insert(refusal);
            response
        })
        .service(hyper());
    for _ in 0..5 {
        let answer = call(&client, &server.uri()).await.expect("the response is passed on");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(told.ends(), [(1, RetryEnd::NotRetryable); 5]);
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.state, snapshot.calls), (State::Closed, 0));
    assert_eq!(server.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn statuses_are_judged_otherwise_where_the_user_says_so() {
    let server = Server::start(|request| status(if request < 3 { 500 } else { 200 }, &[])).await;
    let (layer, told) = retry(RetryConfig::new("api"));
    let judged = HttpClassifier::retry().status(|status| match status {
        StatusCode::INTERNAL_SERVER_ERROR => Some(Outcome::Failure),
        _ => None,
    });
    let client = ServiceBuilder::new()
        .layer(layer.classify_with(judged))
        .layer(ErrorLayer::new())
        .service(hyper());
    let answer = call(&client, &server.uri()).await.expect("the third attempt succeeds");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!((server.count(), told.delays().len()), (3, 2));
}
