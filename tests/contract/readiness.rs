//! The readiness rule of the unkeyed breaker: `poll_ready` is the inner's, except that a circuit that
//! surely refuses is ready without asking, and keeps that refusal for the next `call`.

use std::{
    future::Ready,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use portcullis::{Circuit, CircuitBreakerLayer, Error, Reason, State};
use tokio::time::advance;
use tower::{Layer, Service, ServiceBuilder, limit::ConcurrencyLimitLayer};

use crate::{
    breaker::{Bench, SECOND, config, unkeyed},
    every_layer::Subject,
    support::{
        Answer, Answered, Ask, Caller, Fault, Readiness, UNREADIED, fault, panic_of, refusal,
        strict,
    },
};

/// A breaker whose inner service is never ready.
fn never_ready() -> Bench<impl Subject> {
    let bench = unkeyed(config());
    bench.probe.readiness(Readiness::Never);
    bench
}

/// Calls a service that said it is ready, and takes the refusal from the first poll.
#[track_caller]
fn refused_at_once<S: Subject>(service: &mut S) -> Reason {
    let mut response = Box::pin(service.call(Ask(0)));
    match Caller::new().poll(&mut response) {
        Poll::Ready(result) => refusal(result).reason(),
        Poll::Pending => panic!("a refusal was Pending"),
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_is_the_inners_while_calls_are_let_in() {
    let mut bench = never_ready();
    let caller = Caller::new();
    for command in [
        |bench: &Bench<_>| bench.circuit.close(),
        |bench: &Bench<_>| bench.circuit.half_open(),
        |bench: &Bench<_>| bench.circuit.disable(),
        |bench: &Bench<_>| bench.circuit.shadow(),
        |bench: &Bench<_>| bench.circuit.enable(),
    ] {
        command(&bench);
        assert!(caller.ready(&mut bench.service).is_pending(), "{}", bench.circuit.state());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_kept_for_the_next_call() {
    let mut bench = never_ready();
    let caller = Caller::new();
    bench.circuit.open();
    assert!(caller.ready(&mut bench.service).is_ready());
    let generation = bench.circuit.snapshot().generation;
    // The wait ends between the two: the inner was not readied, so the answer stays a refusal, and
    // the circuit is not moved by a call that could not become a probe.
    advance(20 * SECOND).await;
    assert_eq!(refused_at_once(&mut bench.service), Reason::CircuitOpen);
    let now = bench.circuit.snapshot();
    assert_eq!((now.probes_in_flight, now.generation, now.rejected), (0, generation, 1));
    assert_eq!((bench.probe.readied(), bench.probe.calls()), (0, 0));
    // Once: the next caller asks the inner, and becomes the probe.
    assert!(caller.ready(&mut bench.service).is_pending());
    bench.probe.readiness(Readiness::Now);
    assert!(bench.ask().is_ok());
    assert_eq!(bench.circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_kept_refusal_outlives_any_command() {
    let commands: [fn(&Circuit); 6] = [
        |circuit| circuit.close(),
        |circuit| circuit.half_open(),
        |circuit| circuit.disable(),
        |circuit| circuit.enable(),
        |circuit| circuit.shadow(),
        |circuit| circuit.reset(),
    ];
    for command in commands {
        let mut bench = never_ready();
        bench.circuit.force_open();
        assert!(Caller::new().ready(&mut bench.service).is_ready());
        command(&bench.circuit);
        assert_eq!(refused_at_once(&mut bench.service), Reason::ForcedOpen);
        assert_eq!((bench.probe.calls(), bench.circuit.snapshot().probes_in_flight), (0, 0));
        assert!(Caller::new().ready(&mut bench.service).is_pending(), "the inner is asked again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_refusal_is_not_cloned() {
    let mut bench = never_ready();
    bench.circuit.open();
    assert!(Caller::new().ready(&mut bench.service).is_ready());
    let mut clone = bench.service.clone();
    bench.circuit.close();
    assert_eq!(refused_at_once(&mut bench.service), Reason::CircuitOpen);
    // The clone was never readied, by whatever: it has no answer to give.
    assert_eq!(panic_of(|| clone.call(Ask(0))), UNREADIED);
}

#[tokio::test(start_paused = true)]
async fn asking_again_after_the_wait_never_leads_to_an_unready_call() {
    let mut bench = never_ready();
    let caller = Caller::new();
    bench.circuit.open();
    assert!(caller.ready(&mut bench.service).is_ready());
    advance(20 * SECOND).await;
    // Whether a second poll keeps the refusal or asks the inner is not promised; both are sound.
    if caller.ready(&mut bench.service).is_ready() {
        assert_eq!(refused_at_once(&mut bench.service), Reason::CircuitOpen);
    }
    assert_eq!(bench.probe.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_readied_before_the_opening_is_refused_in_call() {
    let mut bench = unkeyed(config());
    let caller = Caller::new();
    assert!(caller.ready(&mut bench.service).is_ready());
    bench.circuit.open();
    assert_eq!(refused_at_once(&mut bench.service), Reason::CircuitOpen);
    assert_eq!((bench.probe.calls(), bench.probe.reserved()), (0, 1), "the inner stays readied");
    bench.circuit.close();
    assert!(bench.ask().is_ok());
    assert_eq!((bench.probe.readied(), bench.probe.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_opens_wakes_every_parked_caller() {
    let commands: [fn(&Circuit); 3] = [
        |circuit| circuit.open(),
        |circuit| circuit.force_open(),
        |circuit| circuit.open_for(Duration::from_secs(1)),
    ];
    for command in commands {
        let bench = never_ready();
        let mut parked: Vec<_> = (0..100).map(|_| (Caller::new(), bench.service.clone())).collect();
        for (caller, service) in &mut parked {
            assert!(caller.ready(service).is_pending());
        }
        command(&bench.circuit);
        for (caller, service) in &mut parked {
            assert_eq!(caller.wakeups(), 1, "{}", bench.circuit.state());
            assert!(caller.ready(service).is_ready());
            assert!(matches!(refused_at_once(service), Reason::CircuitOpen | Reason::ForcedOpen));
            assert_eq!(caller.wakeups(), 1, "no timer, no second wake-up");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_opens_the_circuit_wakes_parked_callers() {
    // A call's failure, an error from another clone's `poll_ready`, and a failed probe.
    for how in 0..3 {
        let bench = never_ready();
        if how == 2 {
            bench.circuit.half_open();
        }
        let (caller, mut parked) = (Caller::new(), bench.service.clone());
        assert!(caller.ready(&mut parked).is_pending());

        let mut other = Bench { service: bench.service.clone(), ..bench };
        other.probe.answer(Answer::FAULT);
        other.probe.readiness(if how == 1 { Readiness::Fails("fault") } else { Readiness::Now });
        for _ in 0..if how == 2 { 1 } else { 3 } {
            assert_eq!(caller.wakeups(), 0);
            fault(other.ask());
        }
        assert_eq!(other.circuit.state(), State::Open);
        assert_eq!(caller.wakeups(), 1, "case {how}");
        assert!(caller.ready(&mut parked).is_ready());
        assert_eq!(refused_at_once(&mut parked), Reason::CircuitOpen);
    }
}

#[tokio::test(start_paused = true)]
async fn opening_between_two_polls_is_never_missed() {
    // Parked, woken by the opening, stalled for longer than the circuit is open, closed and opened
    // again: at each turn the caller either is answered or will be woken.
    let mut bench = never_ready();
    let caller = Caller::new();
    assert!(caller.ready(&mut bench.service).is_pending());
    bench.circuit.open();
    assert_eq!(caller.wakeups(), 1);
    advance(3_600 * SECOND).await;
    assert!(
        caller.ready(&mut bench.service).is_pending(),
        "it may be let in, so the inner is asked"
    );
    bench.circuit.open();
    assert_eq!(caller.wakeups(), 2);
    bench.circuit.close();
    assert!(caller.ready(&mut bench.service).is_pending());
    bench.circuit.force_open();
    assert_eq!(caller.wakeups(), 3);
    assert!(caller.ready(&mut bench.service).is_ready());
    assert_eq!(refused_at_once(&mut bench.service), Reason::ForcedOpen);
}

/// Opens the circuit above it from within `poll_ready`: the narrowest place between asking the circuit
/// and leaving a waker.
#[derive(Debug, Default)]
struct OpensAbove(Option<Circuit>);

impl Service<Ask> for OpensAbove {
    type Response = Answered;
    type Error = Error<Fault>;
    type Future = Ready<Result<Answered, Error<Fault>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error<Fault>>> {
        if let Some(circuit) = &self.0 {
            circuit.force_open();
        }
        Poll::Pending
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        panic!("{UNREADIED}");
    }
}

#[tokio::test(start_paused = true)]
async fn opening_while_the_inner_is_asked_is_not_missed() {
    let layer = CircuitBreakerLayer::new(config()).expect("a valid config");
    let mut service = layer.layer(OpensAbove(Some(layer.circuit().clone())));
    let caller = Caller::new();
    let ready = caller.ready(&mut service);
    assert!(ready.is_ready() || caller.wakeups() == 1, "nobody is left waiting");
    assert!(caller.ready(&mut service).is_ready());
    assert_eq!(caller.wakers(), 0, "what was answered waits for nothing");
    let mut response = Box::pin(service.call(Ask(0)));
    let Poll::Ready(result) = caller.poll(&mut response) else { panic!("a refusal was Pending") };
    assert_eq!(refusal(result).reason(), Reason::ForcedOpen);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_became_ready_waits_no_more() {
    let mut bench = never_ready();
    let caller = Caller::new();
    assert!(caller.ready(&mut bench.service).is_pending());
    bench.probe.readiness(Readiness::Now);
    assert!(caller.ready(&mut bench.service).is_ready());
    assert_eq!(caller.wakers(), 0);
    bench.circuit.force_open();
    assert_eq!(caller.wakeups(), 0);
}

/// A task that owns the service it polls, as in a small executor: with its last waker, the service goes.
struct Owner(#[expect(dead_code, reason = "there to be dropped")] Mutex<Option<Box<dyn Send>>>);

impl Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_task_that_goes_with_its_last_waker_takes_its_service_along() {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || {
        let bench = never_ready();
        let (mut kept, mut owned) = (bench.service.clone(), bench.service.clone());
        let (caller, second) = (Caller::new(), Caller::new());
        assert!(second.ready(&mut owned).is_pending());
        let task = Arc::new(Owner(Mutex::new(Some(Box::new(owned)))));
        let waker = Waker::from(task);
        assert!(kept.poll_ready(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        // The wakers kept for `kept` are the task's last: replacing them drops it, and with it a
        // service that gives its own place back.
        assert!(caller.ready(&mut kept).is_pending());
        bench.circuit.force_open();
        let _ = done.send((caller.wakeups(), second.wakers()));
    });
    // A safety net against a deadlock: nothing waits for it unless the test fails.
    assert_eq!(wait.recv_timeout(Duration::from_secs(20)), Ok((1, 0)));
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_takes_no_permit_of_a_limit_below() {
    let (service, probe) = strict();
    let layer = CircuitBreakerLayer::new(config()).expect("a valid config");
    let circuit = layer.circuit().clone();
    let limited = ServiceBuilder::new().layer(ConcurrencyLimitLayer::new(1)).service(service);
    let service = layer.layer(limited);
    let caller = Caller::new();

    circuit.open();
    let mut idle: Vec<_> = (0..10).map(|_| service.clone()).collect();
    assert!(idle.iter_mut().all(|service| caller.ready(service).is_ready()));
    circuit.close();
    let mut neighbour = service.clone();
    assert!(caller.ready(&mut neighbour).is_ready(), "the only permit is free");

    // The documented price of refusing in `call`: what the inner reserved stays with that clone.
    circuit.open();
    assert_eq!(refused_at_once(&mut neighbour), Reason::CircuitOpen);
    circuit.close();
    let mut other = service.clone();
    assert!(caller.ready(&mut other).is_pending());
    drop(neighbour);
    assert_eq!(caller.wakeups(), 1);
    assert!(caller.ready(&mut other).is_ready());
    assert_eq!(probe.calls(), 0);
}

/// Nor does the one whose call opens the circuit notice.
#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_keeps_no_other_parked_caller_asleep() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker panics");
        }
    }
    let bench = never_ready();
    let (mut first, mut second) = (bench.service.clone(), bench.service.clone());
    let rude = Waker::from(Arc::new(Panics));
    assert!(Service::<Ask>::poll_ready(&mut first, &mut Context::from_waker(&rude)).is_pending());
    let caller = Caller::new();
    assert!(caller.ready::<_, Ask>(&mut second).is_pending());
    bench.circuit.open();
    assert_eq!(caller.wakeups(), 1);
}
