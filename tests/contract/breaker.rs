//! What a circuit breaker promises, keyed or not: every test runs over both.

use std::{task::Poll, time::Duration};

use portcullis::{
    Circuit, CircuitBreakerConfig, CircuitBreakerLayer, HalfOpen, KeyedCircuitBreakerLayer, Reason,
    Sleep, State,
};
use tokio::time::advance;
use tower::Layer;

use crate::{
    every_layer::{Calls, Subject, ask},
    support::{
        Answer, Ask, Caller, Fault, ON_DEMAND, Probe, Readiness, fault, panic_of, refusal, strict,
    },
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// One breaker over one strict service, the handle of its circuit, and the service's probe.
#[derive(Debug)]
pub(crate) struct Bench<S> {
    pub(crate) service: S,
    pub(crate) circuit: Circuit,
    pub(crate) probe: Probe,
    pub(crate) calls: Calls,
}

/// Opens after three failures in a row, sleeps 10 s exactly, closes after one good probe.
pub(crate) fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("db")
        .no_failure_rate()
        .consecutive_failures(3)
        .sleep(Sleep::fixed(10 * SECOND))
        .half_open(HalfOpen::counts(1, 1))
}

pub(crate) fn unkeyed(config: CircuitBreakerConfig) -> Bench<impl Subject> {
    let (service, probe) = strict();
    let layer = CircuitBreakerLayer::new(config).expect("a valid config");
    let circuit = layer.circuit().clone();
    Bench { service: layer.layer(service), circuit, probe, calls: Calls::AtOnce }
}

pub(crate) fn keyed(config: CircuitBreakerConfig) -> Bench<impl Subject> {
    let (service, probe) = strict();
    let layer =
        KeyedCircuitBreakerLayer::new(config, 8, |ask: &Ask| ask.0).expect("a valid config");
    let mut service = layer.layer(service);
    // A key exists from its first call on; the reset makes that call unseen.
    ask(&mut service).expect("the strict service answers");
    let circuit = layer.circuits().get(&0).expect("the circuit of the key that was just used");
    circuit.reset();
    Bench { service, circuit, probe, calls: Calls::InFuture }
}

/// Runs each test over both kinds of breaker.
macro_rules! both {
    ($($test:ident)*) => {
        mod unkeyed {
            $(
                #[tokio::test(start_paused = true)]
                async fn $test() {
                    super::$test($crate::breaker::unkeyed).await;
                }
            )*
        }
        mod keyed {
            $(
                #[tokio::test(start_paused = true)]
                async fn $test() {
                    super::$test($crate::breaker::keyed).await;
                }
            )*
        }
    };
}
pub(crate) use both;

/// How a test makes its breaker.
pub(crate) type Make<S> = fn(CircuitBreakerConfig) -> Bench<S>;

impl<S: Subject> Bench<S> {
    #[track_caller]
    pub(crate) fn ask(&mut self) -> Result<crate::support::Answered, S::Error> {
        ask(&mut self.service)
    }

    /// The window and the probes: calls, failures, slow calls, probes in flight.
    pub(crate) fn counts(&self) -> (u64, u64, u64, u32) {
        let now = self.circuit.snapshot();
        (now.calls, now.failures, now.slow, now.probes_in_flight)
    }
}

both! {
    an_open_circuit_refuses_without_asking_the_service
    a_refusal_says_who_why_and_when
    a_panic_in_call_is_one_failure
    a_panic_in_poll_is_one_failure
    a_panic_of_a_probe_reopens_and_frees_its_slot
    a_panic_in_poll_ready_takes_no_probe_along
    errors_from_poll_ready_open_the_circuit
    an_error_from_poll_ready_reopens_a_half_open_circuit
    an_error_from_poll_ready_after_the_wait_reopens
    readying_ten_clones_takes_no_probe
    the_probe_limit_refuses_at_once
    a_late_result_changes_nothing
    a_disabled_circuit_records_nothing
    a_shadow_circuit_lets_everything_through
}

async fn an_open_circuit_refuses_without_asking_the_service<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    let readied = bench.probe.readied();
    bench.probe.readiness(Readiness::Never);
    bench.circuit.open();
    let caller = Caller::new();
    for _ in 0..10 {
        // Never `Pending`: whoever asks a refusing circuit gets its answer in this very poll.
        assert!(matches!(caller.ready(&mut bench.service), Poll::Ready(Ok(()))));
        let mut response = Box::pin(bench.service.call(Ask(0)));
        let Poll::Ready(result) = caller.poll(&mut response) else {
            panic!("a refusal was Pending");
        };
        assert_eq!(refusal(result).reason(), Reason::CircuitOpen);
    }
    assert_eq!((bench.probe.readied(), caller.wakeups()), (readied, 0));
    assert_eq!(bench.circuit.snapshot().rejected, 10);
}

