//! The kept answers beside a slow, obvious reference: a plain list in the order of use.

#![allow(clippy::disallowed_methods, reason = "a test picks any instant to begin with")]

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use portcullis::{LastGoodConfig, policy::fallback::Answers};
use proptest::prelude::*;

/// One thing that happens. Times are in seconds, and jump.
#[derive(Clone, Debug)]
enum Step {
    Remember(u8),
    Recall(u8),
    Peek(u8),
    Remove(u8),
    Clear,
    Pass(u64),
    JumpTo(u64),
    Reconfigure(u64, usize),
}

fn steps(most_keys: usize) -> impl Strategy<Value = Vec<Step>> {
    let key = 0..24_u8;
    let step = prop_oneof![
        8 => key.clone().prop_map(Step::Remember),
        8 => key.clone().prop_map(Step::Recall),
        2 => key.clone().prop_map(Step::Peek),
        1 => key.prop_map(Step::Remove),
        1 => Just(Step::Clear),
        4 => (0..40_u64).prop_map(Step::Pass),
        1 => (0..2_000_u64).prop_map(Step::JumpTo),
        1 => (1..100_u64, 1..=most_keys).prop_map(|(age, keys)| Step::Reconfigure(age, keys)),
    ];
    prop::collection::vec(step, 1..200)
}

/// Key, value and when it was remembered; the least recently used first.
#[derive(Debug, Default)]
struct Reference {
    kept: Vec<(u8, u32, u64)>,
    max_age: u64,
    max_keys: usize,
}

impl Reference {
    fn find(&self, key: u8) -> Option<usize> {
        self.kept.iter().position(|(other, ..)| *other == key)
    }

    fn shrink(&mut self) -> Vec<u8> {
        let gone = self.kept.len().saturating_sub(self.max_keys);
        self.kept.drain(..gone).map(|(key, ..)| key).collect()
    }

    fn remember(&mut self, key: u8, value: u32, now: u64) -> bool {
        if let Some(at) = self.find(key) {
            self.kept.remove(at);
        }
        self.kept.push((key, value, now));
        !self.shrink().is_empty()
    }

    fn peek(&self, key: u8, now: u64) -> Option<(u32, Duration)> {
        let (_, value, at) = self.kept[self.find(key)?];
        Some((value, Duration::from_secs(now.saturating_sub(at))))
    }

    fn recall(&mut self, key: u8, now: u64) -> Option<(u32, Duration)> {
        let found = self.peek(key, now)?;
        if found.1 >= Duration::from_secs(self.max_age) {
            return None;
        }
        let used = self.kept.remove(self.find(key)?);
        self.kept.push(used);
        Some(found)
    }
}

fn config(max_age: u64, max_keys: usize) -> LastGoodConfig {
    LastGoodConfig::new("model", Duration::from_secs(max_age)).max_keys(max_keys)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// In one part the table is exact, whatever happens.
    #[test]
    fn answers_are_as_a_plain_list_has_them(max_keys in 1..20_usize, steps in steps(20)) {
        let start = Instant::now();
        let answers = Answers::new(&config(30, max_keys), start).unwrap();
        let mut reference = Reference { max_age: 30, max_keys, ..Reference::default() };
        let mut now = 1_000;
        for (value, step) in steps.into_iter().enumerate() {
            let at = start + Duration::from_secs(now);
            let value = value as u32;
            let plain = |found: Option<(std::sync::Arc<u32>, Duration)>| found.map(|(v, age)| (*v, age));
            match step {
                Step::Remember(key) => prop_assert_eq!(
                    answers.remember(key, value, at),
                    reference.remember(key, value, now)
                ),
                Step::Recall(key) => {
                    prop_assert_eq!(plain(answers.recall(&key, at)), reference.recall(key, now));
                }
                Step::Peek(key) => {
                    prop_assert_eq!(plain(answers.peek(&key, at)), reference.peek(key, now));
                }
                Step::Remove(key) => {
                    let removed = reference.find(key).map(|at| reference.kept.remove(at).1);
                    prop_assert_eq!(answers.remove(&key).as_deref().copied(), removed);
                }
                Step::Clear => {
                    answers.clear();
                    reference.kept.clear();
                }
                Step::Pass(seconds) => now += seconds,
                Step::JumpTo(to) => now = to,
                Step::Reconfigure(max_age, max_keys) => {
                    (reference.max_age, reference.max_keys) = (max_age, max_keys);
                    let gone = answers.reconfigure(&config(max_age, max_keys)).unwrap();
                    let gone: Vec<u8> = gone.into_iter().map(|(key, _)| key).collect();
                    prop_assert_eq!(gone, reference.shrink());
                    prop_assert_eq!(answers.max_age(), Duration::from_secs(max_age));
                }
            }
            prop_assert_eq!(answers.len(), reference.kept.len());
        }
    }

    /// In sixteen parts, and across changes of their number, which keys go is not exact; that no answer is
    /// of another key, older than the newest, or too old, and that the bound holds, is.
    #[test]
    fn with_parts_only_which_keys_go_differs(
        bounds in prop::collection::vec(prop_oneof![1..40_usize, 1_024..1_100_usize], 1..6),
        keys in prop::collection::vec(0..2_000_u32, 1..600),
    ) {
        let start = Instant::now();
        let answers = Answers::new(&config(300, bounds[0]), start).unwrap();
        let mut newest = HashMap::new();
        let each = keys.len().div_ceil(bounds.len());
        for (turn, part) in keys.chunks(each).enumerate() {
            let gone = answers.reconfigure(&config(300, bounds[turn])).unwrap();
            for (key, value) in gone {
                // Each goes whole, once.
                prop_assert_eq!(newest.remove(&key), Some(*value));
            }
            prop_assert!(answers.len() <= bounds[turn]);
            for (nth, key) in part.iter().enumerate() {
                let value = (turn * each + nth) as u64;
                let at = start + Duration::from_secs(value);
                answers.remember(*key, value, at);
                newest.insert(*key, value);
                prop_assert!(answers.len() <= bounds[turn]);
                // The one that was just remembered is there; all others are right if they are there.
                prop_assert_eq!(answers.recall(key, at).map(|(v, age)| (*v, age)), Some((value, Duration::ZERO)));
            }
            let now = start + Duration::from_secs(((turn + 1) * each) as u64);
            newest.retain(|key, value| match answers.peek(key, now) {
                Some((found, _)) => { assert_eq!(*found, *value, "key {key}"); true }
                None => false,
            });
            prop_assert_eq!(newest.len(), answers.len());
        }
    }
}
