//! One part of the table: its buckets, and the hand that goes round to drop the full ones.

mod foresee;

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::{
    super::rate::{Ask, Rate},
    meter::Meter,
};

/// How many places of the table the hand looks at when a key is new. With one, what it drops brings back
/// fewer keys than came.
const LOOKS: usize = 1;
/// How many more it looks at when there is no room, and how many buckets it drops then at the most.
const LOOKS_FOR_ROOM: usize = 32;
const DROPS: usize = 8;
/// While there is room, a bucket stays until it has been full for as long as it takes to fill, and for
/// this many nanoseconds: a client that comes back soon finds its key.
const IDLE: u64 = 10_000_000_000;
/// A table that is less than this share full gives memory back.
const SPARSE: usize = 8;
/// No table is made smaller than this.
const SMALLEST: usize = 14;

/// A key, and when its bucket is full again, in units.
type Bucket<K> = (K, u64);

pub(super) struct Part<K> {
    meter: Meter,
    table: HashTable<Bucket<K>>,
    /// How many keys there can be.
    most: usize,
    /// The place that the hand looks at next.
    hand: usize,
    /// The earliest time at which a bucket that the hand has passed in this turn, or that is new since
    /// the turn began, is full.
    in_this_turn: u64,
    /// No bucket is full before this. A bucket in use only becomes full later, so that what the last
    /// turn found holds.
    none_before: u64,
    /// How long a bucket has been full before it is dropped while there is room.
    idle: u64,
    /// Places looked at since the table was made: the work that keeping it small takes.
    #[cfg(test)]
    pub(super) looked_at: u64,
}

/// What the hand found.
pub(super) struct Swept {
    pub(super) dropped: usize,
    /// Whether it has gone round the whole table.
    pub(super) turned: bool,
    /// The earliest time at which one of those that it left is full; the latest there is, if it left none.
    pub(super) first_full: u64,
}

/// What left a table under its lock. A key's own drop may do anything, so it runs after the lock.
pub(super) struct Garbage<K> {
    swept: [Option<K>; DROPS],
    many: usize,
    table: HashTable<Bucket<K>>,
}

impl<K> Garbage<K> {
    pub(super) fn new() -> Self {
        Self { swept: [const { None }; DROPS], many: 0, table: HashTable::new() }
    }

    fn has_room(&self) -> bool {
        self.many < DROPS
    }

    fn put(&mut self, key: K) {
        self.swept[self.many] = Some(key);
        self.many += 1;
    }
}

impl<K> Part<K> {
    /// A part that is made for `keys` at the most.
    pub(super) fn new(rate: Rate, keys: usize) -> Self {
        Self {
            meter: Meter::new(rate),
            table: HashTable::new(),
            most: keys,
            hand: 0,
            in_this_turn: u64::MAX,
            none_before: 0,
            idle: idle(&rate),
            #[cfg(test)]
            looked_at: 0,
        }
    }

    pub(super) fn rate(&self) -> &Rate {
        &self.meter.rate
    }

    pub(super) fn bytes(&self) -> usize {
        self.table.allocation_size()
    }

    /// Whether another key may come here without the table outgrowing what it was made for.
    pub(super) fn has_room(&self) -> bool {
        self.table.len() < self.most
    }

    /// The time in units.
    #[inline(always)]
    pub(super) fn now(&mut self, nanos: u64) -> u64 {
        match self.meter.now(nanos) {
            Some(now) => now,
            None => self.move_on(),
        }
    }

    /// Counts time from now on, so that it stays countable: after minutes at the finest rates, after
    /// years at others.
    #[cold]
    fn move_on(&mut self) -> u64 {
        let less = self.meter.move_on();
        self.change_times(|full_at| full_at.saturating_sub(less));
        self.none_before = self.none_before.saturating_sub(less);
        0
    }

    fn change_times(&mut self, change: impl Fn(u64) -> u64) {
        self.table.iter_mut().for_each(|(_, full_at)| *full_at = change(*full_at));
        // The turn begins anew, so that it need not be known which buckets it has passed.
        (self.hand, self.in_this_turn) = (0, u64::MAX);
    }

    /// Takes another rate from now on; every bucket keeps its tokens.
    pub(super) fn change_rate(&mut self, to: Rate, nanos: u64) {
        let change = self.meter.change(to, nanos);
        self.change_times(change);
        (self.none_before, self.idle) = (0, idle(&to));
    }

