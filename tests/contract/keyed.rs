//! What the keyed breaker promises beyond `breaker.rs`: always ready, admission in `call`, and a
//! clone readied under the permit.

use portcullis::{HalfOpen, KeyedCircuitBreakerLayer, Reason, State};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt};

use crate::{
    breaker::{SECOND, config, keyed},
    support::{Answer, Answered, Ask, Caller, Fault, Readiness, fault, refusal, strict},
};

#[tokio::test(start_paused = true)]
async fn it_is_always_ready_and_reserves_nothing() {
    let mut bench = keyed(config());
    let readied = bench.probe.readied();
    for readiness in [Readiness::Now, Readiness::Never, Readiness::Fails("gone")] {
        bench.probe.readiness(readiness);
        for _ in 0..10 {
            assert!(matches!(
                Caller::new().ready(&mut bench.service.clone()),
                std::task::Poll::Ready(Ok(()))
            ));
        }
    }
    assert!(Caller::new().ready(&mut bench.service).is_ready());
    assert_eq!((bench.probe.readied(), bench.probe.reserved()), (readied, 0));
}

#[tokio::test(start_paused = true)]
async fn the_permit_is_taken_in_call_and_covers_the_wait_for_readiness() {
    let mut bench = keyed(config());
    bench.circuit.half_open();
    bench.probe.readiness(Readiness::Never);
    let caller = Caller::new();
    assert!(caller.ready(&mut bench.service).is_ready());
    let mut response = Box::pin(bench.service.call(Ask(0)));
    assert_eq!(bench.circuit.snapshot().probes_in_flight, 1, "before the first poll");
    assert!(caller.poll(&mut response).is_pending());
    assert_eq!(refusal(bench.ask()).reason(), Reason::ProbeLimit);
    drop(response);
    assert_eq!(bench.circuit.snapshot().probes_in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn keys_do_not_hear_of_one_another() {
    let (service, probe) = strict();
    let layer =
        KeyedCircuitBreakerLayer::new(config(), 8, |ask: &Ask| ask.0).expect("a valid config");
    let mut service = layer.layer(service);
    probe.answer(Answer::FAULT);
    for _ in 0..3 {
        assert_eq!(fault(service.ready().await.unwrap().call(Ask(1)).await), Fault("fault"));
    }
    probe.answer(Answer::OK);
    assert!(matches!(service.ready().await.unwrap().call(Ask(2)).await, Ok(Answered)));
    let refused = refusal(service.ready().await.unwrap().call(Ask(1)).await);
    assert_eq!((refused.reason(), refused.policy()), (Reason::CircuitOpen, "db"));
    let state = |key| layer.circuits().get(&key).map(|circuit| circuit.state());
    assert_eq!((state(1), state(2), state(3)), (Some(State::Open), Some(State::Closed), None));
    assert_eq!((layer.circuits().len(), probe.calls()), (2, 4));
}

#[tokio::test(start_paused = true)]
async fn services_of_one_layer_value_share_their_keys() {
    let (service, probe) = strict();
    let layer =
        KeyedCircuitBreakerLayer::new(config(), 8, |ask: &Ask| ask.0).expect("a valid config");
    let mut twins = [layer.layer(service.clone()), layer.clone().layer(service)];
    probe.answer(Answer::FAULT);
    for turn in 0..3 {
        fault(twins[turn % 2].ready().await.unwrap().call(Ask(1)).await);
    }
    for twin in &mut twins {
        let refused = refusal(twin.ready().await.unwrap().call(Ask(1)).await);
        assert_eq!(refused.reason(), Reason::CircuitOpen);
    }
    assert_eq!(probe.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn at_the_cap_a_call_is_admitted_and_an_open_key_stays() {
    let (service, probe) = strict();
    let layer =
        KeyedCircuitBreakerLayer::new(config(), 2, |ask: &Ask| ask.0).expect("a valid config");
    let mut service = layer.layer(service);
    probe.answer(Answer::FAULT);
    for key in [1, 1, 1, 2, 2, 2] {
        fault(service.ready().await.unwrap().call(Ask(key)).await);
    }
    // Both keys are open and none may be evicted: a third is let through, watched by nobody.
    for _ in 0..10 {
        assert_eq!(fault(service.ready().await.unwrap().call(Ask(3)).await), Fault("fault"));
    }
    assert_eq!((layer.circuits().len(), probe.calls()), (2, 16));
    assert!(layer.circuits().get(&3).is_none());
    for key in [1, 2] {
        let refused = refusal(service.ready().await.unwrap().call(Ask(key)).await);
        assert_eq!(refused.reason(), Reason::CircuitOpen);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_waits_for_readiness_is_under_the_lease() {
    let mut bench = keyed(config().half_open(HalfOpen::counts(1, 1)).probe_lease(30 * SECOND));
    bench.circuit.half_open();
    bench.probe.readiness(Readiness::Never);
    let caller = Caller::new();
    assert!(caller.ready(&mut bench.service).is_ready());
    let mut response = Box::pin(bench.service.call(Ask(0)));
    assert!(caller.poll(&mut response).is_pending());
    advance(31 * SECOND).await;
    // The next call sees that the lease is over: the slot is back, and the circuit sleeps again.
    assert_eq!(refusal(bench.ask()).reason(), Reason::CircuitOpen);
    assert_eq!(
        (bench.circuit.state(), bench.circuit.snapshot().probes_in_flight),
        (State::Open, 0)
    );
    drop(response);
    assert_eq!(bench.circuit.state(), State::Open);
}
