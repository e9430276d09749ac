//! Deadlines on the wire, in virtual time: what a server believes, what it makes of it, and what a client
//! tells. The units of `grpc-timeout` are in `wire_deadline/grpc.rs`, what a client tells in
//! `wire_deadline/forward.rs`. Over real connections: `tests/wire/tests/deadline.rs`.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

#[path = "wire_deadline/forward.rs"]
mod forward;
#[path = "wire_deadline/grpc.rs"]
mod grpc;
mod support;

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, request::Parts};
use portcullis::{
    Circuit, CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer, Event, PolicyKind,
    Reason, Rejection, TimeoutConfig, TimeoutLayer, clock, deadline,
    http::{
        deadline::{Deadline, DeadlineConfig, DeadlineHeader, DeadlineLayer, TrustedPeers},
        key::PeerAddr,
    },
};
use support::{Caller, Told};
use tokio::time::advance;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

type Answer = Result<Option<Duration>, Error<Infallible>>;

fn request(lines: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in lines {
        request.headers_mut().append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request
}

/// Answers with the time left, and checks that the request carries the same deadline.
async fn left(request: Request<()>) -> Answer {
    let carried = Deadline::of(request.extensions()).map(Deadline::instant);
    assert_eq!(carried, deadline::current());
    Ok(deadline::remaining())
}

/// The time that a server gives a request.
async fn given(config: DeadlineConfig, lines: &[(&'static str, &str)]) -> Answer {
    let layer = DeadlineLayer::new(config).unwrap().trust_all();
    layer.layer(service_fn(left)).oneshot(request(lines)).await
}

fn config() -> DeadlineConfig {
    DeadlineConfig::new("api")
        .grpc_timeout()
        .millis("x-timeout-ms")
        .seconds("request-timeout")
        .envoy()
}

const TOO_SHORT: Rejection = Rejection::new(Reason::DeadlineTooShort, "api");
const REFUSED: Answer = Err(Error::Rejected(TOO_SHORT));

#[tokio::test(start_paused = true)]
async fn the_first_header_that_says_a_time_counts() {
    let envoy = "x-envoy-expected-rq-timeout-ms";
    for (lines, left) in [
        (&[][..], None),
        (&[("grpc-timeout", "250m")], Some(250 * MS)),
        (&[("x-timeout-ms", "250")], Some(250 * MS)),
        (&[("request-timeout", "2")], Some(2 * SECOND)),
        (&[(envoy, "1500")], Some(1500 * MS)),
        // In order, whichever is shorter.
        (&[("x-timeout-ms", "1"), ("grpc-timeout", "9S")], Some(9 * SECOND)),
        (&[(envoy, "1"), ("request-timeout", "3")], Some(3 * SECOND)),
        // Garbage says nothing, and the next one is asked.
        (&[("grpc-timeout", "soon"), ("x-timeout-ms", "7")], Some(7 * MS)),
        (
            &[("grpc-timeout", "9"), ("x-timeout-ms", "7m"), ("request-timeout", "2")],
            Some(2 * SECOND),
        ),
        (&[("x-timeout-ms", "-5")], None),
        (&[("x-timeout-ms", "+5")], None),
        (&[("x-timeout-ms", "1.5")], None),
        (&[("x-timeout-ms", "5 ms")], None),
        (&[("x-timeout-ms", "")], None),
        (&[("x-timeout-ms", "\u{665}")], None),
        (&[("x-timeout-ms", "5, 6")], None),
        // More than 64 bits hold, and more than there are instants.
        (&[("x-timeout-ms", "18446744073709551616")], None),
        (&[("request-timeout", "18446744073709551615")], None),
        (&[("request-timeout", "99999999999999999999999999999999999")], None),
        // The shortest of several lines.
        (&[("x-timeout-ms", "9"), ("x-timeout-ms", "x"), ("x-timeout-ms", "8")], Some(8 * MS)),
        (&[("grpc-timeout", "8S"), ("grpc-timeout", "9m")], Some(9 * MS)),
    ] {
        assert_eq!(given(config(), lines).await, Ok(left), "{lines:?}");
    }
    for nothing in [("grpc-timeout", "0S"), ("x-timeout-ms", "0"), ("request-timeout", "000")] {
        assert_eq!(given(config(), &[nothing]).await, REFUSED, "{nothing:?}");
    }
}

/// The local maximum, a deadline that holds, and one that the request carries: the earliest counts.
#[tokio::test(start_paused = true)]
async fn it_only_shrinks() {
    let max = config().max(2 * SECOND);
    for (said, left) in
        [("1000", SECOND), ("2000", 2 * SECOND), ("2001", 2 * SECOND), ("x", 2 * SECOND)]
    {
        assert_eq!(given(max.clone(), &[("x-timeout-ms", said)]).await, Ok(Some(left)), "{said}");
    }
    assert_eq!(given(max.clone(), &[]).await, Ok(Some(2 * SECOND)), "one that says nothing, too");
    let endless = config().max(Duration::MAX);
    assert_eq!(given(endless, &[]).await, Ok(None));

    let call = || given(max.clone(), &[("x-timeout-ms", "1000")]);
    assert_eq!(deadline::within(300 * MS, call()).await, Ok(Some(300 * MS)));
    assert_eq!(deadline::within(3 * SECOND, call()).await, Ok(Some(SECOND)));
    let bare = given(config(), &[]);
    assert_eq!(deadline::within(300 * MS, bare).await, Ok(Some(300 * MS)));

    // What an outer layer found, on another task.
    let layer = DeadlineLayer::new(config()).unwrap().trust_all();
    for (carried, expected) in [(300 * MS, 300 * MS), (3 * SECOND, SECOND)] {
        let mut request = request(&[("x-timeout-ms", "1000")]);
        request.extensions_mut().insert(Deadline::at(clock::tokio_now() + carried));
        let answer = layer.layer(service_fn(left)).oneshot(request).await;
        assert_eq!(answer, Ok(Some(expected)));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_believed_who_is_not_trusted() {
    let layer = DeadlineLayer::new(config()).unwrap();
    let lines = [("grpc-timeout", "1m"), ("x-timeout-ms", "0")];
    let strangers = layer.clone().layer(service_fn(left)).oneshot(request(&lines)).await;
    assert_eq!(strangers, Ok(None), "as if it had said nothing");
    let max = DeadlineLayer::new(config().max(SECOND)).unwrap();
    assert_eq!(max.layer(service_fn(left)).oneshot(request(&lines)).await, Ok(Some(SECOND)));

    let asked = Arc::new(AtomicUsize::new(0));
    let counts = asked.clone();
    let by_path = layer.clone().trust(move |request: &Parts| {
        counts.fetch_add(1, SeqCst);
        request.uri.path() == "/internal"
    });
    for (path, left_there) in [("/internal", Some(MS)), ("/", None)] {
        let mut request = request(&lines);
        *request.uri_mut() = path.parse().unwrap();
        assert_eq!(by_path.layer(service_fn(left)).oneshot(request).await, Ok(left_there));
    }
    let silent = by_path.layer(service_fn(left)).oneshot(request(&[])).await;
    assert_eq!(
        (silent, asked.load(SeqCst)),
        (Ok(None), 2),
        "only where there is something to believe"
    );

    let peers = TrustedPeers::new(["10.0.0.0/8"]).unwrap();
    let by_peer = layer.trust_with(peers.clone());
    for (peer, left_there) in [
        (Some("10.0.0.1:80"), Some(MS)),
        (Some("[::ffff:10.0.0.1]:80"), Some(MS)),
        (Some("203.0.113.9:80"), None),
        (None, None),
    ] {
        let mut request = request(&lines);
        // Whom the peer claims to speak for makes no difference.
        request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("10.0.0.1"));
        if let Some(peer) = peer {
            request.extensions_mut().insert(PeerAddr(peer.parse().unwrap()));
        }
        assert_eq!(
            by_peer.layer(service_fn(left)).oneshot(request).await,
            Ok(left_there),
            "{peer:?}"
        );
    }
    let fixed = by_peer.trust_with(peers.peer_from(|_| Some(([10, 0, 0, 9], 80).into())));
    assert_eq!(fixed.layer(service_fn(left)).oneshot(request(&lines)).await, Ok(Some(MS)));
}

#[tokio::test(start_paused = true)]
async fn too_little_time_is_refused_before_the_service_is_asked() {
    let (told, calls) = (Told::default(), Arc::new(AtomicUsize::new(0)));
    let config = config().min_remaining(100 * MS).margin(50 * MS);
    let layer = DeadlineLayer::with(config, told.options()).unwrap().trust_all();
    let counts = calls.clone();
    let mut service = layer.layer(service_fn(move |request| {
        counts.fetch_add(1, SeqCst);
        left(request)
    }));
    for (said, answer) in [
        ("0", REFUSED),
        ("50", REFUSED),
        ("149", REFUSED),
        ("150", Ok(Some(100 * MS))),
        ("1050", Ok(Some(SECOND))),
    ] {
        let before = calls.load(SeqCst);
        let call = service.ready().await.unwrap().call(request(&[("x-timeout-ms", said)]));
        let expected = if answer.is_err() { vec![Event::Rejected(TOO_SHORT)] } else { vec![] };
        assert_eq!(told.take(), expected, "{said}: when it is called");
        assert_eq!(calls.load(SeqCst) - before, usize::from(answer.is_ok()), "{said}");
        assert_eq!(call.await, answer, "{said}");
    }
    assert_eq!((TOO_SHORT.kind(), TOO_SHORT.attempted()), (PolicyKind::Timeout, false));
    // The ambient one has no margin: it is no wire's.
    let within = |limit, call| deadline::within(limit, call);
    assert_eq!(within(99 * MS, service.clone().oneshot(request(&[]))).await, REFUSED);
    assert_eq!(within(100 * MS, service.oneshot(request(&[]))).await, Ok(Some(100 * MS)));
}

/// It sets the deadline and cuts nothing; the timeout below does, at the time that the wire says.
#[tokio::test(start_paused = true)]
async fn a_timeout_below_cuts_at_the_deadline_of_the_wire() {
    let hangs = || service_fn(|_: Request<()>| pending::<Result<(), Infallible>>());
    let deadlines = DeadlineLayer::new(config()).unwrap().trust_all();
    let timeout = TimeoutLayer::new(TimeoutConfig::new("api", 10 * SECOND)).unwrap();
    let stack =
        ServiceBuilder::new().layer(deadlines.clone()).layer(timeout).layer(ErrorLayer::new());
    for (said, after) in [("250", 250 * MS), ("20000", 10 * SECOND), ("garbage", 10 * SECOND)] {
        let began = clock::tokio_now();
        let answer = stack.service(hangs()).oneshot(request(&[("x-timeout-ms", said)])).await;
        let timed_out = Rejection::new(Reason::Timeout, "api");
        assert_eq!(answer, Err(Error::Rejected(timed_out)), "{said}");
        assert_eq!(clock::tokio_now() - began, after, "{said}");
    }
    let alone = ServiceBuilder::new().layer(deadlines).layer(ErrorLayer::new()).service(hangs());
    let mut call = Box::pin(alone.oneshot(request(&[("x-timeout-ms", "250")])));
    let caller = Caller::new();
    for _ in 0..10 {
        assert!(caller.poll(&mut call).is_pending());
        advance(SECOND).await;
    }
    assert_eq!(caller.wakers(), 0, "nothing of ours waits");
}

/// In the service's `call`, in each poll, and nowhere else; dropping the call drops the service's.
#[tokio::test(start_paused = true)]
async fn the_deadline_holds_in_call_and_in_every_poll() {
    let seen = Arc::new(AtomicUsize::new(0));
    let alive = Arc::new(());
    let (counts, held) = (seen.clone(), alive.clone());
    let layer = DeadlineLayer::new(config()).unwrap().trust_all();
    let mut service = layer.layer(service_fn(move |_: Request<()>| {
        assert_eq!(deadline::remaining(), Some(250 * MS), "in `call`");
        let (counts, held) = (counts.clone(), held.clone());
        std::future::poll_fn(move |_| {
            let _held = &held;
            let polled = counts.fetch_add(1, SeqCst) as u32;
            assert_eq!(deadline::remaining(), Some(250 * MS - polled * 100 * MS), "in a poll");
            std::task::Poll::<Result<(), Error<Infallible>>>::Pending
        })
    }));
    let before = Arc::strong_count(&alive);
    let mut call = Box::pin(service.call(request(&[("x-timeout-ms", "250")])));
    let caller = Caller::new();
    for _ in 0..3 {
        assert!(caller.poll(&mut call).is_pending());
        assert_eq!(deadline::current(), None, "put back");
        advance(100 * MS).await;
    }
    // An earlier one at the place of polling wins.
    deadline::enter(clock::tokio_now(), || seen.store(3, SeqCst));
    drop(call);
    assert_eq!(Arc::strong_count(&alive), before);
}

/// A breaker below takes a call that its client gave up, past the deadline of the wire, for a failure.
#[tokio::test(start_paused = true)]
async fn policies_below_see_it() {
    let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("db")).unwrap();
    let circuit: Circuit = breaker.circuit().clone();
    let stack = ServiceBuilder::new()
        .layer(DeadlineLayer::new(config()).unwrap().trust_all())
        .layer(breaker)
        .layer(ErrorLayer::new())
        .service(service_fn(|_: Request<()>| pending::<Result<(), Infallible>>()));
    for (waited, failures) in [(249 * MS, 0), (250 * MS, 1)] {
        let mut call = Box::pin(stack.clone().oneshot(request(&[("x-timeout-ms", "250")])));
        assert!(Caller::new().poll(&mut call).is_pending());
        advance(waited).await;
        drop(call);
        assert_eq!(circuit.snapshot().failures, failures, "{waited:?}");
    }
}

/// As an extension it goes along to another task, where the ambient one is not.
#[tokio::test(start_paused = true)]
async fn a_request_carries_its_deadline_to_another_task() {
    let layer = DeadlineLayer::new(config()).unwrap().trust_all();
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let carried = Deadline::of(request.extensions()).unwrap();
        assert_eq!(carried.remaining(), 250 * MS);
        let there = tokio::spawn(async move {
            let bare = deadline::remaining();
            (bare, carried.scope(async { deadline::remaining() }).await)
        });
        Ok::<_, Error<Infallible>>(there.await.unwrap())
    }));
    let answer = service.oneshot(request(&[("x-timeout-ms", "250")])).await;
    assert_eq!(answer, Ok((None, Some(250 * MS))));
    assert_eq!(Deadline::of(&http::Extensions::new()), None);
    let past = Deadline::at(clock::tokio_now());
    advance(SECOND).await;
    assert_eq!(past.remaining(), Duration::ZERO);
}

