//! The table beside one exact bucket for each key, over random histories.
//!
//! The reference is filled by time and emptied by calls, in fractions of a token, and forgets nothing;
//! what it holds for a key that was never asked for is full.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use portcullis::{
    AtCap, Keys, RateLimitConfig, Reason, clock,
    policy::bucket::{Buckets, Grant, Refusal},
};
use proptest::prelude::*;

/// A bucket filled continuously; levels are in parts of a token, `parts` to each.
#[derive(Clone, Debug)]
struct Exact {
    permits: u128,
    burst: u128,
    /// Parts in a token: nanoseconds in the period. A nanosecond brings `permits` parts.
    parts: u128,
    level: u128,
    at: u128,
}

impl Exact {
    fn full(permits: u64, per: Duration, burst: u64) -> Self {
        let (permits, burst, parts) = (permits.into(), burst.into(), per.as_nanos());
        Self { permits, burst, parts, level: burst * parts, at: 0 }
    }

    fn fill(&mut self, now: u128) {
        let brought = (now - self.at) * self.permits;
        (self.level, self.at) = ((self.level + brought).min(self.burst * self.parts), now);
    }

    fn is_full(&self) -> bool {
        self.level == self.burst * self.parts
    }

    /// The time until there are so many parts.
    fn until(&self, level: u128) -> Option<Duration> {
        match (level.saturating_sub(self.level), self.permits) {
            (0, _) => Some(Duration::ZERO),
            (_, 0) => None,
            (lacking, permits) => Some(Duration::from_nanos(lacking.div_ceil(permits) as u64)),
        }
    }

    fn take(&mut self, n: u64, now: u128) -> Result<(), (Reason, Option<Duration>)> {
        self.fill(now);
        let needed = u128::from(n) * self.parts;
        if u128::from(n) > self.burst {
            return Err((Reason::OverBurst, None));
        }
        if needed > self.level {
            return Err((Reason::RateLimited, self.until(needed)));
        }
        self.level -= needed;
        Ok(())
    }

    /// Another rate with the same period: as many tokens, up to the new burst; full if it was.
    fn change(&mut self, permits: u64, burst: u64, now: u128) {
        self.fill(now);
        let full = self.is_full();
        (self.permits, self.burst) = (permits.into(), burst.into());
        let most = self.burst * self.parts;
        self.level = if full { most } else { self.level.min(most) };
    }
}

#[derive(Clone, Debug)]
enum Op {
    Advance(u64),
    Take(u8, u64),
    Look(u8),
    Remove(u8),
    Shrink,
    Reset,
    /// Permits and burst.
    Change(u64, u64),
}

/// Times are multiples of `step` nanoseconds.
fn op(step: u64, keys: u8) -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => prop_oneof![0..4_u64, 0..200_u64, 0..100_000_u64].prop_map(move |n| Op::Advance(n * step)),
        12 => (0..keys, prop_oneof![Just(1_u64), 0..6_u64]).prop_map(|(key, n)| Op::Take(key, n)),
        2 => (0..keys).prop_map(Op::Look),
        1 => (0..keys).prop_map(Op::Remove),
        1 => Just(Op::Shrink),
        1 => Just(Op::Reset),
    ]
}

fn ops(step: u64, keys: u8) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(step, keys), 1..200)
}

/// Rates between which tokens convert without a rest, and times that they divide.
fn changes() -> impl Strategy<Value = Vec<Op>> {
    let rate = prop::sample::select(vec![1_u64, 2, 5, 10]);
    let op = prop_oneof![
        30 => op(100_000_000, 8),
        1 => (rate, 0..8_u64).prop_map(|(permits, burst)| Op::Change(permits, burst)),
    ];
    prop::collection::vec(op, 1..150).prop_filter("few changes", |ops| {
        ops.iter().filter(|op| matches!(op, Op::Change(..))).count() <= 6
    })
}

