//! Threads that meet on one table of answers, and on one backup. Their number and work are bounded.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use portcullis::{Failed, FallbackPolicy, LastGood, Served};

use crate::{TestError, config, down, kept, support::on_threads};

const THREADS: u32 = 8;
const TURNS: u32 = 4_000;

/// An answer names its key twice: one that was torn, or that crossed keys, would show.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    key: u32,
    turn: u32,
    again: Vec<u32>,
}

impl Answer {
    fn new(key: u32, turn: u32) -> Self {
        Self { key, turn, again: vec![key; 4] }
    }

    #[track_caller]
    fn is_of(&self, key: u32) {
        assert!(self.key == key && self.again == [key; 4], "{self:?} is not of key {key}");
    }
}

#[test]
fn answers_of_eight_threads_stay_whole_and_with_their_keys() {
    for max_keys in [5, 700, 1_500] {
        let answers = LastGood::new(kept().max_keys(max_keys)).unwrap();
        on_threads(THREADS, |thread| {
            let mut state = thread;
            for turn in 0..TURNS {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let key = (state >> 8) % 2_000;
                if turn % 3 == 0 {
                    let fresh = answers.call(key, || Ok::<_, ()>(Answer::new(key, turn)));
                    assert!(fresh.unwrap().is_fresh());
                } else if let Ok(served) = answers.call(key, || Err(())) {
                    assert!(!served.is_fresh());
                    served.get().is_of(key);
                }
                match turn % 512 {
                    0 => assert!(answers.len() <= max_keys.max(1_200), "{}", answers.len()),
                    1 => drop(answers.remove(&key)),
                    2 => answers.reconfigure(kept().max_keys(1_200)).unwrap(),
                    3 => answers.reconfigure(kept().max_keys(max_keys)).unwrap(),
                    100 => answers.clear(),
                    _ => {}
                }
            }
        });
        answers.reconfigure(kept().max_keys(max_keys)).unwrap();
        assert!(answers.len() <= max_keys);
        let now = answers.snapshot();
        let failures = u64::from(THREADS) * u64::from(TURNS - TURNS.div_ceil(3));
        assert_eq!(now.by_last_good + now.unanswered, failures, "each is counted once");
    }
}

/// On one key, each thread sees what was remembered last before it asked, or something newer.
#[test]
fn no_thread_sees_an_older_answer_than_its_own_last_one() {
    let answers = LastGood::new(kept()).unwrap();
    let newest = AtomicU64::new(0);
    on_threads(THREADS, |thread| {
        for _ in 0..TURNS {
            if thread == 0 {
                // One thread writes, so that the newest is known.
                let next = newest.load(SeqCst) + 1;
                answers.put('k', next);
                newest.store(next, SeqCst);
            } else {
                let before = newest.load(SeqCst);
                let seen = answers.call('k', || Err(())).map_or(0, Served::into_inner);
                assert!(seen >= before, "{seen} after {before}");
            }
        }
    });
    assert_eq!(answers.get(&'k').map(|(value, _)| *value), Some(u64::from(TURNS)));
}

/// One fewer at work, also when it panicked.
struct AtWork<'a>(&'a AtomicU64);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Answers move between parts of the table while it is used: none is lost where there is room, and none is
/// there twice.
#[test]
fn an_answer_is_found_while_the_table_is_being_resized() {
    const KEYS: u32 = 20;
    let bounds = [1_000, 2_000];
    let answers = LastGood::new(kept().max_keys(bounds[0])).unwrap();
    let at_work = AtomicU64::new(u64::from(THREADS) - 1);
    on_threads(THREADS, |thread| {
        if thread == 0 {
            while at_work.load(SeqCst) > 0 {
                for most in bounds {
                    answers.reconfigure(kept().max_keys(most)).unwrap();
                }
            }
            return;
        }
        let _at_work = AtWork(&at_work);
        for turn in 0..TURNS * 5 {
            // Keys of this thread's own, so that it knows what is kept.
            let key = thread * KEYS + turn % KEYS;
            answers.put(key, turn);
            assert_eq!(answers.get(&key).map(|(value, _)| *value), Some(turn), "key {key}");
            if turn % 7 == 0 {
                assert_eq!(answers.remove(&key).as_deref(), Some(&turn));
                assert!(answers.get(&key).is_none(), "an older answer of key {key} came back");
            }
        }
    });
    for key in 0..THREADS * KEYS {
        answers.remove(&key);
    }
    assert!(answers.is_empty());
}

#[test]
fn counts_of_eight_threads_are_exact() {
    let policy = FallbackPolicy::new(config()).unwrap();
    let answered = Arc::new(AtomicU64::new(0));
    on_threads(THREADS, |thread| {
        for turn in 0..TURNS {
            let decline = (turn + thread) % 4 == 0;
            let result =
                policy.call(
                    down::<u32>,
                    |failed: Failed<u32, TestError>| {
                        if decline { failed.into_result() } else { Ok(1) }
                    },
                );
            assert_eq!(result.is_err(), decline);
            answered.fetch_add(u64::from(!decline), SeqCst);
        }
    });
    let now = policy.snapshot();
    let all = u64::from(THREADS) * u64::from(TURNS);
    assert_eq!((now.by_function, now.by_function + now.unanswered), (answered.load(SeqCst), all));
}
