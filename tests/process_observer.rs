//! The observer of the whole process. It is set once and for good, so it has a program of its own, with
//! this one test.

use std::{
    future::ready,
    sync::{Arc, Mutex},
};

use portcullis::{
    BoxError, Circuit, CircuitBreakerConfig, Circuits, Error, Event, KeyedCircuitBreakerLayer,
    Options, event,
};
use tower::{Layer, ServiceExt, service_fn};

/// Who was told what, in order.
type Log = Arc<Mutex<Vec<String>>>;

fn write(log: &Log, who: &'static str) -> impl Fn(&Event) + Send + Sync + 'static {
    let log = Arc::clone(log);
    move |event: &Event| log.lock().expect("whole").push(format!("{who}: {event}"))
}

fn config(name: &'static str) -> CircuitBreakerConfig {
    CircuitBreakerConfig::new(name)
}

#[tokio::test(start_paused = true)]
async fn one_observer_hears_of_everything_in_the_process() {
    let log = Log::default();
    let told = || std::mem::take(&mut *log.lock().unwrap());
    let own = Options::new().observer(write(&log, "own"));
    // Made before anybody listens, and heard all the same afterwards.
    let (early, observed) =
        (Circuit::new(config("early")).unwrap(), Circuit::with(config("observed"), own).unwrap());
    let in_flight = early.try_acquire().unwrap();
    early.try_acquire().unwrap().failure();
    assert_eq!(told(), [""; 0]);

    let (inside, states) = (early.clone(), Arc::clone(&log));
    let process = write(&log, "process");
    event::observe(move |event: &Event| {
        process(event);
        // Outside every lock: it may look at what it hears of, and its panic is ignored.
        if let Event::Transition { policy: "early", .. } = event {
            let state = inside.snapshot().state;
            states.lock().expect("whole").push(format!("process sees: {state}"));
            panic!("the process's observer panics");
        }
    })
    .unwrap();

    // The next one is given back, whoever it is, and never hears anything.
    for _ in 0..3 {
        let error = event::observe(write(&log, "second")).unwrap_err();
        assert_eq!(error.to_string(), "the process has an observer already");
        let boxed: BoxError = error.into();
        assert!(boxed.downcast_ref::<event::AlreadyObserved>().is_some());
    }

    drop(in_flight);
    early.try_acquire().unwrap().success();
    assert_eq!(early.call(|| Ok::<_, Error<()>>(1)), Ok(1));
    early.force_open();
    assert!(early.try_acquire().is_err());
    assert_eq!(
        told(),
        [
            "process: early: call dropped: Ignored",
            "process: early: call ended: Success",
            "process: early: call ended: Success",
            "process: early: closed -> forced_open: the command `force_open` was given",
            "process sees: forced_open",
            "process: refused: early: the circuit was forced open by an operator",
        ]
    );

    // A circuit's own observer is told first.
    observed.try_acquire().unwrap().failure();
    observed.shadow();
    assert_eq!(
        told(),
        [
            "own: observed: call ended: Failure",
            "process: observed: call ended: Failure",
            "own: observed: closed -> closed: the command `shadow` was given (shadow)",
            "process: observed: closed -> closed: the command `shadow` was given (shadow)",
        ]
    );

    let circuits: Circuits<u32> = Circuits::new(config("keyed"), 1, Options::new()).unwrap();
    let service = KeyedCircuitBreakerLayer::of(circuits.clone(), |key: &u32| *key)
        .layer(service_fn(|_: u32| ready(Ok::<(), Error<()>>(()))));
    service.clone().oneshot(1).await.unwrap();
    service.clone().oneshot(2).await.unwrap();
    circuits.get(&2).unwrap().disable();
    service.oneshot(3).await.unwrap();
    assert_eq!(
        told(),
        [
            "process: keyed: call ended: Success",
            "process: keyed: an idle key was forgotten",
            "process: keyed: call ended: Success",
            "process: keyed: closed -> disabled: the command `disable` was given",
            "process: keyed: no room for another key; the call goes untracked",
            "process: keyed: call ended: Success",
        ]
    );
}
