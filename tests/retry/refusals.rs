//! Refusals of policies below: they are not the service's failures.

use std::time::Duration;

use portcullis::{
    BudgetConfig, CircuitBreakerConfig, CircuitBreakerLayer, Error, Outcome, Reason, Rejection,
    RetryBudget, RetryEnd, RetryLayer, Sleep,
};
use tower::{Layer, Service as _, ServiceBuilder, ServiceExt as _};

use crate::{
    behaviour::exact,
    script::{Ask, Down, Failed, Scripted, ask, down, ends, ms, ok, refused, rejection, times},
    support::{Caller, Told},
};

fn open() -> Rejection {
    Rejection::new(Reason::CircuitOpen, "below").with_retry_after(ms(700))
}

/// R5: our own refusals are not retried unless asked, whatever a classifier makes of errors.
#[tokio::test(start_paused = true)]
async fn own_rejections_are_not_retried_unless_asked() {
    let every_error_fails = |result: &Result<u16, Failed>| match result {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure,
    };
    let told = Told::default();
    let service = Scripted::new([refused(open()), ok(200)]);
    let layer = RetryLayer::with(exact("db"), told.options()).unwrap();
    let answer = ask(&mut layer.classify(every_error_fails).layer(service.probe())).await;
    assert_eq!(answer, Err(Error::Rejected(open())), "unchanged: the service has not seen it");
    assert_eq!(ends(&told), [(1, RetryEnd::NotRetryable)]);
}

/// R5, over a real breaker: an open one below must not burn the budget.
#[tokio::test(start_paused = true)]
async fn an_open_breaker_below_burns_no_budget() {
    let budget = RetryBudget::new(BudgetConfig::new(0.0).per_second(1.0)).unwrap();
    let service = Scripted::new([down("down")]);
    let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("below")).unwrap();
    let circuit = breaker.circuit().clone();
    let retry = RetryLayer::new(exact("db").budget(&budget)).unwrap();
    let mut stack = ServiceBuilder::new().layer(retry).layer(breaker).service(service.probe());
    circuit.force_open();
    for _ in 0..1_000 {
        let error = ask(&mut stack).await.unwrap_err();
        assert_eq!(rejection(&error).unwrap().reason(), Reason::ForcedOpen);
        assert!(!rejection(&error).unwrap().attempted());
    }
    assert_eq!((budget.balance(), service.calls()), (10, 0));
}

/// The breaker opens between two attempts of one call: the refused attempt costs nothing, and the caller
/// gets the error that opened it.
#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_meanwhile_leaves_the_last_real_error() {
    let budget = RetryBudget::new(BudgetConfig::new(0.0).per_second(1.0)).unwrap();
    let told = Told::default();
    let service = Scripted::new([down("first"), down("second"), down("third")]);
    let config = CircuitBreakerConfig::new("below").consecutive_failures(2);
    let breaker = CircuitBreakerLayer::new(config).unwrap();
    let config = exact("db").attempts(5).budget(&budget);
    let retry = RetryLayer::with(config, told.options()).unwrap();
    let mut stack = ServiceBuilder::new().layer(retry).layer(breaker).service(service.probe());
    assert_eq!(ask(&mut stack).await, Err(Error::Inner(Down("second"))));
    assert_eq!(times(&service), [0, 100]);
    assert_eq!(budget.balance(), 9, "the second attempt was paid for, the refused third was not");
    assert_eq!(ends(&told), [(3, RetryEnd::NotRetryable)]);
}

