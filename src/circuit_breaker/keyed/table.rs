//! A bounded table of circuits that forgets the least recently used idle one.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::CoreRef;
use crate::{policy::breaker::State, sync::Mutex};

/// From this many keys on, the table is in parts, so that calls for different keys seldom meet.
const PARTS_FROM: usize = 1024;
const PARTS: usize = 16;
/// How many of the least recently used are looked at to find one that can go.
const CANDIDATES: usize = 16;
/// No entry.
const NONE: u32 = u32::MAX;

pub(super) struct Table<K> {
    /// Seeded at random, so that keys cannot be chosen to collide.
    hasher: RandomState,
    parts: Box<[Mutex<Part<K>>]>,
}

/// Entries in a slab, found by hash and chained by use.
struct Part<K> {
    most: usize,
    index: HashTable<u32>,
    entries: Vec<Option<Entry<K>>>,
    free: Vec<u32>,
    least_recent: u32,
    most_recent: u32,
}

struct Entry<K> {
    key: K,
    hash: u64,
    core: CoreRef,
    /// The one used before this, and the one used after.
    before: u32,
    after: u32,
}

impl<K: Hash + Eq> Table<K> {
    pub(super) fn new(max_keys: usize) -> Self {
        let parts = if max_keys < PARTS_FROM { 1 } else { PARTS };
        // The bounds of all parts add up to the bound of the table.
        let most = |part| max_keys / parts + usize::from(part < max_keys % parts);
        Self {
            hasher: RandomState::default(),
            parts: (0..parts).map(|part| Mutex::new(Part::new(most(part)))).collect(),
        }
    }

    fn part<Q: Hash + ?Sized>(&self, key: &Q) -> (&Mutex<Part<K>>, u64) {
        let hash = self.hasher.hash_one(key);
        // The index takes its place from the low bits and its tag from the high ones.
        let part = (hash >> 24) as usize % self.parts.len();
        (&self.parts[part], hash)
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<CoreRef>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (part, hash) = self.part(key);
        let part = part.lock();
        part.find(hash, key).map(|at| part.entry(at).core.clone())
    }

    /// The circuit of a key, made if there is room or room can be made; and whether a key had to go.
    pub(super) fn get_or_insert(
        &self,
        key: K,
        make: impl FnOnce() -> CoreRef,
    ) -> (Option<CoreRef>, bool) {
        let (part, hash) = self.part(&key);
        let mut part = part.lock();
        if let Some(at) = part.find(hash, &key) {
            part.use_again(at);
            return (Some(part.entry(at).core.clone()), false);
        }
        let evicted = if part.index.len() < part.most { None } else { part.evict() };
        if part.index.len() >= part.most {
            return (None, false);
        }
        let core = make();
        part.insert(Entry { key, hash, core: core.clone(), before: NONE, after: NONE });
        drop(part);
        // The key's own drop runs outside the lock.
        (Some(core), evicted.is_some())
    }

    pub(super) fn remove<Q>(&self, key: &Q) -> Option<CoreRef>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (part, hash) = self.part(key);
        let mut part = part.lock();
        let removed = part.find(hash, key).map(|at| part.remove(at));
        drop(part);
        removed.map(|entry| entry.core)
    }

    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().index.len()).sum()
    }

    pub(super) fn for_each(&self, mut each: impl FnMut(&K, &CoreRef)) {
        for part in &self.parts {
            part.lock().entries.iter().flatten().for_each(|entry| each(&entry.key, &entry.core));
        }
    }
}

impl<K: Eq> Part<K> {
    fn new(most: usize) -> Self {
        Self {
            most,
            index: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            least_recent: NONE,
            most_recent: NONE,
        }
    }

    fn entry(&self, at: u32) -> &Entry<K> {
        self.entries[at as usize].as_ref().expect("the index names entries that are there")
    }

    fn entry_mut(&mut self, at: u32) -> &mut Entry<K> {
        self.entries[at as usize].as_mut().expect("the index names entries that are there")
    }

    fn find<Q>(&self, hash: u64, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.index.find(hash, |at| self.entry(*at).key.borrow() == key).copied()
    }

    fn insert(&mut self, entry: Entry<K>) {
        let hash = entry.hash;
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            (self.entries.len() - 1) as u32
        });
        self.entries[at as usize] = Some(entry);
        let entries = &self.entries;
        self.index.insert_unique(hash, at, |at| {
            entries[*at as usize].as_ref().map_or(0, |entry| entry.hash)
        });
        self.chain(at);
    }

    fn remove(&mut self, at: u32) -> Entry<K> {
        self.unchain(at);
        let entry =
            self.entries[at as usize].take().expect("the index names entries that are there");
        if let Ok(found) = self.index.find_entry(entry.hash, |other| *other == at) {
            found.remove();
        }
        self.free.push(at);
        entry
    }

    fn use_again(&mut self, at: u32) {
        if self.most_recent != at {
            self.unchain(at);
            self.chain(at);
        }
    }

    /// Puts an entry that is in no chain at the most recent end.
    fn chain(&mut self, at: u32) {
        let before = std::mem::replace(&mut self.most_recent, at);
        let entry = self.entry_mut(at);
        (entry.before, entry.after) = (before, NONE);
        match before {
            NONE => self.least_recent = at,
            before => self.entry_mut(before).after = at,
        }
    }

    fn unchain(&mut self, at: u32) {
        let Entry { before, after, .. } = *self.entry(at);
        match before {
            NONE => self.least_recent = after,
            before => self.entry_mut(before).after = after,
        }
        match after {
            NONE => self.most_recent = before,
            after => self.entry_mut(after).before = before,
        }
    }

    /// Takes out the least recently used entry that can go. Those that cannot count as used again, so
    /// that they are not looked at each time.
    fn evict(&mut self) -> Option<Entry<K>> {
        for _ in 0..CANDIDATES.min(self.index.len()) {
            let at = self.least_recent;
            let breaker = &self.entry(at).core.breaker;
            if breaker.state() == State::Closed && !breaker.is_shadow() {
                return Some(self.remove(at));
            }
            self.use_again(at);
        }
        None
    }
}
