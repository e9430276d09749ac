//! The token bucket, with the time as an argument.

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

use portcullis::{
    RateLimitConfig, Reason, clock,
    policy::{Now, bucket::Bucket},
};

use crate::{MS, SECOND, per_second, support::on_threads};

fn bucket(config: RateLimitConfig) -> (Bucket, Instant) {
    let start = clock::tokio_now();
    (Bucket::new(config, start).unwrap(), start)
}

fn drain(bucket: &Bucket, now: Instant) -> u64 {
    std::iter::from_fn(|| bucket.try_acquire(1, now).ok()).count() as u64
}

/// L1, W1: not even across the edge of a window.
#[test]
fn never_more_than_burst_and_rate_in_any_interval() {
    let (bucket, start) = bucket(RateLimitConfig::per_second("api", 100));
    let before = drain(&bucket, start + 999 * MS);
    let after = drain(&bucket, start + 1_004 * MS);
    assert_eq!((before, after), (100, 0), "5 ms are worth half a token");
    let mut all = 0;
    for ms in 1_004..=2_003 {
        all += drain(&bucket, start + ms * MS);
    }
    assert_eq!(all, 100, "999 ms later than the burst, and the half token of before");
}

/// L9: the burst alone says how many there can be.
#[test]
fn capacity_is_the_burst_to_the_token() {
    let (bucket, start) = bucket(per_second(100, 50));
    assert_eq!(bucket.remaining(start), 50);
    assert_eq!(drain(&bucket, start), 50);
    assert_eq!(drain(&bucket, start + 3_600 * SECOND), 50, "nothing is banked above it");
}

#[test]
fn the_default_burst_is_one_seconds_tokens() {
    let burst = |permits, per| RateLimitConfig::new("api", permits, per).burst_tokens();
    assert_eq!(burst(100, SECOND), 100);
    assert_eq!(burst(90, 60 * SECOND), 2, "rounded up");
    assert_eq!(burst(1, 3_600 * SECOND), 1);
    assert_eq!(burst(0, SECOND), 1, "at least one");
    assert_eq!(burst(u64::MAX, Duration::from_nanos(1)), u64::MAX);
}

/// L2: every number works or is refused by name, and nothing panics later.
#[test]
fn every_extreme_works_or_is_refused_by_name() {
    let durations =
        [Duration::ZERO, Duration::from_nanos(1), MS, SECOND, 86_400 * SECOND, Duration::MAX];
    let numbers = [0, 1, 2, 7, 999_983, 1 << 20, (1 << 20) + 1, u64::MAX / 2, u64::MAX];
    let bursts = numbers.iter().map(|n| Some(*n)).chain([None]);
    let mut worked = 0;
    for ((permits, per), burst) in numbers
        .iter()
        .flat_map(|permits| durations.map(|per| (*permits, per)))
        .flat_map(|rate| bursts.clone().map(move |burst| (rate, burst)))
    {
        let mut config = RateLimitConfig::new("api", permits, per);
        config.burst = burst;
        let start = clock::tokio_now();
        let bucket = match Bucket::new(config.clone(), start) {
            Ok(bucket) => bucket,
            Err(error) => {
                assert!(["per", "burst"].contains(&error.field()), "{error}");
                assert_eq!(config.validate().unwrap_err(), error);
                continue;
            }
        };
        worked += 1;
        let burst = config.burst_tokens();
        for later in [0, 1, 86_400, 1 << 33] {
            let Some(now) = start.checked_add(Duration::from_secs(later)) else { continue };
            for n in numbers {
                let foretold = bucket.foretell(n, now);
                assert_eq!(bucket.try_acquire(n, now), foretold);
                assert!(foretold.is_err() || n <= burst);
                if n > burst {
                    assert_eq!(foretold.unwrap_err().reason, Reason::OverBurst);
                }
                let wait = bucket.reserve(n, Some(SECOND), now);
                assert!(wait.is_err() || wait.unwrap().wait() <= SECOND);
            }
            assert!(bucket.remaining(now) <= burst);
            assert!(bucket.tokens(now) <= burst as f64);
            let _ = bucket.reset_after(now);
        }
        for permits in numbers {
            let _ = bucket.reconfigure(RateLimitConfig::per_second("api", permits), start);
        }
    }
    assert!(worked > 200, "only {worked} of the configurations worked");
}

