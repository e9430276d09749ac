//! A timeout for bodies: one that stalls is cut, and nothing else is.
#![cfg(feature = "http")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test reads its own paused clock, and sleeps on it"
)]
#![allow(clippy::unwrap_used, reason = "a test may panic, and picks any instant to begin with")]

mod support;

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt::Debug,
    future::{Future, ready},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use portcullis::{
    BoxError, BulkheadConfig, BulkheadLayer, CarryRejection, CircuitBreakerConfig,
    CircuitBreakerLayer, Command, Error, Event, Options, PolicyKind, PolicySnapshot, Reason,
    Registry, Rejection, deadline,
    http::{
        BodyError, BodyTimeLimit, BodyTimeoutConfig, BodyTimeoutLayer, body_timeout::TimedBody,
    },
    stack::Operated,
};
use proptest::prelude::*;
use support::{Fault, Told};
use tokio::time::{Instant, Sleep, advance, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Data,
    Trailers,
    Fails,
    Panics,
}

/// A body whose frames take so long each, measured from the frame before; then it ends after `last`, or never.
#[derive(Debug)]
struct Paced {
    frames: VecDeque<(Duration, Then)>,
    last: Option<Duration>,
    waits: Option<Pin<Box<Sleep>>>,
    next: Option<Option<Then>>,
    live: Arc<AtomicUsize>,
}

impl Paced {
    fn new(frames: &[(Duration, Then)], last: Option<Duration>) -> Self {
        let live = Arc::new(AtomicUsize::new(1));
        Self { frames: frames.iter().copied().collect(), last, waits: None, next: None, live }
    }

    fn data(gaps: &[Duration], last: Option<Duration>) -> Self {
        Self::new(&gaps.iter().map(|gap| (*gap, Then::Data)).collect::<Vec<_>>(), last)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.live.fetch_sub(1, SeqCst);
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if self.next.is_none() {
            let (gap, next) = match (self.frames.pop_front(), self.last) {
                (Some((gap, then)), _) => (gap, Some(then)),
                (None, Some(last)) => (last, None),
                (None, None) => return Poll::Pending,
            };
            self.next = Some(next);
            self.waits = (!gap.is_zero()).then(|| Box::pin(sleep(gap)));
        }
        if let Some(waits) = &mut self.waits {
            std::task::ready!(waits.as_mut().poll(cx));
        }
        Poll::Ready(match self.next.take().unwrap() {
            Some(Then::Data) => Some(Ok(Frame::data(Bytes::from_static(b"frame")))),
            Some(Then::Trailers) => Some(Ok(Frame::trailers(HeaderMap::new()))),
            Some(Then::Fails) => Some(Err(Fault("reset"))),
            Some(Then::Panics) => panic!("{}", support::ON_DEMAND),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(77)
    }
}

/// The head, at once, with this body under a timeout. It is not `Unpin`: the timer is part of it.
fn begin<B: Body>(layer: &BodyTimeoutLayer, body: B) -> Pin<Box<TimedBody<B>>> {
    Box::pin(head(layer, body))
}

fn head<B: Body>(layer: &BodyTimeoutLayer, body: B) -> TimedBody<B> {
    let mut body = Some(body);
    let mut service = layer
        .layer(service_fn(|()| ready(Ok::<_, Infallible>(Response::new(body.take().unwrap())))));
    let mut call = pin!(service.call(()));
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) => response.into_body(),
        Poll::Pending => panic!("the head is there"),
    }
}

fn idle(limit: Duration) -> BodyTimeoutConfig {
    BodyTimeoutConfig::new("films", limit)
}

fn layer(config: BodyTimeoutConfig) -> (BodyTimeoutLayer, Told) {
    let told = Told::default();
    (BodyTimeoutLayer::with(config, told.options()).unwrap(), told)
}

/// Frames up to the end or an error, and when that came.
async fn read<B: Body>(body: B) -> (usize, Result<(), B::Error>, Duration) {
    let (mut body, begun, mut frames) = (pin!(body), Instant::now(), 0);
    let end = loop {
        match body.frame().await {
            Some(Ok(_)) => frames += 1,
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        }
    };
    (frames, end, begun.elapsed())
}

const IN_TIME: Event = Event::InTime { policy: "films", kind: PolicyKind::BodyTimeout };

