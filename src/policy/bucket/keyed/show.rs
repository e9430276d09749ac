//! What can be seen of a table from outside.

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    time::Duration,
};

use super::{
    super::rate::{Ask, Rate},
    AtCap, Buckets, Keys, Overflow, Part,
};
use crate::{
    policy::{Mode, Now},
    sync::Ordering,
};

/// A bucket at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Level {
    /// Whole tokens in it.
    pub remaining: u64,
    /// How many there can be.
    pub burst: u64,
    /// The time until it is full: zero if it is; `None` if that is never, since no tokens come back.
    pub reset_after: Option<Duration>,
    /// The time until there is a token: zero if there is one; `None` if none ever comes back.
    pub next_after: Option<Duration>,
}

/// A table of buckets at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedRateLimitSnapshot {
    /// What it does with its verdicts.
    pub mode: Mode,
    /// How many keys have a bucket. Those that are full may be among them: they go as new keys come.
    pub keys: usize,
    /// How many can have one.
    pub max_keys: usize,
    /// What becomes of calls for further keys.
    pub at_cap: AtCap,
    /// The bucket that all further keys share, where they do.
    pub shared: Level,
    /// Bytes that the table takes, without what keys have on the heap.
    pub bytes: usize,
    /// How many buckets have gone since the table was made: full ones, for which a new one is as good, and
    /// those of keys that were removed.
    pub forgotten: u64,
    /// How many calls were refused since the table was made; those that shadow let in are not. Counted by
    /// [`RateLimiters`](crate::RateLimiters).
    pub refused: u64,
    /// How many calls were admitted without a bucket of their key's own. Counted by
    /// [`RateLimiters`](crate::RateLimiters).
    pub untracked: u64,
}

impl<K> Buckets<K> {
    /// How many keys have a bucket. Those that are full may be among them: they go as new keys come.
    pub fn len(&self) -> usize {
        self.room.taken.load(Ordering::Relaxed) as usize
    }

    /// Whether no key has a bucket.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys can have a bucket, and what becomes of calls for further ones.
    pub fn keys(&self) -> Keys {
        Keys { most: self.room.most as usize, at_cap: self.at_cap }
    }

    /// Everything at one moment.
    pub fn snapshot(&self, now: impl Now) -> KeyedRateLimitSnapshot {
        let Keys { most, at_cap } = self.keys();
        KeyedRateLimitSnapshot {
            mode: Mode::Enforce,
            keys: self.len(),
            max_keys: most,
            at_cap,
            shared: self.shared(self.nanos(now)),
            bytes: self.parts.iter().map(|part| part.lock().bytes()).sum(),
            forgotten: self.room.gone.load(Ordering::Relaxed),
            refused: 0,
            untracked: 0,
        }
    }

    /// Places of the table that were looked at to keep it small.
    #[cfg(test)]
    pub(crate) fn looked_at(&self) -> u64 {
        self.parts.iter().map(|part| part.lock().looked_at).sum()
    }

    /// Whether a new key of this part would find room.
    fn foresee_room(&self, part: &Part<K>, now: u64) -> Result<(), Option<u64>> {
        if self.room.is_left() && part.has_room() { Ok(()) } else { part.foresee_room(now) }
    }

    /// Whether some new key would find room. In a table of several parts another may still find none.
    pub(crate) fn takes_more(&self, now: impl Now) -> bool {
        let nanos = self.nanos(now);
        let mut parts = self.parts.iter().map(|part| part.lock());
        parts.any(|part| self.foresee_room(&part, part.now_at(nanos)).is_ok())
    }

    /// The bucket that keys without room share.
    fn shared(&self, nanos: u64) -> Level {
        let Overflow { meter, full_at } = &*self.overflow.lock();
        level(&meter.rate, *full_at, meter.peek(nanos))
    }
}

impl<K: Hash + Eq> Buckets<K> {
    /// The bucket that a call for this key would be held against: the key's own, a full one if it is new,
    /// and if there is no room for it, what [`AtCap`] says. Looking changes nothing.
    pub fn level<Q>(&self, key: &Q, now: impl Now) -> Level
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (nanos, hash) = (self.nanos(now), self.hasher.hash_one(key));
        let part = self.part(hash).lock();
        let (own, now) = part.peek(hash, key, nanos);
        let room = match own {
            Some(_) => Ok(()),
            None => self.foresee_room(&part, now),
        };
        match (room, self.at_cap) {
            (Ok(()), _) | (_, AtCap::Admit) => level(part.rate(), own.unwrap_or(0), now),
            (Err(first_full), AtCap::Refuse) => Level {
                remaining: 0,
                burst: part.rate().burst,
                reset_after: None,
                next_after: first_full.and_then(|time| part.rate().duration(time - now)),
            },
            (Err(_), AtCap::ShareOverflow) => {
                drop(part);
                self.shared(nanos)
            }
        }
    }
}

impl<K> fmt::Debug for Buckets<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Keys { most, at_cap } = self.keys();
        f.debug_struct("Buckets")
            .field("config", &*self.config.lock())
            .field("len", &self.len())
            .field("most", &most)
            .field("at_cap", &at_cap)
            .finish()
    }
}

fn level(rate: &Rate, full_at: u64, now: u64) -> Level {
    let next = match rate.ask(full_at, now, 1) {
        Ask::Granted { .. } => Some(Duration::ZERO),
        Ask::After { wait, .. } => rate.duration(wait),
        Ask::Never => None,
    };
    let reset = match full_at.saturating_sub(now) {
        0 => Some(Duration::ZERO),
        left => rate.duration(left),
    };
    Level {
        remaining: rate.tokens(full_at, now),
        burst: rate.burst,
        reset_after: reset,
        next_after: next,
    }
}
