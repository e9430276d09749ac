//! Which key goes when there is no room, and that no circuit goes that matters.

use std::hash::{Hash, Hasher};

use portcullis::{Circuits, Options, State};

use crate::{EVICTED, Told, circuits, config, fail, kept_states, known};

#[tokio::test(start_paused = true)]
async fn never_more_keys_than_there_may_be() {
    const KEYS: u32 = 100_000;
    for max_keys in [1, 2, 3, 100, 1_023, 1_024, 1_025, 5_000] {
        let told = Told::default();
        let circuits = Circuits::new(config(), max_keys, told.options()).expect("a valid config");
        assert!(circuits.is_empty());
        for key in 0..KEYS {
            assert!(circuits.circuit(key).is_some(), "a closed one can always go");
            // Looked at often, but not each time: it locks every part.
            if key % 31 == 0 || max_keys < 4 {
                assert!(circuits.len() <= max_keys, "{} of {max_keys}", circuits.len());
            }
        }
        assert_eq!((circuits.len(), circuits.list().len()), (max_keys, max_keys));
        let told = told.take();
        assert_eq!(told.len(), KEYS as usize - max_keys, "one for each that had to go");
        assert!(told.iter().all(|event| *event == EVICTED));
        if max_keys < 1_024 {
            let last = KEYS - max_keys as u32;
            assert_eq!(known(&circuits), (last..KEYS).collect::<Vec<_>>(), "the newest ones");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_goes() {
    let circuits = circuits(3);
    for key in [1, 2, 3] {
        circuits.circuit(key);
    }
    circuits.circuit(1);
    circuits.circuit(4);
    assert_eq!(known(&circuits), [1, 3, 4], "1 was used after 2");
    // Looking is no use, nor are a list, a command and what a handle does.
    for _ in 0..5 {
        let three = circuits.get(&3).expect("known");
        drop(three.try_acquire());
        three.reset();
        assert_eq!(circuits.list().len(), 3);
    }
    circuits.circuit(5);
    assert_eq!(known(&circuits), [1, 4, 5]);
    // A key that was taken out leaves room, and no hole in the order.
    circuits.remove(&4);
    circuits.circuit(6);
    assert_eq!(known(&circuits), [1, 5, 6]);
    circuits.circuit(7);
    assert_eq!(known(&circuits), [5, 6, 7]);
    circuits.circuit(6);
    circuits.circuit(8);
    circuits.circuit(9);
    assert_eq!(known(&circuits), [6, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_not_plainly_closed_is_never_forgotten() {
    for (what, enter) in kept_states() {
        for max_keys in [2, 17, 40] {
            let circuits = circuits(max_keys);
            let kept = circuits.circuit(0).expect("there is room");
            enter(&kept);
            let before = kept.snapshot();
            for key in 1..1_000 {
                assert!(circuits.circuit(key).is_some(), "{what}: the others can go");
            }
            assert_eq!(circuits.len(), max_keys);
            let found = circuits.get(&0).unwrap_or_else(|| panic!("{what} was forgotten"));
            assert_eq!(found.snapshot(), before, "{what}");
            // Closed again, it is like any other.
            kept.enable();
            for key in 1_000..1_100 {
                circuits.circuit(key);
            }
            assert!(circuits.get(&0).is_none(), "{what}, then enabled");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_cap_nothing_is_made_when_nothing_can_go() {
    let told = Told::default();
    let circuits = Circuits::new(config(), 8, told.options()).expect("a valid config");
    for (key, (_, enter)) in kept_states().into_iter().enumerate() {
        enter(&circuits.circuit(key as u32).expect("there is room"));
    }
    told.take();
    for key in 8..2_000 {
        assert!(circuits.circuit(key).is_none());
    }
    assert_eq!(known(&circuits), (0..8).collect::<Vec<_>>());
    assert_eq!(told.take(), [], "no call was made, and no key had to go");
    // The keys that are there are still found.
    assert_eq!(circuits.circuit(4).expect("known").state(), State::ForcedOpen);
    // One that closes makes room, whichever it is.
    circuits.get(&3).expect("known").close();
    assert!(circuits.circuit(8).is_some());
    assert_eq!(known(&circuits), [0, 1, 2, 4, 5, 6, 7, 8]);
    // And so does one that is taken out, although it is open.
    assert_eq!(circuits.remove(&1).expect("known").state(), State::Open);
    assert!(circuits.circuit(9).is_some());
    assert_eq!(known(&circuits), [0, 2, 4, 5, 6, 7, 8, 9]);
}

/// Sixteen are looked at for one that can go, and are not looked at first the next time.
#[tokio::test(start_paused = true)]
async fn kept_circuits_do_not_stand_in_the_way_for_long() {
    let circuits = circuits(40);
    for key in 0..40 {
        let circuit = circuits.circuit(key).expect("there is room");
        if key < 32 {
            circuit.force_open();
        }
    }
    let found: Vec<bool> = (100..110).map(|key| circuits.circuit(key).is_some()).collect();
    assert_eq!(found.iter().filter(|found| !**found).count(), 2, "{found:?}");
    assert!(found[2..].iter().all(|found| *found), "{found:?}");
    assert!((0..32).all(|key| circuits.get(&key).is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_back_starts_closed_with_an_empty_window() {
    let circuits = circuits(1);
    fail(&circuits, 1);
    let before = circuits.get(&1).expect("known");
    circuits.circuit(2);
    assert!(circuits.get(&1).is_none());
    let back = circuits.circuit(1).expect("there is room");
    assert_eq!((back.state(), back.snapshot().calls), (State::Closed, 0));
    assert_eq!(back.snapshot().consecutive_failures, 0);
    // A handle from before is of a circuit that no key leads to.
    before.try_acquire().expect("closed").failure();
    assert_eq!((before.state(), back.state()), (State::Open, State::Closed));
    before.force_open();
    assert_eq!(circuits.circuit(1).expect("known").state(), State::Closed);
}

/// A key whose hash says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alike(u32);

impl Hash for Alike {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// Keys are told apart by what they are: their hash only says where to look.
#[tokio::test(start_paused = true)]
async fn keys_with_one_hash_are_different_keys() {
    for (max_keys, kept) in [(50, 50), (1_600, 100)] {
        let circuits =
            Circuits::<Alike>::new(config(), max_keys, Options::new()).expect("a valid config");
        circuits.circuit(Alike(7)).expect("there is room").force_open();
        for key in 0..1_000 {
            let circuit = circuits.circuit(Alike(key)).expect("the others can go");
            assert_eq!(circuit.state() == State::ForcedOpen, key == 7);
        }
        // They all are in one part of the table, which has its share of the bound.
        assert_eq!(circuits.len(), kept);
        assert_eq!(circuits.get(&Alike(7)).expect("kept").state(), State::ForcedOpen);
        assert!(circuits.remove(&Alike(999)).is_some() && circuits.get(&Alike(999)).is_none());
        assert!(circuits.get(&Alike(998)).is_some());
    }
}