#[test]
fn a_request_for_more_than_the_burst_is_refused_for_ever_and_takes_nothing() {
    let (bucket, start) = bucket(per_second(10, 5));
    let refusal = bucket.try_acquire(6, start).unwrap_err();
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::OverBurst, None));
    assert_eq!(bucket.reserve(6, None, start).unwrap_err(), refusal);
    assert_eq!(bucket.remaining(start), 5);
}

#[test]
fn nothing_is_always_there_also_while_tokens_are_owed() {
    let (bucket, start) = bucket(per_second(10, 1));
    let _ = bucket.reserve(1, None, start).unwrap();
    let _ = bucket.reserve(1, None, start).unwrap();
    assert!(bucket.try_acquire(0, start).is_ok());
    assert_eq!(bucket.reserve(0, Some(Duration::ZERO), start).unwrap().wait(), Duration::ZERO);
    assert_eq!(bucket.tokens(start), -1.0);
    let closed = Bucket::new(per_second(10, 0), start).unwrap();
    assert!(closed.try_acquire(0, start).is_ok());
    assert_eq!(closed.try_acquire(1, start).unwrap_err().reason, Reason::OverBurst);
}

/// Says how often it was read.
#[derive(Clone, Copy)]
struct Counting<'a>(&'a AtomicU64, Instant);

impl Now for Counting<'_> {
    fn now(self) -> Instant {
        self.0.fetch_add(1, SeqCst);
        self.1
    }
}

#[test]
fn the_clock_is_read_once_at_most() {
    let (bucket, start) = bucket(per_second(10, 1));
    let reads = AtomicU64::new(0);
    let now = Counting(&reads, start);
    let read = |expected| assert_eq!(reads.swap(0, SeqCst), expected);
    bucket.try_acquire(0, now).unwrap();
    read(0);
    bucket.try_acquire(1, now).unwrap();
    read(1);
    bucket.try_acquire(1, now).unwrap_err();
    read(1);
    let _ = bucket.reserve(1, None, now).unwrap();
    read(1);
}

#[test]
fn waiting_exactly_as_long_as_told_is_enough_and_a_nanosecond_less_is_not() {
    for permits in [3, 7, 1_000, 999_983, 3_000_017] {
        let (bucket, start) = bucket(per_second(permits, 5));
        bucket.try_acquire(5, start).unwrap();
        for n in 1..=5 {
            let after = bucket.try_acquire(n, start).unwrap_err().retry_after.unwrap();
            let almost = start + after - Duration::from_nanos(1);
            assert!(bucket.foretell(n, almost).is_err(), "{permits} {n}");
            assert!(bucket.foretell(n, start + after).is_ok(), "{permits} {n}");
        }
    }
}

#[test]
fn a_change_of_the_rate_keeps_the_tokens_and_acts_from_then_on() {
    let (bucket, start) = bucket(per_second(10, 10));
    bucket.try_acquire(7, start).unwrap();
    bucket.reconfigure(per_second(1, 10), start).unwrap();
    assert_eq!(bucket.remaining(start), 3);
    assert_eq!(bucket.remaining(start + SECOND), 4);
    bucket.reconfigure(per_second(100, 2), start + SECOND).unwrap();
    assert_eq!(bucket.remaining(start + SECOND), 2, "what is above the new burst is gone");
    bucket.reconfigure(per_second(100, 50), start + SECOND).unwrap();
    assert_eq!(bucket.remaining(start + SECOND), 2, "a larger burst fills by and by");
    assert_eq!(bucket.remaining(start + SECOND + 10 * MS), 3);
    assert_eq!(bucket.config(), per_second(100, 50));
}

#[test]
fn debts_outlive_a_change_of_the_rate_or_forbid_it() {
    let (bucket, start) = bucket(per_second(1_000_000, 1_000_000));
    for _ in 0..1_000 {
        let _ = bucket.reserve(1_000_000, None, start).unwrap();
    }
    let slow = RateLimitConfig::new("api", 1, 86_400 * SECOND);
    let error = bucket.reconfigure(slow, start).unwrap_err();
    assert_eq!((error.field(), error.value()), ("permits", "1"));
    assert_eq!(bucket.config(), per_second(1_000_000, 1_000_000));
    bucket.reconfigure(per_second(2_000_000, 1_000_000), start).unwrap();
    assert_eq!(bucket.tokens(start), -999_000_000.0);
    let after = bucket.try_acquire(1, start).unwrap_err().retry_after.unwrap();
    assert_eq!(after, Duration::from_nanos(499_500_000_500));
}

