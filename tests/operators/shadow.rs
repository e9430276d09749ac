//! Shadow: everything is decided and told, and nothing is refused.

use std::sync::{Arc, Mutex};

use portcullis::{Circuit, Event, Options, Outcome, PolicyKind, Reason, State};
use tokio::time::advance;

use super::{SECOND, config, settle};

/// A circuit in shadow, and what is told of refusals.
fn shadowed() -> (Circuit, impl Fn() -> Vec<Event>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let options = Options::new().observer(move |event: &Event| {
        if let Event::WouldReject { .. } | Event::Rejected(_) = event {
            log.lock().expect("whole").push(*event);
        }
    });
    let circuit = Circuit::with(config(), options).expect("a valid config");
    circuit.shadow();
    (circuit, move || std::mem::take(&mut *seen.lock().expect("whole")))
}

fn would(reason: Reason) -> Event {
    Event::WouldReject { policy: "payments", kind: PolicyKind::CircuitBreaker, reason }
}

#[tokio::test(start_paused = true)]
async fn the_machine_runs_through_a_whole_outage() {
    let (circuit, told) = shadowed();
    settle(&circuit, 4, Outcome::Failure);
    assert_eq!((circuit.state(), told()), (State::Closed, vec![]));
    settle(&circuit, 1, Outcome::Failure);
    assert_eq!((circuit.state(), told()), (State::Open, vec![]), "it opens by its rule");
    assert!(circuit.snapshot().shadow);

    settle(&circuit, 3, Outcome::Failure);
    assert_eq!(told(), [would(Reason::CircuitOpen); 3]);
    advance(10 * SECOND).await;
    // The wait is over: two real probes, and what would be one too many.
    let probes = [(); 2].map(|()| circuit.try_acquire().expect("a probe"));
    assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (State::HalfOpen, 2));
    settle(&circuit, 2, Outcome::Failure);
    assert_eq!(told(), [would(Reason::ProbeLimit); 2]);
    for probe in probes {
        assert_eq!(circuit.state(), State::HalfOpen, "what would be refused decides nothing");
        probe.success();
    }
    assert_eq!((circuit.state(), told()), (State::Closed, vec![]));
    // And again, by a probe that fails.
    settle(&circuit, 5, Outcome::Failure);
    advance(10 * SECOND).await;
    settle(&circuit, 1, Outcome::Failure);
    assert_eq!(circuit.state(), State::Open);
    assert_eq!(circuit.snapshot().time_to_half_open, Some(10 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_be_refused_holds_and_records_nothing() {
    let (circuit, _) = shadowed();
    circuit.open();
    let held = [(); 3].map(|()| circuit.try_acquire().expect("let in"));
    let open = circuit.snapshot();
    assert_eq!((open.rejected, open.calls, open.probes_in_flight), (3, 0, 0));
    let [good, bad, dropped] = held;
    good.success();
    bad.failure_with_hint(3_600 * SECOND);
    drop(dropped);
    assert_eq!(circuit.snapshot(), open);

    circuit.half_open();
    let probes = [(); 2].map(|()| circuit.try_acquire().expect("a probe"));
    let beyond = [(); 3].map(|()| circuit.try_acquire().expect("let in"));
    assert_eq!((circuit.snapshot().probes_in_flight, circuit.snapshot().rejected), (2, 3));
    // Those beyond the limit free no slot when they end, and decide nothing.
    beyond.into_iter().for_each(|permit| permit.failure());
    assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (State::HalfOpen, 2));
    probes.into_iter().for_each(|permit| permit.success());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn calls_that_would_be_let_in_count_as_ever() {
    let (circuit, _) = shadowed();
    settle(&circuit, 12, Outcome::Success);
    settle(&circuit, 4, Outcome::Failure);
    let seen = circuit.snapshot();
    assert_eq!((seen.calls, seen.failures, seen.consecutive_failures), (16, 4, 4));
    assert_eq!((seen.rejected, seen.state), (0, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn leaving_shadow_starts_to_refuse_and_keeps_nothing() {
    let (circuit, told) = shadowed();
    settle(&circuit, 5, Outcome::Failure);
    assert!(circuit.snapshot().shadow && circuit.state() == State::Open);
    circuit.enable();
    let enabled = circuit.snapshot();
    assert_eq!((enabled.state, enabled.shadow, enabled.calls), (State::Closed, false, 0));
    assert_eq!(enabled.consecutive_openings, 0);
    // Said again of a circuit in shadow, it is like any other command.
    circuit.shadow();
    circuit.open();
    circuit.reset();
    assert_eq!((circuit.state(), circuit.snapshot().shadow), (State::Closed, true));
    circuit.disable();
    settle(&circuit, 100, Outcome::Failure);
    assert_eq!((circuit.state(), circuit.snapshot().shadow), (State::Disabled, false));
    assert_eq!(told(), []);
    circuit.force_open();
    let refused = circuit.try_acquire().expect_err("not in shadow any more");
    assert_eq!((refused.reason(), told()), (Reason::ForcedOpen, vec![Event::Rejected(refused)]));
}
