//! Under a retry: which calls have another attempt, and what becomes of the one before.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use http::{Request, Response, StatusCode};
use portcullis::{
    Backoff, BudgetConfig, Error, ErrorLayer, Event, Outcome, RetryConfig, RetryEnd, RetryLayer,
    http::{ReplayBody, ReplayBodyLayer, ReplayRequest, replay::ReplayBodyError},
};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{
    source::{Hand, Sent, Source, Step, data, drain, next, open, refusal, text, whole},
    support::{Caller, Told},
};

/// What a server does with an attempt.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Reads so many frames, answers with this status, and goes on with the upload.
    Early(usize, u16),
    /// Reads everything first.
    Late(u16),
    /// Answers without a look at the body, which is dropped.
    Drop(u16),
}

/// A server by script.
#[derive(Clone, Debug, Default)]
struct Server {
    sent: Arc<Mutex<Vec<Sent>>>,
    uploads: Arc<Mutex<Vec<ReplayBody<Source>>>>,
    told: Told,
}

impl Server {
    fn client(
        &self,
        script: impl IntoIterator<Item = Does>,
        config: RetryConfig,
        layer: ReplayBodyLayer,
    ) -> impl Service<Request<Source>, Response = Response<()>, Error = Error<Infallible>> {
        let script = Arc::new(Mutex::new(script.into_iter()));
        let this = self.clone();
        let server = service_fn(move |request: Request<ReplayBody<Source>>| {
            let does = script.lock().unwrap().next().expect("no more attempts than are scripted");
            let mut body = request.into_body();
            let status = match does {
                Does::Early(frames, status) => {
                    let data = (0..frames).flat_map(|_| next(&mut body)).collect();
                    this.sent.lock().unwrap().push(Sent { data, ..Sent::default() });
                    this.uploads.lock().unwrap().push(body);
                    status
                }
                Does::Late(status) => {
                    this.sent.lock().unwrap().push(drain(&mut body));
                    status
                }
                Does::Drop(status) => status,
            };
            let status = StatusCode::from_u16(status).unwrap();
            async move { Ok(Response::builder().status(status).body(()).unwrap()) }
        });
        let backoff = Backoff::constant(Duration::from_secs(1));
        let retry = RetryLayer::with(config.backoff(backoff), self.told.options()).unwrap();
        let retry = retry.replay_with(ReplayRequest::new()).classify(
            |result: &Result<Response<()>, Error<Infallible>>| match result {
                Ok(response) if response.status().is_server_error() => Outcome::Failure,
                _ => Outcome::Success,
            },
        );
        ServiceBuilder::new().layer(layer).layer(retry).layer(ErrorLayer::new()).service(server)
    }

    fn ends(&self) -> Vec<(u32, RetryEnd)> {
        let ends = self.told.take().into_iter().filter_map(|event| match event {
            Event::RetryEnded { attempts, end, .. } => Some((attempts, end)),
            _ => None,
        });
        ends.collect()
    }

    fn upload(&self) -> ReplayBody<Source> {
        self.uploads.lock().unwrap().remove(0)
    }
}

fn config() -> RetryConfig {
    RetryConfig::new("upload")
}

fn put(body: Source) -> Request<Source> {
    Request::put("/").body(body).unwrap()
}