fn told(refusal: Refusal) -> (Reason, Option<Duration>) {
    (refusal.reason, refusal.retry_after)
}

struct Pair {
    buckets: Buckets<u8>,
    exact: HashMap<u8, Exact>,
    fresh: Exact,
    shared: Exact,
    start: Instant,
    nanos: u64,
}

impl Pair {
    fn new(permits: u64, per: Duration, burst: u64, keys: impl Into<Keys>) -> Self {
        let start = clock::tokio_now();
        let config = RateLimitConfig::new("model", permits, per).burst(burst);
        let fresh = Exact::full(permits, per, burst);
        Self {
            buckets: Buckets::new(config, keys, start).expect("a valid config"),
            exact: HashMap::new(),
            shared: fresh.clone(),
            fresh,
            start,
            nanos: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_nanos(self.nanos)
    }

    fn exact(&mut self, key: u8) -> &mut Exact {
        let full = Exact { at: self.nanos.into(), ..self.fresh.clone() };
        let exact = self.exact.entry(key).or_insert(full);
        exact.fill(self.nanos.into());
        exact
    }

    /// What does not take tokens, alike whether there is room or not.
    fn apply(&mut self, op: &Op) {
        let (now, nanos) = (self.now(), u128::from(self.nanos));
        match *op {
            Op::Advance(by) => self.nanos += by,
            Op::Remove(key) => {
                self.buckets.remove(&key);
                self.exact.remove(&key);
            }
            Op::Shrink => {
                self.buckets.shrink(now);
                let lacking = (0..=u8::MAX).filter(|key| !self.exact(*key).is_full()).count();
                assert_eq!(self.buckets.len(), lacking.min(self.buckets.keys().most));
            }
            Op::Reset => {
                self.buckets.reset();
                self.exact.clear();
                self.shared = Exact { at: nanos, ..self.fresh.clone() };
            }
            Op::Change(permits, burst) => {
                let config =
                    RateLimitConfig::new("model", permits, Duration::from_secs(1)).burst(burst);
                self.buckets.reconfigure(config, now).expect("a valid config");
                for exact in self.exact.values_mut().chain([&mut self.fresh, &mut self.shared]) {
                    exact.change(permits, burst, nanos);
                }
            }
            Op::Take(..) | Op::Look(_) => {}
        }
        assert!(self.buckets.len() <= self.buckets.keys().most);
    }

    /// With room for every key there is, every verdict is the reference's.
    fn check_with_room(&mut self, ops: &[Op]) {
        for op in ops {
            let (now, nanos) = (self.now(), u128::from(self.nanos));
            match *op {
                Op::Take(key, n) => {
                    let taken = self.buckets.try_acquire(&key, n, now);
                    assert_ne!(taken, Ok(Grant::Shared));
                    let exact = self.exact(key).take(n, nanos);
                    assert_eq!(taken.map(drop).map_err(told), exact, "{op:?} at {nanos}");
                }
                Op::Look(key) => {
                    let level = self.buckets.level(&key, now);
                    let exact = self.exact(key).clone();
                    let (burst, parts) = (exact.burst, exact.parts);
                    assert_eq!(u128::from(level.remaining), exact.level / parts, "{op:?}");
                    assert_eq!(level.reset_after, exact.until(burst * parts));
                    let next = if burst == 0 { None } else { exact.until(parts) };
                    assert_eq!(level.next_after, next);
                }
                _ => self.apply(op),
            }
        }
    }

    /// Without room for every key: what is given from a key's own bucket, the reference could give as
    /// well; what is refused, either that or the shared one refuses in the same words.
    fn check_at_the_bound(&mut self, ops: &[Op]) {
        for op in ops {
            let (now, nanos) = (self.now(), u128::from(self.nanos));
            let Op::Take(key, n) = *op else {
                if !matches!(op, Op::Shrink) {
                    self.apply(op);
                }
                continue;
            };
            let mut own = self.exact(key).clone();
            let mut shared = self.shared.clone();
            let (from_own, from_shared) = (own.take(n, nanos), shared.take(n, nanos));
            match self.buckets.try_acquire(&key, n, now) {
                Ok(Grant::Own) => {
                    assert_eq!(from_own, Ok(()), "{op:?} at {nanos}");
                    self.exact.insert(key, own);
                }
                Ok(Grant::Shared) => {
                    assert_eq!(from_shared, Ok(()), "{op:?} at {nanos}");
                    assert!(self.exact[&key].is_full(), "a bucket in use is not forgotten");
                    self.shared = shared;
                }
                Ok(untracked) => {
                    assert_eq!(untracked, Grant::Untracked);
                    assert_eq!(self.buckets.keys().at_cap, AtCap::Admit);
                    assert!(self.exact[&key].is_full(), "a bucket in use is not forgotten");
                }
                Err(refusal) if refusal.reason == Reason::KeysFull => {
                    assert_eq!(self.buckets.keys().at_cap, AtCap::Refuse);
                    assert!(self.exact[&key].is_full(), "a bucket in use is not forgotten");
                    assert!(self.buckets.len() == self.buckets.keys().most);
                    let first = self.exact.values_mut().filter_map(|exact| {
                        exact.fill(nanos);
                        exact.until(exact.burst * exact.parts).filter(|wait| *wait > Duration::ZERO)
                    });
                    // No promise, but never too long: one that was used again is full later.
                    let said = refusal.retry_after;
                    assert!(
                        said > Some(Duration::ZERO) && said <= first.min(),
                        "{op:?} at {nanos}"
                    );
                }
                Err(refusal) => {
                    let told = Err(told(refusal));
                    let is_full = self.exact[&key].is_full();
                    let by_shared = is_full && from_shared == told;
                    assert!(from_own == told || by_shared, "{op:?} at {nanos}: {refusal:?}");
                }
            }
            assert!(self.buckets.len() <= self.buckets.keys().most);
        }
    }
}

fn cases() -> ProptestConfig {
    let config = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 50_000,
        ..Default::default()
    };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => ProptestConfig { cases: 512, ..config },
    }
}

