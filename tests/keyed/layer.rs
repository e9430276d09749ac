//! The layer over the table: always ready, one decision per request, and nothing held for those that
//! find no room.

use std::future::{pending, ready};

use portcullis::{
    Circuits, Error, Event, KeyedCircuitBreakerLayer, Options, Outcome, Reason, State,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{
    EVICTED, SECOND, Told, UNTRACKED, circuits, config, kept_states, known, settled,
    support::{
        Answer, Answered, Ask, Caller, Fault, ON_DEMAND, Readiness, fault, panic_of, refusal,
        strict,
    },
};

/// A layer on circuits by the number in the request.
fn layer(
    circuits: &Circuits<u32>,
) -> KeyedCircuitBreakerLayer<u32, impl Fn(&Ask) -> u32 + Clone + use<>> {
    KeyedCircuitBreakerLayer::of(circuits.clone(), |ask: &Ask| u32::from(ask.0))
}

fn observed(max_keys: usize) -> (Circuits<u32>, Told) {
    let told = Told::default();
    (Circuits::new(config(), max_keys, told.options()).expect("a valid config"), told)
}

/// One call by the service of `layer`, answered as the probe says.
async fn ask<S>(service: &S, key: u8) -> Result<Answered, Error<Fault>>
where
    S: Service<Ask, Response = Answered, Error = Error<Fault>> + Clone,
{
    service.clone().oneshot(Ask(key)).await
}

#[tokio::test(start_paused = true)]
async fn a_call_uses_its_key_and_a_refused_one_as_well() {
    let circuits = circuits(3);
    let (inner, probe) = strict();
    let service = layer(&circuits).layer(inner);
    probe.answer(Answer::FAULT);
    for key in [1, 1] {
        fault(ask(&service, key).await);
    }
    probe.answer(Answer::OK);
    for key in [2, 3] {
        assert!(ask(&service, key).await.is_ok());
    }
    assert_eq!(refusal(ask(&service, 1).await).reason(), Reason::CircuitOpen);
    circuits.get(&1).expect("known").close();
    assert!(ask(&service, 4).await.is_ok());
    assert_eq!(known(&circuits), [1, 3, 4], "the refused call was the last for 1");
    assert!(ask(&service, 3).await.is_ok());
    assert!(ask(&service, 5).await.is_ok());
    assert_eq!(known(&circuits), [3, 4, 5]);
    assert_eq!(service.circuits().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_through_the_layer_stays_within_the_bound() {
    let (circuits, told) = observed(100);
    let service = KeyedCircuitBreakerLayer::of(circuits.clone(), |key: &u32| *key)
        .layer(service_fn(|_: u32| ready(Err::<(), _>(Error::Inner("down")))));
    // Each key fails once, which is not enough to open.
    for key in 0..20_000 {
        assert_eq!(service.clone().oneshot(key).await, Err(Error::Inner("down")));
        assert!(circuits.len() <= 100);
    }
    let evicted = told.take().into_iter().filter(|event| *event == EVICTED).count();
    assert_eq!(evicted, 20_000 - 100);
    // Twice is: those that are open stay, and at last no further key finds room.
    for key in 0..20_000 {
        let key = key / 2;
        let _ = service.clone().oneshot(key).await;
        assert!(circuits.len() <= 100);
    }
    assert!(circuits.list().iter().all(|(_, circuit)| circuit.state() == State::Open));
    assert_eq!(known(&circuits), (0..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_room_is_let_in_told_and_recorded_nowhere() {
    for (what, enter) in kept_states() {
        let (circuits, told) = observed(1);
        let (inner, probe) = strict();
        let service = layer(&circuits).layer(inner);
        enter(&circuits.circuit(0).expect("there is room"));
        let before = circuits.get(&0).expect("known").snapshot();
        told.take();
        for (answer, outcome) in [(Answer::OK, Outcome::Success), (Answer::FAULT, Outcome::Failure)]
        {
            probe.answer(answer);
            // As many as would open any circuit.
            for _ in 0..5 {
                assert_eq!(ask(&service, 9).await.is_ok(), outcome == Outcome::Success);
                assert_eq!(told.take(), [UNTRACKED, settled(outcome)], "{what}");
            }
        }
        probe.answer(Answer::HANGS);
        drop(ask_once(&service, 9));
        let dropped = Event::Abandoned { policy: "shards", outcome: Outcome::Ignored, slow: false };
        assert_eq!(told.take(), [UNTRACKED, dropped]);
        assert_eq!((known(&circuits), circuits.len()), (vec![0], 1), "{what}");
        assert_eq!(circuits.get(&0).expect("known").snapshot(), before, "{what}");
    }
}

/// A call that is polled once and hangs.
fn ask_once<S: Service<Ask> + Clone>(service: &S, key: u8) -> std::pin::Pin<Box<S::Future>> {
    let (mut service, caller) = (service.clone(), Caller::new());
    assert!(caller.ready(&mut service).is_ready());
    let mut response = Box::pin(service.call(Ask(key)));
    assert!(caller.poll(&mut response).is_pending());
    response
}

#[tokio::test(start_paused = true)]
async fn an_untracked_call_never_becomes_a_probe_nor_meets_a_limit() {
    let circuits = circuits(1);
    let (inner, probe) = strict();
    let service = layer(&circuits).layer(inner);
    circuits.circuit(0).expect("there is room").half_open();
    probe.answer(Answer::HANGS);
    let hanging: Vec<_> = (0..50).map(|_| ask_once(&service, 9)).collect();
    let own = ask_once(&service, 0);
    assert_eq!(circuits.get(&0).expect("known").snapshot().probes_in_flight, 1);
    assert_eq!(refusal(ask(&service, 0).await).reason(), Reason::ProbeLimit);
    drop((hanging, own));
    assert_eq!(circuits.get(&0).expect("known").state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_of_a_forgotten_key_end_and_change_nothing() {
    enum End {
        Ok,
        Fault,
        Panic,
        Drop,
    }
    for end in [End::Ok, End::Fault, End::Panic, End::Drop] {
        for by_removal in [false, true] {
            let circuits = circuits(1);
            let (inner, probe) = strict();
            let service = layer(&circuits).layer(inner);
            probe.answer(match end {
                End::Ok => Answer::OK.after(1),
                End::Fault => Answer::FAULT.after(1),
                End::Panic => Answer::PANICS_IN_POLL,
                End::Drop => Answer::HANGS,
            });
            let mut in_flight = ask_once(&service, 1);
            probe.answer(Answer::OK);
            if by_removal {
                assert!(circuits.remove(&1).is_some());
            } else {
                assert!(ask(&service, 2).await.is_ok());
                assert_eq!(known(&circuits), [2], "a closed circuit goes, whatever is in flight");
            }
            assert!(ask(&service, 1).await.is_ok());
            let before = circuits.get(&1).expect("a new circuit").snapshot();
            assert_eq!((before.calls, before.failures), (1, 0));
            match end {
                End::Ok => assert!(in_flight.await.is_ok()),
                End::Fault => assert_eq!(fault(in_flight.await), Fault("fault")),
                End::Panic => {
                    assert_eq!(panic_of(|| Caller::new().poll(&mut in_flight)), ON_DEMAND);
                    drop(in_flight);
                }
                End::Drop => drop(in_flight),
            }
            assert_eq!(circuits.get(&1).expect("known").snapshot(), before);
            assert_eq!(probe.live(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_from_poll_ready_is_its_keys_failure() {
    let (circuits, told) = observed(8);
    let (inner, probe) = strict();
    let service = layer(&circuits).layer(inner);
    assert!(ask(&service, 2).await.is_ok());
    told.take();
    probe.readiness(Readiness::Fails("gone"));
    assert_eq!(fault(ask(&service, 1).await), Fault("gone"));
    assert_eq!(told.take(), [settled(Outcome::Failure)]);
    let failures = |key: u32| circuits.get(&key).map(|circuit| circuit.snapshot().failures);
    assert_eq!([1, 2, 3].map(failures), [Some(1), Some(0), None]);
    fault(ask(&service, 1).await);
    assert_eq!(circuits.get(&1).expect("known").state(), State::Open);
    // As a probe it reopens.
    advance(10 * SECOND).await;
    fault(ask(&service, 1).await);
    assert_eq!(circuits.get(&1).expect("known").state(), State::Open);
    assert_eq!(refusal(ask(&service, 1).await).retry_after(), Some(10 * SECOND));
    assert!(circuits.get(&2).expect("known").explain().admits);
}

#[tokio::test(start_paused = true)]
async fn readiness_and_the_call_are_of_one_clone_that_is_dropped_with_its_future() {
    let circuits = circuits(8);
    let (inner, probe) = strict();
    let service = layer(&circuits).layer(inner);
    let template = 1;
    assert_eq!(probe.instances(), template);
    probe.answer(Answer::HANGS);
    let hanging = [ask_once(&service, 1), ask_once(&service, 2)];
    // One future and no instance: it was moved in, readied, called and let go.
    assert_eq!((probe.readied(), probe.calls(), probe.reserved(), probe.live()), (2, 2, 0, 2));
    assert_eq!(probe.instances(), template);
    drop(hanging);
    assert_eq!((probe.live(), probe.instances()), (0, template));
    // Refused, nothing is cloned, readied or called.
    circuits.get(&1).expect("known").force_open();
    assert_eq!(refusal(ask(&service, 1).await).reason(), Reason::ForcedOpen);
    assert_eq!((probe.readied(), probe.calls()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn layers_of_one_table_may_judge_differently() {
    let circuits = circuits(4);
    let inner = service_fn(|_: u32| ready(Ok::<u32, Error<&str>>(503)));
    let plain = KeyedCircuitBreakerLayer::of(circuits.clone(), |key: &u32| *key);
    let strict = plain.clone().classify(|result: &Result<u32, Error<&str>>| match result {
        Ok(status) if *status >= 500 => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure,
    });
    assert!(plain.layer(inner).oneshot(1).await.is_ok());
    assert!(strict.layer(inner).oneshot(1).await.is_ok());
    let seen = circuits.get(&1).expect("known").snapshot();
    assert_eq!((seen.calls, seen.failures), (2, 1));
    assert_eq!((plain.circuits().len(), strict.circuits().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn making_a_table_tells_nobody_anything() {
    let (circuits, told) = observed(4);
    assert_eq!(told.take(), []);
    let service = KeyedCircuitBreakerLayer::of(circuits.clone(), |key: &u32| *key)
        .layer(service_fn(|_: u32| pending::<Result<(), Error<()>>>()));
    let mut one = service.clone();
    let response = one.ready().await.unwrap().call(1);
    assert_eq!((told.take(), circuits.len()), (vec![], 1), "decided in the call");
    drop(response);
    let dropped = Event::Abandoned { policy: "shards", outcome: Outcome::Ignored, slow: false };
    assert_eq!(told.take(), [dropped]);
}

#[tokio::test(start_paused = true)]
async fn a_layer_of_its_own_has_a_table_of_its_own() {
    let layer = KeyedCircuitBreakerLayer::new(config(), 2, |key: &u32| *key).unwrap();
    let other = KeyedCircuitBreakerLayer::new(config(), 2, |key: &u32| *key).unwrap();
    layer.circuits().circuit(1).unwrap().force_open();
    assert!(other.circuits().is_empty());
    assert_eq!(layer.clone().circuits().len(), 1);
    let from_handle = Circuits::<u32>::new(config(), 2, Options::new()).unwrap();
    assert!(from_handle.is_empty());
}
