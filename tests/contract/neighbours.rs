//! Beside tower's own layers and beside itself: what each sees of the other.

use std::{error::Error as _, time::Duration};

use portcullis::{
    BoxError, CarryRejection, Circuit, CircuitBreakerConfig, CircuitBreakerLayer, Error,
    ErrorLayer, Outcome, Reason, Rejection, State,
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer,
    timeout::TimeoutLayer, timeout::error::Elapsed,
};

use crate::{
    breaker::{SECOND, config},
    support::{Answer, Answered, Ask, Caller, Fault, strict},
};

fn breaker(config: CircuitBreakerConfig) -> (CircuitBreakerLayer, Circuit) {
    let layer = CircuitBreakerLayer::new(config).expect("a valid config");
    let circuit = layer.circuit().clone();
    (layer, circuit)
}

#[tokio::test(start_paused = true)]
async fn a_timeout_below_is_a_failure() {
    let (service, probe) = strict();
    probe.answer(Answer::HANGS);
    let (layer, circuit) = breaker(config());
    let mut service =
        ServiceBuilder::new().layer(layer).layer(TimeoutLayer::new(SECOND)).service(service);
    for _ in 0..3 {
        let error = service.ready().await.unwrap().call(Ask(0)).await.unwrap_err();
        assert!(error.is::<Elapsed>(), "{error}");
    }
    assert_eq!((circuit.state(), probe.live()), (State::Open, 0));
    let refused = service.ready().await.unwrap().call(Ask(0)).await.unwrap_err();
    assert_eq!(refused.rejection().map(Rejection::reason), Some(Reason::CircuitOpen));
    assert_eq!(probe.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_timeout_above_sets_no_deadline_so_its_cuts_are_ignored() {
    let (service, probe) = strict();
    probe.answer(Answer::HANGS);
    let (layer, circuit) = breaker(config());
    let mut service =
        ServiceBuilder::new().layer(TimeoutLayer::new(SECOND)).layer(layer).service(service);
    for _ in 0..50 {
        let error = service.ready().await.unwrap().call(Ask(0)).await.unwrap_err();
        assert!(error.is::<Elapsed>(), "{error}");
    }
    assert_eq!((circuit.state(), circuit.snapshot().calls), (State::Closed, 0));
    assert_eq!((probe.calls(), probe.live()), (50, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_limit_sees_what_a_foreign_timeout_cuts() {
    let (service, probe) = strict();
    probe.answer(Answer::HANGS);
    let slow_after = Duration::from_millis(50);
    let (layer, circuit) = breaker(config().slow_calls(slow_after, 0.5).minimum_calls(20));
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(2 * slow_after))
        .layer(layer)
        .service(service);
    for slow in 1..=20_u64 {
        assert_eq!(circuit.state(), State::Closed);
        let error = service.ready().await.unwrap().call(Ask(0)).await.unwrap_err();
        assert!(error.is::<Elapsed>(), "{error}");
        assert_eq!(circuit.snapshot().slow, slow);
    }
    assert_eq!((circuit.state(), probe.calls()), (State::Open, 20));
}

#[tokio::test(start_paused = true)]
async fn shedding_below_is_a_failure_unless_the_classifier_says_otherwise() {
    let (service, probe) = strict();
    let full = GlobalConcurrencyLimitLayer::new(1);
    // Somebody else holds the only permit.
    let mut holder = full.layer(service.clone());
    holder.ready().await.unwrap();

    let (layer, circuit) = breaker(config());
    let mut stack =
        ServiceBuilder::new().layer(layer).load_shed().layer(&full).service(service.clone());
    for _ in 0..3 {
        stack.ready().await.unwrap().call(Ask(0)).await.unwrap_err();
    }
    assert_eq!(circuit.state(), State::Open);

    let (layer, circuit) = breaker(config());
    let ignoring = layer.classify(|result: &Result<Answered, BoxError>| match result {
        Ok(_) => Outcome::Success,
        Err(error) if error.is::<tower::load_shed::error::Overloaded>() => Outcome::Ignored,
        Err(_) => Outcome::Failure,
    });
    let mut stack = ServiceBuilder::new().layer(ignoring).load_shed().layer(&full).service(service);
    for _ in 0..30 {
        stack.ready().await.unwrap().call(Ask(0)).await.unwrap_err();
    }
    assert_eq!((circuit.state(), circuit.snapshot().calls), (State::Closed, 0));
    assert_eq!(probe.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_from_below_is_no_failure_above() {
    let (service, probe) = strict();
    let ((outer, above), (inner, below)) = (breaker(config().name("outer")), breaker(config()));
    let mut stack = ServiceBuilder::new().layer(outer).layer(inner).service(service);
    below.force_open();
    for _ in 0..30 {
        let refused = stack.ready().await.unwrap().call(Ask(0)).await.unwrap_err();
        assert_eq!(refused.rejection().map(Rejection::policy), Some("db"));
    }
    assert_eq!((above.state(), above.snapshot().calls), (State::Closed, 0));
    // Nor does it take the probe that would close the circuit above.
    above.half_open();
    stack.ready().await.unwrap().call(Ask(0)).await.unwrap_err();
    assert_eq!((above.state(), above.snapshot().probes_in_flight), (State::HalfOpen, 0));
    below.close();
    assert_eq!(stack.ready().await.unwrap().call(Ask(0)).await, Ok(Answered));
    assert_eq!((above.state(), probe.calls()), (State::Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn opening_above_wakes_a_caller_parked_below_two_breakers() {
    let (service, probe) = strict();
    probe.readiness(crate::support::Readiness::Never);
    let ((outer, above), (inner, below)) = (breaker(config().name("outer")), breaker(config()));
    let stack = ServiceBuilder::new().layer(outer).layer(inner).service(service);
    for (circuit, name) in [(above, "outer"), (below, "db")] {
        let (caller, mut service) = (Caller::new(), stack.clone());
        assert!(caller.ready(&mut service).is_pending());
        circuit.force_open();
        assert_eq!(caller.wakeups(), 1);
        let refused = service.ready().await.unwrap().call(Ask(0)).await.unwrap_err();
        assert_eq!(refused.rejection().map(Rejection::policy), Some(name));
        circuit.close();
        drop(service);
        assert_eq!(caller.wakers(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_error_type_at_any_depth_and_its_cause_is_one_step_away() {
    let (service, probe) = strict();
    probe.answer(Answer::FAULT);
    let layers = || breaker(config()).0;
    let stack = ServiceBuilder::new()
        .layer(layers())
        .layer(layers())
        .layer(layers())
        .layer(layers())
        .service(service);
    let error: Error<Fault> = stack.oneshot(Ask(0)).await.unwrap_err();
    assert_eq!(error.to_string(), "fault");
    assert_eq!(error.source().and_then(|source| source.downcast_ref()), Some(&Fault("fault")));
    let boxed = BoxError::from(Error::<Fault>::from(Rejection::new(Reason::CircuitOpen, "db")));
    assert_eq!(Rejection::find(&*boxed).map(Rejection::policy), Some("db"));
}

#[tokio::test(start_paused = true)]
async fn every_service_of_one_layer_value_shares_one_circuit() {
    let (service, probe) = strict();
    probe.answer(Answer::FAULT);
    let (layer, circuit) = breaker(config());
    // As axum does it: a clone of the layer, and a service made from it, per route and connection.
    let mut services: Vec<_> = (0..10).map(|_| layer.clone().layer(service.clone())).collect();
    for service in services.iter_mut().take(3) {
        service.ready().await.unwrap().call(Ask(0)).await.unwrap_err();
    }
    for service in &mut services {
        let refused = service.ready().await.unwrap().call(Ask(0)).await.unwrap_err();
        assert_eq!(refused.rejection().map(Rejection::reason), Some(Reason::CircuitOpen));
    }
    assert_eq!((probe.calls(), circuit.snapshot().rejected), (3, 10));
    // From the handle as well; and a second layer value is a second state.
    let mut same = circuit.layer().layer(service.clone());
    assert!(same.ready().await.unwrap().call(Ask(0)).await.unwrap_err().rejection().is_some());
    let mut other = breaker(config()).0.layer(service);
    assert!(other.ready().await.unwrap().call(Ask(0)).await.unwrap_err().rejection().is_none());
    let lifted = ErrorLayer::new();
    assert!(lifted.layer(other).oneshot(Ask(0)).await.is_err());
}