async fn status<S>(client: S, request: Request<Source>) -> u16
where
    S: Service<Request<Source>, Response = Response<()>, Error = Error<Infallible>>,
{
    client.oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn an_early_refusal_moves_the_upload() {
    let server = Server::default();
    let client =
        server.client([Does::Early(1, 503), Does::Late(200)], config(), ReplayBodyLayer::new());
    let (source, hand) = whole([data("one "), data("two "), data("three")]);
    assert_eq!(status(client, put(source)).await, 200);
    assert_eq!(server.sent.lock().unwrap()[1], text("one two three"));
    assert_eq!(refusal(&mut server.upload()), ReplayBodyError::Detached);
    assert_eq!(hand.frames(), 3);
    assert_eq!(server.ends(), [(2, RetryEnd::Success)]);
}

/// The failed attempt could go over the cap while the next one waits. It is stopped before that.
#[tokio::test(start_paused = true)]
async fn the_upload_stops_when_the_wait_begins() {
    let server = Server::default();
    let client = server.client(
        [Does::Early(1, 503), Does::Late(200)],
        config(),
        ReplayBodyLayer::new().cap(5),
    );
    let (source, hand) = open([data("one")]);
    let mut call = Box::pin(status(client, put(source)));
    // The first attempt is over, and the wait has begun.
    assert!(Caller::new().poll(&mut call).is_pending());
    hand.push(data(" and much more"));
    hand.push(Step::End);
    let mut old = server.upload();
    assert_eq!(refusal(&mut old), ReplayBodyError::Detached);
    assert_eq!(call.await, 200);
    assert_eq!(server.sent.lock().unwrap()[1], text("one and much more"));
}

#[tokio::test(start_paused = true)]
async fn over_the_cap_the_answer_is_that_of_the_only_attempt() {
    for (script, rest) in [(Does::Late(503), None), (Does::Early(2, 503), Some("three"))] {
        let server = Server::default();
        let client = server.client([script], config(), ReplayBodyLayer::new().cap(7));
        let (source, _) = whole([data("one "), data("two "), data("three")]);
        assert_eq!(status(client, put(source)).await, 503);
        assert_eq!(server.ends(), [(1, RetryEnd::NotReplayable)]);
        // The server may yet want the rest.
        if let Some(rest) = rest {
            assert_eq!(drain(&mut server.upload()), text(rest));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_size_costs_no_second_head() {
    let server = Server::default();
    let client = server.client([Does::Drop(503)], config(), ReplayBodyLayer::new().cap(7));
    let mut request = put(whole([]).0.hinting(8, Some(8)));
    let clones = Clones::default();
    request.extensions_mut().insert(clones.clone());
    assert_eq!(status(client, request).await, 503);
    assert_eq!(server.ends(), [(1, RetryEnd::NotReplayable)]);
    assert_eq!(clones.count(), 1, "that of this test");
}

/// An extension that counts how often a head was cloned.
#[derive(Debug, Default)]
struct Clones(Arc<AtomicU32>);

impl Clone for Clones {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, SeqCst);
        Self(self.0.clone())
    }
}

impl Clones {
    fn count(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_is_not_made_again() {
    let server = Server::default();
    let script = [Does::Drop(503), Does::Drop(503), Does::Early(1, 503)];
    let client = server.client(script, config(), ReplayBodyLayer::new());
    let (source, _) = whole([data("one "), data("two")]);
    let mut request = put(source);
    let clones = Clones::default();
    request.extensions_mut().insert(clones.clone());
    assert_eq!(status(client, request).await, 503);
    assert_eq!(server.ends(), [(3, RetryEnd::AttemptsExhausted)]);
    assert_eq!(clones.count(), 1 + 2);
    // Nothing takes the body from the attempt whose answer was given.
    assert_eq!(drain(&mut server.upload()), text("two"));
}

#[tokio::test(start_paused = true)]
async fn what_else_ends_a_call_leaves_the_upload_alone() {
    // No token.
    let none = BudgetConfig::new(0.0001).per_second(0.0);
    for (config, end) in [
        (config().budget(none), RetryEnd::BudgetExhausted),
        (config().attempts(1), RetryEnd::AttemptsExhausted),
    ] {
        let server = Server::default();
        let client = server.client([Does::Early(1, 503)], config, ReplayBodyLayer::new());
        let (source, _) = whole([data("one "), data("two")]);
        assert_eq!(status(client, put(source)).await, 503);
        assert_eq!(server.ends(), [(1, end)]);
        assert_eq!(drain(&mut server.upload()), text("two"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_is_sent_once_and_with_a_key_again() {
    for (key, expected) in [(None, 503), (Some("8e03"), 200)] {
        let server = Server::default();
        let script = [Does::Late(503), Does::Late(200)];
        let client = server.client(script, config(), ReplayBodyLayer::new());
        let (source, _) = whole([data("pay")]);
        let mut request = Request::post("/").body(source).unwrap();
        if let Some(key) = key {
            request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        }
        assert_eq!(status(client, request).await, expected);
        let (attempts, end) = match key {
            None => (1, RetryEnd::NotReplayable),
            Some(_) => (2, RetryEnd::Success),
        };
        assert_eq!(server.ends(), [(attempts, end)]);
        assert_eq!(*server.sent.lock().unwrap(), vec![text("pay"); attempts as usize]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_ends_the_call() {
    let body: (Source, Hand) = whole([data("half"), Step::Fail]);
    let told = Told::default();
    let retry =
        RetryLayer::with(config(), told.options()).unwrap().replay_with(ReplayRequest::new());
    let calls = Arc::<AtomicU32>::default();
    let counter = calls.clone();
    let server = service_fn(move |request: Request<ReplayBody<Source>>| {
        counter.fetch_add(1, SeqCst);
        let mut body = request.into_body();
        next(&mut body);
        let Poll::Ready(Some(Err(error))) = crate::source::poll(&mut body) else { panic!("fails") };
        async move { Err::<(), BoxError>(error) }
    });
    let client = ServiceBuilder::new().layer(ReplayBodyLayer::new()).layer(retry).service(server);
    let error = client.oneshot(put(body.0)).await.unwrap_err();
    assert_eq!(error.to_string(), "the body fails");
    assert_eq!(calls.load(SeqCst), 1);
    let Some(Event::RetryEnded { attempts: 1, end: RetryEnd::NotReplayable, .. }) =
        told.take().pop()
    else {
        panic!("it ended as not replayable")
    };
}

/// Dropping the call ends it for good: nothing keeps the body but the upload that still runs.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_in_its_wait_keeps_nothing() {
    let server = Server::default();
    let client = server.client([Does::Early(1, 503)], config(), ReplayBodyLayer::new());
    let (source, hand) = whole([data("one "), data("two")]);
    let mut call = Box::pin(status(client, put(source)));
    assert!(Caller::new().poll(&mut call).is_pending());
    drop(call);
    assert_eq!(server.ends(), [(1, RetryEnd::Abandoned)]);
    let mut old = server.upload();
    assert_eq!(refusal(&mut old), ReplayBodyError::Detached);
    drop(old);
    assert!(hand.is_dropped());
}

/// A body that is not asked for by the first attempt is not read before the second.
#[tokio::test(start_paused = true)]
async fn attempts_that_do_not_look_at_the_body_leave_it_whole() {
    let server = Server::default();
    let script = [Does::Drop(503), Does::Early(0, 503), Does::Late(200)];
    let client = server.client(script, config(), ReplayBodyLayer::new());
    let (source, hand) = whole([data("one "), data("two")]);
    assert_eq!(status(client, put(source)).await, 200);
    assert_eq!(server.sent.lock().unwrap().last(), Some(&text("one two")));
    assert_eq!(hand.frames(), 2);
}

/// `Full<Bytes>` and the like need no layer for it.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_clone_is_replayed_without_a_layer() {
    type Plain = Request<http_body_util::Full<bytes::Bytes>>;
    let retry = RetryLayer::new(config()).unwrap().replay_with(ReplayRequest::new());
    let server = service_fn(|request: Plain| async move {
        match portcullis::retry::attempt() {
            Some(2) => {
                Ok(http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes())
            }
            _ => Err("down"),
        }
    });
    let client = ServiceBuilder::new().layer(retry).layer(ErrorLayer::new()).service(server);
    let answer = |method: &str| {
        let request = Plain::new("x".into());
        let (mut parts, body) = request.into_parts();
        parts.method = method.parse().unwrap();
        client.clone().oneshot(Request::from_parts(parts, body))
    };
    assert_eq!(answer("PUT").await.unwrap(), "x");
    assert_eq!(answer("POST").await, Err(Error::Inner("down")));
}

/// In the standard stack, where the timeout of an attempt cuts one that still uploads.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_a_timeout_cuts_gives_its_upload_to_the_next() {
    let uploads = Arc::<Mutex<Vec<ReplayBody<Source>>>>::default();
    let server = {
        let uploads = uploads.clone();
        service_fn(move |request: Request<ReplayBody<Source>>| {
            let hangs = portcullis::retry::attempt() == Some(1);
            let mut body = request.into_body();
            let sent = if hangs {
                next(&mut body);
                uploads.lock().unwrap().push(body);
                None
            } else {
                Some(drain(&mut body))
            };
            async move {
                match sent {
                    Some(sent) => Ok::<_, Infallible>(sent),
                    None => std::future::pending().await,
                }
            }
        })
    };
    let client = portcullis::stack::client("upload").build().unwrap();
    let client = client.map_retry(|retry| retry.replay_with(ReplayRequest::new()));
    let mut service =
        ServiceBuilder::new().layer(ReplayBodyLayer::new()).layer(client).service(server);
    let (source, hand) = whole([data("one "), data("two")]);
    let sent = service.ready().await.unwrap().call(put(source)).await.unwrap();
    assert_eq!(sent, text("one two"));
    assert_eq!(hand.frames(), 2);
    let mut old = uploads.lock().unwrap().remove(0);
    assert_eq!(refusal(&mut old), ReplayBodyError::Detached);
}
