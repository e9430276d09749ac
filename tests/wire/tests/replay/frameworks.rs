//! Services that take one type of body: reqwest, tonic, axum.

use std::{
    convert::Infallible,
    future::Future,
    net::Ipv4Addr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use axum::{Router, routing::put};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, channel::Channel};
use portcullis::{
    BoxError, Classify, DefaultClassifier, Error, ErrorLayer, Outcome, RetryEnd,
    grpc::AttemptLayer,
    http::{ReplayBody, ReplayBodyLayer, ReplayRequest},
};
use tokio::net::TcpListener;
use tonic::{
    Code, Status,
    server::NamedService,
    transport::{Endpoint, server::TcpIncoming},
};
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::{
    assert_whole, retry,
    server::{Does, Http, Server, bounded, status},
};

fn client() -> reqwest::Client {
    // Its own retries would multiply attempts.
    let client = reqwest::Client::builder().no_proxy().retry(reqwest::retry::never());
    client.build().expect("a plain client")
}

fn by_status(answer: &Result<reqwest::Response, Error<reqwest::Error>>) -> Outcome {
    match answer {
        Ok(response) if response.status().is_server_error() => Outcome::Failure,
        other => DefaultClassifier.classify(other),
    }
}

/// reqwest's own requests need no layer: bytes are cloned, a stream is sent once.
#[tokio::test]
async fn requests_of_reqwest_are_replayed_by_the_same_rule() {
    bounded(async {
        let script = [503, 200, 503, 503, 200, 503].map(Does::Answers);
        let server = Server::start(Http::One, script).await;
        let retry = retry().replay_with(ReplayRequest::new()).classify(by_status);
        let policy = retry.policy().clone();
        let mut service =
            ServiceBuilder::new().layer(retry).layer(ErrorLayer::new()).service(client());
        let ask = |method: reqwest::Method| {
            let request = client().request(method, server.uri()).header("x-id", "7");
            request.body("order")
        };
        let mut send = async |request: reqwest::RequestBuilder| {
            let request = request.build().expect("a request");
            service.ready().await.unwrap().call(request).await.expect("an answer").status()
        };
        assert_eq!(send(ask(reqwest::Method::PUT)).await, status(200));
        assert_eq!(send(ask(reqwest::Method::POST)).await, status(503));
        assert_eq!(
            send(ask(reqwest::Method::POST).header("idempotency-key", "8e03")).await,
            status(200)
        );
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
        sender.send_data(Bytes::from_static(b"order")).await.expect("room");
        drop(sender);
        assert_eq!(
            send(ask(reqwest::Method::PUT).body(reqwest::Body::wrap(body))).await,
            status(503)
        );
        let seen = server.seen();
        assert_eq!(seen.len(), 6);
        for seen in &seen {
            assert_whole(seen, b"order");
            assert_eq!(seen.header("x-id"), Some("7"));
        }
        let ends = policy.snapshot().ends;
        assert_eq!((ends.of(RetryEnd::NotReplayable), ends.of(RetryEnd::Success)), (2, 2));
    })
    .await;
}

/// A stream is, by way of `http::Request`.
#[tokio::test]
async fn streams_through_reqwest_are_replayed_by_a_body_that_replays() {
    bounded(async {
        let server =
            Server::start(Http::One, [Does::AnswersEarly(4, 503), Does::Answers(200)]).await;
        let retry = retry().replay_with(ReplayRequest::new()).classify(by_status);
        let service = ServiceBuilder::new()
            .layer(ReplayBodyLayer::new())
            .layer(retry)
            .layer(ErrorLayer::new())
            .map_request(|request: Request<ReplayBody<Channel<Bytes, BoxError>>>| {
                reqwest::Request::try_from(request.map(reqwest::Body::wrap))
                    .expect("an absolute URI")
            })
            .service(client());
        let (mut sender, body) = Channel::new(1);
        let send = service.oneshot(Request::put(server.uri()).body(body).expect("a request"));
        let feed = async {
            sender.send_data(Bytes::from_static(b"one ")).await.expect("a reader");
            server.until(|seen| seen.len() == 2 && seen[1].data == b"one ").await;
            sender.send_data(Bytes::from_static(b"two")).await.expect("a reader");
            drop(sender);
        };
        let (response, ()) = tokio::join!(send, feed);
        assert_eq!(response.expect("an answer").status(), status(200));
        let seen = server.until(|seen| seen[0].complete.is_some()).await;
        assert_eq!((&seen[0].data[..], seen[0].complete), (&b"one "[..], Some(false)));
        assert_whole(&seen[1], b"one two");
    })
    .await;
}

