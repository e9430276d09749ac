//! Circuits by key: a state for each, never more than there may be, and none lost that matters.
//!
//! What a table of keys does is here, and in `keyed/eviction.rs` what it forgets; the layer over it is
//! in `keyed/layer.rs`, threads in `keyed/threads.rs`.

mod support;

#[path = "keyed/eviction.rs"]
mod eviction;
#[path = "keyed/layer.rs"]
mod layer;
#[path = "keyed/threads.rs"]
mod threads;

use std::{
    future::ready,
    hash::{Hash, Hasher},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use portcullis::{
    Circuit, CircuitBreakerConfig, Circuits, Error, Event, HalfOpen, KeyedCircuitBreakerLayer,
    Options, Outcome, PolicyKind, Sleep, State,
};
use support::{Caller, Told};
use tower::{Layer, Service, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// Opens at the second failure in a row.
fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("shards")
        .no_failure_rate()
        .consecutive_failures(2)
        .sleep(Sleep::fixed(10 * SECOND))
        .half_open(HalfOpen::counts(1, 1))
}

fn circuits(max_keys: usize) -> Circuits<u32> {
    Circuits::new(config(), max_keys, Options::new()).expect("a valid config")
}

const EVICTED: Event = Event::Evicted { policy: "shards", kind: PolicyKind::CircuitBreaker };
const UNTRACKED: Event = Event::Untracked { policy: "shards", kind: PolicyKind::CircuitBreaker };

/// A call for a key that has no room is settled as one that was admitted, and says nothing.
fn settled(outcome: Outcome) -> Event {
    Event::Settled { policy: "shards", outcome, slow: false }
}

#[track_caller]
fn fail(circuits: &Circuits<u32>, key: u32) {
    circuits.circuit(key).expect("there is room").try_acquire().expect("admitted").failure();
}

fn known(circuits: &Circuits<u32>) -> Vec<u32> {
    let mut keys: Vec<u32> = circuits.list().into_iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys
}

/// A state in words, and how to get there.
type Way = (&'static str, fn(&Circuit));

/// Every state in which a circuit must be kept.
fn kept_states() -> [Way; 8] {
    [
        ("open by its rule", |circuit| {
            for _ in 0..2 {
                circuit.try_acquire().expect("closed").failure();
            }
        }),
        ("open by command", Circuit::open),
        ("open, with its wait over", |circuit| circuit.open_for(Duration::ZERO)),
        ("half-open", Circuit::half_open),
        ("forced open", Circuit::force_open),
        ("disabled", Circuit::disable),
        ("closed in shadow", Circuit::shadow),
        ("open in shadow", |circuit| {
            circuit.shadow();
            circuit.open();
        }),
    ]
}

#[tokio::test(start_paused = true)]
async fn keys_have_states_of_their_own_and_one_configuration() {
    let circuits = circuits(10);
    for _ in 0..2 {
        fail(&circuits, 1);
    }
    fail(&circuits, 2);
    circuits.circuit(3).expect("there is room").force_open();
    let state = |key: u32| circuits.get(&key).map(|circuit| circuit.state());
    assert_eq!(
        [1, 2, 3, 4].map(state),
        [Some(State::Open), Some(State::Closed), Some(State::ForcedOpen), None]
    );
    assert_eq!(circuits.get(&2).expect("known").snapshot().failures, 1);
    let names = circuits.list().into_iter().map(|(_, circuit)| circuit.name());
    assert!(names.chain([circuits.name()]).all(|name| name == "shards"));
    assert_eq!(format!("{circuits:?}"), "Circuits { name: \"shards\", len: 3 }");
    // The same handle again, not another circuit.
    circuits.circuit(1).expect("known").close();
    assert_eq!(state(1), Some(State::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_removed_whatever_its_state() {
    for (what, enter) in kept_states() {
        let circuits = circuits(3);
        let circuit = circuits.circuit(1).expect("there is room");
        circuits.circuit(2);
        enter(&circuit);
        let removed = circuits.remove(&1).expect(what);
        assert_eq!(removed.snapshot(), circuit.snapshot(), "{what}");
        assert_eq!((known(&circuits), circuits.len()), (vec![2], 1));
        assert!(circuits.remove(&1).is_none() && circuits.get(&1).is_none());
        let again = circuits.circuit(1).expect("there is room").snapshot();
        assert_eq!((again.state, again.shadow), (State::Closed, false), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_a_forgotten_circuit() {
    let circuits = circuits(1);
    let mut watch = circuits.circuit(1).expect("there is room").subscribe();
    let caller = Caller::new();
    let mut changed = Box::pin(watch.changed());
    assert!(caller.poll(&mut changed).is_pending());
    circuits.circuit(2);
    assert_eq!(caller.wakeups(), 1);
    assert_eq!(caller.poll(&mut changed), std::task::Poll::Ready(None));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_configuration_reaches_present_and_future_keys() {
    for max_keys in [10, 2_000] {
        let circuits = circuits(max_keys);
        fail(&circuits, 1);
        circuits.circuit(2).expect("there is room").force_open();
        let generations = || [1, 2].map(|key| circuits.get(&key).map(|c| c.snapshot().generation));
        let before = generations();
        let stricter = config().consecutive_failures(1).sleep(Sleep::fixed(SECOND));
        circuits.reconfigure(stricter.clone()).expect("a valid config");
        // State, generation and results stay.
        assert_eq!(generations(), before);
        assert_eq!(circuits.get(&1).expect("known").snapshot().failures, 1);
        assert_eq!(circuits.get(&2).expect("known").state(), State::ForcedOpen);
        for key in [2, 3] {
            assert_eq!(circuits.circuit(key).expect("there is room").config(), stricter);
        }
        // A failure that was recorded before is one in a row, and one in a row opens now.
        for key in [1, 3] {
            fail(&circuits, key);
            let circuit = circuits.get(&key).expect("known");
            assert_eq!(circuit.snapshot().time_to_half_open, Some(SECOND), "key {key}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_cannot_work_changes_nothing() {
    let circuits = circuits(10);
    circuits.circuit(1);
    let refused = circuits.reconfigure(config().failure_rate(2.0)).unwrap_err();
    assert_eq!((refused.field(), refused.value()), ("failure_rate", "2"));
    let refused = circuits.reconfigure(config().name("tenants")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`name` = tenants: these circuits keep their name, which is `shards`"
    );
    for key in [1, 2] {
        assert_eq!(circuits.circuit(key).expect("there is room").config(), config());
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_of_keys_that_cannot_work_is_named() {
    const MOST: usize = 1 << 24;
    for (max_keys, value) in
        [(0, "0"), (MOST + 1, "16777217"), (usize::MAX, "18446744073709551615")]
    {
        let direct = Circuits::<u32>::new(config(), max_keys, Options::new()).unwrap_err();
        let layer = KeyedCircuitBreakerLayer::new(config(), max_keys, |key: &u32| *key);
        for error in [direct, layer.unwrap_err()] {
            assert_eq!((error.field(), error.value()), ("max_keys", value));
            assert_eq!(error.why(), "must be in 1..=16777216");
        }
    }
    for max_keys in [1, MOST] {
        assert!(Circuits::<u32>::new(config(), max_keys, Options::new()).is_ok());
    }
    // What each circuit would be made of is looked at as well, before there is one.
    let error = Circuits::<u32>::new(config().failures(0), 1, Options::new()).unwrap_err();
    assert_eq!((error.field(), error.value()), ("failures", "0"));
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_table_and_keys_are_found_by_what_they_borrow() {
    let circuits: Circuits<String> =
        Circuits::new(config(), 4, Options::new()).expect("a valid config");
    let clone = circuits.clone();
    clone.circuit("acme".to_owned()).expect("there is room").open();
    assert_eq!(circuits.get("acme").map(|circuit| circuit.state()), Some(State::Open));
    assert!(circuits.remove("acme").is_some() && clone.is_empty());
}

/// A key that looks at its table when it goes.
#[derive(Clone, Debug)]
struct Looks(u32, Arc<OnceLock<Circuits<Self>>>, Arc<AtomicUsize>);

impl PartialEq for Looks {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Looks {}

impl Hash for Looks {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        if let Some(circuits) = self.1.get() {
            self.2.fetch_add(1, SeqCst);
            assert!(circuits.len() <= 3);
        }
    }
}

/// Neither an observer nor a key's own drop runs under a lock of the table. On a thread of its own, so
/// that a deadlock is a failure and not a test that never ends.
#[test]
fn what_is_not_the_tables_runs_outside_its_locks() {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        let (table, drops) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
        let (inside, told) = (Arc::clone(&table), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&told);
        let options = Options::new().observer(move |_: &Event| {
            let circuits: &Circuits<Looks> = inside.get().expect("set before the first event");
            assert!(circuits.len() <= 3 && circuits.list().len() <= 3);
            counter.fetch_add(1, SeqCst);
        });
        let circuits = Circuits::new(config(), 3, options).expect("a valid config");
        let key = |number| Looks(number, Arc::clone(&table), Arc::clone(&drops));
        assert!(table.set(circuits.clone()).is_ok());
        let service = KeyedCircuitBreakerLayer::of(circuits.clone(), |key: &Looks| key.clone())
            .layer(service_fn(|_: Looks| ready(Ok::<(), Error<()>>(()))));
        let call = |number| drop(service.clone().call(key(number)));
        // Forgotten, known already, removed, and without room.
        (0..10).for_each(call);
        assert_eq!(told.load(SeqCst), 7 + 10, "seven had to go, and ten calls were dropped");
        call(9);
        drop(circuits.remove(&key(9)));
        call(10);
        circuits.list().iter().for_each(|(_, circuit)| circuit.force_open());
        told.store(0, SeqCst);
        call(11);
        assert_eq!(told.load(SeqCst), 2, "untracked, and dropped");
        assert!(drops.load(SeqCst) >= 10);
        let _ = done.send(());
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = wait.recv_timeout(20 * SECOND) {
        panic!("deadlock");
    }
    thread.join().expect("the checks hold");
}
