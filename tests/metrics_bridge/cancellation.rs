//! A call dropped at any point, or that panics, leaves every gauge as if it had never been.

use std::{
    future::{Ready, poll_fn, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use futures_util::FutureExt;
use portcullis::{
    Bulkhead, BulkheadConfig, CarryRejection, Error, ErrorLayer, RateLimitConfig, RateLimiter,
    TimeLimit, TimeoutConfig, Waits,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{OK, SECOND, book::Book};

/// Pending for so many polls, waking its task each time; then it panics, or is done.
async fn steps(polls: u32, panics: bool) -> Result<(), ()> {
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    assert!(!panics, "on demand");
    Ok(())
}

/// Every gauge that events keep, of policies of whatever name.
fn gauges(book: &Book) -> Vec<(String, f64)> {
    let kept = [
        "portcullis.bulkhead.in_flight",
        "portcullis.bulkhead.queued",
        "portcullis.limiter.queued",
    ];
    let all = book.all().into_iter();
    all.filter(|(name, _)| kept.iter().any(|kept| name.starts_with(kept))).collect()
}

#[track_caller]
fn assert_all_zero(book: &Book, when: &str) {
    for (name, value) in gauges(book) {
        assert_eq!(value, 0.0, "{name} {when}");
    }
}

/// Limits in front of one another: a wait for a token, a wait for a slot, a limit on the time.
fn stack(
    book: &Book,
    panics: bool,
) -> impl Service<(), Response = (), Error = Error<()>, Future: Send> + Clone + use<> {
    let limiter = RateLimitConfig::per_second("api", 1).burst(1);
    let limiter = RateLimiter::with(limiter, book.options()).unwrap();
    let bulkhead = BulkheadConfig::new("pool", 1).queue(4).max_wait(60 * SECOND);
    let bulkhead = Bulkhead::with(bulkhead, book.options()).unwrap();
    let timeout = TimeLimit::with(TimeoutConfig::new("db", 90 * SECOND), book.options()).unwrap();
    ServiceBuilder::new()
        .layer(timeout.layer())
        .layer(limiter.waiting_layer(Waits::up_to(60 * SECOND)))
        .layer(bulkhead.queued_layer())
        .layer(ErrorLayer::new())
        .service(service_fn(move |()| steps(3, panics)))
}

type Call = Pin<Box<dyn Future<Output = Result<(), Error<()>>> + Send>>;

/// Polls once; whether the call goes on.
fn goes_on(call: &mut Call) -> bool {
    call.as_mut().now_or_never().is_none()
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_after_any_number_of_polls_leaves_all_gauges_at_zero() {
    let (mut ended, mut most) = (0, 0.0);
    for rounds in 0..12 {
        let book = Book::default();
        let service = stack(&book, false);
        // Three at once: they wait for tokens, for a slot, and for the service, one behind the other.
        let mut calls: Vec<Call> =
            (0..3).map(|_| Box::pin(service.clone().oneshot(())) as Call).collect();
        for _ in 0..rounds {
            calls.retain_mut(goes_on);
            advance(SECOND / 3).await;
            most = f64::max(most, gauges(&book).iter().map(|(_, value)| *value).sum());
        }
        ended += 3 - calls.len();
        drop(calls);
        assert_all_zero(&book, &format!("after {rounds} rounds"));
    }
    assert!(ended > 0, "some end by themselves");
    assert!(most >= 3.0, "at some time each waits or is in: {most}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_a_timeout_leave_all_gauges_at_zero() {
    let book = Book::default();
    let service = stack(&book, true);
    let call = tokio::spawn(service.oneshot(()));
    assert!(call.await.unwrap_err().is_panic());
    assert_eq!(book.get("bulkhead.calls{name=pool,outcome=admitted}"), Some(1.0));
    assert_all_zero(&book, "after a panic");

    let book = Book::default();
    let bulkhead = Bulkhead::with(BulkheadConfig::new("pool", 1).queue(1), book.options()).unwrap();
    let limit = TimeLimit::new(TimeoutConfig::new("db", SECOND / 2)).unwrap();
    let held = bulkhead.try_acquire().unwrap();
    let waits = limit.run(bulkhead.run(async { OK })).await;
    assert!(waits.unwrap_err().rejection().is_some(), "its time is over while it waits");
    assert_eq!(book.get("bulkhead.queued{name=pool}"), Some(0.0));
    drop(held);
    let hangs = limit.run(bulkhead.run(std::future::pending::<Result<(), Error<()>>>())).await;
    assert!(hangs.is_err());
    assert_all_zero(&book, "after a timeout");
}

/// Let in while nobody polls it, then dropped: its slot goes back, and on to the next one.
#[tokio::test(start_paused = true)]
async fn a_call_let_in_and_dropped_before_it_knows_gives_its_slot_on() {
    let book = Book::default();
    let config = BulkheadConfig::new("pool", 1).queue(4).max_wait(60 * SECOND);
    let bulkhead = Bulkhead::with(config, book.options()).unwrap();
    let busy = bulkhead.try_acquire().unwrap();
    let (second, third) = (bulkhead.acquire(), bulkhead.acquire());
    let of = |name: &str| book.get(&format!("bulkhead.{name}{{name=pool}}")).unwrap();
    drop(busy);
    assert_eq!((of("in_flight"), of("queued")), (1.0, 1.0));
    drop(second);
    assert_eq!((of("in_flight"), of("queued")), (1.0, 0.0), "the third is in");
    drop(third);
    assert_all_zero(&book, "when all have gone");
}

#[tokio::test(start_paused = true)]
async fn commands_while_calls_wait_leave_no_gauge_behind() {
    for command in ["shadow", "disable"] {
        let book = Book::default();
        let command: portcullis::Command = command.parse().unwrap();
        let config = BulkheadConfig::new("pool", 1).queue(4).max_wait(60 * SECOND);
        let bulkhead = Bulkhead::with(config, book.options()).unwrap();
        let limiter = RateLimitConfig::per_second("api", 1).burst(1);
        let limiter = RateLimiter::with(limiter, book.options()).unwrap();
        let busy = bulkhead.try_acquire().unwrap();
        limiter.try_acquire().unwrap();
        let waiting = (bulkhead.acquire(), limiter.acquire());
        assert_eq!(gauges(&book).iter().map(|(_, value)| value).sum::<f64>(), 3.0);
        bulkhead.command(command).unwrap();
        limiter.command(command).unwrap();
        drop(waiting.0.await.unwrap());
        waiting.1.await.unwrap();
        assert_eq!(book.get("bulkhead.queued{name=pool}"), Some(0.0), "{command}");
        assert_eq!(book.get("limiter.queued{name=api}"), Some(0.0), "{command}");
        drop(busy);
        assert_all_zero(&book, &format!("after {command}"));
        bulkhead.enable();
        drop(bulkhead.try_acquire());
        assert_all_zero(&book, "and back at work");
    }
}

/// Ready until it breaks.
#[derive(Clone, Default)]
struct Breaks(Arc<AtomicBool>);

impl Service<()> for Breaks {
    type Response = ();
    type Error = Error<()>;
    type Future = Ready<Result<(), Error<()>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(if self.0.load(SeqCst) { Err(Error::Inner(())) } else { Ok(()) })
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(OK)
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_from_readiness_after_a_wait_gives_the_slot_back() {
    let book = Book::default();
    let config = BulkheadConfig::new("pool", 1).queue(4);
    let bulkhead = Bulkhead::with(config, book.options()).unwrap();
    let inner = Breaks::default();
    let service = bulkhead.queued_layer().layer(inner.clone());
    let busy = bulkhead.try_acquire().unwrap();
    let mut call: Call = Box::pin(service.oneshot(()));
    assert!(goes_on(&mut call));
    inner.0.store(true, SeqCst);
    drop(busy);
    assert_eq!(book.get("bulkhead.in_flight{name=pool}"), Some(1.0), "its turn has come");
    assert_eq!(call.as_mut().now_or_never(), Some(Err(Error::Inner(()))));
    assert_all_zero(&book, "after a failure to become ready");
}
