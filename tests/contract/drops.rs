//! Dropped calls: what they give back, and when they count. Every test runs over both kinds of
//! breaker.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    time::Duration,
};

use portcullis::{
    Circuit, CircuitBreakerConfig, CircuitBreakerLayer, HalfOpen, Outcome, State, clock, deadline,
};
use tokio::time::advance;
use tower::Layer;

use crate::{
    breaker::{Bench, Make, SECOND, both, config},
    every_layer::{Subject, ask},
    support::{Answer, Answered, Ask, Caller, Readiness, panic_of, strict},
};

const MS: Duration = Duration::from_millis(1);

both! {
    a_dropped_call_is_ignored
    a_probe_dropped_at_any_point_gives_its_slot_back
    a_probe_dropped_in_the_rate_rule_gives_its_slot_back
    a_panic_elsewhere_is_not_a_failure
    past_the_deadline_seen_at_admission_a_drop_is_a_failure
    a_deadline_set_after_admission_means_nothing
    past_the_slow_limit_a_drop_is_slow
    a_probe_dropped_past_its_deadline_reopens
    one_line_makes_every_drop_a_failure
    calls_cut_by_a_deadline_open_the_circuit
    a_finished_call_is_not_counted_again_when_dropped
}

#[tokio::test(start_paused = true)]
async fn a_panicking_classifier_gives_the_slot_back() {
    let (service, probe) = strict();
    let layer = CircuitBreakerLayer::new(config()).expect("a valid config");
    let circuit = layer.circuit().clone();
    let mut service = layer
        .classify(|_: &Result<Answered, _>| -> Outcome { panic!("the classifier panics") })
        .layer(service);
    for half_open in [false, true] {
        if half_open {
            circuit.half_open();
        }
        // It is neither the service's panic nor its answer: it says nothing about the service.
        assert_eq!(panic_of(|| ask(&mut service)), "the classifier panics");
        let now = circuit.snapshot();
        assert_eq!((now.probes_in_flight, now.calls, probe.live()), (0, 0, 0));
        assert_eq!(now.state, if half_open { State::HalfOpen } else { State::Closed });
    }
}

impl<S: Subject> Bench<S> {
    /// A call that hangs, polled `polls` times.
    #[track_caller]
    fn hang(&mut self, polls: usize) -> Pin<Box<S::Future>> {
        self.probe.answer(Answer::HANGS);
        let caller = Caller::new();
        while caller.ready(&mut self.service).is_pending() {}
        let mut response = Box::pin(self.service.call(Ask(0)));
        assert!((0..polls).all(|_| caller.poll(&mut response).is_pending()));
        response
    }
}

fn probes(circuit: &Circuit) -> u32 {
    circuit.snapshot().probes_in_flight
}

async fn a_dropped_call_is_ignored<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    for polls in 0..4 {
        drop(bench.hang(polls));
        advance(3_600 * SECOND).await;
        drop(bench.hang(polls));
        assert_eq!((bench.counts(), bench.probe.live()), ((0, 0, 0, 0), 0));
    }
    assert_eq!(bench.circuit.state(), State::Closed);
}

async fn a_probe_dropped_at_any_point_gives_its_slot_back<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    bench.circuit.half_open();
    let generation = bench.circuit.snapshot().generation;
    // Keyed, the first three polls ready a clone under the permit; the rest wait for the answer.
    for polls in 0..6 {
        bench.probe.readiness(Readiness::After(2));
        drop(bench.hang(polls));
        assert_eq!((probes(&bench.circuit), bench.probe.live()), (0, 0), "after {polls} polls");
        assert_eq!(bench.probe.reserved(), 0, "after {polls} polls");
        // The only slot of the period is free again, and the drop said nothing about the service.
        assert_eq!(bench.circuit.state(), State::HalfOpen);
        assert_eq!(bench.circuit.snapshot().generation, generation);
    }
    bench.probe.readiness(Readiness::Now);
    bench.probe.answer(Answer::OK);
    assert!(bench.ask().is_ok());
    assert_eq!((bench.circuit.state(), probes(&bench.circuit)), (State::Closed, 0));
}

async fn a_probe_dropped_in_the_rate_rule_gives_its_slot_back<S: Subject>(make: Make<S>) {
    let mut bench = make(config().half_open(HalfOpen::rate(4, 0.5)));
    bench.circuit.half_open();
    for _ in 0..10 {
        let hanging: Vec<_> = (0..4).map(|_| bench.hang(1)).collect();
        assert_eq!(probes(&bench.circuit), 4);
        drop(hanging);
        assert_eq!(probes(&bench.circuit), 0);
    }
    bench.probe.answer(Answer::OK);
    assert!((0..4).all(|_| bench.ask().is_ok()));
    assert_eq!(bench.circuit.state(), State::Closed);
}

