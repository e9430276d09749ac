//! Every interleaving of those who take tokens with those who change the rate or give tokens back: nobody
//! gets a token twice, and none is lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loom::thread;
use portcullis::{RateLimitConfig, policy::bucket::Bucket};

const SECOND: Duration = Duration::from_secs(1);

fn rate(permits: u64, burst: u64) -> RateLimitConfig {
    RateLimitConfig::per_second("model", permits).burst(burst)
}

fn with_bucket(
    config: RateLimitConfig,
    model: impl Fn(Arc<Bucket>, Instant) + Send + Sync + 'static,
) {
    let start = Instant::now();
    loom::model(move || model(Arc::new(Bucket::new(config.clone(), start).unwrap()), start));
}

/// Asks for `n` tokens on a thread of its own; how many it got.
fn taker(bucket: &Arc<Bucket>, n: u64, now: Instant) -> thread::JoinHandle<u64> {
    let bucket = bucket.clone();
    thread::spawn(move || bucket.try_acquire(n, now).map_or(0, |()| n))
}

#[test]
fn one_token_is_taken_once() {
    with_bucket(rate(1, 1), |bucket, now| {
        let others = [(); 2].map(|()| taker(&bucket, 1, now));
        let own = bucket.try_acquire(1, now).map_or(0, |()| 1);
        let taken: u64 = others.map(|other| other.join().unwrap()).iter().sum();
        assert_eq!(own + taken, 1);
    });
}

#[test]
fn a_change_of_the_rate_loses_no_admission() {
    with_bucket(rate(1, 2), |bucket, now| {
        let others = [taker(&bucket, 1, now), taker(&bucket, 2, now)];
        bucket.reconfigure(rate(1_000_003, 2), now).unwrap();
        let taken: u64 = others.map(|other| other.join().unwrap()).iter().sum();
        assert_eq!(taken + bucket.remaining(now), 2);
    });
}

/// The second change writes the slot that a slow reader of the first epoch may still be reading.
#[test]
fn what_is_read_while_it_is_written_is_not_used() {
    with_bucket(rate(1, 2), |bucket, now| {
        let other = taker(&bucket, 3, now);
        bucket.reconfigure(rate(1_000_003, 2), now).unwrap();
        bucket.reconfigure(rate(7, 2), now).unwrap();
        assert_eq!(other.join().unwrap(), 0);
        assert_eq!(bucket.remaining(now), 2);
    });
    with_bucket(rate(1, 2), |bucket, now| {
        let other = taker(&bucket, 1, now);
        bucket.reconfigure(rate(1_000_003, 3), now).unwrap();
        bucket.reconfigure(rate(7, 1), now).unwrap();
        let taken = other.join().unwrap();
        assert_eq!(taken, 1, "there was one at any time");
        // Taken before the burst shrank to one, or after.
        assert!(bucket.remaining(now) <= 1);
    });
}

#[test]
fn a_cancelled_reservation_comes_back_once() {
    with_bucket(rate(1, 2), |bucket, now| {
        let other = taker(&bucket, 1, now);
        let reservation = bucket.reserve(2, None, now).unwrap();
        bucket.cancel(reservation, now);
        let taken = other.join().unwrap();
        assert_eq!(taken + bucket.remaining(now), 2);
    });
}

/// 300 seconds are too many units of this rate: whoever comes first moves the origin.
#[test]
fn the_origin_moves_on_for_all() {
    with_bucket(rate(999_983, 2), |bucket, start| {
        bucket.try_acquire(2, start).unwrap();
        let now = start + 300 * SECOND;
        let others = [taker(&bucket, 1, now), taker(&bucket, 2, now)];
        let taken: u64 = others.map(|other| other.join().unwrap()).iter().sum();
        assert_eq!(taken + bucket.remaining(now), 2);
    });
}

#[test]
fn a_reset_and_an_admission_are_in_some_order() {
    with_bucket(rate(1, 2), |bucket, now| {
        bucket.try_acquire(2, now).unwrap();
        let other = taker(&bucket, 1, now);
        bucket.reset(now);
        let taken = other.join().unwrap();
        assert_eq!(taken + bucket.remaining(now), 2);
    });
}
