//! Readiness: an inner service that is not ready, fails to become so, or recovers.

use std::task::Poll;

use portcullis::{Error, Failed, FallbackLayer};
use tower::{Layer, Service, ServiceExt};

use crate::{
    TestError, ask, config,
    support::{Answered, Ask, Caller, Fault, ON_DEMAND, Readiness, panic_of, strict},
};

fn anyway(_: Failed<Answered, TestError>) -> Result<Answered, TestError> {
    Ok(Answered)
}

/// F1: an error from `poll_ready` does not go around the fallback.
#[test]
fn a_readiness_error_is_answered() {
    let (inner, probe) = strict();
    let layer =
        FallbackLayer::function(config(), |failed: Failed<Answered, TestError>| match failed {
            Failed::Error(Error::Inner(Fault("pool closed"))) => Ok(Answered),
            other => other.into_result(),
        });
    let mut service = layer.unwrap().layer(inner);
    probe.readiness(Readiness::Fails("pool closed"));
    for _ in 0..3 {
        assert_eq!(ask(&mut service, Ask(0)), Ok(Answered));
    }
    assert_eq!(probe.calls(), 0, "a service that is not ready is not called");
    assert_eq!(service.handle().snapshot().by_function, 3);
    // It is asked anew for each call.
    probe.readiness(Readiness::Now);
    assert_eq!(ask(&mut service, Ask(0)), Ok(Answered));
    assert_eq!((probe.calls(), service.handle().snapshot().by_function), (1, 3));
}

/// F1, as the tools of tower meet it: neither `ready` nor `oneshot` sees the error.
#[tokio::test(start_paused = true)]
async fn a_readiness_error_is_answered_whatever_readies() {
    let (inner, probe) = strict();
    probe.readiness(Readiness::Fails("pool closed"));
    let mut service = FallbackLayer::function(config(), anyway).unwrap().layer(inner);
    assert_eq!(service.ready().await.unwrap().call(Ask(0)).await, Ok(Answered));
    assert_eq!(service.clone().oneshot(Ask(0)).await, Ok(Answered));
    assert_eq!(service.ready_oneshot().await.unwrap().call(Ask(0)).await, Ok(Answered));
}

#[test]
fn ready_stays_ready_until_the_call() {
    let (inner, probe) = strict();
    let mut service = FallbackLayer::function(config(), anyway).unwrap().layer(inner);
    let caller = Caller::new();
    probe.readiness(Readiness::Fails("pool closed"));
    assert!(matches!(caller.ready(&mut service), Poll::Ready(Ok(()))));
    probe.readiness(Readiness::Never);
    for _ in 0..3 {
        assert!(matches!(caller.ready(&mut service), Poll::Ready(Ok(()))));
    }
    // Readiness is not cloned, nor is the lack of it.
    assert!(caller.ready(&mut service.clone()).is_pending());
    assert_eq!(caller.finish(&mut Box::pin(service.call(Ask(0)))), Ok(Answered));
    assert!(caller.ready(&mut service).is_pending(), "the next call asks anew");
    assert_eq!(probe.calls(), 0);
}

#[test]
fn a_service_that_is_not_ready_yet_is_waited_for() {
    let (inner, probe) = strict();
    let mut service = FallbackLayer::function(config(), anyway).unwrap().layer(inner);
    let caller = Caller::new();
    probe.readiness(Readiness::Never);
    assert!(caller.ready(&mut service).is_pending());
    probe.readiness(Readiness::Fails("pool closed"));
    probe.wake();
    assert_eq!(caller.wakeups(), 1);
    assert_eq!(ask(&mut service, Ask(0)), Ok(Answered));
}

#[test]
fn a_readiness_error_that_does_not_qualify_passes_at_once() {
    let (inner, probe) = strict();
    let layer = FallbackLayer::function(config(), anyway)
        .unwrap()
        .when(|error: &TestError| matches!(error, Error::Inner(Fault("busy"))));
    let mut service = layer.layer(inner);
    let caller = Caller::new();
    for (why, passes) in [("gone", true), ("busy", false), ("gone", true)] {
        probe.readiness(Readiness::Fails(why));
        match caller.ready(&mut service) {
            Poll::Ready(Err(error)) => assert!(passes && error == Error::Inner(Fault("gone"))),
            Poll::Ready(Ok(())) => {
                assert!(!passes);
                assert_eq!(caller.finish(&mut Box::pin(service.call(Ask(0)))), Ok(Answered));
            }
            Poll::Pending => panic!("pending"),
        }
    }
}

#[test]
fn last_good_answers_a_readiness_error_by_key() {
    let (inner, probe) = strict();
    let layer = FallbackLayer::last_good(crate::kept(), |ask: &Ask| Some(ask.0))
        .unwrap()
        .keep(|_: &Answered| (), |(), _| Answered);
    let mut service = layer.layer(inner);
    assert_eq!(ask(&mut service, Ask(1)), Ok(Answered));
    probe.readiness(Readiness::Fails("pool closed"));
    assert_eq!(ask(&mut service, Ask(1)), Ok(Answered));
    assert_eq!(ask(&mut service, Ask(2)), Err(Error::Inner(Fault("pool closed"))));
    assert_eq!(probe.calls(), 1);
    let now = service.handle().snapshot();
    assert_eq!((now.by_last_good, now.unanswered, now.keys), (1, 1, 1));
}

#[test]
fn a_call_without_readiness_reaches_the_service_as_it_came() {
    let (inner, _probe) = strict();
    let mut service = FallbackLayer::function(config(), anyway).unwrap().layer(inner);
    // The mistake is the caller's: nothing papers over it.
    assert!(panic_of(|| service.call(Ask(0))).contains("without having been readied"));
}

#[test]
fn a_panic_while_readying_is_not_caught() {
    let (inner, probe) = strict();
    let mut service = FallbackLayer::function(config(), anyway).unwrap().layer(inner);
    probe.readiness(Readiness::Panics);
    assert_eq!(panic_of(|| Caller::new().ready(&mut service)), ON_DEMAND);
    probe.readiness(Readiness::Now);
    assert_eq!(ask(&mut service, Ask(0)), Ok(Answered));
}
