//! Draining: unready at once, and finished when nothing is in flight.

use std::{convert::Infallible, time::Duration};

use http::{Request, Response, Version, header::CONNECTION};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Bytes};
use portcullis::health::{Drain, Finished, HealthRegistry, OutOfService, Probe, Query, Status};
use tokio::{sync::mpsc, time::advance};
use tokio_test::{assert_pending, assert_ready, task::spawn};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{SECOND, counted, registry};

#[tokio::test(start_paused = true)]
async fn readiness_fails_from_the_moment_on_whatever_was_found() {
    let (check, counts) = counted("db");
    counts.answers.store(true, std::sync::atomic::Ordering::SeqCst);
    let health = registry([check.ttl(60 * SECOND)]);
    assert_eq!(health.report(Probe::Readiness).await.status(), Status::Pass);
    assert!(health.drain().begin() && !health.drain().begin());
    // At the first poll, and nothing is asked.
    let report = assert_ready!(spawn(health.report(Probe::Readiness)).poll());
    assert_eq!(
        (report.status(), report.out_of_service()),
        (Status::Fail, Some(OutOfService::Draining))
    );
    let [item] = report.items() else { panic!("{report:?}") };
    assert_eq!((item.name(), item.state()), ("drain", Some("draining")));
    assert_eq!(counts.runs().0, 1);

    assert_eq!(health.report(Probe::Liveness).await.status(), Status::Pass);
    assert_eq!(health.report(Probe::Startup).await.status(), Status::Pass);
    let all = health.report(Probe::Overall).await;
    assert_eq!((all.status(), all.items().len()), (Status::Fail, 2));
    // No query gets around it, but for one that asks for something else.
    let without = health.report(Query::new(Probe::Readiness).exclude("drain")).await;
    assert_eq!(without.status(), Status::Fail);
    let alone = |name| health.report(Query::new(Probe::Readiness).only(name));
    assert_eq!(alone("db").await.status(), Status::Pass);
    assert_eq!(alone("drain").await.status(), Status::Fail);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_waits_already_learns_of_it() {
    let (check, counts) = counted("db");
    let health = registry([check]);
    let mut probe = spawn(health.report(Probe::Readiness));
    assert_pending!(probe.poll());
    health.drain().begin();
    counts.go.notify_one();
    let report = assert_ready!(probe.poll());
    assert_eq!((report.status(), report.items().len()), (Status::Fail, 2));
}

/// Whoever answers in the service's place makes a body that counts for nothing, in any shape that there is.
#[tokio::test]
async fn refusals_are_answered_above_it() {
    use portcullis::{Reason, Rejection, http::RespondLayer};

    let drain = Drain::new();
    let inner = service_fn(|_: Request<()>| async {
        Err::<Response<String>, _>(Rejection::new(Reason::BulkheadFull, "api"))
    });
    let service = RespondLayer::new().problem_json().layer(drain.layer().layer(inner));
    let Ok(response) = service.oneshot(Request::new(())).await;
    assert_eq!((response.status().as_u16(), drain.in_flight()), (503, 0));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(br#"{"type":"#), "{body:?}");
}

#[tokio::test(start_paused = true)]
async fn one_drain_can_make_several_unready() {
    let drain = Drain::new();
    let (one, other) = (HealthRegistry::with_drain(&drain), HealthRegistry::with_drain(&drain));
    drain.begin();
    for health in [one, other] {
        assert!(health.drain().is_draining());
        assert!(!health.report(Probe::Readiness).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_it_is_told() {
    let drain = Drain::new();
    let mut begun = spawn(drain.begun());
    let mut for_a_while = spawn(drain.begun_for(5 * SECOND));
    let mut for_ever = spawn(drain.begun_for(Duration::MAX));
    assert_pending!(begun.poll());
    assert_pending!(for_a_while.poll());
    assert_pending!(for_ever.poll());
    advance(60 * SECOND).await;
    assert_pending!(for_a_while.poll());
    drain.begin();
    assert!(begun.is_woken() && for_a_while.is_woken());
    assert_ready!(begun.poll());
    assert_pending!(for_a_while.poll());
    assert_pending!(for_ever.poll());
    advance(5 * SECOND).await;
    assert_ready!(for_a_while.poll());
    assert_pending!(for_ever.poll());
    assert_ready!(spawn(drain.begun()).poll());
}

#[tokio::test(start_paused = true)]
async fn it_finishes_when_nothing_is_in_flight_or_time_is_over() {
    let drain = Drain::new();
    let (one, two) = (drain.track(), drain.track());
    assert_eq!(drain.in_flight(), 2);
    let mut finish = spawn(drain.finish(10 * SECOND));
    let mut short = spawn(drain.finish(SECOND));
    assert!(!drain.is_draining());
    assert_pending!(finish.poll());
    assert_pending!(short.poll());
    assert!(drain.is_draining());
    drop(one);
    assert!(!finish.is_woken());
    advance(SECOND).await;
    assert_eq!(assert_ready!(short.poll()), Finished::TimedOut { left: 1 });
    assert_pending!(finish.poll());
    drop(two);
    assert!(finish.is_woken());
    assert_eq!(assert_ready!(finish.poll()), Finished::All);
    assert_eq!(drain.finish(Duration::ZERO).await, Finished::All);
    // Somebody late is counted as well.
    let late = drain.track();
    assert_eq!(drain.finish(Duration::ZERO).await, Finished::TimedOut { left: 1 });
    assert_pending!(spawn(drain.finish(Duration::MAX)).poll());
    drop(late);
    assert_eq!(drain.finish(Duration::MAX).await, Finished::All);
}

/// A body that its sender feeds.
fn streamed()
-> (mpsc::Sender<Result<Frame<Bytes>, &'static str>>, impl Body<Data = Bytes, Error = &'static str>)
{
    let (sender, mut receiver) = mpsc::channel(4);
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, StreamBody::new(stream))
}

#[tokio::test(start_paused = true)]
async fn a_request_is_in_flight_until_its_body_ends_fails_or_is_dropped() {
    let drain = Drain::new();
    for end in ["ends", "fails", "is dropped"] {
        let (sender, body) = streamed();
        let mut body = Some(body);
        let mut service = drain.layer().layer(service_fn(move |_: Request<()>| {
            let body = body.take().expect("one call");
            async move { Ok::<_, Infallible>(Response::new(body)) }
        }));
        let call = service.ready().await.expect("it is ready").call(Request::new(()));
        assert_eq!(drain.in_flight(), 1, "from its arrival");
        let mut body = Box::pin(call.await.expect("it never fails").into_body());
        assert_eq!(drain.in_flight(), 1, "beyond the head");
        sender.send(Ok(Frame::data(Bytes::from_static(b"part")))).await.expect("the body is there");
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        assert_eq!(drain.in_flight(), 1);
        match end {
            "ends" => {
                drop(sender);
                assert!(body.frame().await.is_none());
            }
            "fails" => {
                sender.send(Err("broken")).await.expect("the body is there");
                assert!(body.frame().await.is_some_and(|frame| frame.is_err()));
            }
            _ => drop(body),
        }
        assert_eq!(drain.in_flight(), 0, "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_fails_or_is_dropped_is_not_in_flight() {
    let drain = Drain::new();
    let failing = service_fn(|_: Request<()>| async { Err::<Response<String>, _>("no") });
    let failed = drain.layer().layer(failing).oneshot(Request::new(())).await;
    assert_eq!((failed.err(), drain.in_flight()), (Some("no"), 0));
    let hangs =
        service_fn(|_: Request<()>| std::future::pending::<Result<Response<String>, Infallible>>());
    let mut call = spawn(drain.layer().layer(hangs).oneshot(Request::new(())));
    assert_pending!(call.poll());
    assert_eq!(drain.in_flight(), 1);
    drop(call);
    assert_eq!(drain.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn connections_are_asked_to_close_only_while_draining_and_where_that_can_be_said() {
    let drain = Drain::new();
    let answer = |own: Option<&'static str>| {
        service_fn(move |_: Request<()>| async move {
            let response = Response::builder();
            let response = match own {
                Some(own) => response.header(CONNECTION, own),
                None => response,
            };
            Ok::<_, Infallible>(response.body(String::new()).expect("a response"))
        })
    };
    let asked = async |layer: portcullis::health::DrainLayer, version, own| {
        let request = Request::builder().version(version).body(()).expect("a request");
        let response = layer.layer(answer(own)).oneshot(request).await.expect("it never fails");
        let said = response.headers().get_all(CONNECTION).iter();
        said.map(|value| value.to_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(asked(drain.layer(), Version::HTTP_11, None).await, [""; 0]);
    drain.begin();
    assert_eq!(asked(drain.layer(), Version::HTTP_11, None).await, ["close"]);
    assert_eq!(asked(drain.layer(), Version::HTTP_10, None).await, ["close"]);
    assert_eq!(asked(drain.layer(), Version::HTTP_2, None).await, [""; 0]);
    assert_eq!(asked(drain.layer(), Version::HTTP_11, Some("upgrade")).await, ["upgrade"]);
    assert_eq!(asked(drain.layer().keep_connections(), Version::HTTP_11, None).await, [""; 0]);
}

#[test]
fn a_request_that_is_counted_allocates_nothing() {
    let drain = Drain::new();
    let answers = |_: Request<()>| std::future::ready(Ok::<_, Infallible>(Response::new(())));
    let mut service = drain.layer().layer(service_fn(answers));
    let count = allocation_counter::measure(|| {
        for _ in 0..100 {
            let mut call = std::pin::pin!(service.call(Request::new(())));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let answered = call.as_mut().poll(&mut cx);
            assert!(answered.is_ready() && drain.in_flight() == 1);
        }
    });
    assert_eq!((count.count_total, drain.in_flight()), (0, 0));
}

#[test]
fn its_service_goes_wherever_servers_want_one() {
    fn server_wants<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn sent<T: Send + Sync>(_: &T) {}
    let drain = Drain::new();
    server_wants(&drain);
    server_wants(&drain.layer());
    let service = drain.layer().layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    server_wants(&service);
    sent(&drain.track());
    sent(&drain.begun_for(SECOND));
    sent(&drain.finish(SECOND));
    sent(&service.clone().call(Request::new(())));
}
