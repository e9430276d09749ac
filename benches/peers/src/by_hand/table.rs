//! A rate limit per key: tables of words, each table under a mutex.

use std::{
    hash::{BuildHasher, Hash},
    sync::Mutex,
};

use crossbeam_utils::CachePadded;
use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::work::Time;
use crate::keys::{BURST, MINUTE};

type Part<K> = HashTable<(K, u64)>;

/// Keys with the time at which each one's bucket will be full.
pub(super) struct Table<K, T> {
    time: T,
    hashes: RandomState,
    parts: [CachePadded<Mutex<Part<K>>>; 16],
}

impl<K: Hash + Eq, T: Time> Table<K, T> {
    pub(super) fn of(keys: impl Iterator<Item = K>) -> Self {
        let table =
            Self { time: T::default(), hashes: RandomState::default(), parts: Default::default() };
        for key in keys {
            let hash = table.hashes.hash_one(&key);
            let hashes = &table.hashes;
            let mut part = table.part(hash).lock().expect("nothing panics under it");
            part.insert_unique(hash, (key, 0), |(key, _)| hashes.hash_one(key));
        }
        table
    }

    fn part(&self, hash: u64) -> &Mutex<Part<K>> {
        &self.parts[(hash >> 8) as usize % self.parts.len()]
    }

    #[inline]
    pub(super) fn take(&self, key: &K) -> bool {
        let hash = self.hashes.hash_one(key);
        let now = self.time.passed();
        let mut part = self.part(hash).lock().expect("nothing panics under it");
        let Some((_, full_at)) = part.find_mut(hash, |(held, _)| held == key) else {
            return false;
        };
        let after = (*full_at).max(now) + MINUTE.as_nanos() as u64;
        let admitted = after - now <= u64::from(BURST) * MINUTE.as_nanos() as u64;
        if admitted {
            *full_at = after;
        }
        admitted
    }
}