fn cut() -> Rejection {
    Rejection::new(Reason::Timeout, "films").with_kind(PolicyKind::BodyTimeout)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_cut_and_one_that_moves_is_not() {
    let (layer, told) = layer(idle(2 * SECOND));
    let moves = Paced::data(&[SECOND; 9], Some(SECOND));
    assert_eq!(read(begin(&layer, moves)).await, (9, Ok(()), 10 * SECOND));
    assert_eq!(told.take(), [IN_TIME]);

    let stalls = Paced::data(&[SECOND; 3], None);
    let (frames, end, took) = read(begin(&layer, stalls)).await;
    assert_eq!((frames, took), (3, 5 * SECOND));
    let Err(BodyError::Rejected(refusal)) = end else { panic!("{end:?}") };
    assert_eq!((refusal, refusal.attempted()), (cut(), true));
    assert_eq!(told.take(), [Event::Rejected(refusal)]);
    assert_eq!(layer.body_time_limit().snapshot().timed_out, 1);
    assert_eq!(refusal.to_string(), "films: the service did not answer in time");
}

#[tokio::test(start_paused = true)]
async fn a_body_is_dropped_before_anybody_hears_that_it_was_cut() {
    let stalls = Paced::data(&[], None);
    let live = Arc::clone(&stalls.live);
    let seen = Arc::new(AtomicUsize::new(9));
    let (log, there) = (Arc::clone(&seen), Arc::clone(&live));
    let options = Options::new().observer(move |_: &Event| log.store(there.load(SeqCst), SeqCst));
    let layer = BodyTimeoutLayer::with(idle(SECOND), options).unwrap();
    let mut body = begin(&layer, stalls);
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(77), false));
    assert!(body.get_ref().is_some());
    assert!(matches!(body.frame().await, Some(Err(BodyError::Rejected(_)))));
    assert_eq!((live.load(SeqCst), seen.load(SeqCst)), (0, 0));
    // There is no more of it.
    assert!(body.frame().await.is_none());
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
    assert!(body.get_ref().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_time_of_the_reader_is_its_own() {
    let (layer, _told) = layer(idle(2 * SECOND));
    let mut body = begin(&layer, Paced::data(&[SECOND; 3], Some(SECOND)));
    for _ in 0..3 {
        sleep(60 * SECOND).await;
        assert!(body.frame().await.unwrap().is_ok());
    }
    sleep(60 * SECOND).await;
    assert!(body.frame().await.is_none());
    // Also while it waits for a frame that was asked for: what is ready when it comes by again is the answer.
    let mut body = begin(&layer, Paced::data(&[SECOND], None));
    assert!(poll(&mut body).is_pending());
    advance(60 * SECOND).await;
    assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
}

type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

fn poll<B: Body + Unpin>(body: &mut B) -> Polled<B> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn all_of_a_body_has_a_limit_of_its_own() {
    let (layer, told) = layer(idle(2 * SECOND).total(5 * SECOND));
    let (frames, end, took) = read(begin(&layer, Paced::data(&[SECOND; 9], None))).await;
    assert_eq!((frames, end, took), (4, Err(BodyError::Rejected(cut())), 5 * SECOND));
    // One that ends at that very moment has ended.
    let ends = Paced::data(&[SECOND; 4], Some(SECOND));
    assert_eq!(read(begin(&layer, ends)).await, (4, Ok(()), 5 * SECOND));
    let trailers = Paced::new(
        &[(2 * SECOND, Then::Data), (SECOND, Then::Data), (2 * SECOND, Then::Trailers)],
        Some(ms(0)),
    );
    assert_eq!(read(begin(&layer, trailers)).await, (3, Ok(()), 5 * SECOND));
    assert_eq!(told.take(), [Event::Rejected(cut()), IN_TIME, IN_TIME]);
}

/// A body that is always ready is never found waiting, and ends all the same.
#[tokio::test(start_paused = true)]
async fn an_endless_body_has_an_end() {
    let config = BodyTimeoutConfig::new("films", SECOND).no_idle().total(5 * SECOND);
    let (layer, _told) = layer(config);
    let mut body = begin(&layer, Paced::data(&[Duration::ZERO; 99], None));
    for _ in 0..3 {
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
    }
    advance(5 * SECOND).await;
    assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(BodyError::Rejected(_))))));
    assert!(matches!(poll(&mut body), Poll::Ready(None)));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_call_is_the_bodys_where_it_is_asked_for() {
    for (on, took) in [(true, 3), (false, 9)] {
        let (layer, _told) = layer(idle(5 * SECOND).until_deadline(on));
        let body = deadline::within(3 * SECOND, async {
            begin(&layer, Paced::data(&[2 * SECOND; 2], None))
        });
        let (_, end, at) = read(body.await).await;
        assert_eq!((end, at), (Err(BodyError::Rejected(cut())), took * SECOND));
    }
    // Alone it is enough; without one, a body may take as long as it likes.
    let config = idle(SECOND).no_idle().until_deadline(true);
    let (layer, _told) = self::layer(config);
    assert_eq!(read(begin(&layer, Paced::data(&[], Some(900 * SECOND)))).await.2, 900 * SECOND);
    assert_eq!(
        layer.body_time_limit().explain().to_string(),
        "films is enforcing and admits calls: a body may take until its call's deadline"
    );
}

