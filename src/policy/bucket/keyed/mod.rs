//! Token buckets by key, in a table that cannot outgrow its bound.
//!
//! A bucket that is full is as good as none: whoever asks for it finds the same tokens either way. So a
//! table drops the full ones, loses nothing by it, and needs no task: each new key pays for a look at a
//! few places of the table.
//!
//! The table is in parts, each under a short lock with its rate and its own count of time, so that a
//! change of rate or origin is nobody's concern but the part's.

mod ask;
mod keys;
mod meter;
mod part;
mod show;

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;
use foldhash::quality::RandomState;

use self::{
    ask::{Asked, Given, Lent},
    meter::Meter,
    part::{Garbage, Part, Swept},
};
pub use self::{
    keys::{AtCap, Keys},
    show::{KeyedRateLimitSnapshot, Level},
};
use super::{
    Refusal,
    config::RateLimitConfig,
    rate::{Ask, Rate},
};
use crate::{
    error::{ConfigError, Reason},
    policy::Now,
    sync::{AtomicU64, Mutex, Ordering},
};

/// From this many keys on, the table is in parts, so that calls for different keys seldom meet.
const PARTS_FROM: usize = 256;
const PARTS: usize = 16;

/// Leave to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Grant {
    /// The tokens are from the key's own bucket.
    Own,
    /// There is no room for the key; the tokens are from the bucket that all such keys share.
    Shared,
    /// There is no room for the key, and no bucket was asked.
    Untracked,
}

/// Token buckets by key without clock, runtime or Tower: share them by reference.
///
/// Semantics are those of [`RateLimiters`](crate::RateLimiters).
///
/// ```
/// use std::time::{Duration, Instant};
/// use portcullis::{RateLimitConfig, Reason, policy::bucket::Buckets};
///
/// let start = Instant::now();
/// let config = RateLimitConfig::per_second("clients", 10).burst(2);
/// let buckets: Buckets<String> = Buckets::new(config, 1_000, start)?;
/// assert!(buckets.try_acquire("ada", 2, start).is_ok());
/// let refusal = buckets.try_acquire("ada", 1, start).unwrap_err();
/// assert_eq!(refusal.reason, Reason::RateLimited);
/// assert_eq!(refusal.retry_after, Some(Duration::from_millis(100)));
/// assert!(buckets.try_acquire("grace", 2, start).is_ok());
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
pub struct Buckets<K> {
    /// Times are counted from here.
    made: Instant,
    /// Seeded at random, so that keys cannot be chosen to collide. Of the better quality: with one seed in
    /// fifty the faster one puts numbers that follow one another into few of the parts.
    hasher: RandomState,
    parts: Box<[CachePadded<Mutex<Part<K>>>]>,
    room: Room,
    at_cap: AtCap,
    /// The bucket that all keys without room share.
    overflow: Mutex<Overflow>,
    /// Held while all parts are being changed, so that one change does not overtake another.
    config: Mutex<RateLimitConfig>,
}

/// How many keys there are and can be, in all parts together.
struct Room {
    taken: AtomicU64,
    most: u64,
    /// How many there were that are no more.
    gone: AtomicU64,
}

impl Room {
    fn is_left(&self) -> bool {
        self.taken.load(Ordering::Relaxed) < self.most
    }

    /// Takes a place, if there is one.
    fn take(&self) -> bool {
        // Only the number itself must be right: the keys are under the parts' locks.
        let more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, places: usize) {
        if places > 0 {
            self.taken.fetch_sub(places as u64, Ordering::Relaxed);
            self.gone.fetch_add(places as u64, Ordering::Relaxed);
        }
    }
}

struct Overflow {
    meter: Meter,
    full_at: u64,
}

impl Overflow {
    fn now(&mut self, nanos: u64) -> u64 {
        self.meter.now(nanos).unwrap_or_else(|| {
            self.full_at = self.full_at.saturating_sub(self.meter.move_on());
            0
        })
    }
}

