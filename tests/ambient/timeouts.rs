//! A timeout above other policies: its deadline is the one that they see.

use portcullis::{
    CircuitBreakerLayer, ErrorLayer, KeyedCircuitBreakerLayer, Reason, TimeLimit, TimeoutConfig,
};
use tower::{ServiceBuilder, ServiceExt};

use super::*;
use crate::support::refusal;

fn limit(limit: Duration) -> TimeLimit {
    TimeLimit::new(TimeoutConfig::new("whole", limit)).expect("a valid config")
}

/// What a foreign timeout cannot do (see `contract/neighbours.rs`): its cuts are failures below it.
#[tokio::test(start_paused = true)]
async fn a_breaker_below_sees_what_is_cut_as_a_failure() {
    let (service, probe) = strict();
    probe.answer(Answer::HANGS);
    let circuit = circuit();
    let mut service = limit(SECOND).layer().layer(circuit.layer().layer(service));
    for cuts in 1..=5 {
        let cut = refusal(service.ready().await.unwrap().call(Ask(0)).await);
        assert_eq!((cut.reason(), cut.policy()), (Reason::Timeout, "whole"));
        assert_eq!((circuit.snapshot().failures, probe.live()), (cuts, 0));
    }
    // A caller that goes away before says nothing, as ever.
    let mut call = Box::pin(service.ready().await.unwrap().call(Ask(0)));
    assert!(Caller::new().poll(&mut call).is_pending());
    advance(SECOND - NS).await;
    drop(call);
    assert_eq!(circuit.snapshot().failures, 5);
}

#[tokio::test(start_paused = true)]
async fn calls_that_a_timeout_cuts_open_the_circuit_below_and_a_probe_that_is_cut_reopens_it() {
    let (service, probe) = strict();
    probe.answer(Answer::HANGS);
    let config = CircuitBreakerConfig::new("db").consecutive_failures(3);
    let breaker = CircuitBreakerLayer::new(config).expect("a valid config");
    let circuit = breaker.circuit().clone();
    let mut service =
        ServiceBuilder::new().layer(limit(SECOND).layer()).layer(breaker).service(service);
    let mut reason = async || refusal(service.ready().await.unwrap().call(Ask(0)).await).reason();
    for _ in 0..3 {
        assert_eq!(reason().await, Reason::Timeout);
    }
    assert_eq!((circuit.state(), reason().await), (State::Open, Reason::CircuitOpen));
    circuit.half_open();
    assert_eq!((reason().await, circuit.state()), (Reason::Timeout, State::Open));
    assert_eq!(circuit.snapshot().probes_in_flight, 0);
}

/// A keyed breaker admits in `call`, and the rest in the future: both are under the deadline.
#[tokio::test(start_paused = true)]
async fn a_keyed_breaker_below_sees_it_as_well() {
    let (service, probe) = strict();
    probe.answer(Answer::HANGS);
    let config = CircuitBreakerConfig::new("db").consecutive_failures(2);
    let keyed =
        KeyedCircuitBreakerLayer::new(config, 8, |ask: &Ask| ask.0).expect("a valid config");
    let circuits = keyed.circuits().clone();
    let mut service = ServiceBuilder::new()
        .layer(limit(SECOND).layer())
        .layer(keyed)
        .layer(ErrorLayer::new())
        .service(service);
    for _ in 0..2 {
        let cut = refusal(service.ready().await.unwrap().call(Ask(7)).await);
        assert_eq!(cut.reason(), Reason::Timeout);
    }
    assert_eq!(circuits.circuit(7).map(|circuit| circuit.state()), Some(State::Open));
    assert_eq!((probe.live(), probe.instances()), (0, 1));
}

/// In shadow it sets no deadline and cuts nothing, so that nothing below changes either.
#[tokio::test(start_paused = true)]
async fn in_shadow_nothing_below_changes() {
    let (service, probe) = strict();
    probe.answer(Answer::HANGS);
    let (circuit, limit) = (circuit(), limit(SECOND));
    limit.shadow();
    let mut service = limit.layer().layer(circuit.layer().layer(service));
    let mut call = Box::pin(service.ready().await.unwrap().call(Ask(0)));
    let caller = Caller::new();
    assert!(caller.poll(&mut call).is_pending());
    advance(2 * SECOND).await;
    assert!(caller.poll(&mut call).is_pending());
    drop(call);
    assert_eq!((circuit.snapshot().calls, limit.snapshot().timed_out), (0, 1));
}
