//! How long a probe may go unanswered, as callers of the handle meet it.

use std::{
    future::{pending, ready},
    time::Duration,
};

use portcullis::{Cause, Circuit, Error, HalfOpen, Reason, State, circuit_breaker::Permit};
use tokio::time::advance;

use super::{NS, SECOND, circuit, config, wait};

const LEASE: Duration = Duration::from_secs(30);

/// Half-open, with a lease of 30 s and waits of 10 s.
fn half_open(half_open: HalfOpen) -> Circuit {
    let circuit = circuit(config().half_open(half_open).probe_lease(LEASE));
    circuit.half_open();
    circuit
}

#[track_caller]
fn probe(circuit: &Circuit) -> Permit {
    let permit = circuit.try_acquire().expect("a probe");
    assert_eq!(circuit.state(), State::HalfOpen);
    permit
}

#[track_caller]
fn refused(circuit: &Circuit) -> (Reason, Option<Duration>) {
    let refused = circuit.try_acquire().expect_err("refused");
    (refused.reason(), refused.retry_after())
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_to_the_nanosecond_and_the_wait_begins_with_its_end() {
    let circuit = half_open(HalfOpen::counts(1, 1));
    let _hung = probe(&circuit);
    advance(LEASE - NS).await;
    assert_eq!(refused(&circuit), (Reason::ProbeLimit, None));
    advance(NS).await;
    assert_eq!(circuit.state(), State::HalfOpen, "nothing runs in the background");
    assert_eq!(refused(&circuit), (Reason::CircuitOpen, Some(10 * SECOND)));
    assert_eq!(circuit.explain().opened_by, Some(Cause::LeaseExpired { limit: LEASE }));
    assert_eq!(circuit.snapshot().probes_in_flight, 0);

    // Seen later, it ended no later.
    circuit.half_open();
    let _hung = probe(&circuit);
    advance(LEASE + 4 * SECOND).await;
    assert_eq!(refused(&circuit), (Reason::CircuitOpen, Some(6 * SECOND)));
    advance(6 * SECOND).await;
    // Seen as late as the wait after it ends, both are over at one call.
    let _hung = probe(&circuit);
    advance(LEASE + 10 * SECOND - NS).await;
    assert_eq!(refused(&circuit), (Reason::CircuitOpen, Some(NS)));
    circuit.half_open();
    let _hung = probe(&circuit);
    advance(LEASE + 10 * SECOND).await;
    probe(&circuit).success();
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_until_the_lease_ends() {
    for (late, state) in [(LEASE - NS, State::Closed), (LEASE, State::Open)] {
        let circuit = half_open(HalfOpen::counts(1, 1));
        let permit = probe(&circuit);
        advance(late).await;
        permit.success();
        assert_eq!(circuit.state(), state, "answered after {late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_oldest_probe_decides_when() {
    let circuit = half_open(HalfOpen::counts(4, 1));
    let first = probe(&circuit);
    advance(10 * SECOND).await;
    let second = probe(&circuit);
    assert_eq!(circuit.explain().until, Some(20 * SECOND), "the first one's");
    advance(15 * SECOND).await;
    // Answered or dropped in time, it takes its lease along.
    first.success();
    assert_eq!(circuit.explain().until, Some(15 * SECOND), "the second one's");
    advance(10 * SECOND).await;
    let third = probe(&circuit);
    drop(second);
    assert_eq!(circuit.explain().until, Some(30 * SECOND), "the third one's");
    advance(30 * SECOND - NS).await;
    third.success();
    assert_eq!((circuit.state(), circuit.explain().until), (State::HalfOpen, None), "none is out");
    advance(1_000 * SECOND).await;
    // With nothing in flight there is nothing to wait for.
    probe(&circuit).success();
    probe(&circuit).success();
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn one_hung_probe_of_several_reopens_and_the_others_answers_come_too_late() {
    let circuit = half_open(HalfOpen::counts(3, 1));
    let _hung = probe(&circuit);
    advance(SECOND).await;
    let [good, dropped] = [probe(&circuit), probe(&circuit)];
    advance(LEASE - SECOND).await;
    // Its own lease has a second left, but the period is over.
    good.success();
    assert_eq!((circuit.state(), wait(&circuit)), (State::Open, 10 * SECOND));
    let before = circuit.snapshot();
    drop(dropped);
    assert_eq!(circuit.snapshot(), before);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_nobody_polls_is_a_hung_probe() {
    let circuit = half_open(HalfOpen::counts(1, 1));
    let unpolled = circuit.run(ready(Ok::<_, Error<()>>(())));
    assert_eq!(circuit.snapshot().probes_in_flight, 1, "decided before the first poll");
    advance(LEASE).await;
    assert_eq!(refused(&circuit), (Reason::CircuitOpen, Some(10 * SECOND)));
    advance(10 * SECOND).await;
    let hangs = circuit.run(pending::<Result<(), Error<()>>>());
    // The late answer reaches its caller and nobody else, and the drop frees no slot.
    assert_eq!(unpolled.await, Ok(()));
    assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (State::HalfOpen, 1));
    assert_eq!(refused(&circuit), (Reason::ProbeLimit, None));
    drop(hangs);
    probe(&circuit).success();
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_lease_can_be_changed_while_a_probe_is_out() {
    for (lease, later) in [(5 * SECOND, 5 * SECOND), (60 * SECOND, 60 * SECOND)] {
        let circuit = half_open(HalfOpen::counts(1, 1));
        let _hung = probe(&circuit);
        circuit.reconfigure(config().probe_lease(lease)).expect("a valid config");
        assert_eq!(circuit.explain().until, Some(lease));
        advance(later - NS).await;
        assert_eq!(refused(&circuit), (Reason::ProbeLimit, None));
        advance(NS).await;
        assert_eq!(refused(&circuit), (Reason::CircuitOpen, Some(10 * SECOND)));
    }
    // Shortened to what has passed already: over as of then.
    let circuit = half_open(HalfOpen::counts(1, 1));
    let _hung = probe(&circuit);
    advance(9 * SECOND).await;
    circuit.reconfigure(config().probe_lease(5 * SECOND)).expect("a valid config");
    assert_eq!(refused(&circuit), (Reason::CircuitOpen, Some(6 * SECOND)));
}

#[tokio::test(start_paused = true)]
async fn a_closed_circuit_knows_no_lease() {
    let circuit = circuit(config().probe_lease(NS));
    let slow = circuit.try_acquire().expect("closed");
    advance(1_000 * SECOND).await;
    drop(circuit.try_acquire().expect("still closed"));
    slow.success();
    assert_eq!((circuit.state(), circuit.snapshot().successes), (State::Closed, 1));
}

/// What is said about the next call is what the next call gets, also when a lease has run out
/// unnoticed.
#[tokio::test(start_paused = true)]
async fn an_explanation_knows_that_a_lease_has_ended() {
    for half_open_by in [HalfOpen::counts(1, 1), HalfOpen::counts(3, 1)] {
        for later in [LEASE, LEASE + 4 * SECOND, LEASE + 10 * SECOND] {
            let circuit = half_open(half_open_by);
            let _hung = probe(&circuit);
            advance(later).await;
            let why = circuit.explain();
            let admitted = circuit.try_acquire().is_ok();
            assert_eq!(why.admits, admitted, "{later:?} after the probe: {why}");
        }
    }
}