fn rates() -> impl Strategy<Value = (u64, Duration, u64)> {
    // Above 2^20 rates are rounded, to no more than they say.
    let permits = prop_oneof![0..20_u64, Just(999_983), Just(1 << 20)];
    let per = prop_oneof![Just(1_u64), Just(1_000), Just(1_000_000_000), 1..10_000_000_000_u64];
    (permits, per.prop_map(Duration::from_nanos), 0..6_u64)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_verdict_is_exact_while_there_is_room(
        (permits, per, burst) in rates(),
        step in prop::sample::select(vec![1, 1_000, 33_333_333, 1_000_000_000]),
        many in any::<bool>(),
        ops in ops(1, 40),
    ) {
        let ops: Vec<Op> = ops.into_iter().map(|op| match op {
            Op::Advance(n) => Op::Advance(n * step),
            op => op,
        }).collect();
        let keys = if many { 1_000 } else { 40 };
        Pair::new(permits, per, burst, keys).check_with_room(&ops);
    }

    #[test]
    fn tokens_are_kept_through_changes_of_the_rate(ops in changes()) {
        Pair::new(10, Duration::from_secs(1), 4, 8).check_with_room(&ops);
    }

    #[test]
    fn at_the_bound_nobody_gets_more_and_nothing_in_use_is_lost(
        burst in 0..5_u64,
        most in 1..6_usize,
        at_cap in prop::sample::select(vec![AtCap::ShareOverflow, AtCap::Refuse, AtCap::Admit]),
        ops in ops(100_000_000, 12),
    ) {
        let keys = Keys::at_most(most).or(at_cap);
        Pair::new(3, Duration::from_secs(1), burst, keys).check_at_the_bound(&ops);
    }
}
