//! A bucket, and buckets by key, under any sequence of calls at any times, backwards ones too: never more
//! than `burst + rate × t` in any stretch of it, a refusal's `retry_after` is exact, and a table never has
//! more keys than it may.

use std::time::{Duration, Instant};

use portcullis::{
    AtCap, Keys, RateLimitConfig, Reason,
    policy::bucket::{Bucket, Buckets, Grant, Refusal},
};

use super::bytes::Bytes;

/// What a sum over every stretch can still be reckoned for.
const MOST_STEPS: usize = 400;
/// Far from where a bucket begins to count time anew.
const NEAR: u64 = 1 << 36;

/// What was given, and when.
#[derive(Default)]
struct Ledger {
    given: Vec<(u64, u64)>,
}

impl Ledger {
    /// Tokens that were given at `now`, when the latest time that anybody had named was `latest`.
    fn give(&mut self, tokens: u64, now: u64, latest: u64, config: &RateLimitConfig) {
        // Nothing is always there, also for who comes late.
        if tokens == 0 {
            return;
        }
        self.given.push((now, tokens));
        let mut sum = 0_u128;
        for (then, tokens) in self.given.iter().rev() {
            sum += u128::from(*tokens);
            let passed = u128::from(latest.saturating_sub(*then)) * u128::from(config.permits);
            let per = config.per.as_nanos();
            let burst = u128::from(config.burst_tokens()).checked_mul(per);
            let (Some(given), Some(burst)) = (sum.checked_mul(per), burst) else { return };
            let most = burst.saturating_add(passed);
            assert!(given <= most, "{sum} tokens from {then} to {latest} ns of {config:?}");
        }
    }
}

fn config(bytes: &mut Bytes<'_>) -> RateLimitConfig {
    let permits = bytes.number();
    let config = RateLimitConfig::new("fuzzed", permits, bytes.span());
    match bytes.maybe(|bytes| bytes.small()) {
        Some(burst) => config.burst(burst.into()),
        None => config,
    }
}

struct Run {
    start: Instant,
    config: RateLimitConfig,
    bucket: Bucket,
    keyed: Buckets<u8>,
    keys: usize,
    now: u64,
    /// The latest time that either of them knows.
    latest: u64,
    single: Ledger,
    shared: Ledger,
    by_key: [Ledger; 256],
}

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let start = portcullis::clock::tokio_now();
    let config = config(&mut bytes);
    let keys = 1 + bytes.pick(6);
    let at_cap = [AtCap::ShareOverflow, AtCap::Refuse, AtCap::Admit][bytes.pick(3)];
    let bucket = Bucket::new(config.clone(), start);
    let keyed = Buckets::new(config.clone(), Keys::at_most(keys).or(at_cap), start);
    let (Ok(bucket), Ok(keyed)) = (bucket, keyed) else {
        assert!(config.validate().is_err(), "{config:?} is valid");
        return;
    };
    let mut run = Run {
        start,
        config,
        bucket,
        keyed,
        keys,
        now: 0,
        latest: 0,
        single: Ledger::default(),
        shared: Ledger::default(),
        by_key: std::array::from_fn(|_| Ledger::default()),
    };
    for _ in 0..MOST_STEPS {
        if !bytes.are_left() {
            break;
        }
        run.step(&mut bytes);
        run.check();
    }
}

impl Run {
    fn at(&self, nanos: u64) -> Instant {
        // More than any clock counts is as late as it can be.
        self.start.checked_add(Duration::from_nanos(nanos)).unwrap_or(self.start)
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.pick(10) {
            0..=2 => self.take(bytes.small().into()),
            3 => self.take(bytes.number()),
            4 | 5 => self.take_of_key(bytes.byte() % 16, bytes.small().into()),
            6 => self.now = self.now.saturating_add(bytes.number()).min(u64::MAX / 4),
            7 => self.now = self.now.saturating_add(bytes.small().into()),
            8 => self.now = self.now.saturating_sub(bytes.number()),
            _ => self.operate(bytes),
        }
        self.latest = self.latest.max(self.now);
    }

