//! A bounded table that forgets the least recently used of what can go.
//!
//! Keys are hashed and compared under the lock of their part of the table. What goes is handed out, so that
//! it can be dropped after that.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

/// The most keys that a table can be told to hold.
pub(crate) const MOST_KEYS: usize = 1 << 24;
/// From this many keys on, the table is in parts, so that calls for different keys seldom meet.
const PARTS_FROM: usize = 1024;
const PARTS: usize = 16;
/// How many of the least recently used are looked at to find one that can go.
const CANDIDATES: usize = 16;
/// No entry.
const NONE: u32 = u32::MAX;

pub(crate) struct Table<K, V> {
    /// Seeded at random, so that keys cannot be chosen to collide. The faster kind spreads numbers in a row
    /// unevenly over the parts by some seeds, so that a part would be full long before the table is.
    hasher: RandomState,
    parts: Box<[Mutex<Part<K, V>>]>,
    /// How many parts are in use. Changes only while all of them are locked.
    in_use: AtomicU64,
    max_keys: AtomicU64,
    /// Held while keys may move from one part to another.
    moving: Mutex<()>,
}

/// Entries in a slab, found by hash and chained by use.
struct Part<K, V> {
    most: usize,
    index: HashTable<u32>,
    entries: Vec<Option<Entry<K, V>>>,
    free: Vec<u32>,
    least_recent: u32,
    most_recent: u32,
}

struct Entry<K, V> {
    key: K,
    hash: u64,
    value: V,
    /// The one used before this, and the one used after.
    before: u32,
    after: u32,
}

/// Nothing that is there can go.
pub(crate) struct NoRoom;

/// Where a key is, or would be. Holds the lock of its part of the table.
pub(crate) struct Place<'a, K, V> {
    part: MutexGuard<'a, Part<K, V>>,
    hash: u64,
    at: Option<u32>,
}

fn parts_for(max_keys: usize) -> usize {
    if max_keys < PARTS_FROM { 1 } else { PARTS }
}

/// The bound of one of several parts: together they are the bound of the table.
fn bound(max_keys: usize, parts: usize, part: usize) -> usize {
    if part < parts { max_keys / parts + usize::from(part < max_keys % parts) } else { 0 }
}

/// The index takes its place from the low bits and its tag from the high ones.
fn part_of(hash: u64, parts: usize) -> usize {
    (hash >> 24) as usize % parts
}

impl<K: Hash + Eq, V> Table<K, V> {
    pub(crate) fn new(max_keys: usize) -> Self {
        let parts = parts_for(max_keys);
        Self {
            hasher: RandomState::default(),
            parts: (0..PARTS)
                .map(|part| Mutex::new(Part::new(bound(max_keys, parts, part))))
                .collect(),
            in_use: AtomicU64::new(parts as u64),
            max_keys: AtomicU64::new(max_keys as u64),
            moving: Mutex::default(),
        }
    }

