//! reqwest's client below a retry and a breaker that judge HTTP.

mod scripted;

use std::time::Duration;

use portcullis::{
    Error, ErrorLayer, Hints, Reason, RetryConfig, RetryEnd, State, http::HttpClassifier, stack,
};
use reqwest::{Client, Method, Request, Response};
use scripted::{Server, assert_shareable, breaker, nobody, retry, status};
use tower::{Service, ServiceBuilder, ServiceExt};

type Failed = Error<reqwest::Error>;

fn client() -> Client {
    Client::builder().no_proxy().build().expect("a client")
}

async fn call<S>(service: &S, uri: &str) -> Result<Response, Failed>
where
    S: Service<Request, Response = Response, Error = Failed> + Clone,
{
    let request = Request::new(Method::GET, uri.parse().expect("an address"));
    service.clone().oneshot(request).await
}

#[tokio::test(start_paused = true)]
async fn a_retry_comes_back_when_the_service_says() {
    let server = Server::start(|request| match request {
        1 => status(429, &[("retry-after", "4")]),
        _ => status(200, &[]),
    })
    .await;
    let (layer, told) = retry(RetryConfig::new("api").hints(Hints::http()));
    let client = ServiceBuilder::new()
        .layer(layer.classify_with(HttpClassifier::retry()).replay(Request::try_clone))
        .layer(ErrorLayer::new())
        .service(client());
    let answer = call(&client, &server.uri()).await.expect("the second attempt succeeds");
    assert_eq!(answer.status(), 200);
    let [delay] = told.delays()[..] else { panic!("one further attempt") };
    assert!((4_000..=4_400).contains(&delay.as_millis()), "{delay:?}");
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn a_breaker_opens_for_as_long_as_the_service_asks() {
    let server = Server::start(|_| status(503, &[("retry-after", "30")])).await;
    let (breaker, told) = breaker();
    let client = ServiceBuilder::new()
        .layer(breaker.classify_with(HttpClassifier::breaker()))
        .layer(ErrorLayer::new())
        .service(client());
    for _ in 0..3 {
        assert_eq!(call(&client, &server.uri()).await.expect("a response").status(), 503);
    }
    assert_eq!(told.sleeps(), [Duration::from_secs(30)]);
    let refused = call(&client, &server.uri()).await;
    assert!(
        matches!(&refused, Err(Error::Rejected(refusal)) if refusal.reason() == Reason::CircuitOpen),
        "{refused:?}"
    );
    assert_eq!(server.count(), 3, "a refused call does not arrive");
}

#[tokio::test]
async fn not_found_is_no_failure_and_a_refused_connection_is_one() {
    let server = Server::start(|_| status(404, &[])).await;
    let (breaker, _) = breaker();
    let circuit = breaker.circuit().clone();
    let client = ServiceBuilder::new()
        .layer(breaker.classify_with(HttpClassifier::breaker()))
        .layer(ErrorLayer::new())
        .service(client());
    for _ in 0..4 {
        assert_eq!(call(&client, &server.uri()).await.expect("a response").status(), 404);
    }
    assert_eq!((circuit.state(), circuit.snapshot().failures), (State::Closed, 0));
    let nowhere = format!("http://{}/", nobody().await);
    for _ in 0..3 {
        match call(&client, &nowhere).await {
            Err(Error::Inner(error)) => assert!(error.is_connect(), "{error:?}"),
            other => panic!("nobody listens: {other:?}"),
        }
    }
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_standard_stack_becomes_one_for_http() {
    let server = Server::start(|request| match request {
        1 => status(502, &[]),
        2 => status(200, &[]),
        _ => status(500, &[]),
    })
    .await;
    let (layer, told) = retry(RetryConfig::new("api"));
    let layers = stack::client("api").build().expect("valid numbers");
    let layers = layers
        .without_total_timeout()
        .without_attempt_timeout()
        .with_retry(layer.replay(Request::try_clone))
        .http();
    let client = ServiceBuilder::new().layer(layers).service(client());
    assert_shareable::<_, Request>(&client);
    assert_eq!(call(&client, &server.uri()).await.expect("an answer").status(), 200);
    assert_eq!(call(&client, &server.uri()).await.expect("an answer").status(), 500);
    assert_eq!(server.count(), 3);
    assert_eq!(told.ends(), [(2, RetryEnd::Success), (1, RetryEnd::Success)]);
}

/// What a client tries again by itself happens inside an attempt of ours, which sees none of it.
#[tokio::test(start_paused = true)]
async fn retries_of_its_own_multiply_ours_unless_it_is_told_never() {
    let three = reqwest::retry::for_host("127.0.0.1").no_budget().max_retries_per_request(2);
    let three = three.classify_fn(|answer| match answer.status() {
        Some(status) if status.is_server_error() => answer.retryable(),
        _ => answer.success(),
    });
    for (own, arrive) in [(three, 9), (reqwest::retry::never(), 3)] {
        let server = Server::start(|_| status(503, &[])).await;
        let (layer, told) = retry(RetryConfig::new("api").attempts(3));
        let client = Client::builder().no_proxy().retry(own).build().expect("a client");
        let client = ServiceBuilder::new()
            .layer(layer.classify_with(HttpClassifier::retry()).replay(Request::try_clone))
            .layer(ErrorLayer::new())
            .service(client);
        assert_eq!(call(&client, &server.uri()).await.expect("a response").status(), 503);
        assert_eq!(told.ends(), [(3, RetryEnd::AttemptsExhausted)]);
        assert_eq!(server.count(), arrive);
    }
}