    fn take(&mut self, n: u64) {
        let now = self.at(self.now);
        let foretold = self.bucket.foretell(n, now);
        let found = self.bucket.try_acquire(n, now);
        assert_eq!(found, foretold);
        match found {
            Ok(()) => self.single.give(n, self.now, self.latest, &self.config),
            Err(refusal) => self.comes_true(n, refusal),
        }
    }

    /// Asked again after exactly so long, the bucket gives the tokens, and not a nanosecond before.
    fn comes_true(&mut self, n: u64, Refusal { reason, retry_after, .. }: Refusal) {
        match (reason, retry_after) {
            (Reason::OverBurst, None) => assert!(n > self.config.burst_tokens()),
            (Reason::RateLimited, None) => assert_eq!(self.config.permits, 0),
            (Reason::RateLimited, Some(wait)) => {
                assert!(wait > Duration::ZERO);
                let Ok(wait) = u64::try_from(wait.as_nanos()) else { return };
                let Some(then) = self.now.checked_add(wait).filter(|then| *then < u64::MAX / 4)
                else {
                    return;
                };
                // Times before the latest may count as that.
                if self.now < self.latest {
                    return;
                }
                let early = self.bucket.foretell(n, self.at(then - 1));
                assert!(early.is_err(), "{n} tokens a nanosecond before {wait} ns are over");
                let there = self.bucket.foretell(n, self.at(then));
                assert_eq!(there, Ok(()), "{n} tokens after {wait} ns");
                if then > NEAR {
                    self.latest = self.latest.max(then);
                }
            }
            other => panic!("a bucket refuses with {other:?}"),
        }
    }

    fn take_of_key(&mut self, key: u8, n: u64) {
        let now = self.at(self.now);
        match self.keyed.try_acquire(&key, n, now) {
            Ok(Grant::Own) => {
                self.by_key[usize::from(key)].give(n, self.now, self.latest, &self.config);
            }
            Ok(Grant::Shared) => self.shared.give(n, self.now, self.latest, &self.config),
            Ok(_) => assert_eq!(self.keyed.keys().at_cap, AtCap::Admit),
            Err(refusal) if refusal.reason == Reason::KeysFull => {
                assert_eq!(self.keyed.keys().at_cap, AtCap::Refuse);
            }
            Err(refusal) => assert!(refusal.retry_after != Some(Duration::ZERO), "{refusal:?}"),
        }
    }

    fn operate(&mut self, bytes: &mut Bytes<'_>) {
        let now = self.at(self.now);
        match bytes.pick(4) {
            0 => {
                let new = config(bytes);
                // Both or neither: what one owes may be too much for the new rate.
                let old = self.config.clone();
                if self.bucket.reconfigure(new.clone(), now).is_err() {
                    return;
                }
                if self.keyed.reconfigure(new.clone(), now).is_err() {
                    self.bucket.reconfigure(old, now).expect("what it was before is valid");
                } else {
                    self.config = new;
                }
                self.forget();
            }
            1 => {
                self.bucket.reset(now);
                self.keyed.reset();
                self.forget();
            }
            2 => {
                let key = bytes.byte() % 16;
                self.keyed.remove(&key);
                self.by_key[usize::from(key)] = Ledger::default();
            }
            _ => self.keyed.shrink(now),
        }
    }

    fn forget(&mut self) {
        (self.single, self.shared) = (Ledger::default(), Ledger::default());
        self.by_key = std::array::from_fn(|_| Ledger::default());
    }

    fn check(&self) {
        let (now, burst) = (self.at(self.now), self.config.burst_tokens());
        assert!(self.bucket.remaining(now) <= burst);
        assert!(self.keyed.len() <= self.keys);
        let shown = self.keyed.snapshot(now);
        assert!(shown.shared.remaining <= burst && shown.keys <= self.keys);
        assert!(self.keyed.level(&0, now).remaining <= burst);
    }
}
