//! The last good answers by key: bounded, and each with its age.

use std::{
    borrow::Borrow,
    fmt,
    hash::Hash,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use super::config::LastGoodConfig;
use crate::{
    error::ConfigError,
    policy::{Now, nanos, table::Table},
    sync::{AtomicU64, Ordering},
};

/// The last good answer of each key.
///
/// - A key's answer is only ever given for that key.
/// - It is given while its age is less than the maximum: `age < max_age`. The age is the time since the
///   answer was remembered; where the clock went back behind that, it is zero.
/// - At most `max_keys` are kept. Where another key comes, the least recently used one is forgotten;
///   remembering and recalling an answer is using it. From 1024 keys on the table has 16 parts with a bound
///   of their own, and the least recently used of one part goes.
/// - An answer that has become too old stays until it is replaced or has to go, so that a longer maximum
///   age brings it back.
///
/// Finding a key takes the lock of its part of the table for a moment; nothing of an answer's own code runs
/// under it. Replacing an answer allocates nothing, unless somebody is just reading the old one.
pub struct Answers<K, V> {
    origin: Instant,
    /// In nanoseconds.
    max_age: AtomicU64,
    table: Table<K, Kept<V>>,
}

/// An answer, and when it was given, in nanoseconds since the origin.
struct Kept<V> {
    value: Arc<V>,
    at: u64,
}

/// An answer that another has replaced, to be dropped outside the lock.
enum Replaced<V> {
    Whole(V),
    Shared(Arc<V>),
}

impl<V> Kept<V> {
    fn replace(&mut self, value: V, at: u64) -> Replaced<V> {
        self.at = at;
        match Arc::get_mut(&mut self.value) {
            Some(place) => Replaced::Whole(mem::replace(place, value)),
            // Somebody is reading the old one.
            None => Replaced::Shared(mem::replace(&mut self.value, Arc::new(value))),
        }
    }
}

impl<K: Hash + Eq, V> Answers<K, V> {
    /// No answers yet. Times before `origin` count as `origin`.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: &LastGoodConfig, origin: Instant) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            origin,
            max_age: AtomicU64::new(nanos(config.max_age)),
            table: Table::new(config.max_keys),
        })
    }

    fn since_origin(&self, now: impl Now) -> u64 {
        now.nanos_since(self.origin)
    }

    /// Keeps an answer in place of the key's last one; whether another key had to be forgotten for it.
    pub fn remember(&self, key: K, value: V, now: impl Now) -> bool {
        let at = self.since_origin(now);
        let mut place = self.table.place(&key);
        if let Some(kept) = place.used() {
            let replaced = kept.replace(value, at);
            drop(place);
            match replaced {
                Replaced::Whole(value) => drop(value),
                Replaced::Shared(value) => drop(value),
            }
            return false;
        }
        let Ok(forgotten) = place.make_room(|_| true) else {
            // Any answer can go, so there is always room.
            return false;
        };
        place.insert(key, Kept { value: Arc::new(value), at });
        forgotten.is_some()
    }

    /// The key's last good answer and its age, while it is young enough.
    pub fn recall<Q>(&self, key: &Q, now: impl Now) -> Option<(Arc<V>, Duration)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let now = self.since_origin(now);
        let mut place = self.table.place(key);
        let age = now.saturating_sub(place.value()?.at);
        if age >= self.max_age.load(Ordering::Relaxed) {
            return None;
        }
        place.used().map(|kept| (kept.value.clone(), Duration::from_nanos(age)))
    }

    /// The key's last good answer and its age, however old. Looking is not using.
    pub fn peek<Q>(&self, key: &Q, now: impl Now) -> Option<(Arc<V>, Duration)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let now = self.since_origin(now);
        let place = self.table.place(key);
        let kept = place.value()?;
        Some((kept.value.clone(), Duration::from_nanos(now.saturating_sub(kept.at))))
    }

    /// The age at which the answer would be given for the key now.
    pub(crate) fn young<Q>(&self, key: &Q, now: impl Now) -> Option<Duration>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let age = self.since_origin(now).saturating_sub(self.table.place(key).value()?.at);
        (age < self.max_age.load(Ordering::Relaxed)).then(|| Duration::from_nanos(age))
    }

    /// Forgets a key's answer and hands it out.
    pub fn remove<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.table.place(key).remove().map(|(_, kept)| kept.value)
    }

    /// Forgets every answer.
    pub fn clear(&self) {
        self.table.clear();
    }

    /// How many keys have an answer, whatever its age.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no key has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys can have one.
    pub fn max_keys(&self) -> usize {
        self.table.max_keys()
    }

    /// The age from which on an answer is too old.
    pub fn max_age(&self) -> Duration {
        match self.max_age.load(Ordering::Relaxed) {
            u64::MAX => Duration::MAX,
            nanos => Duration::from_nanos(nanos),
        }
    }

    /// Changes both bounds and keeps the answers, as many as there is room for: the least recently used
    /// go, and are handed out. Where the bound goes below or above 1024, the order of use among the parts of
    /// the table is only known approximately.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work. Nothing has changed then.
    pub fn reconfigure(&self, config: &LastGoodConfig) -> Result<Vec<(K, Arc<V>)>, ConfigError> {
        config.validate()?;
        self.max_age.store(nanos(config.max_age), Ordering::Relaxed);
        let gone = self.table.resize(config.max_keys);
        Ok(gone.into_iter().map(|(key, kept)| (key, kept.value)).collect())
    }
}

impl<K: Hash + Eq, V> fmt::Debug for Answers<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers")
            .field("keys", &self.len())
            .field("max_keys", &self.max_keys())
            .field("max_age", &self.max_age())
            .finish()
    }
}