#[test]
fn what_cannot_work_is_named_with_field_and_value() {
    for (config, field, value) in [
        (DeadlineConfig::new(""), "name", "\"\""),
        (DeadlineConfig::new("api"), "headers", "[]"),
        (DeadlineConfig::new("api").millis("x timeout"), "headers", "\"x timeout\""),
        (DeadlineConfig::new("api").seconds(""), "headers", "\"\""),
        (DeadlineConfig::new("api").millis("Grpc-Timeout"), "headers", "grpc-timeout"),
        (config().max(Duration::ZERO), "max", "0ns"),
        (config().max(SECOND).min_remaining(2 * SECOND), "min_remaining", "2s"),
    ] {
        let error = config.validate().unwrap_err();
        assert_eq!((error.field(), error.value()), (field, value), "{error}");
        assert_eq!(DeadlineLayer::new(config).map(drop).unwrap_err(), error);
    }
    for works in [
        DeadlineConfig::new("api").max(SECOND),
        config().max(Duration::MAX).min_remaining(Duration::MAX).margin(Duration::MAX),
        config().min_remaining(Duration::MAX),
    ] {
        assert_eq!(works.validate(), Ok(()));
    }
    let error = TrustedPeers::new(["10.0.0.0/8", "::/0"]).unwrap_err();
    assert_eq!((error.field(), error.value()), ("trusted_peers", "::/0"));
    let headers = DeadlineConfig::new("api").envoy().headers;
    assert_eq!(headers, [DeadlineHeader::Millis("x-envoy-expected-rq-timeout-ms".to_owned())]);
}

/// As axum and others ask for.
#[test]
fn services_are_shared_as_their_inner_is() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let inner = service_fn(left);
    let layer = DeadlineLayer::new(config()).unwrap().trust(|_: &Parts| true);
    shared(&layer);
    shared(&layer.layer(inner));
    shared(&forward::layer(&["x-timeout-ms"]));
    shared(&forward::layer(&["x-timeout-ms"]).layer(inner));
    let _: &HeaderMap = request(&[]).headers();
}
