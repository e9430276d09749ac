//! Observers and state watches: outside every lock, in order, and never in the circuit's way.

mod support;

#[path = "observer/watch.rs"]
mod watch;

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use portcullis::{
    Circuit, CircuitBreakerConfig, Event, HalfOpen, Options, Outcome, PolicyKind, Reason, Sleep,
    State, event,
};
use support::{Answer, Ask, Caller, Readiness, strict};
use tokio::time::advance;
use tower::{Layer, Service};

const SECOND: Duration = Duration::from_secs(1);

fn config(name: &'static str) -> CircuitBreakerConfig {
    CircuitBreakerConfig::new(name)
        .no_failure_rate()
        .consecutive_failures(3)
        .sleep(Sleep::fixed(10 * SECOND))
        .half_open(HalfOpen::counts(1, 1))
}

fn observed(name: &'static str, observer: impl Fn(&Event) + Send + Sync + 'static) -> Circuit {
    Circuit::with(config(name), Options::new().observer(observer)).expect("a valid config")
}

/// Runs on a thread of its own, so that a deadlock is a failure and not a test that never ends. The
/// limit is a safety net: nothing waits for it unless the test fails.
#[track_caller]
fn without_deadlock(run: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        run();
        let _ = done.send(());
    });
    match wait.recv_timeout(20 * SECOND) {
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {}
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("deadlock"),
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn step(event: &Event) -> Option<(State, State)> {
    match event {
        Event::Transition { transition, .. } => Some((transition.from, transition.to)),
        _ => None,
    }
}

/// The handle that an observer is told of only after it was made.
#[derive(Clone, Debug, Default)]
struct Handle(Arc<OnceLock<Circuit>>);

impl Handle {
    fn set(&self, circuit: &Circuit) {
        self.0.set(circuit.clone()).expect("set once");
    }

    fn get(&self) -> &Circuit {
        self.0.get().expect("set before the first event")
    }
}

#[test]
fn an_observer_may_use_the_handle_that_told_it() {
    without_deadlock(|| {
        let (handle, seen) = (Handle::default(), Arc::new(Mutex::new(Vec::new())));
        let (inside, log) = (handle.clone(), Arc::clone(&seen));
        let circuit = observed("reentrant", move |event: &Event| {
            let circuit = inside.get();
            let snapshot = circuit.snapshot();
            assert!(!circuit.explain().to_string().is_empty());
            circuit.reconfigure(config("reentrant")).expect("a valid config");
            let Some((from, to)) = step(event) else { return };
            log.lock().unwrap().push((from, to, snapshot.state));
            // What the automatic opening does not promise, an operator's rule does.
            if to == State::Open {
                circuit.force_open();
                assert_eq!(circuit.state(), State::ForcedOpen, "a command acts at once");
            }
        });
        handle.set(&circuit);
        for _ in 0..3 {
            circuit.try_acquire().expect("closed").failure();
        }
        assert_eq!(circuit.state(), State::ForcedOpen);
        assert_eq!(circuit.try_acquire().unwrap_err().reason(), Reason::ForcedOpen);
        let seen = seen.lock().unwrap();
        assert_eq!(
            *seen,
            [
                (State::Closed, State::Open, State::Open),
                (State::Open, State::ForcedOpen, State::ForcedOpen)
            ]
        );
    });
}

#[test]
fn an_observer_may_make_calls_of_its_own() {
    without_deadlock(|| {
        let handle = Handle::default();
        let nested = AtomicBool::new(false);
        let inside = handle.clone();
        let circuit = observed("calls", move |event: &Event| {
            if let Event::Settled { .. } | Event::Transition { .. } = event {
                // Once deep: what it does is told to itself again.
                if !nested.swap(true, SeqCst) {
                    let _ = inside.get().try_acquire().map(|permit| permit.failure());
                    nested.store(false, SeqCst);
                }
            }
        });
        handle.set(&circuit);
        circuit.try_acquire().expect("closed").failure();
        assert_eq!(circuit.snapshot().failures, 2);
        circuit.try_acquire().expect("closed").failure();
        assert_eq!(circuit.state(), State::Open);
    });
}

#[test]
fn transitions_are_told_in_order_even_when_the_observer_causes_them() {
    without_deadlock(|| {
        let (handle, seen) = (Handle::default(), Arc::new(Mutex::new(Vec::new())));
        let (inside, log) = (handle.clone(), Arc::clone(&seen));
        let depth = AtomicU32::new(0);
        let circuit = observed("ordered", move |event: &Event| {
            let Some((from, to)) = step(event) else { return };
            assert_eq!(depth.fetch_add(1, SeqCst), 0, "a transition told inside another");
            // Two more, before this one is written down.
            if to == State::Open {
                inside.get().half_open();
                inside.get().close();
            }
            log.lock().unwrap().push((from, to));
            depth.fetch_sub(1, SeqCst);
        });
        handle.set(&circuit);
        circuit.open();
        let expected = [
            (State::Closed, State::Open),
            (State::Open, State::HalfOpen),
            (State::HalfOpen, State::Closed),
        ];
        assert_eq!(*seen.lock().unwrap(), expected);
    });
}

#[test]
fn transitions_of_many_threads_are_told_once_in_order_and_never_at_the_same_time() {
    const THREADS: usize = 4;
    const COMMANDS: usize = 200;
    without_deadlock(|| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, telling) = (Arc::clone(&seen), AtomicBool::new(false));
        let circuit = observed("threads", move |event: &Event| {
            if let Event::Transition { transition, .. } = event {
                assert!(!telling.swap(true, SeqCst), "told by two threads at once");
                log.lock().unwrap().push(*transition);
                thread::yield_now();
                telling.store(false, SeqCst);
            }
        });
        thread::scope(|scope| {
            for number in 0..THREADS {
                let circuit = &circuit;
                scope.spawn(move || {
                    for turn in 0..COMMANDS {
                        match (number + turn) % 3 {
                            0 => circuit.open(),
                            1 => circuit.half_open(),
                            _ => circuit.close(),
                        }
                    }
                });
            }
        });
        let seen = seen.lock().unwrap();
        assert!(seen.len() > COMMANDS / 2, "{} transitions", seen.len());
        assert_eq!(seen[0].from, State::Closed);
        for pair in seen.windows(2) {
            assert!(pair[0].generation < pair[1].generation, "{pair:?}");
            assert_eq!(pair[0].to, pair[1].from, "none is lost and none is told twice: {pair:?}");
        }
        assert_eq!(
            seen[seen.len() - 1].to,
            circuit.state(),
            "everything was told when all is done"
        );
    });
}