async fn a_panic_elsewhere_is_not_a_failure<S: Subject>(make: Make<S>) {
    for half_open in [false, true] {
        for polls in 0..3 {
            let mut bench = make(config());
            if half_open {
                bench.circuit.half_open();
            }
            let before = bench.circuit.state();
            let response = bench.hang(polls);
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _dropped_while_unwinding = response;
                panic!("somewhere else");
            }));
            assert!(unwound.is_err());
            assert_eq!((bench.counts(), bench.probe.live()), ((0, 0, 0, 0), 0));
            assert_eq!(bench.circuit.state(), before);
        }
    }
}

async fn past_the_deadline_seen_at_admission_a_drop_is_a_failure<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    for (waited, failures) in [(SECOND - MS, 0), (SECOND, 1), (SECOND + MS, 2)] {
        let deadline = clock::tokio_now() + SECOND;
        let response = deadline::enter(deadline, || bench.hang(1));
        advance(waited).await;
        // Dropped outside the scope: what counts was seen when the call was let in.
        drop(response);
        assert_eq!(bench.counts(), (failures, failures, 0, 0), "dropped after {waited:?}");
    }
}

async fn a_deadline_set_after_admission_means_nothing<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    let mut response = bench.hang(1);
    let deadline = clock::tokio_now() + SECOND;
    let polled = deadline::enter(deadline, || Caller::new().poll(&mut response));
    assert!(polled.is_pending());
    advance(2 * SECOND).await;
    deadline::enter(deadline, || drop(response));
    assert_eq!(bench.counts(), (0, 0, 0, 0));
}

async fn past_the_slow_limit_a_drop_is_slow<S: Subject>(make: Make<S>) {
    let slow = |config: CircuitBreakerConfig| config.slow_calls(SECOND, 1.0).minimum_calls(3);
    let mut bench = make(slow(config()));
    // Strictly longer than the limit is slow.
    for (waited, slow) in [(SECOND - MS, 0), (SECOND, 0), (SECOND + MS, 1), (2 * SECOND, 2)] {
        let response = bench.hang(1);
        advance(waited).await;
        drop(response);
        assert_eq!(bench.counts(), (slow, 0, slow, 0), "dropped after {waited:?}");
    }
    let response = bench.hang(1);
    advance(2 * SECOND).await;
    drop(response);
    assert_eq!(bench.circuit.state(), State::Open, "cut calls alone open it");
}

async fn a_probe_dropped_past_its_deadline_reopens<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    bench.circuit.half_open();
    let response = deadline::enter(clock::tokio_now() + SECOND, || bench.hang(1));
    advance(2 * SECOND).await;
    drop(response);
    assert_eq!((bench.circuit.state(), probes(&bench.circuit)), (State::Open, 0));
}

async fn one_line_makes_every_drop_a_failure<S: Subject>(make: Make<S>) {
    let mut bench = make(config().drops_are_failures(true));
    drop(bench.hang(0));
    assert_eq!(bench.counts(), (1, 1, 0, 0));
    drop(bench.hang(1));
    assert_eq!(bench.counts(), (2, 2, 0, 0));
    drop(bench.hang(2));
    assert_eq!(bench.circuit.state(), State::Open);
    bench.circuit.half_open();
    drop(bench.hang(1));
    assert_eq!((bench.circuit.state(), probes(&bench.circuit)), (State::Open, 0));
}

async fn calls_cut_by_a_deadline_open_the_circuit<S: Subject>(make: Make<S>) {
    let mut bench = make(CircuitBreakerConfig::new("db").failure_rate(0.5).minimum_calls(20));
    for cut in 1..=20_u64 {
        assert_eq!(bench.circuit.state(), State::Closed);
        let limit = clock::tokio_now() + 100 * MS;
        let response = deadline::enter(limit, || bench.hang(1));
        advance(100 * MS).await;
        drop(response);
        assert_eq!(bench.circuit.snapshot().failures, cut);
    }
    assert_eq!(bench.circuit.state(), State::Open);
}

async fn a_finished_call_is_not_counted_again_when_dropped<S: Subject>(make: Make<S>) {
    let mut bench = make(config().drops_are_failures(true).slow_calls(SECOND, 1.0));
    let caller = Caller::new();
    for (calls, answer, failures) in [(1, Answer::OK, 0), (2, Answer::FAULT, 1)] {
        bench.probe.answer(answer);
        assert!(caller.ready(&mut bench.service).is_ready());
        let mut response = Box::pin(bench.service.call(Ask(0)));
        assert!(caller.poll(&mut response).is_ready());
        advance(2 * SECOND).await;
        drop(response);
        assert_eq!(bench.counts(), (calls, failures, 0, 0));
    }
}