    /// Asks the bucket of a key for `n` tokens, if it has one.
    #[inline(always)]
    pub(super) fn take_known<Q>(&mut self, hash: u64, key: &Q, now: u64, n: u64) -> Option<Ask>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (_, full_at) = self.table.find_mut(hash, |(known, _)| known.borrow() == key)?;
        let ask = self.meter.rate.ask(*full_at, now, n);
        if let Ask::Granted { full_at: later } = ask {
            *full_at = later;
        }
        Some(ask)
    }

    /// When the bucket of a key is full, if it has one, and now; both in units.
    pub(super) fn peek<Q>(&self, hash: u64, key: &Q, nanos: u64) -> (Option<u64>, u64)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let found = self.table.find(hash, |(known, _)| known.borrow() == key);
        (found.map(|(_, full_at)| *full_at), self.now_at(nanos))
    }

    /// The time in units, for a look that moves nothing.
    pub(super) fn now_at(&self, nanos: u64) -> u64 {
        self.meter.peek(nanos)
    }

    /// Looks at the next place and drops the bucket there if it has long been full.
    pub(super) fn tidy(&mut self, now: u64, garbage: &mut Garbage<K>) -> Swept {
        self.sweep(now.saturating_sub(self.idle), LOOKS, garbage)
    }

    /// Looks at the next places and drops the buckets that are full.
    pub(super) fn make_room(&mut self, now: u64, garbage: &mut Garbage<K>) -> Swept {
        self.sweep(now, LOOKS_FOR_ROOM, garbage)
    }

    /// Looks at the next places and drops the buckets that were full at `then`.
    fn sweep(&mut self, then: u64, looks: usize, garbage: &mut Garbage<K>) -> Swept {
        let places = self.table.num_buckets();
        let mut swept = Swept { dropped: 0, turned: false, first_full: u64::MAX };
        for _ in 0..looks.min(places) {
            if then < self.none_before {
                swept.first_full = self.none_before;
                break;
            }
            if !garbage.has_room() {
                break;
            }
            #[cfg(test)]
            {
                self.looked_at += 1;
            }
            if let Ok(bucket) = self.table.get_bucket_entry(self.hand) {
                match bucket.get().1 {
                    full_at if full_at <= then => {
                        garbage.put(bucket.remove().0.0);
                        swept.dropped += 1;
                    }
                    full_at => {
                        self.in_this_turn = self.in_this_turn.min(full_at);
                        swept.first_full = swept.first_full.min(full_at);
                    }
                }
            }
            self.hand += 1;
            if self.hand >= places {
                swept.turned = true;
                self.hand = 0;
                self.none_before = std::mem::replace(&mut self.in_this_turn, u64::MAX);
            }
        }
        swept
    }

    /// Forgets every bucket and gives the memory back.
    pub(super) fn clear(&mut self, garbage: &mut Garbage<K>) -> usize {
        let dropped = self.table.len();
        garbage.table = std::mem::take(&mut self.table);
        (self.hand, self.in_this_turn, self.none_before) = (0, u64::MAX, 0);
        dropped
    }
}

impl<K: Hash + Eq> Part<K> {
    /// Puts in the bucket of a key that has none. There must be a free place: see
    /// [`is_dense`](Self::is_dense).
    pub(super) fn insert(&mut self, hash: u64, key: K, full_at: u64, hasher: &RandomState) {
        self.in_this_turn = self.in_this_turn.min(full_at);
        self.none_before = self.none_before.min(full_at);
        self.table.insert_unique(hash, (key, full_at), |(key, _)| hasher.hash_one(key));
    }

    /// Whether the table must be laid out anew before another key can come.
    pub(super) fn is_dense(&self) -> bool {
        self.table.capacity() == self.table.len()
    }

    /// Whether the table is far larger than its keys need.
    pub(super) fn is_sparse(&self) -> bool {
        let capacity = self.table.capacity();
        capacity > SMALLEST && self.table.len() < capacity / SPARSE
    }

    /// Lays the table out anew for another key, without the buckets that have long been full; how many
    /// those were. Takes as long as the part is large, and is needed once in so many new keys.
    pub(super) fn lay_out(
        &mut self,
        now: u64,
        hasher: &RandomState,
        garbage: &mut Garbage<K>,
    ) -> usize {
        self.lay_out_without(now.saturating_sub(self.idle), 1, hasher, garbage)
    }

