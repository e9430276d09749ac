//! Retried uploads between real clients and a real server: what the server saw of every attempt.

#[path = "replay/frameworks.rs"]
mod frameworks;
#[path = "replay/server.rs"]
mod server;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, channel::Channel, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, Client},
    rt::TokioExecutor,
};
use portcullis::{
    Backoff, BoxError, Classify, DefaultClassifier, Error, ErrorLayer, Outcome, RetryConfig,
    RetryEnd, RetryLayer, RetryPolicy,
    http::{ReplayBodyLayer, ReplayRequest},
};
use tower::{Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};

use crate::server::{Does, Http, Seen, Server, bounded, status};

type Upload = BoxBody<Bytes, BoxError>;
type Failed = Error<legacy::Error>;

/// A retry that does not wait long, and tries again after 503 and errors.
pub(crate) fn retry() -> RetryLayer {
    let backoff = Backoff::constant(std::time::Duration::from_millis(1));
    RetryLayer::new(RetryConfig::new("upload").backoff(backoff)).expect("a valid config")
}

/// A hyper client with a retry, and the retry's handle.
struct Uploads {
    client: BoxCloneSyncService<Request<Upload>, Response<Incoming>, Failed>,
    policy: RetryPolicy,
}

impl Uploads {
    fn to(server: &Server) -> Self {
        Self::with_cap(server, ReplayBodyLayer::new())
    }

    fn with_cap(server: &Server, bodies: ReplayBodyLayer) -> Self {
        let retry = retry().replay_with(ReplayRequest::new()).classify(
            |answer: &Result<Response<Incoming>, Failed>| match answer {
                Ok(response) if response.status().is_server_error() => Outcome::Failure,
                other => DefaultClassifier.classify(other),
            },
        );
        let policy = retry.policy().clone();
        let client =
            Client::builder(TokioExecutor::new()).http2_only(server.http == Http::Two).build_http();
        let client = ServiceBuilder::new()
            .layer(bodies)
            .layer(retry)
            .layer(ErrorLayer::new())
            .service(client);
        Self { client: BoxCloneSyncService::new(client), policy }
    }

    async fn send(&self, request: Request<Upload>) -> Result<Response<Incoming>, Failed> {
        self.client.clone().ready().await?.call(request).await
    }

    /// How the only call has ended.
    fn end(&self) -> RetryEnd {
        let ends = self.policy.snapshot().ends;
        assert_eq!(ends.total(), 1);
        ends.iter().find(|(_, calls)| *calls == 1).expect("one of them").0
    }
}

fn boxed<B>(body: B) -> Upload
where
    B: Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed()
}

fn request(server: &Server, method: &str, body: Upload) -> Request<Upload> {
    let request = Request::builder().method(method).uri(server.uri());
    request.body(body).expect("a request")
}

async fn text(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.expect("an answer").to_bytes()
}

#[track_caller]
fn assert_whole(seen: &Seen, data: &[u8]) {
    assert_eq!(seen.complete, Some(true));
    assert!(seen.data == data, "{} of {} bytes", seen.data.len(), data.len());
}

/// The server refuses while the upload runs: the next attempt gets what was sent, and the rest once.
#[tokio::test]
async fn an_early_refusal_moves_the_upload_to_the_next_attempt() {
    for http in [Http::One, Http::Two] {
        bounded(async {
            let server =
                Server::start(http, [Does::AnswersEarly(4, 503), Does::Answers(200)]).await;
            let uploads = Uploads::to(&server);
            let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
            let send = uploads.send(request(&server, "PUT", boxed(body)));
            let feed = async {
                sender.send_data(Bytes::from_static(b"one ")).await.expect("a reader");
                // The second attempt replays before there is any more.
                server.until(|seen| seen.len() == 2 && seen[1].data == b"one ").await;
                sender.send_data(Bytes::from_static(b"two ")).await.expect("a reader");
                sender.send_data(Bytes::from_static(b"three")).await.expect("a reader");
                drop(sender);
            };
            let (response, ()) = tokio::join!(send, feed);
            assert_eq!(response.expect("an answer").status(), status(200), "{http:?}");
            let seen = server.until(|seen| seen[0].complete.is_some()).await;
            assert_eq!(
                (&seen[0].data[..], seen[0].complete),
                (&b"one "[..], Some(false)),
                "{http:?}"
            );
            assert_whole(&seen[1], b"one two three");
            assert_eq!((seen.len(), uploads.end()), (2, RetryEnd::Success));
        })
        .await;
    }
}