#[tokio::test(start_paused = true)]
async fn errors_and_drops_and_panics_are_not_timeouts() {
    let (layer, told) = layer(idle(SECOND));
    let fails = Paced::new(&[(ms(1), Then::Data), (ms(1), Then::Fails)], None);
    let (frames, end, _) = read(begin(&layer, fails)).await;
    assert_eq!((frames, end), (1, Err(BodyError::Inner(Fault("reset")))));
    assert_eq!(told.take(), [IN_TIME]);

    let mut dropped = begin(&layer, Paced::data(&[], None));
    assert!(poll(&mut dropped).is_pending());
    drop(dropped);
    let mut panics = begin(&layer, Paced::new(&[(Duration::ZERO, Then::Panics)], None));
    assert_eq!(support::panic_of(|| poll(&mut panics)), support::ON_DEMAND);
    drop(panics);
    assert_eq!(told.take(), []);

    // A response without a body has ended with its head.
    drop(begin(&layer, Empty::<Bytes>::new()));
    assert_eq!(told.take(), [IN_TIME]);
    // One that says when it has ended is not polled for it.
    let mut full = begin(&layer, Full::new(Bytes::from_static(b"all")));
    assert!(matches!(poll(&mut full), Poll::Ready(Some(Ok(_)))));
    assert_eq!(told.take(), [IN_TIME]);
    assert_eq!(layer.body_time_limit().snapshot().timed_out, 0);
}

#[tokio::test(start_paused = true)]
async fn commands_hold_for_the_bodies_that_begin_after_them() {
    let (layer, told) = layer(idle(SECOND));
    let limit = layer.body_time_limit();
    let slow = || Paced::data(&[3 * SECOND, 3 * SECOND], Some(ms(1)));

    let enforced = begin(&layer, slow());
    limit.shadow();
    let shadowed = begin(&layer, slow());
    limit.disable();
    let unwatched = begin(&layer, slow());
    limit.enable();
    let reconfigured = limit.reconfigure(limit.config().idle(5 * SECOND));
    reconfigured.unwrap();
    let patient = begin(&layer, slow());

    assert_eq!(read(enforced).await.1, Err(BodyError::Rejected(cut())));
    assert_eq!(told.take(), [Event::Rejected(cut())]);
    // Reported once, and left alone from then on.
    assert_eq!(read(shadowed).await, (2, Ok(()), ms(6_001)));
    let (policy, kind, reason) = ("films", PolicyKind::BodyTimeout, Reason::Timeout);
    assert_eq!(told.take(), [Event::WouldReject { policy, kind, reason }]);
    assert_eq!(read(unwatched).await.1, Ok(()));
    assert_eq!(told.take(), []);
    assert_eq!(read(patient).await.1, Ok(()));
    assert_eq!(told.take(), [IN_TIME]);

    assert_eq!(limit.snapshot().timed_out, 2);
    limit.reset();
    assert_eq!(limit.snapshot().timed_out, 0);
    let unknown = limit.command(Command::HalfOpen).unwrap_err();
    assert!(unknown.to_string().contains("body_timeout"), "{unknown}");
    let other = limit.reconfigure(idle(SECOND).name("other")).unwrap_err();
    assert_eq!(other.field(), "name");
}

