//! Where answers come from, and which failures are answered.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use portcullis::{
    CarryRejection, CircuitBreakerConfig, CircuitBreakerLayer, Classify, DefaultClassifier, Error,
    Failed, FallbackLayer, FallbackPolicy, Outcome, Reason,
};
use tower::{Layer, ServiceBuilder};

use crate::{TestError, Told, ask, config, down, support::Fault};

#[test]
fn a_value_answers_every_error() {
    let told = Told::to(1);
    let mut service = FallbackLayer::value(config(), 7).unwrap().layer(told.clone());
    assert_eq!(ask(&mut service, 10), Ok(1), "the service's own answer passes");
    told.fails("down");
    assert_eq!((ask(&mut service, 11), ask(&mut service, 12)), (Ok(7), Ok(7)));
    told.answers(2);
    assert_eq!(ask(&mut service, 13), Ok(2), "and again as soon as it has one");
    assert_eq!(told.seen(), [10, 11, 12, 13], "the service is asked every time");
    let now = service.handle().snapshot();
    assert_eq!((now.by_value, now.answered(), now.unanswered), (2, 2, 0));
}

#[test]
fn a_function_gets_the_failure_and_may_decline() {
    let told = Told::to(1);
    let layer = FallbackLayer::function(config(), |failed: Failed<u32, TestError>| match failed {
        Failed::Error(Error::Inner(Fault("empty"))) => Ok(0),
        Failed::Error(Error::Inner(Fault("secret"))) => Err(Error::Inner(Fault("something"))),
        other => other.into_result(),
    });
    let mut service = layer.unwrap().layer(told.clone());
    assert_eq!(ask(&mut service, 1), Ok(1));
    told.fails("empty");
    assert_eq!(ask(&mut service, 2), Ok(0));
    told.fails("down");
    assert_eq!(ask(&mut service, 3), down(), "the error itself, unchanged");
    told.fails("secret");
    assert_eq!(ask(&mut service, 4), Err(Error::Inner(Fault("something"))));
    let now = service.handle().snapshot();
    assert_eq!((now.by_function, now.unanswered), (1, 2));
}

/// A request and a response that are not `Clone`.
struct Order(u32);
#[derive(Debug, PartialEq)]
struct Receipt(String);

#[test]
fn what_is_captured_of_the_request_reaches_the_function() {
    let captured = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&captured);
    let layer = FallbackLayer::with_request(
        config(),
        move |order: &Order| {
            count.fetch_add(1, SeqCst);
            order.0
        },
        |number, failed: Failed<Receipt, TestError>| match failed.error() {
            Some(error) => Ok(Receipt(format!("order {number}: {error}"))),
            None => failed.into_result(),
        },
    );
    let mut service = layer.unwrap().layer(tower::service_fn(|order: Order| async move {
        if order.0 == 0 { down() } else { Ok(Receipt("paid".to_owned())) }
    }));
    assert_eq!(ask(&mut service, Order(5)), Ok(Receipt("paid".to_owned())));
    assert_eq!(ask(&mut service, Order(0)), Ok(Receipt("order 0: down".to_owned())));
    assert_eq!(captured.load(SeqCst), 2, "before each call: afterwards the request is gone");
}

#[test]
fn a_whole_request_can_be_captured() {
    let told = Told::<u32>::to(1);
    told.fails("down");
    let echo = |request, _: Failed<u32, TestError>| Ok(request);
    let layer = FallbackLayer::with_request(config(), u32::clone, echo).unwrap();
    assert_eq!(ask(&mut layer.layer(told), 42), Ok(42));
}

#[tokio::test(start_paused = true)]
async fn an_async_function_is_awaited() {
    let told = Told::to(1);
    let slowly = |failed: Failed<u32, TestError>| async move {
        tokio::task::yield_now().await;
        if failed.error() == Some(&Error::Inner(Fault("down"))) { Ok(5) } else { failed.into() }
    };
    let mut service = FallbackLayer::async_function(config(), slowly).unwrap().layer(told.clone());
    let with = |request, _: Failed<u32, TestError>| async move {
        tokio::task::yield_now().await;
        Ok(request * 2)
    };
    let mut other =
        FallbackLayer::async_with_request(config(), u32::clone, with).unwrap().layer(told.clone());
    assert_eq!((ask(&mut service, 4), ask(&mut other, 4)), (Ok(1), Ok(1)));
    told.fails("down");
    assert_eq!((ask(&mut service, 4), ask(&mut other, 4)), (Ok(5), Ok(8)));
    told.fails("worse");
    assert_eq!(ask(&mut service, 4), Err(Error::Inner(Fault("worse"))));
}

