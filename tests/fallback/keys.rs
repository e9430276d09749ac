//! Keys: answers never cross them, and there are never more than there may be.

use std::hash::{Hash, Hasher};

use portcullis::{Event, FallbackLayer, LastGood, PolicyKind, Served};
use tokio::time::advance;
use tower::Layer;

use crate::{
    MINUTE, SECOND, Told, ask, down, kept,
    support::{Told as Log, panic_of},
};

const EVICTED: Event = Event::Evicted { policy: "spare", kind: PolicyKind::Fallback };

fn known(answers: &LastGood<u32, u32>, of: impl IntoIterator<Item = u32>) -> Vec<u32> {
    of.into_iter().filter(|key| answers.get(key).is_some()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_answer_never_crosses_keys() {
    let told = Told::to(0);
    let mut service =
        FallbackLayer::last_good(kept(), |key: &u32| Some(*key)).unwrap().layer(told.clone());
    for key in 0..100 {
        told.answers(key * 10);
        assert_eq!(ask(&mut service, key), Ok(Served::Fresh(key * 10)));
    }
    told.fails("down");
    for key in 0..200 {
        let answer = ask(&mut service, key).map(Served::into_inner);
        assert_eq!(answer, if key < 100 { Ok(key * 10) } else { down() }, "key {key}");
    }
}

/// A request without a key shares nothing, not even with another one without a key.
#[tokio::test(start_paused = true)]
async fn a_request_without_a_key_is_neither_remembered_nor_answered() {
    let told = Told::to(1);
    let even = |key: &u32| (key % 2 == 0).then_some(*key);
    let mut service = FallbackLayer::last_good(kept(), even).unwrap().layer(told.clone());
    assert_eq!(ask(&mut service, 3), Ok(Served::Fresh(1)));
    assert!(service.handle().is_empty());
    told.fails("down");
    assert_eq!((ask(&mut service, 3), ask(&mut service, 5)), (down(), down()));
    assert_eq!(service.handle().snapshot().unanswered, 2);
}

/// Keys are told apart by what they are: their hash only says where to look.
#[tokio::test(start_paused = true)]
async fn keys_with_one_hash_are_different_keys() {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Alike(u32);
    impl Hash for Alike {
        fn hash<H: Hasher>(&self, _: &mut H) {}
    }
    let answers = LastGood::new(kept().max_keys(50)).unwrap();
    for key in 0..50 {
        answers.put(Alike(key), key);
    }
    for key in 0..50 {
        let answer = answers.call(Alike(key), || Err(())).map(Served::into_inner);
        assert_eq!(answer, Ok(key));
    }
    assert!(answers.call(Alike(50), || Err(())).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_cannot_grow_the_table() {
    const KEYS: u32 = 20_000;
    for max_keys in [1, 2, 100, 1_023, 1_024, 3_000] {
        let log = Log::default();
        let answers = LastGood::with(kept().max_keys(max_keys), log.options()).unwrap();
        for key in 0..KEYS {
            answers.put(key, key);
            if key % 97 == 0 {
                assert!(answers.len() <= max_keys, "{} of {max_keys}", answers.len());
            }
        }
        let last = KEYS - max_keys as u32;
        assert_eq!(answers.len(), max_keys);
        let told = log.take();
        assert_eq!(told.len(), last as usize, "one for each that had to go");
        assert!(told.iter().all(|event| *event == EVICTED));
        if max_keys < 1_024 {
            assert_eq!(known(&answers, 0..KEYS), (last..KEYS).collect::<Vec<_>>());
        }
        let now = answers.snapshot();
        assert_eq!((now.keys, now.max_keys), (max_keys, max_keys));
    }
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_goes() {
    let answers = LastGood::new(kept().max_keys(3)).unwrap();
    (1..=3).for_each(|key| answers.put(key, key));
    // Remembering and giving are using; looking is not, nor is a failure that finds nothing.
    answers.put(1, 10);
    assert!(answers.call(2, || Err(())).is_ok());
    assert!(answers.get(&3).is_some() && answers.call(9, || Err(())).is_err());
    answers.put(4, 4);
    assert_eq!(known(&answers, 0..10), [1, 2, 4], "3 was only looked at");
    // One that is too old to be given is not used by being asked for.
    advance(MINUTE).await;
    answers.put(4, 4);
    assert!(answers.call(1, || Err(())).is_err());
    answers.put(5, 5);
    assert_eq!(known(&answers, 0..10), [2, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn answers_can_be_forgotten_one_by_one_and_all_at_once() {
    let answers = LastGood::new(kept().max_keys(5_000)).unwrap();
    for key in 0..4_000_u32 {
        answers.put(key, key);
    }
    assert_eq!(answers.remove(&7).as_deref(), Some(&7));
    assert!(answers.remove(&7).is_none() && answers.call(7, || Err(())).is_err());
    assert!(answers.call(8, || Err(())).is_ok());
    answers.reset();
    assert!(answers.is_empty() && answers.call(8, || Err(())).is_err());
    answers.put(8, 80);
    answers.clone().clear();
    assert!(answers.is_empty(), "clones share them");
    answers.put(8, 81);
    assert_eq!(answers.call(8, || Err(())).map(Served::into_inner), Ok(81));
}

#[tokio::test(start_paused = true)]
async fn keys_are_found_by_what_they_borrow() {
    let answers: LastGood<String, u32> = LastGood::new(kept()).unwrap();
    answers.put("tea".to_owned(), 3);
    assert_eq!(answers.get("tea").map(|(value, _)| *value), Some(3));
    assert_eq!(answers.remove("tea").as_deref(), Some(&3));
}

#[tokio::test(start_paused = true)]
async fn a_smaller_bound_forgets_the_least_recently_used() {
    let answers = LastGood::new(kept().max_keys(10)).unwrap();
    (0..10).for_each(|key| answers.put(key, key));
    answers.put(0, 0);
    answers.reconfigure(kept().max_keys(4)).unwrap();
    assert_eq!(known(&answers, 0..10), [0, 7, 8, 9]);
    assert_eq!(answers.explain().to_string().split(": ").nth(1), Some("4 of 4 answers kept"));
    answers.put(20, 20);
    assert_eq!(known(&answers, 0..30), [0, 8, 9, 20]);
    answers.reconfigure(kept().max_keys(6)).unwrap();
    (30..32).for_each(|key| answers.put(key, key));
    assert_eq!(known(&answers, 0..40), [0, 8, 9, 20, 30, 31], "nothing had to go");
}

/// Below 1024 keys the table is in one part, from there on in sixteen: what is kept moves.
#[tokio::test(start_paused = true)]
async fn a_bound_on_the_other_side_of_1024_keeps_as_many() {
    let answers = LastGood::new(kept().max_keys(1_000)).unwrap();
    (0..1_000).for_each(|key| answers.put(key, key));
    answers.reconfigure(kept().max_keys(16_000)).unwrap();
    assert_eq!(answers.len(), 1_000, "there is more room than before");
    advance(SECOND).await;
    for key in 0..1_000 {
        let answer = answers.call(key, || Err(()));
        assert_eq!(answer, Ok(Served::LastGood { value: key, age: SECOND }), "age and value stay");
    }
    (1_000..16_000).for_each(|key| answers.put(key, key));
    assert!(answers.len() > 14_000 && answers.len() <= 16_000);
    // Back again: the hundred that stay were all used lately.
    answers.reconfigure(kept().max_keys(100)).unwrap();
    assert_eq!(answers.len(), 100);
    assert!(known(&answers, 0..16_000).iter().all(|key| *key > 15_000));
    (20_000..20_050).for_each(|key| answers.put(key, key));
    assert_eq!(known(&answers, 20_000..20_050).len(), 50);
    assert_eq!(answers.len(), 100);
}

/// Nothing of a key's or an answer's own code that runs when it goes runs under a lock of the table.
#[test]
fn what_goes_may_use_the_table_that_it_goes_from() {
    use std::{
        sync::{Arc, OnceLock, mpsc},
        thread,
    };
    #[derive(Clone, Debug)]
    struct Looks(Arc<OnceLock<LastGood<u32, Self>>>);
    impl Drop for Looks {
        fn drop(&mut self) {
            if let Some(table) = self.0.get() {
                assert!(table.len() <= 3);
                let _ = table.get(&1);
            }
        }
    }
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        let answers = LastGood::new(kept().max_keys(3)).unwrap();
        let table = Arc::new(OnceLock::new());
        let looks = || Looks(Arc::clone(&table));
        table.set(answers.clone()).unwrap();
        for key in 0..10 {
            answers.put(key, looks());
            answers.put(key, looks());
        }
        let held = answers.get(&9);
        answers.put(9, looks());
        drop(held);
        drop(answers.remove(&9));
        answers.put(9, looks());
        answers.reconfigure(kept().max_keys(2)).unwrap();
        answers.reconfigure(kept().max_keys(2_000)).unwrap();
        answers.clear();
        let _ = done.send(());
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = wait.recv_timeout(20 * SECOND) {
        panic!("deadlock");
    }
    thread.join().unwrap();
}

/// A key function that panics takes nothing along.
#[tokio::test(start_paused = true)]
async fn a_key_that_panics_leaves_the_table_whole() {
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Trap(u32);
    impl Hash for Trap {
        fn hash<H: Hasher>(&self, state: &mut H) {
            assert!(self.0 != 13, "this number has no hash");
            self.0.hash(state);
        }
    }
    let answers = LastGood::new(kept()).unwrap();
    answers.put(Trap(1), 1);
    assert_eq!(panic_of(|| answers.put(Trap(13), 2)), "this number has no hash");
    assert_eq!(answers.call(Trap(1), || Err(())).map(Served::into_inner), Ok(1));
    assert_eq!(answers.len(), 1);
}
