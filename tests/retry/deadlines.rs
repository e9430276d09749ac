//! No wait goes on past the ambient deadline, and the last real error is the answer there.

use std::time::Duration;

use portcullis::{
    Backoff, BudgetConfig, Error, Event, Hint, PolicyKind, Reason, RetryBudget, RetryConfig,
    RetryEnd, RetryLayer, deadline,
};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};

use crate::{
    behaviour::exact,
    script::{Ask, Down, Scripted, ask, down, ends, ms, ok, rejection, times},
    support::{Caller, Told},
};

fn at(instant: Instant) -> std::time::Instant {
    instant.into_std()
}

#[tokio::test(start_paused = true)]
async fn a_sleep_that_would_end_at_the_deadline_is_not_begun() {
    for (within, attempts) in [(99, 1), (100, 1), (101, 2), (300, 2), (301, 3)] {
        let told = Told::default();
        let budget = RetryBudget::new(BudgetConfig::default()).unwrap();
        let service = Scripted::new([down("down")]);
        let config = exact("db").budget(&budget);
        let mut retry = RetryLayer::with(config, told.options()).unwrap().layer(service.probe());
        let start = Instant::now();
        let answer = deadline::within(ms(within), ask(&mut retry)).await;
        assert_eq!(answer, Err(Error::Inner(Down("down"))));
        assert_eq!(service.calls(), attempts, "within {within} ms");
        assert!(start.elapsed() < ms(within).max(ms(1)), "it does not wait for the deadline");
        let end = if attempts == 3 { RetryEnd::AttemptsExhausted } else { RetryEnd::Deadline };
        assert_eq!(ends(&told), [(attempts as u32, end)]);
        assert_eq!(budget.balance(), 100 - attempts as u64 + 1, "nothing is paid for no attempt");
    }
}

/// The stop comes before the response is given up, so it is the answer.
#[tokio::test(start_paused = true)]
async fn a_failed_response_is_the_answer_when_no_time_is_left_for_another() {
    let service = Scripted::new([ok(503).hinting(Hint::After(ms(5_000)))]);
    let layer = RetryLayer::new(exact("db")).unwrap().classify_with(service.classifier());
    let answer = deadline::within(ms(5_000), ask(&mut layer.layer(service.probe()))).await;
    assert_eq!(answer, Ok(503));
}

/// A timeout polls what it holds once more when its time is over: what it gets then is the last error.
#[tokio::test(start_paused = true)]
async fn the_last_poll_before_a_timeout_gives_the_last_error() {
    let told = Told::default();
    let budget = RetryBudget::new(BudgetConfig::default()).unwrap();
    let service = Scripted::new([down("first"), ok(200)]);
    let config = exact("db").budget(&budget);
    let mut retry = RetryLayer::with(config, told.options()).unwrap().layer(service.probe());
    let mut response = Box::pin(retry.ready().await.unwrap().call(Ask::default()));
    let caller = Caller::new();
    service.block();
    // Asleep, under a deadline that comes nearer only now.
    assert!(caller.poll(&mut response).is_pending());
    let soon = at(Instant::now() + ms(50));
    assert!(deadline::enter(soon, || caller.poll(&mut response)).is_pending());
    tokio::time::advance(ms(50)).await;
    let last = deadline::enter(soon, || caller.finish(&mut response));
    assert_eq!(last, Err(Error::Inner(Down("first"))));
    assert_eq!((budget.balance(), service.calls()), (100, 1));
    assert_eq!(ends(&told), [(1, RetryEnd::Deadline)]);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_readiness_ends_at_the_deadline_as_well() {
    let budget = RetryBudget::new(BudgetConfig::default()).unwrap();
    let service = Scripted::new([down("first"), ok(200)]);
    let layer = RetryLayer::new(exact("db").budget(&budget)).unwrap();
    let mut retry = layer.layer(service.probe());
    let mut response = Box::pin(retry.ready().await.unwrap().call(Ask::default()));
    service.block();
    let caller = Caller::new();
    let end = at(Instant::now() + ms(500));
    let poll = |response: &mut _| deadline::enter(end, || caller.poll(response));
    assert!(poll(&mut response).is_pending());
    tokio::time::advance(ms(200)).await;
    assert!(poll(&mut response).is_pending());
    assert_eq!(budget.balance(), 99);
    tokio::time::advance(ms(300)).await;
    let last = poll(&mut response);
    assert_eq!(last, std::task::Poll::Ready(Err(Error::Inner(Down("first")))));
    assert_eq!(budget.balance(), 100, "the service has not seen the second attempt");
}

/// The executor may come late: an attempt that would begin at the deadline does not.
#[tokio::test(start_paused = true)]
async fn a_sleep_that_is_noticed_late_begins_no_attempt() {
    let service = Scripted::new([down("first"), ok(200)]);
    let mut retry = RetryLayer::new(exact("db")).unwrap().layer(service.probe());
    let mut response = Box::pin(retry.ready().await.unwrap().call(Ask::default()));
    let caller = Caller::new();
    let end = at(Instant::now() + ms(500));
    let poll = |response: &mut _| deadline::enter(end, || caller.poll(response));
    assert!(poll(&mut response).is_pending());
    tokio::time::advance(ms(700)).await;
    assert_eq!(poll(&mut response), std::task::Poll::Ready(Err(Error::Inner(Down("first")))));
    assert_eq!(service.calls(), 1);
}

/// What failed was a response, which is gone: the answer is a refusal that says that the service has been
/// called.
#[tokio::test(start_paused = true)]
async fn without_an_error_to_give_a_late_call_is_refused() {
    let told = Told::default();
    let service = Scripted::new([ok(503), ok(200)]);
    let layer = RetryLayer::with(exact("db"), told.options()).unwrap();
    let mut retry = layer.classify_with(service.classifier()).layer(service.probe());
    let mut response = Box::pin(retry.ready().await.unwrap().call(Ask::default()));
    let caller = Caller::new();
    assert!(caller.poll(&mut response).is_pending());
    tokio::time::advance(ms(100)).await;
    let error = deadline::enter(at(Instant::now()), || caller.finish(&mut response)).unwrap_err();
    let refusal = rejection(&error).unwrap();
    assert_eq!((refusal.reason(), refusal.policy()), (Reason::DeadlineTooShort, "db"));
    assert_eq!((refusal.kind(), refusal.attempted()), (PolicyKind::Retry, true));
    let told = told.take();
    assert!(told.contains(&Event::Rejected(refusal)), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_of_attempts_the_deadline_bounds_a_call() {
    let service = Scripted::new([down("down").took(ms(10))]);
    let config = RetryConfig::new("db").unlimited_attempts().no_budget();
    let layer = RetryLayer::new(config.backoff(Backoff::constant(ms(90)))).unwrap();
    let start = Instant::now();
    let mut retry = layer.layer(service.probe());
    let call = deadline::within(Duration::from_secs(1), ask(&mut retry));
    assert_eq!(call.await, Err(Error::Inner(Down("down"))));
    assert_eq!(service.calls(), 10);
    assert_eq!(start.elapsed(), ms(910), "the tenth attempt's back-off would end at the deadline");
    assert_eq!(*times(&service).last().unwrap(), 900);
}