/// A gRPC service that answers its first call before it has read the request, and notes what it got.
#[derive(Clone, Debug, Default)]
struct ByHand(Arc<Mutex<Vec<(HeaderMap, Bytes)>>>);

impl NamedService for ByHand {
    const NAME: &'static str = "by.Hand";
}

impl Service<Request<tonic::body::Body>> for ByHand {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let calls = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let nth = calls.lock().expect("whole").len() + 1;
            let reads = nth > 1;
            let data =
                if reads { body.collect().await.expect("a body").to_bytes() } else { Bytes::new() };
            calls.lock().expect("whole").push((head.headers, data));
            let code = if reads { Code::Ok } else { Code::Unavailable };
            Ok(Status::new(code, "by hand").into_http())
        })
    }
}

/// Every call of gRPC is a `POST`; its code says whether to try again.
#[tokio::test]
async fn a_tonic_channel_replays_by_code() {
    bounded(async {
        let by_hand = ByHand::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound port");
        let server = tonic::transport::Server::builder().add_service(by_hand.clone());
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an endpoint");

        let retry = retry().replay_with(ReplayRequest::grpc()).classify(
            |answer: &Result<http::Response<tonic::body::Body>, Error<tonic::transport::Error>>| {
                let code = answer
                    .as_ref()
                    .ok()
                    .and_then(|response| Some(Status::from_header_map(response.headers())?.code()));
                if code == Some(Code::Unavailable) {
                    Outcome::Failure
                } else {
                    DefaultClassifier.classify(answer)
                }
            },
        );
        let service = ServiceBuilder::new()
            .layer(ReplayBodyLayer::new())
            .layer(retry)
            .layer(AttemptLayer::new())
            .layer(ErrorLayer::new())
            .map_request(|request: Request<ReplayBody<tonic::body::Body>>| {
                request.map(tonic::body::Body::new)
            })
            .service(channel.connect_lazy());
        let message = tonic::body::Body::new(Full::from("\0\0\0\0\x05hello"));
        let request = Request::post(format!("http://{address}/by.Hand/Call"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(message)
            .expect("a request");
        let response = service.oneshot(request).await.expect("an answer");
        assert_eq!(Status::from_header_map(response.headers()).expect("a status").code(), Code::Ok);
        let calls = by_hand.0.lock().expect("whole");
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[1].1, "\0\0\0\0\x05hello");
        let previous = |nth: usize| calls[nth].0.get("grpc-previous-rpc-attempts").cloned();
        assert_eq!((previous(0), previous(1)), (None, Some("1".parse().expect("a value"))));
    })
    .await;
}

/// What stands in front of a router, such as a gateway's own handlers.
#[tokio::test]
async fn an_axum_router_takes_a_body_that_replays() {
    let handler = |body: String| async move {
        match portcullis::retry::attempt() {
            Some(1) => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
            attempt => (StatusCode::OK, format!("{body} at {attempt:?}")),
        }
    };
    let retry = retry().replay_with(ReplayRequest::new()).classify(
        |answer: &Result<axum::response::Response, Error<Infallible>>| match answer {
            Ok(response) if response.status().is_server_error() => Outcome::Failure,
            _ => Outcome::Success,
        },
    );
    let service = ServiceBuilder::new()
        .layer(ReplayBodyLayer::new())
        .layer(retry)
        .layer(ErrorLayer::new())
        .map_request(|request: Request<ReplayBody<Full<Bytes>>>| request.map(axum::body::Body::new))
        .service(Router::new().route("/", put(handler)));
    let request = Request::put("/").body(Full::from("order")).expect("a request");
    let response = service.oneshot(request).await.expect("an answer");
    let answer = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(answer, "order at Some(2)");
}
