//! Threads that meet on one table. Their number and work are bounded, and nothing depends on how long
//! anything takes.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use portcullis::{Circuits, Event, Options, State};

use crate::{config, support::on_threads};

const THREADS: u32 = 4;
const TURNS: u32 = 6_000;

/// Numbers that look like none follows from the other, but do.
fn scatter(n: u32) -> u32 {
    n.wrapping_mul(2_654_435_761).rotate_right(11) ^ n
}

#[test]
fn the_bound_holds_among_threads_and_what_matters_is_kept() {
    for max_keys in [3, 100, 1_024, 3_000] {
        let evicted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&evicted);
        let options = Options::new().observer(move |event: &Event| {
            if *event == (super::EVICTED) {
                counter.fetch_add(1, SeqCst);
            }
        });
        let circuits: Circuits<u32> =
            Circuits::new(config(), max_keys, options).expect("a valid config");
        // Two keys beyond those that come and go, which must stay through all of it.
        let kept = [u32::MAX, u32::MAX - 1];
        for key in kept {
            circuits.circuit(key).expect("there is room").force_open();
        }
        on_threads(THREADS, |thread| {
            for turn in 0..TURNS {
                let key = scatter(turn * THREADS + thread) % 10_000;
                let Some(circuit) = circuits.circuit(key) else {
                    panic!("there is always one that can go");
                };
                if let Ok(permit) = circuit.try_acquire() {
                    permit.success();
                }
                match turn % 256 {
                    0 => assert!(circuits.len() <= max_keys, "{} circuits", circuits.len()),
                    1 => assert!(circuits.list().len() <= max_keys),
                    2 => drop(circuits.remove(&key)),
                    3 => circuits.reconfigure(config()).expect("a valid config"),
                    _ => {}
                }
                assert_eq!(circuits.get(&kept[0]).map(|c| c.state()), Some(State::ForcedOpen));
            }
        });
        assert!(circuits.len() <= max_keys);
        assert_eq!(circuits.len(), circuits.list().len());
        for key in kept {
            assert_eq!(circuits.circuit(key).expect("kept").state(), State::ForcedOpen);
        }
        assert!(evicted.load(SeqCst) > 0);
        // The table still works to its bound: as many fresh keys as there is room for, and no more.
        for key in 20_000..60_000 {
            circuits.circuit(key);
        }
        assert_eq!(circuits.len(), max_keys);
    }
}

/// All threads ask for the same new key at once: one circuit is made, and they all get it.
#[test]
fn one_circuit_is_made_for_one_key() {
    let circuits: Circuits<u32> =
        Circuits::new(config(), 2_000, Options::new()).expect("a valid config");
    let all = [(); THREADS as usize].map(|()| Mutex::new(Vec::new()));
    on_threads(THREADS, |thread| {
        let mine: Vec<_> = (0..1_000).filter_map(|key| circuits.circuit(key)).collect();
        *all[thread as usize].lock().expect("whole") = mine;
    });
    assert_eq!(circuits.len(), 1_000);
    circuits.list().iter().for_each(|(_, circuit)| circuit.force_open());
    for handles in all {
        let handles = handles.into_inner().expect("whole");
        assert_eq!(handles.len(), 1_000);
        assert!(handles.iter().all(|circuit| circuit.state() == State::ForcedOpen));
    }
}

/// Where nothing can go, no thread ever makes a circuit too many.
#[test]
fn the_bound_holds_where_nothing_can_go() {
    let circuits: Circuits<u32> =
        Circuits::new(config(), 1_100, Options::new()).expect("a valid config");
    let made = AtomicUsize::new(0);
    on_threads(THREADS, |thread| {
        for turn in 0..TURNS {
            if let Some(circuit) = circuits.circuit(turn * THREADS + thread) {
                circuit.force_open();
                made.fetch_add(1, SeqCst);
            }
            assert!(circuits.len() <= 1_100);
        }
    });
    let forced = circuits.list().iter().filter(|(_, c)| c.state() == State::ForcedOpen).count();
    assert_eq!((circuits.len(), forced), (1_100, 1_100));
    assert!(made.load(SeqCst) >= 1_100);
}
