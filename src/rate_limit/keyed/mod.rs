//! One rate limit per key, in a bounded table.

mod layer;
mod operate;
#[cfg(test)]
mod work;

use std::{borrow::Borrow, hash::Hash, sync::Arc, time::Duration};

pub use self::layer::{KeyedRateLimit, KeyedRateLimitLayer, ResponseFuture};
#[cfg(doc)]
use crate::policy::bucket::keyed::AtCap;
use crate::{
    clock::Clock,
    error::{ConfigError, PolicyKind, Rejection},
    event::{Event, Observers},
    options::Options,
    policy::{
        Mode,
        bucket::{Buckets, Grant, Level, Refusal, config::RateLimitConfig, keyed::Keys},
        command::ModeSwitch,
        tally::Tally,
    },
};

/// Rate limits by key: one rate, one name, and a bucket for each client, tenant or address.
///
/// Each key may take [`burst`](RateLimitConfig::burst) tokens at once and gets them back at the rate: never
/// more than `burst + rate × t` in any interval. A new key has a full bucket.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Options, RateLimitConfig, RateLimiters, Reason};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let config = RateLimitConfig::per_second("clients", 10).burst(2);
/// let clients: RateLimiters<String> = RateLimiters::new(config, 10_000, Options::new())?;
/// assert!(clients.try_acquire("ada").is_ok());
/// assert!(clients.try_acquire("ada").is_ok());
/// let refusal = clients.try_acquire("ada").unwrap_err();
/// assert_eq!(refusal.reason(), Reason::RateLimited);
/// assert_eq!(refusal.retry_after(), Some(Duration::from_millis(100)));
/// assert_eq!(clients.remaining("grace"), 2);
/// # Ok(())
/// # }
/// ```
///
/// # What is kept, and what goes
///
/// At most [`Keys::most`] keys have a bucket, and no memory is ever taken for more. A bucket that is full
/// is as good as none, so it may be dropped and nothing is lost, and nobody is told. There is no task:
/// each new key pays for its share of the work. While there is room, a bucket stays until it has been full
/// for as long as it takes to fill, and for ten seconds; where there is none, it goes as soon as it is full.
///
/// A call for a further key, while as many as there may be are in use, is handled by [`AtCap`]:
///
/// | | the call | event |
/// |---|---|---|
/// | [`ShareOverflow`](AtCap::ShareOverflow), the default | takes from one bucket that all such keys share | [`Untracked`](Event::Untracked) if it is admitted |
/// | [`Refuse`](AtCap::Refuse) | is refused with [`KeysFull`](crate::Reason::KeysFull); `retry_after` is when one may first be full | [`Rejected`](Event::Rejected) |
/// | [`Admit`](AtCap::Admit) | is admitted | [`Untracked`](Event::Untracked) |
///
/// So a flood of keys, as of forged addresses, takes neither more memory than was given nor, by default,
/// more than one client's rate. Known keys do not notice it.
///
/// # Cost
///
/// A call for a known key hashes it, reads the clock, takes the lock of its part of the table for a
/// moment, and allocates nothing, admitted or refused. From 256 keys on the table has 16 parts. A new key
/// looks at one more place of the table; where there is no room, at 32 more. When a part has no place left,
/// it is laid out anew under its lock: at most once in as many new keys as a fifteenth of the part.
///
/// Bytes per key of the table, for keys that are a `u64`; what a key has on the heap comes on top:
///
/// | keys | bytes |
/// |---:|---:|
/// | 100 000 | 23 |
/// | 1 000 000 | 36 |
///
/// After a flood of keys memory comes back as new keys come, or at once by [`shrink`](Self::shrink).
///
/// Keys are hashed, compared and copied under a lock: they must not use the table meanwhile. A panic in
/// that code, or in the closures of a layer, goes to the caller; nothing is taken, and nothing lost.
pub struct RateLimiters<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    name: &'static str,
    buckets: Buckets<K>,
    mode: ModeSwitch,
    clock: Clock,
    observers: Observers,
    refused: Tally,
    untracked: Tally,
}

impl<K> Clone for RateLimiters<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K> RateLimiters<K> {
    /// No keys yet, and never more than `keys`: a number, or [`Keys`] that say what becomes of further
    /// ones.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work; `max_keys` must be in `1..=16_777_216`.
    pub fn new(
        config: RateLimitConfig,
        keys: impl Into<Keys>,
        options: Options,
    ) -> Result<Self, ConfigError> {
        let Options { clock, observers } = options;
        let (name, mode) = (config.name, ModeSwitch::new(Mode::Enforce));
        let (clock, now) = clock.start();
        let buckets = Buckets::new(config, keys, now)?;
        let (refused, untracked) = (Tally::new(), Tally::new());
        let shared = Shared { name, buckets, mode, clock, observers, refused, untracked };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The name that all these limiters' rejections and events carry.
    pub fn name(&self) -> &'static str {
        self.shared.name
    }