    /// The place of a key.
    pub(crate) fn place<Q>(&self, key: &Q) -> Place<'_, K, V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let mut parts = self.in_use.load(Ordering::Relaxed);
        loop {
            let part = self.parts[part_of(hash, parts as usize)].lock();
            // Asked under the lock, without which it cannot change.
            let now = self.in_use.load(Ordering::Relaxed);
            if now == parts {
                let at = part.find(hash, key);
                return Place { part, hash, at };
            }
            parts = now;
        }
    }

    pub(crate) fn len(&self) -> usize {
        let _still = self.moving.lock();
        self.parts.iter().map(|part| part.lock().index.len()).sum()
    }

    /// How many keys there may be.
    pub(crate) fn max_keys(&self) -> usize {
        self.max_keys.load(Ordering::Relaxed) as usize
    }

    /// Looks at every entry, part by part, in no particular order.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&K, &V)) {
        let _still = self.moving.lock();
        for part in &self.parts {
            part.lock().entries.iter().flatten().for_each(|entry| each(&entry.key, &entry.value));
        }
    }

    /// Forgets everything, part by part.
    pub(crate) fn clear(&self) {
        let still = self.moving.lock();
        let empty = |part: &Mutex<Part<K, V>>| {
            let mut part = part.lock();
            let empty = Part::new(part.most);
            std::mem::replace(&mut *part, empty)
        };
        let gone: Vec<_> = self.parts.iter().map(empty).collect();
        // What was in them is dropped outside every lock.
        drop(still);
        drop(gone);
    }

    /// Changes the bound. What no longer has room goes, the least recently used first, and is handed out.
    /// Where the number of parts changes, only the order of use within each part is known, and those that
    /// are equally far from the most recent of their part count as used together.
    pub(crate) fn resize(&self, max_keys: usize) -> Vec<(K, V)> {
        let _alone = self.moving.lock();
        self.max_keys.store(max_keys as u64, Ordering::Relaxed);
        // Everybody else locks one part at a time.
        let mut parts: Vec<_> = self.parts.iter().map(Mutex::lock).collect();
        let (before, now) = (self.in_use.load(Ordering::Relaxed) as usize, parts_for(max_keys));
        for (part, place) in parts.iter_mut().zip(0..) {
            part.most = bound(max_keys, now, place);
        }
        let mut gone = Vec::new();
        if before == now {
            for part in &mut parts {
                part.shrink(&mut gone);
            }
            return gone;
        }
        let mut entries: Vec<(usize, Entry<K, V>)> = Vec::new();
        for part in &mut parts {
            let mut rank = part.index.len();
            while part.least_recent != NONE {
                rank -= 1;
                let oldest = part.least_recent;
                entries.push((rank, part.remove(oldest)));
            }
        }
        entries.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        for (_, entry) in entries {
            parts[part_of(entry.hash, now)].insert(entry);
        }
        for part in &mut parts {
            part.shrink(&mut gone);
        }
        self.in_use.store(now as u64, Ordering::Relaxed);
        gone
    }
}

impl<K: Eq, V> Place<'_, K, V> {
    /// What is there. Looking does not count as using it.
    pub(crate) fn value(&self) -> Option<&V> {
        self.at.map(|at| &self.part.entry(at).value)
    }

    /// What is there, which is used by this.
    pub(crate) fn used(&mut self) -> Option<&mut V> {
        let at = self.at?;
        self.part.use_again(at);
        Some(&mut self.part.entry_mut(at).value)
    }

    /// Room for a key that is not there; what had to go for it.
    pub(crate) fn make_room(
        &mut self,
        can_go: impl Fn(&V) -> bool,
    ) -> Result<Option<(K, V)>, NoRoom> {
        if self.part.index.len() < self.part.most {
            return Ok(None);
        }
        match self.part.evict(can_go) {
            Some(gone) => Ok(Some((gone.key, gone.value))),
            None => Err(NoRoom),
        }
    }

    /// Puts the key that this is the place of where it was not, once there is room.
    pub(crate) fn insert(mut self, key: K, value: V) {
        self.part.insert(Entry { key, hash: self.hash, value, before: NONE, after: NONE });
    }

    /// Takes out what is there.
    pub(crate) fn remove(mut self) -> Option<(K, V)> {
        let gone = self.at.map(|at| self.part.remove(at));
        gone.map(|entry| (entry.key, entry.value))
    }
}

impl<K, V> Part<K, V> {
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

    fn entry(&self, at: u32) -> &Entry<K, V> {
        self.entries[at as usize].as_ref().expect("the index names entries that are there")
    }

    fn entry_mut(&mut self, at: u32) -> &mut Entry<K, V> {
        self.entries[at as usize].as_mut().expect("the index names entries that are there")
    }

    fn find<Q>(&self, hash: u64, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.index.find(hash, |at| self.entry(*at).key.borrow() == key).copied()
    }

    fn insert(&mut self, entry: Entry<K, V>) {
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

    fn remove(&mut self, at: u32) -> Entry<K, V> {
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
    fn evict(&mut self, can_go: impl Fn(&V) -> bool) -> Option<Entry<K, V>> {
        for _ in 0..CANDIDATES.min(self.index.len()) {
            let at = self.least_recent;
            if can_go(&self.entry(at).value) {
                return Some(self.remove(at));
            }
            self.use_again(at);
        }
        None
    }

    /// Takes out what is beyond the bound.
    fn shrink(&mut self, gone: &mut Vec<(K, V)>) {
        while self.index.len() > self.most {
            let oldest = self.least_recent;
            let entry = self.remove(oldest);
            gone.push((entry.key, entry.value));
        }
    }
}