/// What failed before was a response, which is gone: the refusal says that the service has been called.
#[tokio::test(start_paused = true)]
async fn a_later_refusal_is_rebuilt_as_attempted() {
    let service = Scripted::new([ok(503), refused(open())]);
    let layer = RetryLayer::new(exact("db")).unwrap().classify_with(service.classifier());
    let error = ask(&mut layer.layer(service.probe())).await.unwrap_err();
    assert_eq!(error, Error::Rejected(open().with_attempted()));
    // An attempted one says so already, and is an error like any other.
    let timeout = Rejection::new(Reason::Timeout, "below");
    let service = Scripted::new([refused(timeout), ok(200)]);
    let answer = ask(&mut RetryLayer::new(exact("db")).unwrap().layer(service.probe())).await;
    assert_eq!((answer, service.calls()), (Ok(200), 2));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_retried_when_asked_for_after_the_time_they_name() {
    let budget = RetryBudget::new(BudgetConfig::new(0.0).per_second(1.0)).unwrap();
    let config = || exact("db").retry_refusals(true).budget(&budget);
    let service = Scripted::new([refused(open()), ok(200)]);
    assert_eq!(ask(&mut RetryLayer::new(config()).unwrap().layer(service.probe())).await, Ok(200));
    assert_eq!(times(&service), [0, 700]);
    // One that names no time is tried again after the back-off; one that can never pass is not.
    let full = Rejection::new(Reason::BulkheadFull, "below");
    let service = Scripted::new([refused(full), ok(200)]);
    assert_eq!(ask(&mut RetryLayer::new(config()).unwrap().layer(service.probe())).await, Ok(200));
    assert_eq!(times(&service), [0, 100]);
    let never = Rejection::new(Reason::OverBurst, "below");
    let service = Scripted::new([refused(never), ok(200)]);
    let answer = ask(&mut RetryLayer::new(config()).unwrap().layer(service.probe())).await;
    assert_eq!(answer, Err(Error::Rejected(never)));
}

/// The service's own error outlives refusals that are retried after it; of refusals alone, the last one is
/// the answer, and it says that nothing was sent.
#[tokio::test(start_paused = true)]
async fn retried_refusals_do_not_hide_what_the_service_said() {
    let layer = RetryLayer::new(exact("db").retry_refusals(true)).unwrap();
    let service = Scripted::new([down("first"), refused(open())]);
    let answer = ask(&mut layer.layer(service.probe())).await;
    assert_eq!((answer, service.calls()), (Err(Error::Inner(Down("first"))), 3));
    let service = Scripted::new([refused(open())]);
    let error = ask(&mut layer.layer(service.probe())).await.unwrap_err();
    assert_eq!((error, service.calls()), (Error::Rejected(open()), 3));
}

/// With refusals retried, a call waits out a circuit's sleep and then succeeds.
#[tokio::test(start_paused = true)]
async fn a_call_can_wait_for_a_circuit_to_let_it_through() {
    let service = Scripted::new([ok(200)]);
    let config = CircuitBreakerConfig::new("below").sleep(Sleep::fixed(Duration::from_secs(5)));
    let breaker = CircuitBreakerLayer::new(config).unwrap();
    breaker.circuit().open();
    let retry = RetryLayer::new(exact("db").retry_refusals(true)).unwrap();
    let mut stack = ServiceBuilder::new().layer(retry).layer(breaker).service(service.probe());
    assert_eq!(ask(&mut stack).await, Ok(200));
    assert_eq!(times(&service), [5_000]);
}

/// Each attempt counts in a breaker below, and its results are the attempts'.
#[tokio::test(start_paused = true)]
async fn a_breaker_below_sees_every_attempt() {
    let service = Scripted::new([down("first"), ok(200)]);
    let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("below")).unwrap();
    let circuit = breaker.circuit().clone();
    let retry = RetryLayer::new(exact("db")).unwrap();
    assert_eq!(ask(&mut retry.layer(breaker.layer(service.probe()))).await, Ok(200));
    assert_eq!((circuit.snapshot().failures, circuit.snapshot().successes), (1, 1));
}

/// Of several errors that are kept, the service's own stays and the latest refusal is told.
#[tokio::test(start_paused = true)]
async fn the_latest_refusal_is_told_and_none_takes_the_place_of_an_error() {
    let refusal = |policy| Rejection::new(Reason::BulkheadFull, policy);
    let layer = RetryLayer::new(exact("db").attempts(4).retry_refusals(true)).unwrap();
    let script = [refused(refusal("first")), refused(refusal("second"))];
    let two = RetryLayer::new(exact("db").attempts(2).retry_refusals(true)).unwrap();
    let answer = ask(&mut two.layer(Scripted::new(script))).await;
    assert_eq!(answer, Err(Error::Rejected(refusal("second"))));

    // Kept through a refusal, it is the answer at the deadline as well.
    let service = Scripted::new([down("down"), refused(refusal("below")), ok(200)]);
    let mut retry = layer.layer(service.probe());
    let mut response = Box::pin(retry.ready().await.unwrap().call(Ask::default()));
    let caller = Caller::new();
    assert!(caller.poll(&mut response).is_pending());
    tokio::time::advance(ms(101)).await;
    assert!(caller.poll(&mut response).is_pending());
    assert_eq!(service.calls(), 2);
    let late = tokio::time::Instant::now().into_std();
    let answer = portcullis::deadline::enter(late, || caller.finish(&mut response));
    assert_eq!(answer, Err(Error::Inner(Down("down"))));
}

/// A refusal is no failure of the service, which gRPC's throttling counts.
#[tokio::test(start_paused = true)]
async fn refusals_that_are_retried_take_no_token_of_grpcs_throttling() {
    let budget = RetryBudget::grpc(10, 0.5).unwrap();
    let config = exact("db").attempts(3).retry_refusals(true).budget(&budget);
    let service = Scripted::new([refused(open())]);
    assert!(ask(&mut RetryLayer::new(config).unwrap().layer(service.probe())).await.is_err());
    assert_eq!((service.calls(), budget.balance()), (3, 10));
}