    /// How many keys have a bucket. Those that are full may be among them: they go as new keys come.
    pub fn len(&self) -> usize {
        self.shared.buckets.len()
    }

    /// Whether no key has a bucket.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys can have a bucket, and what becomes of calls for further ones.
    pub fn keys(&self) -> Keys {
        self.shared.buckets.keys()
    }

    /// The configuration in force.
    pub fn config(&self) -> RateLimitConfig {
        self.shared.buckets.config()
    }

    /// Changes rate and burst live, for every key: see [`Buckets::reconfigure`].
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work, or `name` if it differs: limiters keep
    /// their name. Nothing has changed then.
    pub fn reconfigure(&self, config: RateLimitConfig) -> Result<(), ConfigError> {
        self.shared.buckets.reconfigure(config, self.shared.clock)
    }
}

impl<K: Hash + Eq> RateLimiters<K> {
    /// A layer on these limiters; `key` says which one a request belongs to.
    pub fn layer<Req, F: Fn(&Req) -> K>(&self, key: F) -> KeyedRateLimitLayer<K, F> {
        KeyedRateLimitLayer::of(self.clone(), key)
    }

    /// Takes a token of a key. The key is copied only if it is new.
    ///
    /// # Errors
    /// The [`Rejection`] says why not, and when to come back; nothing is taken then.
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.try_acquire_n(key, 1)
    }

    /// Takes `n` tokens of a key, or none.
    ///
    /// # Errors
    /// The [`Rejection`] says why not, and when to come back: never, if `n` is more than the burst
    /// ([`OverBurst`](crate::Reason::OverBurst)).
    #[inline]
    pub fn try_acquire_n<Q>(&self, key: &Q, n: u64) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.decide(|buckets, clock| buckets.try_acquire(key, n, clock))
    }

    /// [`try_acquire_n`](Self::try_acquire_n) for a key that is given away.
    #[inline]
    fn try_acquire_owned(&self, key: K, n: u64) -> Result<(), Rejection> {
        self.decide(|buckets, clock| buckets.try_acquire_owned(key, n, clock))
    }

    /// Whole tokens that a key has left now. A key that is new has a full bucket; if there is no room for
    /// it, what a call for it would find: see [`Buckets::level`].
    pub fn remaining<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.level(key).remaining
    }

    /// The time until a key has all its tokens back: zero if it has; `None` if it never will.
    pub fn reset_after<Q>(&self, key: &Q) -> Option<Duration>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.level(key).reset_after
    }

    /// A key's bucket at one moment.
    pub fn level<Q>(&self, key: &Q) -> Level
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.buckets.level(key, self.shared.clock)
    }

    /// Forgets a key, whose bucket is full then. Whether it had one.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.buckets.remove(key)
    }

    /// Drops every bucket that is full and gives memory back, at once. Not needed for the bound: calls do
    /// as much of it by themselves as new keys need.
    pub fn shrink(&self) {
        self.shared.buckets.shrink(self.shared.clock);
    }

    #[inline(always)]
    fn decide(
        &self,
        ask: impl FnOnce(&Buckets<K>, Clock) -> Result<Grant, Refusal>,
    ) -> Result<(), Rejection> {
        let Shared { buckets, mode, clock, .. } = &*self.shared;
        let mode = mode.get();
        if mode == Mode::Disabled {
            return Ok(());
        }
        match ask(buckets, *clock) {
            Ok(Grant::Own) => {}
            Ok(_) => self.tell_untracked(),
            Err(refusal) => self.refuse(refusal, mode)?,
        }
        self.shared.observers.tell_of_call(|| Event::Admitted {
            policy: self.name(),
            kind: PolicyKind::RateLimit,
            waited: Duration::ZERO,
        });
        Ok(())
    }

    #[cold]
    fn tell_untracked(&self) {
        let Shared { name, observers, untracked, .. } = &*self.shared;
        untracked.add_one();
        observers.tell(|| Event::Untracked { policy: name, kind: PolicyKind::RateLimit });
    }

    #[cold]
    fn refuse(
        &self,
        Refusal { reason, retry_after, .. }: Refusal,
        mode: Mode,
    ) -> Result<(), Rejection> {
        let Shared { name, observers, refused, .. } = &*self.shared;
        if mode == Mode::Shadow {
            let kind = PolicyKind::RateLimit;
            observers.tell(|| Event::WouldReject { policy: name, kind, reason });
            return Ok(());
        }
        refused.add_one();
        let rejection = Rejection::new(reason, name).with_kind(PolicyKind::RateLimit);
        let rejection = match retry_after {
            Some(after) => rejection.with_retry_after(after),
            None => rejection,
        };
        observers.tell(|| Event::Rejected(rejection));
        Err(rejection)
    }
}
