//! What keeping the table small costs, counted in places looked at rather than in time.

use std::time::{Duration, Instant};

use crate::{
    clock::tokio_now,
    policy::bucket::{
        Buckets,
        config::RateLimitConfig,
        keyed::{AtCap, Keys},
    },
};

fn buckets(keys: usize, at_cap: AtCap, start: Instant) -> Buckets<u64> {
    let config = RateLimitConfig::per_second("work", 1_000).burst(1);
    Buckets::new(config, Keys::at_most(keys).or(at_cap), start).unwrap()
}

#[test]
fn a_known_key_is_no_work() {
    let start = tokio_now();
    let buckets = buckets(1_000, AtCap::Refuse, start);
    for key in 0..1_000 {
        buckets.try_acquire(&key, 1, start).unwrap();
    }
    let before = buckets.looked_at();
    for call in 0..100_000_u64 {
        let _ = buckets.try_acquire(&(call % 1_000), 1, start + Duration::from_millis(call));
    }
    assert_eq!(buckets.looked_at(), before);
}

#[test]
fn a_new_key_is_as_much_work_in_a_large_table_as_in_a_small_one() {
    for keys in [100, 1_000, 10_000, 100_000] {
        let start = tokio_now();
        let buckets = buckets(keys, AtCap::Refuse, start);
        for key in 0..keys as u64 {
            buckets.try_acquire(&key, 1, start).unwrap();
        }
        let per_key = buckets.looked_at() as f64 / keys as f64;
        assert!(per_key <= 3.0, "{per_key} of {keys}");
    }
}

/// Keys that come once and never again, for ever: the hundred-thousandth costs what the thousandth did.
#[test]
fn work_does_not_grow_with_the_keys_that_were_seen() {
    for keys in [104, 1_008, 7_000] {
        for (step, most) in [
            // Every bucket is full when the next key comes; one in each call; none.
            (Duration::from_secs(1), 8.0),
            (Duration::from_micros(1_000_000 / keys as u64), 45.0),
            (Duration::ZERO, 45.0),
        ] {
            let start = tokio_now();
            let buckets = buckets(keys, AtCap::Admit, start);
            let (mut now, mut key) = (start, 0);
            let mut run = |calls: u64| {
                let before = buckets.looked_at();
                for _ in 0..calls {
                    key += 1;
                    now += step;
                    buckets.try_acquire(&key, 1, now).unwrap();
                }
                (buckets.looked_at() - before) as f64 / calls as f64
            };
            // Until it is full for the first time.
            run(2 * keys as u64);
            let (early, late) = (run(20_000), run(100_000));
            assert!(early <= most && late <= most, "{early}, {late} of {keys} at {step:?}");
            assert!(late <= early * 1.2 + 0.5, "{early}, then {late} of {keys} at {step:?}");
        }
    }
}

/// What no call can find takes no look, until the first could be full.
#[test]
fn a_table_that_is_known_to_be_in_use_is_not_searched() {
    let start = tokio_now();
    let config = RateLimitConfig::per_second("work", 1).burst(1);
    let buckets: Buckets<u64> = Buckets::new(config, 100, start).unwrap();
    for key in 0..1_000 {
        let _ = buckets.try_acquire(&key, 1, start);
    }
    let before = buckets.looked_at();
    for key in 0..10_000 {
        let _ = buckets.try_acquire(&(1_000 + key), 1, start + Duration::from_millis(999));
    }
    assert_eq!(buckets.looked_at(), before);
    assert_eq!(buckets.len(), 100);
    assert!(buckets.try_acquire(&99_999, 1, start + Duration::from_secs(1)).is_ok());
    assert!(buckets.len() < 100, "eight at a time");
}