#[test]
fn a_slow_observer_delays_nobody_else() {
    without_deadlock(|| {
        let (entered, wait_entered) = mpsc::channel();
        let (release, wait_release) = mpsc::channel::<()>();
        let wait_release = Mutex::new(wait_release);
        let told = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&told);
        let circuit = observed("slow", move |event: &Event| {
            if step(event).is_some() && counter.fetch_add(1, SeqCst) == 0 {
                entered.send(()).expect("the test listens");
                wait_release.lock().unwrap().recv().expect("the test lets go");
            }
        });
        let opening = thread::spawn({
            let circuit = circuit.clone();
            move || circuit.open()
        });
        wait_entered.recv().expect("the observer was told");
        // The observer is inside `on_event` now, and stays there until the end of this block.
        assert_eq!((circuit.state(), circuit.snapshot().state), (State::Open, State::Open));
        assert_eq!(circuit.try_acquire().unwrap_err().reason(), Reason::CircuitOpen);
        circuit.close();
        circuit.try_acquire().expect("closed").success();
        assert_eq!((circuit.state(), circuit.snapshot().successes), (State::Closed, 1));
        assert_eq!(told.load(SeqCst), 1, "what follows waits for its turn");
        release.send(()).expect("the observer waits");
        opening.join().expect("the observer returned");
        assert_eq!(told.load(SeqCst), 2);
    });
}

#[test]
fn a_slow_observer_delays_neither_watches_nor_parked_callers() {
    without_deadlock(|| {
        let (entered, wait_entered) = mpsc::channel();
        let (release, wait_release) = mpsc::channel::<()>();
        let wait_release = Mutex::new(wait_release);
        let first = AtomicBool::new(true);
        let circuit = observed("slow-watch", move |event: &Event| {
            if step(event).is_some() && first.swap(false, SeqCst) {
                entered.send(()).expect("the test listens");
                wait_release.lock().unwrap().recv().expect("the test lets go");
            }
        });
        let (service, probe) = strict();
        probe.readiness(Readiness::Never);
        let mut service = circuit.layer().layer(service);
        let mut watch = circuit.subscribe();
        let halving = thread::spawn({
            let circuit = circuit.clone();
            move || circuit.half_open()
        });
        wait_entered.recv().expect("the observer was told");
        let (parked, watching) = (Caller::new(), Caller::new());
        assert!(parked.ready(&mut service).is_pending());
        // An operator's command while the observer sits on the transition before it.
        circuit.force_open();
        let woken = parked.wakeups();
        let newest = {
            let mut changed = Box::pin(watch.changed());
            watching.poll(&mut changed)
        };
        release.send(()).expect("the observer waits");
        halving.join().expect("the observer returned");
        assert_eq!(newest, Poll::Ready(Some(State::ForcedOpen)), "a command reaches all at once");
        assert_eq!(woken, 1, "opening wakes at once");
    });
}