/// F1: a refusal by another policy is a failure like any other.
#[test]
fn our_own_rejections_are_answered() {
    let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("db")).unwrap();
    let circuit = breaker.circuit().clone();
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let mut service = ServiceBuilder::new()
        .layer(
            FallbackLayer::function(config(), move |failed: Failed<u32, TestError>| {
                let refusal = failed.error().and_then(CarryRejection::rejection);
                assert_eq!(refusal.map(|refusal| refusal.reason()), Some(Reason::ForcedOpen));
                count.fetch_add(1, SeqCst);
                Ok(9)
            })
            .unwrap(),
        )
        .layer(breaker)
        .service(Told::to(1));
    assert_eq!(ask(&mut service, 1), Ok(1));
    circuit.force_open();
    assert_eq!((ask(&mut service, 1), seen.load(SeqCst)), (Ok(9), 1));
}

#[test]
fn only_errors_that_qualify_are_answered() {
    let told = Told::to(1);
    let layer = FallbackLayer::value(config(), 7)
        .unwrap()
        .when(|error: &TestError| matches!(error, Error::Inner(Fault("down"))));
    let mut service = layer.layer(told.clone());
    told.fails("down");
    assert_eq!(ask(&mut service, 1), Ok(7));
    told.fails("forbidden");
    assert_eq!(ask(&mut service, 1), Err(Error::Inner(Fault("forbidden"))));
    let now = service.handle().snapshot();
    assert_eq!((now.by_value, now.unanswered), (1, 0), "an error that passes is not counted");
}

/// F2: a response that is judged a failure is handed to the function as what it is; it cannot be returned
/// as if it were an answer to an error.
#[test]
fn a_response_that_is_a_failure_reaches_the_function_as_one() {
    let told = Told::to(200_u32);
    let layer = FallbackLayer::function(config(), |failed: Failed<u32, TestError>| match failed {
        Failed::Response(status) => Ok(status + 1_000),
        Failed::Error(_) => Ok(0),
    })
    .unwrap()
    .classify(|result: &Result<u32, TestError>| match result {
        Ok(500..) => Outcome::Failure,
        Ok(404) => Outcome::Ignored,
        other => DefaultClassifier.classify(other),
    });
    let mut service = layer.layer(told.clone());
    for (status, answer) in [(200, 200), (404, 404), (503, 1_503)] {
        told.answers(status);
        assert_eq!(ask(&mut service, 1), Ok(answer));
    }
    told.fails("down");
    assert_eq!(ask(&mut service, 1), Ok(0));
}

/// F2: with a classifier of responses, no source ever gives the bad response back.
#[test]
fn a_bad_response_is_replaced_by_every_source() {
    let told = Told::to(503_u32);
    let bad = |result: &Result<u32, TestError>| match result {
        Ok(500..) | Err(_) => Outcome::Failure,
        Ok(_) => Outcome::Success,
    };
    let value = FallbackLayer::value(config(), 7).unwrap().classify(bad);
    assert_eq!(ask(&mut value.layer(told.clone()), 1), Ok(7));
    let spare = FallbackLayer::service(config(), Told::to(8), u32::clone).unwrap().classify(bad);
    assert_eq!(ask(&mut spare.layer(told.clone()), 1), Ok(8));
    let last_good = FallbackLayer::last_good(crate::kept(), |key: &u32| Some(*key))
        .unwrap()
        .mark(|value: u32, _| value + 100)
        .classify(bad);
    let mut service = last_good.layer(told.clone());
    assert_eq!(ask(&mut service, 1), Ok(503), "nothing is kept: what the service said");
    told.answers(200);
    assert_eq!(ask(&mut service, 1), Ok(200));
    told.answers(503);
    assert_eq!(ask(&mut service, 1), Ok(300));
}

/// A classifier may call an error a success, or nothing at all: then it is the answer.
#[test]
fn an_error_that_is_no_failure_passes() {
    for outcome in [Outcome::Success, Outcome::Ignored] {
        let told = Told::<u32>::to(1);
        told.fails("down");
        let layer = FallbackLayer::value(config(), 7)
            .unwrap()
            .classify(move |_: &Result<u32, TestError>| outcome);
        let mut service = layer.layer(told);
        assert_eq!(ask(&mut service, 1), down());
        assert_eq!(service.handle().snapshot().answered(), 0);
    }
}

#[test]
fn layers_of_one_policy_share_its_counts() {
    let policy = FallbackPolicy::new(config()).unwrap();
    let told = Told::<u32>::to(1);
    told.fails("down");
    let value = policy.value(1);
    assert_eq!(ask(&mut value.layer(told.clone()), 1), Ok(1));
    assert_eq!(ask(&mut value.clone().layer(told.clone()), 1), Ok(1));
    let function = policy.function(|_: Failed<u32, TestError>| Ok(2));
    assert_eq!(ask(&mut function.layer(told.clone()), 1), Ok(2));
    let spare = policy.service(Told::to(3), u32::clone);
    assert_eq!(ask(&mut spare.layer(told), 1), Ok(3));
    let now = policy.snapshot();
    assert_eq!((now.by_value, now.by_function, now.by_service), (2, 1, 1));
    assert_eq!(now, value.handle().snapshot());
}