#[test]
fn a_reset_fills_the_bucket() {
    let (bucket, start) = bucket(per_second(1, 3));
    let reservation = bucket.reserve(3, None, start).unwrap();
    let later = bucket.reserve(3, None, start).unwrap();
    bucket.reset(start);
    assert_eq!(bucket.remaining(start), 3);
    bucket.try_acquire(3, start).unwrap();
    bucket.cancel(later, start);
    bucket.cancel(reservation, start);
    assert_eq!(bucket.remaining(start), 0, "what was reserved before it comes back from nowhere");
}

#[test]
fn a_clock_behind_the_others_is_taken_as_theirs() {
    let (bucket, start) = bucket(per_second(10, 1));
    let now = start + SECOND;
    bucket.reconfigure(per_second(10, 1), now).unwrap();
    bucket.try_acquire(1, now).unwrap();
    let after = bucket.try_acquire(1, start).unwrap_err().retry_after.unwrap();
    assert_eq!(after, 100 * MS);
    bucket.reconfigure(per_second(100, 1), start).unwrap();
    assert_eq!(bucket.remaining(now), 0, "what came back before that time came back once");
    assert_eq!(bucket.remaining(now + 10 * MS), 1);
}

/// How far ahead can be counted depends on the rate; beyond it a reservation is refused.
#[test]
fn what_is_too_far_ahead_to_count_is_refused_exactly() {
    let burst = 100_000_000;
    let (bucket, start) = bucket(per_second(999_983, burst));
    let mut reserved = 0;
    let refusal = loop {
        match bucket.reserve(burst, None, start) {
            Ok(_taken) => reserved += 1,
            Err(refusal) => break refusal,
        }
        assert!(reserved < 100, "they cannot all be counted");
    };
    assert!(reserved >= 5, "only {reserved} times 100 s");
    assert_eq!(refusal.reason, Reason::RateLimited);
    let lacking = u128::from(burst * reserved) * 1_000_000_000;
    let exact = Duration::from_nanos(u64::try_from(lacking.div_ceil(999_983)).unwrap());
    assert_eq!(refusal.retry_after, Some(exact));
    assert_eq!(bucket.tokens(start), -((burst * (reserved - 1)) as f64));
    assert!(bucket.foretell(burst, start + exact).is_ok(), "as it said");
}

/// Eight threads ask at a common time that moves on: together they get exactly what is due.
#[test]
fn threads_together_get_what_is_due_and_no_more() {
    for permits in [1_000_u64, 999_983, 3_000_017] {
        let (bucket, start) = bucket(per_second(permits, 16));
        let (clock, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        on_threads(8, |thread| {
            for round in 0..20_000_u64 {
                // A step of a tenth of a token in the mean, so that it is never full.
                let step = 100_000_000 / permits * (round % 3) / 8;
                let now = clock.fetch_add(step, SeqCst) + step;
                let n = 1 + (u64::from(thread) + round) % 3;
                if bucket.try_acquire(n, start + Duration::from_nanos(now)).is_ok() {
                    taken.fetch_add(n, SeqCst);
                }
            }
        });
        let nanos = clock.load(SeqCst);
        let now = start + Duration::from_nanos(nanos);
        let due = u128::from(nanos) * u128::from(permits) / 1_000_000_000 + 16;
        let seen = u128::from(taken.load(SeqCst) + bucket.remaining(now));
        // The rate that is no fraction of small numbers may be a little under.
        let least = if permits > 1 << 20 { due - due / 1_000 - 1 } else { due };
        assert!(seen <= due && seen >= least, "{seen} of {due} at {permits} a second");
    }
}

/// The same, while another thread changes the rate back and forth: no more than at the higher one.
#[test]
fn threads_never_get_more_through_changes_of_the_rate() {
    let (bucket, start) = bucket(per_second(1_000, 16));
    let (clock, taken) = (AtomicU64::new(0), AtomicU64::new(0));
    on_threads(8, |thread| {
        for round in 0..10_000_u64 {
            let now = clock.fetch_add(10_000, SeqCst) + 10_000;
            let now = start + Duration::from_nanos(now);
            if thread == 0 {
                let (permits, burst) = [(1_000, 16), (700, 9), (999, 12)][(round % 3) as usize];
                bucket.reconfigure(per_second(permits, burst), now).unwrap();
            } else if bucket.try_acquire(1, now).is_ok() {
                taken.fetch_add(1, SeqCst);
            }
        }
    });
    let due = clock.load(SeqCst) / 1_000_000 + 16;
    let taken = taken.load(SeqCst);
    assert!(taken <= due && taken >= due * 6 / 10, "{taken} of {due}");
}