    /// Lays the table out anew without all that are full; how many those were.
    pub(super) fn shrink(
        &mut self,
        now: u64,
        hasher: &RandomState,
        garbage: &mut Garbage<K>,
    ) -> usize {
        self.lay_out_without(now, 0, hasher, garbage)
    }

    /// Leaves those behind that were full at `then`, and makes room for as many as stay, again as many,
    /// and at least `more`. All keys are hashed before any is moved: a panic in a key's own hash changes
    /// nothing.
    fn lay_out_without(
        &mut self,
        then: u64,
        more: usize,
        hasher: &RandomState,
        garbage: &mut Garbage<K>,
    ) -> usize {
        let places = self.table.num_buckets();
        let live = |(_, full_at): &&Bucket<K>| *full_at > then;
        let all = (0..places).filter_map(|place| self.table.get_bucket(place)).filter(live);
        let mut hashes = Vec::with_capacity(self.table.len());
        hashes.extend(all.map(|(key, _)| hasher.hash_one(key)));
        #[cfg(test)]
        {
            self.looked_at += places as u64;
        }
        // A fifteenth to spare at the most: not every place that a removed key leaves behind can be taken
        // again before the next time.
        let most = self.most + self.most / 15 + 1;
        let needed = hashes.len() + more;
        let room = if needed > 0 { (hashes.len() * 2).max(SMALLEST).min(most) } else { 0 };
        let mut fresh = HashTable::with_capacity(room.max(needed));
        self.none_before = u64::MAX;
        let mut hashes = hashes.into_iter();
        for place in 0..places {
            let Ok(bucket) = self.table.get_bucket_entry(place) else { continue };
            let full_at = bucket.get().1;
            if full_at <= then {
                continue;
            }
            let Some(hash) = hashes.next() else { break };
            self.none_before = self.none_before.min(full_at);
            fresh.insert_unique(hash, bucket.remove().0, |_| hash);
        }
        (self.hand, self.in_this_turn) = (0, u64::MAX);
        garbage.table = std::mem::replace(&mut self.table, fresh);
        garbage.table.len()
    }

    /// Takes a key out.
    pub(super) fn remove<Q>(&mut self, hash: u64, key: &Q) -> Option<Bucket<K>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let found = self.table.find_entry(hash, |(known, _)| known.borrow() == key);
        found.ok().map(|bucket| bucket.remove().0)
    }
}

fn idle(rate: &Rate) -> u64 {
    // What is too long to count is longer than any part goes without a new origin.
    rate.whole().max(rate.units(IDLE).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What the hand leaves out because no bucket can be full is none that is full, through whatever else
    /// happens in the middle of its turn.
    #[test]
    fn no_bucket_is_full_before_the_time_that_the_hand_goes_by() {
        let hasher = RandomState::default();
        let rates = [(1, 5), (3, 4), (999_983, 7), (0, 3)]
            .map(|(permits, burst)| Rate::new(permits, Duration::from_secs(1), burst).unwrap());
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut part: Part<u64> = Part::new(rates[0], 100);
            let mut nanos = 0;
            for _ in 0..2_000 {
                let mut garbage = Garbage::new();
                let most = 1 << random.u32(..34);
                nanos += random.u64(..most);
                match random.u32(..100) {
                    0 => part.change_rate(*random.choice(&rates).unwrap(), nanos),
                    1 => nanos += 300_000_000_000,
                    2 => drop(part.clear(&mut garbage)),
                    _ => {}
                }
                let now = part.now(nanos);
                let (key, n) = (random.u64(..200), random.u64(1..4));
                let hash = hasher.hash_one(key);
                match random.u32(..4) {
                    0 => drop(part.tidy(now, &mut garbage)),
                    1 => drop(part.make_room(now, &mut garbage)),
                    _ if part.take_known(hash, &key, now, n).is_some() => {}
                    _ => {
                        let Ask::Granted { full_at } = part.rate().ask(0, now, n) else { continue };
                        if part.is_dense() {
                            part.lay_out(now, &hasher, &mut garbage);
                        }
                        part.insert(hash, key, full_at, &hasher);
                    }
                }
                let first = part.table.iter().map(|(_, full_at)| *full_at).min();
                assert!(first.is_none_or(|first| part.none_before <= first), "seed {seed}");
            }
        }
    }
}