/// Nothing has come in when the first attempt fails.
#[tokio::test]
async fn a_body_that_comes_late_is_sent_once() {
    for http in [Http::One, Http::Two] {
        bounded(async {
            let server = Server::start(http, [Does::Resets(0), Does::Answers(200)]).await;
            let uploads = Uploads::to(&server);
            let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
            let send = uploads.send(request(&server, "PUT", boxed(body)));
            let feed = async {
                server.until(|seen| seen.len() == 2).await;
                sender.send_data(Bytes::from_static(b"late")).await.expect("a reader");
                drop(sender);
            };
            let (response, ()) = tokio::join!(send, feed);
            assert_eq!(response.expect("an answer").status(), status(200), "{http:?}");
            assert_whole(&server.seen()[1], b"late");
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_costs_no_byte() {
    let data: Vec<u8> = (0..60_000_u32).map(|at| at as u8).collect();
    for http in [Http::One, Http::Two] {
        bounded(async {
            let script = [Does::Resets(1), Does::Resets(30_000), Does::Answers(200)];
            let server = Server::start(http, script).await;
            let uploads = Uploads::to(&server);
            let body = boxed(Full::from(data.clone()));
            let mut put = request(&server, "PUT", body);
            put.headers_mut().insert("expect", HeaderValue::from_static("100-continue"));
            let response = uploads.send(put).await.expect("an answer");
            assert_eq!(text(response).await, "answer 3");
            let seen = server.seen();
            for seen in &seen {
                assert_eq!(seen.header("content-length"), Some("60000"), "{http:?}");
                assert_eq!(seen.header("transfer-encoding"), None);
                assert_eq!(seen.header("expect"), Some("100-continue"));
                assert!(data.starts_with(&seen.data));
            }
            assert_whole(&seen[2], &data);
        })
        .await;
    }
}

/// What does not know its size has none on the wire, at any attempt; trailers come last in each.
#[tokio::test]
async fn trailers_are_sent_with_every_attempt() {
    for http in [Http::One, Http::Two] {
        bounded(async {
            let server = Server::start(http, [Does::Answers(503), Does::Answers(200)]).await;
            let uploads = Uploads::to(&server);
            let (mut sender, body) = Channel::<Bytes, BoxError>::new(4);
            let mut put = request(&server, "PUT", boxed(body));
            put.headers_mut().insert("trailer", HeaderValue::from_static("x-checksum"));
            let checksum = HeaderMap::from_iter([(
                http::HeaderName::from_static("x-checksum"),
                HeaderValue::from_static("42"),
            )]);
            let feed = async {
                sender.send_data(Bytes::from_static(b"one ")).await.expect("a reader");
                sender.send_data(Bytes::from_static(b"two")).await.expect("a reader");
                sender.send_trailers(checksum.clone()).await.expect("a reader");
                drop(sender);
            };
            let (response, ()) = tokio::join!(uploads.send(put), feed);
            assert_eq!(response.expect("an answer").status(), status(200), "{http:?}");
            let seen = server.seen();
            assert_eq!(seen.len(), 2);
            for seen in &seen {
                assert_whole(seen, b"one two");
                assert_eq!(seen.trailers.as_ref(), Some(&checksum), "{http:?}");
                assert_eq!(seen.header("content-length"), None);
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_post_is_sent_once_and_with_a_key_twice() {
    for http in [Http::One, Http::Two] {
        bounded(async {
            let script = [Does::Answers(503), Does::Answers(503), Does::Answers(200)];
            let server = Server::start(http, script).await;
            let uploads = Uploads::to(&server);
            let post = || request(&server, "POST", boxed(Full::from("pay")));
            let response = uploads.send(post()).await.expect("an answer");
            assert_eq!((response.status(), uploads.end()), (status(503), RetryEnd::NotReplayable));
            assert_eq!(text(response).await, "answer 1", "the server's own, unchanged");
            assert_eq!(server.seen().len(), 1);
            let mut with_key = post();
            with_key.headers_mut().insert("idempotency-key", HeaderValue::from_static("8e03"));
            let response = uploads.send(with_key).await.expect("an answer");
            assert_eq!(text(response).await, "answer 3");
            let seen = server.seen();
            seen.iter().for_each(|seen| assert_whole(seen, b"pay"));
            let keys = seen.iter().map(|seen| seen.header("idempotency-key"));
            assert_eq!(keys.collect::<Vec<_>>(), [None, Some("8e03"), Some("8e03")]);
            assert_eq!(seen[2].method, "POST");
        })
        .await;
    }
}

/// Over the cap there is one attempt, whole, and its answer or its error is the call's.
#[tokio::test]
async fn over_the_cap_a_body_is_sent_once() {
    let data: Vec<u8> = (0..200_000_u32).map(|at| at as u8).collect();
    let frames = || {
        let frames = data.chunks(10_000).map(Bytes::copy_from_slice).map(http_body::Frame::data);
        let frames = frames.map(Ok::<_, BoxError>).collect::<Vec<_>>();
        boxed(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))
    };
    for http in [Http::One, Http::Two] {
        for known in [false, true] {
            let body = || if known { boxed(Full::from(data.clone())) } else { frames() };
            bounded(async {
                let server = Server::start(http, [Does::Answers(503)]).await;
                let uploads = Uploads::to(&server);
                let response =
                    uploads.send(request(&server, "PUT", body())).await.expect("an answer");
                assert_eq!(response.headers()["x-attempt"], "1");
                assert_eq!(
                    (response.status(), uploads.end()),
                    (status(503), RetryEnd::NotReplayable)
                );
                assert_eq!(text(response).await, "answer 1");
                assert_eq!(server.seen().len(), 1);
                assert_whole(&server.seen()[0], &data);

                let server = Server::start(http, [Does::Resets(150_000)]).await;
                let uploads = Uploads::to(&server);
                let error = uploads.send(request(&server, "PUT", body())).await.expect_err("reset");
                assert!(matches!(error, Error::Inner(_)), "the client's own: {error:?}");
                assert_eq!((server.seen().len(), uploads.end()), (1, RetryEnd::NotReplayable));

                // The same within a greater cap.
                let server = Server::start(http, [Does::Resets(150_000), Does::Answers(200)]).await;
                let uploads = Uploads::with_cap(&server, ReplayBodyLayer::new().cap(200_000));
                let response =
                    uploads.send(request(&server, "PUT", body())).await.expect("an answer");
                assert_eq!(response.status(), status(200));
                assert_whole(&server.seen()[1], &data);
            })
            .await;
        }
    }
}

/// A refusal that is the call's answer does not stop its upload: the server may want the rest.
#[tokio::test]
async fn an_early_answer_that_is_the_last_lets_the_upload_finish() {
    for http in [Http::One, Http::Two] {
        bounded(async {
            let server = Server::start(http, [Does::AnswersEarly(4, 503)]).await;
            let uploads = Uploads::to(&server);
            let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
            let send = uploads.send(request(&server, "POST", boxed(body)));
            let feed = async { sender.send_data(Bytes::from_static(b"one ")).await };
            let (response, sent) = tokio::join!(send, feed);
            sent.expect("a reader");
            let response = response.expect("an answer");
            assert_eq!(response.status(), status(503));
            sender.send_data(Bytes::from_static(b"two")).await.expect("a reader");
            drop(sender);
            let seen = server.until(|seen| seen[0].complete.is_some()).await;
            assert_whole(&seen[0], b"one two");
            drop(response);
        })
        .await;
    }
}