async fn a_refusal_says_who_why_and_when<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    bench.circuit.open();
    advance(4 * SECOND).await;
    let refused = refusal(bench.ask());
    assert_eq!((refused.reason(), refused.policy()), (Reason::CircuitOpen, "db"));
    assert_eq!((refused.retry_after(), refused.attempted()), (Some(6 * SECOND), false));

    bench.circuit.force_open();
    advance(1_000 * SECOND).await;
    let refused = refusal(bench.ask());
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::ForcedOpen, None));
}

async fn a_panic_in_call_is_one_failure<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    bench.probe.answer(Answer::PANICS_IN_CALL);
    for failures in 1..=3 {
        assert_eq!(panic_of(|| bench.ask()), ON_DEMAND);
        if failures < 3 {
            assert_eq!(bench.counts(), (failures, failures, 0, 0));
        }
    }
    assert_eq!(bench.circuit.state(), State::Open);
}

async fn a_panic_in_poll_is_one_failure<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    bench.probe.answer(Answer::PANICS_IN_POLL);
    for failures in 1..=3 {
        let caller = Caller::new();
        assert!(caller.ready(&mut bench.service).is_ready());
        let mut response = Box::pin(bench.service.call(Ask(0)));
        assert!(caller.poll(&mut response).is_pending());
        assert_eq!(panic_of(|| caller.poll(&mut response)), ON_DEMAND);
        let at_the_panic = bench.counts();
        drop(response);
        assert_eq!(bench.counts(), at_the_panic, "the drop after the panic is not counted again");
        if failures < 3 {
            assert_eq!(at_the_panic, (failures, failures, 0, 0));
        }
    }
    assert_eq!(bench.circuit.state(), State::Open);
}

async fn a_panic_of_a_probe_reopens_and_frees_its_slot<S: Subject>(make: Make<S>) {
    for answer in [Answer::PANICS_IN_CALL, Answer::PANICS_IN_POLL] {
        let mut bench = make(config());
        bench.circuit.half_open();
        bench.probe.answer(answer);
        assert_eq!(panic_of(|| bench.ask()), ON_DEMAND);
        assert_eq!(bench.circuit.state(), State::Open);
        assert_eq!(bench.circuit.snapshot().probes_in_flight, 0);

        bench.circuit.half_open();
        bench.probe.answer(Answer::OK);
        assert!(bench.ask().is_ok(), "the slot of the panicking probe is free");
        assert_eq!(bench.circuit.state(), State::Closed);
    }
}

async fn a_panic_in_poll_ready_takes_no_probe_along<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    bench.circuit.half_open();
    bench.probe.readiness(Readiness::Panics);
    for _ in 0..3 {
        assert_eq!(panic_of(|| bench.ask()), ON_DEMAND);
        assert_eq!(bench.circuit.snapshot().probes_in_flight, 0);
        bench.circuit.half_open();
    }
    bench.probe.readiness(Readiness::Now);
    assert!(bench.ask().is_ok());
    assert_eq!(bench.circuit.state(), State::Closed);
}

async fn errors_from_poll_ready_open_the_circuit<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    bench.probe.readiness(Readiness::Fails("gone"));
    for failures in 1..=3 {
        assert_eq!(fault(bench.ask()), Fault("gone"));
        if failures < 3 {
            assert_eq!(bench.counts(), (failures, failures, 0, 0));
        }
    }
    assert_eq!(bench.circuit.state(), State::Open);
    assert_eq!(refusal(bench.ask()).reason(), Reason::CircuitOpen);
}

async fn an_error_from_poll_ready_reopens_a_half_open_circuit<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    bench.circuit.half_open();
    bench.probe.readiness(Readiness::Fails("gone"));
    assert_eq!(fault(bench.ask()), Fault("gone"));
    assert_eq!(bench.circuit.state(), State::Open);
    assert_eq!(bench.circuit.snapshot().probes_in_flight, 0);
}

async fn an_error_from_poll_ready_after_the_wait_reopens<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    bench.circuit.open();
    bench.probe.readiness(Readiness::Fails("gone"));
    for _ in 0..3 {
        assert_eq!(refusal(bench.ask()).reason(), Reason::CircuitOpen);
        advance(10 * SECOND).await;
        // The call that would be the probe meets the error. Were that no failed probe, every call from
        // here on would go to a service that cannot be reached, for as long as it cannot.
        assert_eq!(fault(bench.ask()), Fault("gone"));
    }
    assert_eq!(refusal(bench.ask()).reason(), Reason::CircuitOpen);
    assert_eq!(bench.circuit.snapshot().probes_in_flight, 0);
}

