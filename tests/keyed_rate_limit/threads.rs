//! Threads that meet on one table. Their number and work are bounded, and nothing depends on how long
//! anything takes.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

use portcullis::{
    AtCap, Keys, RateLimitConfig, clock,
    policy::bucket::{Buckets, Grant},
};

use crate::{SECOND, support::on_threads};

const THREADS: u32 = 4;

/// Numbers that look like none follows from the other, but do.
fn scatter(n: u32) -> u32 {
    n.wrapping_mul(2_654_435_761).rotate_right(11) ^ n
}

fn start() -> Instant {
    clock::tokio_now()
}

#[test]
fn each_key_gives_exactly_its_burst() {
    const KEYS: u32 = 500;
    const BURST: u64 = 40;
    for keys in [10_u32, KEYS] {
        let start = start();
        let config = RateLimitConfig::new("clients", 0, SECOND).burst(BURST);
        let buckets: Buckets<u32> = Buckets::new(config, 1_000, start).expect("a valid config");
        let given: Vec<AtomicU64> = (0..keys).map(|_| AtomicU64::new(0)).collect();
        on_threads(THREADS, |thread| {
            for turn in 0..keys * BURST as u32 {
                let key = scatter(turn * THREADS + thread) % keys;
                let n = u64::from(turn % 3);
                if buckets.try_acquire(&key, n, start).is_ok() {
                    given[key as usize].fetch_add(n, SeqCst);
                }
            }
            // Whatever is left.
            for key in 0..keys {
                while buckets.try_acquire(&key, 1, start).is_ok() {
                    given[key as usize].fetch_add(1, SeqCst);
                }
            }
        });
        assert!(given.iter().all(|given| given.load(SeqCst) == BURST), "{given:?}");
    }
}

/// Threads whose clocks are not in step, over keys that come, are full, go and come again: no key gets
/// more than its burst and what its rate brings in all the time that passed.
#[test]
fn nobody_gets_more_for_having_read_the_clock_earlier() {
    const KEYS: u32 = 64;
    const TURNS: u64 = 20_000;
    let start = start();
    // A token in a millisecond; eight keys at a time.
    let config = RateLimitConfig::per_second("clients", 1_000).burst(5);
    let keys = Keys::at_most(8).or(AtCap::Refuse);
    let buckets: Buckets<u32> = Buckets::new(config, keys, start).expect("a valid config");
    let given: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    on_threads(THREADS, |thread| {
        for turn in 0..TURNS {
            // Ten microseconds a turn, and up to three milliseconds late.
            let late = u64::from(scatter(turn as u32 ^ thread << 20) % 3_000);
            let now = start + Duration::from_micros(turn * 10 + 3_000 - late);
            let key = scatter(turn as u32 * THREADS + thread) % KEYS;
            if buckets.try_acquire(&key, 1, now) == Ok(Grant::Own) {
                given[key as usize].fetch_add(1, SeqCst);
            }
            assert!(buckets.len() <= 8);
        }
    });
    let most = 5 + TURNS / 100 + 3;
    let given: Vec<u64> = given.iter().map(|given| given.load(SeqCst)).collect();
    assert!(given.iter().all(|given| *given <= most), "{given:?}");
    assert!(given.iter().sum::<u64>() > 1_000, "keys came and went: {given:?}");
}

#[test]
fn the_bound_holds_among_threads_and_no_place_is_lost() {
    for max_keys in [3, 100, 1_024, 3_000] {
        let start = start();
        let config = RateLimitConfig::per_second("clients", 1_000).burst(2);
        let keys = Keys::at_most(max_keys).or(AtCap::Admit);
        let buckets: Buckets<u32> = Buckets::new(config.clone(), keys, start).expect("valid");
        let untracked = AtomicUsize::new(0);
        on_threads(THREADS, |thread| {
            for turn in 0..6_000_u32 {
                let now = start + Duration::from_micros(u64::from(turn));
                let key = scatter(turn * THREADS + thread) % 10_000;
                if buckets.try_acquire(&key, 1, now) == Ok(Grant::Untracked) {
                    untracked.fetch_add(1, SeqCst);
                }
                match turn % 256 {
                    0 => assert!(buckets.len() <= max_keys, "{} keys", buckets.len()),
                    1 => drop(buckets.remove(&key)),
                    2 => buckets.reconfigure(config.clone(), now).expect("valid"),
                    3 if turn % 1_024 == 3 => buckets.shrink(now),
                    4 if turn % 4_096 == 4 => buckets.reset(),
                    _ => {}
                }
            }
        });
        assert!(buckets.len() <= max_keys);
        // The table still works to its bound: as many fresh keys as there is room for, and no more.
        buckets.reset();
        assert_eq!(buckets.len(), 0);
        let now = start + SECOND;
        let own = (0..20_000).filter(|key| buckets.try_acquire(key, 1, now) == Ok(Grant::Own));
        assert_eq!((own.count(), buckets.len()), (max_keys, max_keys));
    }
}

/// A thread that read the clock and then slept comes after another has dropped the key as full: it gets what
/// is there by then, and its tokens come back from then on.
#[test]
fn a_clock_that_was_read_too_early_brings_no_token_twice() {
    let start = start();
    let at = |micros| start + Duration::from_micros(micros);
    let config = RateLimitConfig::per_second("clients", 1_000).burst(5);
    let buckets: Buckets<u32> = Buckets::new(config, 1, start).expect("a valid config");
    buckets.try_acquire(&1, 5, at(10_000)).expect("full");
    // Full at 15 ms, and dropped for another, which goes.
    buckets.try_acquire(&2, 1, at(15_000)).expect("there is room");
    assert!(buckets.remove(&2));
    buckets.try_acquire(&1, 5, at(10_500)).expect("full since");
    for (micros, tokens) in [(15_500, 0), (15_999, 0), (16_000, 1), (19_999, 4)] {
        assert_eq!(buckets.level(&1, at(micros)).remaining, tokens, "at {micros}");
        assert!(buckets.try_acquire(&1, tokens + 1, at(micros)).is_err());
    }
}