#[test]
fn configurations_work_or_say_why_not() {
    for (config, field) in [
        (idle(SECOND).name(""), "name"),
        (idle(Duration::ZERO), "idle"),
        (idle(SECOND).total(Duration::ZERO), "total"),
        (idle(SECOND).no_idle(), "idle"),
    ] {
        assert_eq!(BodyTimeoutLayer::new(config.clone()).unwrap_err().field(), field);
        let limit = BodyTimeLimit::new(idle(SECOND)).unwrap();
        assert_eq!(limit.reconfigure(config).unwrap_err().field(), field);
        assert_eq!(limit.config(), idle(SECOND));
    }
    for config in [
        idle(Duration::MAX).total(Duration::MAX),
        idle(SECOND).no_idle().total(Duration::from_nanos(1)),
        idle(SECOND).no_idle().until_deadline(true),
        idle(support::longest()).no_total(),
    ] {
        let layer = BodyTimeoutLayer::new(config).unwrap();
        // No timer is made for a body that is ready, so no runtime is needed.
        let mut body = begin(&layer, Full::new(Bytes::from_static(b"all")));
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
    }
}

#[tokio::test(start_paused = true)]
async fn times_after_every_instant_never_come() {
    for limit in [Duration::MAX, support::longest()] {
        let (layer, _told) = layer(idle(limit).total(limit));
        let mut body = begin(&layer, Paced::data(&[], None));
        assert!(poll(&mut body).is_pending());
        advance(Duration::from_secs(1_000_000)).await;
        assert!(poll(&mut body).is_pending());
    }
}

#[tokio::test(start_paused = true)]
async fn what_holds_above_takes_a_cut_body_for_a_failure() {
    let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("films")).unwrap();
    let slots = BulkheadLayer::new(BulkheadConfig::new("films", 1)).unwrap();
    let (circuit, bulkhead) = (breaker.circuit().clone(), slots.bulkhead().clone());
    let service = ServiceBuilder::new()
        .layer(slots.hold_body())
        .layer(breaker.hold_body())
        .layer(BodyTimeoutLayer::new(idle(SECOND)).unwrap())
        .service(service_fn(|()| {
            ready(Ok::<_, Error<Fault>>(Response::new(Paced::data(&[SECOND / 2; 3], None))))
        }));
    let body = service.oneshot(()).await.unwrap().into_body();
    assert_eq!((bulkhead.in_flight(), circuit.snapshot().calls), (1, 0));
    assert!(matches!(read(body).await, (3, Err(BodyError::Rejected(_)), _)));
    assert_eq!((bulkhead.in_flight(), circuit.snapshot().failures), (0, 1));
}

#[test]
fn it_is_operated_like_any_other_policy() {
    let limit = BodyTimeLimit::new(idle(SECOND).total(9 * SECOND)).unwrap().leak();
    let registry = Registry::new();
    registry.add(&limit).unwrap();
    assert_eq!(registry.names(), [("films", PolicyKind::BodyTimeout)]);
    registry.command("films", Command::Shadow).unwrap();
    let [(_, PolicySnapshot::BodyTimeout(now))] = registry.snapshot()[..] else { panic!("one") };
    assert_eq!((now.idle, now.total, now.timed_out), (Some(SECOND), Some(9 * SECOND), 0));
    assert_eq!(
        registry.explain()[0].to_string(),
        "films is in shadow and admits calls: the next frame of a body may take 1s, all of it 9s"
    );
    assert!(format!("{limit:?} {:?}", limit.layer()).contains("films"));
    fn operated<L: Operated>(_: &L) {}
    operated(&limit.layer());
}

#[test]
fn its_error_becomes_a_boxed_one_whatever_the_bodys_own_is() {
    let cut: BodyError<Fault> = cut().into();
    assert_eq!(cut.rejection().map(Rejection::reason), Some(Reason::Timeout));
    assert_eq!(cut.to_string(), self::cut().to_string());
    let boxed = BoxError::from(cut);
    assert_eq!(boxed.rejection().map(Rejection::policy), Some("films"));

    let inner = BodyError::Inner(Fault("reset"));
    assert_eq!((inner.rejection(), inner.to_string().as_str()), (None, "reset"));
    assert!(BoxError::from(inner).downcast_ref::<Fault>().is_some());
    let boxed: BodyError<BoxError> = BodyError::Inner(Fault("reset").into());
    assert!(BoxError::from(boxed).downcast_ref::<Fault>().is_some());
}