impl<K> Buckets<K> {
    /// No buckets yet, and never more than `keys`.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work; `max_keys` must be in `1..=16_777_216`.
    pub fn new(
        config: RateLimitConfig,
        keys: impl Into<Keys>,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let keys = keys.into();
        let rate = config.rate()?;
        keys.check()?;
        let Keys { most, at_cap } = keys;
        let (parts, each) = if most < PARTS_FROM { (1, most) } else { (PARTS, most_of_part(most)) };
        let part = |_| CachePadded::new(Mutex::new(Part::new(rate, each)));
        Ok(Self {
            made: now,
            hasher: RandomState::default(),
            parts: (0..parts).map(part).collect(),
            room: Room { taken: AtomicU64::new(0), most: most as u64, gone: AtomicU64::new(0) },
            at_cap,
            overflow: Mutex::new(Overflow { meter: Meter::new(rate), full_at: 0 }),
            config: Mutex::new(config),
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> RateLimitConfig {
        self.config.lock().clone()
    }

    /// Changes rate and burst live. Every key keeps its tokens, up to the new burst; a full bucket stays
    /// full. The number of keys cannot be changed.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work, or `name` if it differs. Nothing has
    /// changed then.
    pub fn reconfigure(&self, config: RateLimitConfig, now: impl Now) -> Result<(), ConfigError> {
        let rate = config.rate()?;
        let mut current = self.config.lock();
        if config.name != current.name {
            let why = format!("these limiters keep their name, which is `{}`", current.name);
            return Err(ConfigError::new("name", config.name, why));
        }
        let nanos = self.nanos(now);
        for part in &self.parts {
            part.lock().change_rate(rate, nanos);
        }
        let mut overflow = self.overflow.lock();
        let change = overflow.meter.change(rate, nanos);
        overflow.full_at = change(overflow.full_at);
        *current = config;
        Ok(())
    }

    /// Forgets every key: all buckets are full, the shared one too.
    pub fn reset(&self) {
        for part in &self.parts {
            let mut garbage = Garbage::new();
            self.room.give_back(part.lock().clear(&mut garbage));
        }
        self.overflow.lock().full_at = 0;
    }

    #[inline(always)]
    fn nanos(&self, now: impl Now) -> u64 {
        now.nanos_since(self.made)
    }
}

/// How many keys a part is made for: its share, and five standard deviations of what chance adds to it.
fn most_of_part(keys: usize) -> usize {
    let share = keys.div_ceil(PARTS);
    share + 5 * share.isqrt() + 5
}

impl<K: Hash + Eq> Buckets<K> {
    /// Takes `n` tokens of a key, or says why not; nothing is taken then. A key without a bucket has a
    /// full one. The key is only copied if it is new.
    ///
    /// # Errors
    /// The [`Refusal`] with its reason and when to come back.
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q, n: u64, now: impl Now) -> Result<Grant, Refusal>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.take_asked(Lent(key), n, now)
    }

    /// [`try_acquire`](Self::try_acquire) for a key that is given away, so that a new one need not be copied.
    ///
    /// # Errors
    /// The [`Refusal`] with its reason and when to come back.
    #[inline]
    pub fn try_acquire_owned(&self, key: K, n: u64, now: impl Now) -> Result<Grant, Refusal> {
        self.take_asked(Given(key), n, now)
    }

    #[inline(always)]
    fn take_asked<A: Asked<K>>(&self, key: A, n: u64, now: impl Now) -> Result<Grant, Refusal>
    where
        K: Borrow<A::Form>,
    {
        // The clock is read outside the lock, which is held for the shorter.
        let nanos = self.nanos(now);
        let hash = self.hasher.hash_one(key.form());
        let mut part = self.part(hash).lock();
        let now = part.now(nanos);
        match part.take_known(hash, key.form(), now, n) {
            Some(Ask::Granted { .. }) => Ok(Grant::Own),
            Some(ask) => Err(refusal(part.rate(), ask)),
            None => {
                drop(part);
                self.take_new(hash, key, n, nanos)
            }
        }
    }

    /// The part of a key. Its table takes a key's place from the low bits and its tag from the high ones.
    #[inline(always)]
    fn part(&self, hash: u64) -> &Mutex<Part<K>> {
        &self.parts[(hash >> 24) as usize & (self.parts.len() - 1)]
    }

    #[cold]
    fn take_new<A: Asked<K>>(&self, hash: u64, key: A, n: u64, nanos: u64) -> Result<Grant, Refusal>
    where
        K: Borrow<A::Form>,
    {
        // Dropped after the lock, also when a key's own code panics.
        let mut garbage = Garbage::new();
        let mut part = self.part(hash).lock();
        let now = part.now(nanos);
        // Another call may have brought it meanwhile.
        let known = part.take_known(hash, key.form(), now, n);
        let ask = known.unwrap_or_else(|| part.rate().ask(0, now, n));
        let Ask::Granted { full_at } = ask else { return Err(refusal(part.rate(), ask)) };
        // Taking nothing leaves a full bucket, which is none.
        if known.is_some() || full_at <= now {
            return Ok(Grant::Own);
        }
        let Swept { dropped, turned, .. } = part.tidy(now, &mut garbage);
        self.room.give_back(dropped);
        let mut first_full = u64::MAX;
        if !(self.room.is_left() && part.has_room()) {
            let swept = part.make_room(now, &mut garbage);
            self.room.give_back(swept.dropped);
            first_full = swept.first_full;
        }
        if self.room.is_left() && part.has_room() {
            if part.is_dense() || (turned && part.is_sparse()) {
                self.room.give_back(part.lay_out(now, &self.hasher, &mut garbage));
            }
            // Made before a place is taken: a panic in the key's own copying takes none.
            let key = key.make();
            if self.room.take() {
                part.insert(hash, key, full_at, &self.hasher);
                return Ok(Grant::Own);
            }
        }
        let first_full = Some(first_full).filter(|time| *time < u64::MAX);
        let wait = first_full.and_then(|time| part.rate().duration(time - now));
        drop(part);
        self.take_without_room(n, nanos, wait)
    }

    fn take_without_room(
        &self,
        n: u64,
        nanos: u64,
        first_full: Option<Duration>,
    ) -> Result<Grant, Refusal> {
        match self.at_cap {
            AtCap::Admit => Ok(Grant::Untracked),
            AtCap::Refuse => Err(Refusal { reason: Reason::KeysFull, retry_after: first_full }),
            AtCap::ShareOverflow => {
                let mut overflow = self.overflow.lock();
                let now = overflow.now(nanos);
                match overflow.meter.rate.ask(overflow.full_at, now, n) {
                    Ask::Granted { full_at } => {
                        overflow.full_at = full_at;
                        Ok(Grant::Shared)
                    }
                    ask => Err(refusal(&overflow.meter.rate, ask)),
                }
            }
        }
    }

    /// Forgets a key: its bucket is full. Whether it had one.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let mut part = self.part(hash).lock();
        let removed = part.remove(hash, key);
        self.room.give_back(usize::from(removed.is_some()));
        // The key's own drop runs outside the lock.
        drop(part);
        removed.is_some()
    }

    /// Drops every bucket that is full now and gives memory back. Calls do as much of it by themselves
    /// as new keys need; after a flood of keys that is over for good, this does the rest at once.
    pub fn shrink(&self, now: impl Now) {
        let nanos = self.nanos(now);
        for part in &self.parts {
            let mut garbage = Garbage::new();
            let mut part = part.lock();
            let now = part.now(nanos);
            self.room.give_back(part.shrink(now, &self.hasher, &mut garbage));
            drop(part);
        }
    }
}

#[cold]
fn refusal(rate: &Rate, ask: Ask) -> Refusal {
    match ask {
        Ask::After { wait, .. } => {
            Refusal { reason: Reason::RateLimited, retry_after: rate.duration(wait) }
        }
        _ => Refusal { reason: Reason::OverBurst, retry_after: None },
    }
}
