//! The rate limiter with a bucket per key.

use std::{
    any::Any,
    hash::Hash,
    net::{IpAddr, Ipv4Addr},
};

use portcullis::{
    Options, RateLimitConfig, RateLimiters,
    clock::{ClockFn, quanta_now, tokio_now},
};

use super::OURS;
use crate::{
    Batch, Subject,
    growth::{Axis, Series},
    keys::{BURST, MINUTE, Walk, strings},
    memory::Store,
    panel::Panel,
    service::{Errors, calls, walked},
};

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    use Panel::{KeyedMany, KeyedStrings, KeyedThousand};
    let std = "tokio's clock, which is std's; at most so many keys; shared by reference";
    let quanta = "quanta's clock; at most so many keys; shared by reference";
    vec![
        Subject::new("ours-1k", OURS, KeyedThousand, std, || numbers(1_000, tokio_now)),
        Subject::new("ours-1k-quanta", OURS, KeyedThousand, quanta, || numbers(1_000, quanta_now)),
        Subject::new("ours-strings", OURS, KeyedStrings, std, || names(tokio_now)),
        Subject::new("ours-strings-quanta", OURS, KeyedStrings, quanta, || names(quanta_now)),
        Subject::new("ours-100k", OURS, KeyedMany, std, || numbers(100_000, tokio_now)),
        Subject::new("ours-100k-quanta", OURS, KeyedMany, quanta, || numbers(100_000, quanta_now)),
    ]
}

/// Cost per call against the keys that the limiter holds.
pub(super) fn growth() -> Vec<Series> {
    vec![
        Series::new(Axis::Keys, "portcullis, one of N keys again and again", |n| {
            let limiter = holding(n, 0..u64::from(n), quanta_now);
            calls(Errors::Never, move |_| limiter.try_acquire(&1))
        }),
        Series::new(Axis::Keys, "portcullis, N keys in no order", |n| numbers(n, quanta_now)),
    ]
}

/// Bytes per key, with as many keys as there may be.
pub(super) fn stores() -> Vec<Store> {
    vec![
        Store::new("ours-numbers", "portcullis, `u64`", |n| {
            kept(holding(n, 0..u64::from(n), quanta_now))
        }),
        Store::new("ours-addresses", "portcullis, `IpAddr`", |n| {
            kept(holding(n, (0..n).map(|n| IpAddr::from(Ipv4Addr::from(n))), quanta_now))
        }),
    ]
}

fn kept(limiter: impl Any) -> Box<dyn Any> {
    Box::new(limiter)
}

/// A limiter that has seen each of the keys once, and holds no others.
fn holding<K>(count: u32, keys: impl Iterator<Item = K>, clock: ClockFn) -> RateLimiters<K>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
{
    let config = RateLimitConfig::new("peer", 1, MINUTE).burst(BURST.into());
    let limiter = RateLimiters::new(config, count as usize, Options::new().clock(clock))
        .expect("a valid configuration");
    for key in keys {
        assert!(limiter.try_acquire(&key).is_ok());
    }
    assert_eq!(limiter.len(), count as usize);
    limiter
}

fn numbers(keys: u32, clock: ClockFn) -> Batch {
    let limiter = holding(keys, 0..u64::from(keys), clock);
    walked(Walk::over(keys.into()), move |key| limiter.try_acquire(&key))
}

fn names(clock: ClockFn) -> Batch {
    let names = strings(1_000);
    let limiter = holding(1_000, names.iter().cloned(), clock);
    walked(Walk::over(1_000), move |key| limiter.try_acquire(&names[key as usize]))
}
