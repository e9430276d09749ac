//! Races that went wrong once: what a thread shows while another one tells, subscribes or commands.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use portcullis::{
    Circuit, CircuitBreakerConfig, CircuitBreakerLayer, Circuits, Error, Event, Options, Outcome,
    Sleep, State, Transition,
};
use support::Caller;
use tower::{Layer, Service};

/// Never ready.
struct Never;

impl Service<()> for Never {
    type Response = ();
    type Error = Error<()>;
    type Future = std::future::Ready<Result<(), Error<()>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error<()>>> {
        Poll::Pending
    }

    fn call(&mut self, (): ()) -> Self::Future {
        unreachable!("it was never ready")
    }
}

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("races").consecutive_failures(1)
}

/// A place in an observer at which a thread stops until it is let go.
fn stop() -> (impl Fn() + Send + Sync + 'static, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (there, arrived) = mpsc::channel();
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let stop = move || {
        there.send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
    };
    (stop, arrived, go)
}

/// One thread tells the transition that another has made: watches and parked callers see it all the same.
#[test]
fn a_transition_told_by_another_thread_is_shown() {
    let (in_half_open, first_arrived, let_first_go) = stop();
    let (in_settled, second_arrived, let_second_go) = stop();
    let once = AtomicBool::new(true);
    let observer = move |event: &Event| match event {
        Event::Transition { transition: Transition { to: State::HalfOpen, .. }, .. }
            if once.swap(false, SeqCst) =>
        {
            in_half_open();
        }
        Event::Settled { outcome: Outcome::Failure, .. } => in_settled(),
        _ => {}
    };
    let options = Options::new().observer(observer);
    let layer = CircuitBreakerLayer::with(config(), options).unwrap();
    let circuit = layer.circuit().clone();
    let watch = circuit.subscribe();
    thread::scope(|scope| {
        circuit.open_for(Duration::ZERO);
        let first = scope.spawn(|| drop(circuit.try_acquire()));
        first_arrived.recv().unwrap();
        let mut service = layer.layer(Never);
        let caller = Caller::new();
        assert!(caller.ready::<_, ()>(&mut service).is_pending());

        let second = scope.spawn(|| circuit.try_acquire().unwrap().failure());
        second_arrived.recv().unwrap();
        let_first_go.send(()).unwrap();
        first.join().unwrap();
        let_second_go.send(()).unwrap();
        second.join().unwrap();

        assert_eq!(circuit.state(), State::Open);
        assert_eq!(watch.current(), State::Open);
        assert!(caller.wakeups() > 0, "the parked caller would be refused now");
    });
}

#[test]
fn whoever_subscribes_during_a_transition_sees_it() {
    for _ in 0..2_000 {
        let circuit = Circuit::new(config()).unwrap();
        let barrier = Barrier::new(2);
        let watch = thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                circuit.force_open();
            });
            barrier.wait();
            circuit.subscribe()
        });
        assert_eq!(watch.current(), State::ForcedOpen);
    }
}

/// A refusal's time is that of the state that refuses.
#[test]
fn no_refusal_takes_its_time_from_another_state() {
    let longest = Duration::from_secs(5);
    let circuit = Circuit::new(config().sleep(Sleep::fixed(longest))).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20_000 {
                circuit.force_open();
                circuit.open();
            }
            over.store(true, SeqCst);
        });
        while !over.load(SeqCst) {
            if let Err(refusal) = circuit.try_acquire() {
                assert!(refusal.retry_after().unwrap_or_default() <= longest, "{refusal}");
            }
        }
    });
}

#[test]
fn of_two_changes_of_all_circuits_one_comes_last_everywhere() {
    let circuits = Circuits::new(config(), 64, Options::new()).unwrap();
    (0..64).for_each(|key| drop(circuits.circuit(key)));
    for _ in 0..100 {
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            for calls in [7, 9] {
                let (circuits, barrier) = (&circuits, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    circuits.reconfigure(config().minimum_calls(calls)).unwrap();
                });
            }
        });
        let mut seen: Vec<u32> =
            circuits.list().iter().map(|(_, circuit)| circuit.config().minimum_calls).collect();
        seen.dedup();
        assert_eq!(seen.len(), 1, "{seen:?}");
    }
}

#[test]
fn taking_the_last_probe_wakes_parked_callers() {
    let layer = CircuitBreakerLayer::new(config()).unwrap();
    layer.circuit().half_open();
    let mut service = layer.layer(Never);
    let caller = Caller::new();
    assert!(caller.ready::<_, ()>(&mut service).is_pending());
    let probes = [(); 3].map(|()| layer.circuit().try_acquire().unwrap());
    assert!(caller.wakeups() > 0);
    assert!(caller.ready::<_, ()>(&mut service).is_ready());
    assert_eq!(caller.wakers(), 0, "an answered caller leaves nothing behind");
    drop(probes);
}

/// What an observer throws may throw again when it is dropped.
#[test]
fn an_observers_panic_ends_with_the_event() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(thread::panicking(), "dropped outside a panic");
        }
    }
    let told = Arc::new(AtomicBool::new(false));
    let sink = told.clone();
    let options = Options::new().observer(move |_: &Event| {
        sink.store(true, SeqCst);
        std::panic::panic_any(Bomb);
    });
    let circuit = Circuit::with(config(), options).unwrap();
    circuit.try_acquire().unwrap().success();
    assert!(told.load(SeqCst));
    assert_eq!(circuit.snapshot().successes, 1);
}