#[tokio::test(start_paused = true)]
async fn a_panicking_observer_breaks_nothing() {
    let told = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&told);
    let circuit = observed("panics", move |_: &Event| {
        counter.fetch_add(1, SeqCst);
        panic!("the observer panics at every event");
    });
    let watch = circuit.subscribe();
    for _ in 0..3 {
        circuit.try_acquire().expect("closed").failure();
    }
    assert_eq!((circuit.state(), watch.current()), (State::Open, State::Open));
    assert_eq!(circuit.try_acquire().unwrap_err().reason(), Reason::CircuitOpen);
    advance(10 * SECOND).await;
    let probe = circuit.try_acquire().expect("a probe");
    assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (State::HalfOpen, 1));
    drop(probe);
    assert_eq!(circuit.snapshot().probes_in_flight, 0);
    circuit.try_acquire().expect("the slot is free").success();
    assert_eq!((circuit.state(), watch.current()), (State::Closed, State::Closed));
    // Three failures, opening, refusal, half-open, drop, success, closing.
    assert_eq!(told.load(SeqCst), 9, "it is still told of everything");
}

#[tokio::test(start_paused = true)]
async fn a_panicking_observer_does_not_abort_while_a_call_unwinds() {
    let circuit = observed("unwinds", |_: &Event| panic!("the observer panics"));
    let (service, probe) = strict();
    probe.answer(Answer::PANICS_IN_POLL.after(0));
    let mut service = circuit.layer().layer(service);
    let caller = Caller::new();
    assert!(caller.ready(&mut service).is_ready());
    let mut response = Box::pin(service.call(Ask(0)));
    let text = support::panic_of(|| caller.poll(&mut response));
    assert_eq!(text, support::ON_DEMAND, "the caller sees the service's panic, not the observer's");
    assert_eq!(circuit.snapshot().failures, 1);

    probe.answer(Answer::HANGS);
    assert!(caller.ready(&mut service).is_ready());
    let response = Box::pin(service.call(Ask(0)));
    let text = support::panic_of(move || {
        let _dropped_while_unwinding = response;
        panic!("elsewhere");
    });
    assert_eq!((text.as_str(), circuit.snapshot().calls), ("elsewhere", 1));
}

#[tokio::test(start_paused = true)]
async fn every_event_of_a_circuit_is_told() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let circuit = Circuit::with(
        config("all").slow_calls(SECOND, 1.0),
        Options::new().observer(move |event: &Event| log.lock().unwrap().push(*event)),
    )
    .expect("a valid config");
    let told = || std::mem::take(&mut *seen.lock().unwrap());

    circuit.try_acquire().expect("closed").success();
    let expected = Event::Settled { policy: "all", outcome: Outcome::Success, slow: false };
    assert_eq!(told(), [expected]);

    let permit = circuit.try_acquire().expect("closed");
    advance(2 * SECOND).await;
    permit.settle(Outcome::Failure);
    let expected = Event::Settled { policy: "all", outcome: Outcome::Failure, slow: true };
    assert_eq!(told(), [expected]);

    drop(circuit.try_acquire().expect("closed"));
    let expected = Event::Abandoned { policy: "all", outcome: Outcome::Ignored, slow: false };
    assert_eq!(told(), [expected]);

    circuit.open();
    let opened = told();
    assert_eq!(opened.iter().map(step).collect::<Vec<_>>(), [Some((State::Closed, State::Open))]);
    let refused = circuit.try_acquire().unwrap_err();
    assert_eq!(told(), [Event::Rejected(refused)]);

    circuit.shadow();
    circuit.open();
    told();
    circuit.try_acquire().expect("a shadow refuses nothing").success();
    let would = Event::WouldReject {
        policy: "all",
        kind: PolicyKind::CircuitBreaker,
        reason: Reason::CircuitOpen,
    };
    assert_eq!(told()[0], would);
}

#[tokio::test(start_paused = true)]
async fn a_kept_refusal_is_told_once() {
    let refusals = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&refusals);
    let circuit = observed("kept", move |event: &Event| {
        if let Event::Rejected(rejection) = event {
            assert_eq!(rejection.policy(), "kept");
            counter.fetch_add(1, SeqCst);
        }
    });
    let (service, probe) = strict();
    probe.readiness(Readiness::Never);
    let mut service = circuit.layer().layer(service);
    circuit.force_open();
    let caller = Caller::new();
    for _ in 0..5 {
        assert!(caller.ready(&mut service).is_ready());
    }
    assert_eq!(refusals.load(SeqCst), 0, "asking is no call");
    assert!(caller.poll(&mut Box::pin(service.call(Ask(0)))).is_ready());
    assert_eq!((refusals.load(SeqCst), circuit.snapshot().rejected), (1, 1));
}

#[test]
fn the_process_observer_hears_every_policy_and_is_set_once() {
    static HEARD: AtomicU64 = AtomicU64::new(0);
    event::observe(|event: &Event| {
        // The other tests of this program speak to it as well.
        if let Event::Transition { policy: "process-a" | "process-b", .. } = event {
            HEARD.fetch_add(1, SeqCst);
        }
    })
    .expect("the first one");
    assert!(event::observe(|_: &Event| {}).is_err());
    let own = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&own);
    let first = observed("process-a", move |_: &Event| {
        counter.fetch_add(1, SeqCst);
    });
    let second = Circuit::new(config("process-b")).expect("a valid config");
    first.force_open();
    second.force_open();
    assert_eq!((HEARD.load(SeqCst), own.load(SeqCst)), (2, 1), "both observers of the first");
}
