//! Rate limiters with a bucket per key.

use std::{
    any::Any,
    hash::Hash,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock, QuantaClock},
    middleware::NoOpMiddleware,
    state::keyed::DashMapStateStore,
};

use super::GOVERNOR;
use crate::{
    Batch, Subject,
    growth::{Axis, Series},
    keys::{BURST, MINUTE, Walk, strings},
    memory::Store,
    panel::Panel,
    service::{Errors, calls, walked},
};

type Limiter<K, C> = RateLimiter<K, DashMapStateStore<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    use Panel::{KeyedMany, KeyedStrings, KeyedThousand};
    let quanta = "quanta's clock, its default; dashmap; shared by reference";
    let std = "std clock; dashmap; shared by reference";
    vec![
        Subject::new("governor-1k", GOVERNOR, KeyedThousand, quanta, || {
            numbers(1_000, QuantaClock::default())
        }),
        Subject::new("governor-1k-std", GOVERNOR, KeyedThousand, std, || {
            numbers(1_000, MonotonicClock)
        }),
        Subject::new("governor-strings", GOVERNOR, KeyedStrings, quanta, || {
            names(QuantaClock::default())
        }),
        Subject::new("governor-strings-std", GOVERNOR, KeyedStrings, std, || names(MonotonicClock)),
        Subject::new("governor-100k", GOVERNOR, KeyedMany, quanta, || {
            numbers(100_000, QuantaClock::default())
        }),
        Subject::new("governor-100k-std", GOVERNOR, KeyedMany, std, || {
            numbers(100_000, MonotonicClock)
        }),
    ]
}

/// Cost per call against the keys that the limiter holds.
pub(super) fn growth() -> Vec<Series> {
    vec![
        Series::new(Axis::Keys, "governor, one of N keys again and again", |n| {
            let limiter = holding(0..u64::from(n), QuantaClock::default());
            calls(Errors::Never, move |_| limiter.check_key(&1))
        }),
        Series::new(Axis::Keys, "governor, N keys in no order", |n| {
            numbers(n.into(), QuantaClock::default())
        }),
    ]
}

/// Bytes per key.
pub(super) fn stores() -> Vec<Store> {
    vec![
        Store::new("governor-numbers", "governor, `u64`", |n| {
            kept(holding(0..u64::from(n), QuantaClock::default()))
        }),
        Store::new("governor-addresses", "governor, `IpAddr`", |n| {
            kept(holding((0..n).map(|n| IpAddr::from(Ipv4Addr::from(n))), QuantaClock::default()))
        }),
    ]
}

/// A bucket that stays in use for a minute after each call, and that no run empties.
fn quota() -> Quota {
    let burst = NonZeroU32::new(BURST).expect("not zero");
    Quota::with_period(MINUTE).expect("not zero").allow_burst(burst)
}

fn kept(limiter: impl Any) -> Box<dyn Any> {
    Box::new(limiter)
}

/// A limiter that has seen each of the keys once.
fn holding<K, C>(keys: impl Iterator<Item = K>, clock: C) -> Limiter<K, C>
where
    K: Hash + Eq + Clone,
    C: Clock,
{
    let limiter = RateLimiter::dashmap_with_clock(quota(), clock);
    for key in keys {
        assert!(limiter.check_key(&key).is_ok());
    }
    limiter
}

fn numbers<C>(keys: u64, clock: C) -> Batch
where
    C: Clock + Send + Sync + 'static,
    C::Instant: Send + Sync,
{
    let limiter = holding(0..keys, clock);
    walked(Walk::over(keys), move |key| limiter.check_key(&key))
}

fn names<C>(clock: C) -> Batch
where
    C: Clock + Send + Sync + 'static,
    C::Instant: Send + Sync,
{
    let names = strings(1_000);
    let limiter = holding(names.iter().cloned(), clock);
    walked(Walk::over(1_000), move |key| limiter.check_key(&names[key as usize]))
}