#[test]
fn everything_is_thread_safe_over_a_thread_safe_service() {
    fn shared<T: Clone + Debug + Send + Sync + Unpin + 'static>(_: &T) {}
    fn sendable<T: Debug + Send + Sync + 'static>(_: &T) {}
    #[derive(Clone, Debug)]
    struct Answers;
    impl Service<()> for Answers {
        type Response = Response<Full<Bytes>>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, (): ()) -> Self::Future {
            ready(Ok(Response::default()))
        }
    }
    let layer = BodyTimeoutLayer::new(idle(SECOND)).unwrap();
    shared(&layer);
    shared(layer.body_time_limit());
    let mut service = layer.layer(Answers);
    shared(&service);
    assert_eq!(service.body_time_limit().name(), "films");
    sendable(&service.call(()));
    sendable(&head(&layer, Full::new(Bytes::new())));
    // Answers that others give in the service's place.
    let text: TimedBody<Full<Bytes>> = String::from("sorry").into();
    assert!(!text.is_end_stream());
    assert!(TimedBody::<Full<Bytes>>::default().is_end_stream());
}

#[test]
fn a_body_that_is_ready_allocates_nothing() {
    let layer = BodyTimeoutLayer::new(idle(SECOND).total(9 * SECOND)).unwrap();
    let call = || {
        let mut body = pin!(head(&layer, Full::new(Bytes::from_static(b"all"))));
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
    };
    call();
    let counted = allocation_counter::measure(|| (0..100).for_each(|_| call()));
    assert_eq!(counted.count_total, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Beside a model that adds up.
    #[test]
    fn a_body_is_cut_when_it_should_be_and_not_otherwise(
        gaps in prop::collection::vec(0..6_u64, 0..8),
        last in prop::option::of(0..6_u64),
        idle in prop::option::of(1..6_u64),
        total in prop::option::of(1..12_u64),
    ) {
        prop_assume!(idle.is_some() || total.is_some());
        prop_assume!(last.is_some() || idle.is_some() || total.is_some());
        let mut config = BodyTimeoutConfig::new("films", SECOND);
        config.idle = idle.map(|idle| ms(idle * 1_000));
        config.total = total.map(|total| ms(total * 1_000));
        let (idle, total) = (idle.unwrap_or(u64::MAX), total.unwrap_or(u64::MAX));

        let (mut at, mut frames, mut end) = (0, 0, None);
        for (gap, is_last) in
            gaps.iter().map(|gap| (Some(*gap), false)).chain([(last, true)])
        {
            let limit = (at + idle.min(99)).min(total);
            match gap {
                // What comes at the last moment comes in time, but nothing more after all of the time.
                Some(gap) if at + gap <= limit && (is_last || at + gap < total) => at += gap,
                Some(gap) => {
                    at = if at + gap <= limit { at + gap } else { limit };
                    end = Some(cut());
                    break;
                }
                None => {
                    at = limit;
                    end = Some(cut());
                    break;
                }
            }
            frames += usize::from(!is_last);
        }

        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let read = runtime.unwrap().block_on(async {
            let layer = BodyTimeoutLayer::new(config).unwrap();
            let gaps: Vec<_> = gaps.iter().map(|gap| ms(gap * 1_000)).collect();
            read(begin(&layer, Paced::data(&gaps, last.map(|last| ms(last * 1_000))))).await
        });
        prop_assert_eq!(read.0, frames);
        prop_assert_eq!(read.1, end.map_or(Ok(()), |cut| Err(BodyError::Rejected(cut))));
        prop_assert_eq!(read.2, ms(at * 1_000));
    }
}

/// tokio lets a timer fire only while its task has budget left, which such a body takes whole.
#[tokio::test(start_paused = true)]
async fn a_body_that_uses_up_its_tasks_budget_is_cut_all_the_same() {
    #[derive(Debug)]
    struct Greedy;
    impl Body for Greedy {
        type Data = Bytes;
        type Error = Fault;
        fn poll_frame(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
            while pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
            Poll::Pending
        }
    }
    let (layer, _told) = layer(idle(SECOND));
    let cut = tokio::spawn(read(begin(&layer, Greedy)));
    tokio::task::yield_now().await;
    advance(SECOND).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(cut.is_finished(), "cut when it came by again");
    assert!(matches!(cut.await.unwrap(), (0, Err(BodyError::Rejected(_)), _)));
}