async fn readying_ten_clones_takes_no_probe<S: Subject>(make: Make<S>) {
    let bench = make(config());
    bench.circuit.half_open();
    let caller = Caller::new();
    let mut clones: Vec<S> = (0..10).map(|_| bench.service.clone()).collect();
    assert!(clones.iter_mut().all(|clone| caller.ready(clone).is_ready()));
    assert_eq!(bench.circuit.snapshot().probes_in_flight, 0);
    // The last to be readied is the first to call, and gets the only slot.
    bench.probe.answer(Answer::OK.after(1));
    let mut last = clones.pop().expect("ten clones");
    let mut probe = Box::pin(last.call(Ask(0)));
    for clone in &mut clones {
        let mut response = Box::pin(clone.call(Ask(0)));
        let Poll::Ready(result) = caller.poll(&mut response) else {
            panic!("a refusal was Pending");
        };
        assert_eq!(refusal(result).reason(), Reason::ProbeLimit);
    }
    assert!(caller.finish(&mut probe).is_ok());
    assert_eq!(bench.circuit.state(), State::Closed);
    drop(clones);
    assert_eq!(bench.probe.reserved(), 0);
}

async fn the_probe_limit_refuses_at_once<S: Subject>(make: Make<S>) {
    let mut bench = make(config().half_open(HalfOpen::counts(2, 1)));
    bench.circuit.half_open();
    bench.probe.answer(Answer::HANGS);
    let caller = Caller::new();
    let hanging: Vec<_> = (0..2)
        .map(|_| {
            let mut service = bench.service.clone();
            assert!(caller.ready(&mut service).is_ready());
            let mut response = Box::pin(service.call(Ask(0)));
            assert!(caller.poll(&mut response).is_pending());
            response
        })
        .collect();
    assert_eq!(bench.circuit.snapshot().probes_in_flight, 2);
    assert_eq!(refusal(bench.ask()).reason(), Reason::ProbeLimit);
    drop(hanging);
    assert_eq!((bench.circuit.snapshot().probes_in_flight, bench.probe.live()), (0, 0));
    bench.probe.answer(Answer::OK);
    assert!(bench.ask().is_ok() && bench.ask().is_ok());
    assert_eq!(bench.circuit.state(), State::Closed);
}

async fn a_late_result_changes_nothing<S: Subject>(make: Make<S>) {
    for late in [Answer::OK, Answer::FAULT, Answer::PANICS_IN_POLL, Answer::HANGS] {
        let mut bench = make(config());
        let caller = Caller::new();
        bench.probe.answer(if late == Answer::HANGS { late } else { late.after(1) });
        assert!(caller.ready(&mut bench.service).is_ready());
        let mut of_the_closed_period = Box::pin(bench.service.call(Ask(0)));
        assert!(caller.poll(&mut of_the_closed_period).is_pending());

        bench.circuit.half_open();
        bench.probe.answer(Answer::HANGS);
        assert!(caller.ready(&mut bench.service).is_ready());
        let mut probe = Box::pin(bench.service.call(Ask(0)));
        assert!(caller.poll(&mut probe).is_pending());
        let before = (bench.circuit.state(), bench.counts());
        match late {
            Answer::HANGS => drop(of_the_closed_period),
            Answer::PANICS_IN_POLL => {
                assert_eq!(panic_of(|| caller.poll(&mut of_the_closed_period)), ON_DEMAND);
            }
            _ => assert!(caller.poll(&mut of_the_closed_period).is_ready()),
        }
        assert_eq!((bench.circuit.state(), bench.counts()), before, "{late:?}");
        assert_eq!(before, (State::HalfOpen, (0, 0, 0, 1)));
    }
}

async fn a_disabled_circuit_records_nothing<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    bench.circuit.disable();
    bench.probe.answer(Answer::FAULT);
    for _ in 0..10 {
        assert_eq!(fault(bench.ask()), Fault("fault"));
    }
    bench.probe.readiness(Readiness::Fails("gone"));
    for _ in 0..10 {
        assert_eq!(fault(bench.ask()), Fault("gone"));
    }
    assert_eq!((bench.circuit.state(), bench.counts()), (State::Disabled, (0, 0, 0, 0)));
}

async fn a_shadow_circuit_lets_everything_through<S: Subject>(make: Make<S>) {
    let mut bench = make(config());
    bench.circuit.shadow();
    bench.probe.answer(Answer::FAULT);
    for _ in 0..10 {
        assert_eq!(fault(bench.ask()), Fault("fault"));
    }
    assert_eq!(bench.circuit.state(), State::Open, "the machine runs");
    assert!(bench.circuit.snapshot().shadow);

    bench.probe.readiness(Readiness::Never);
    let caller = Caller::new();
    match bench.calls {
        Calls::AtOnce => assert!(caller.ready(&mut bench.service).is_pending()),
        Calls::InFuture => {
            assert!(caller.ready(&mut bench.service).is_ready());
            assert!(caller.poll(&mut Box::pin(bench.service.call(Ask(0)))).is_pending());
        }
    }
    assert_eq!(bench.counts().3, 0, "what a shadow lets through holds nothing");
}
