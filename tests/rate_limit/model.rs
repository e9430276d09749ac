//! The bucket beside a slow, obvious reference in fractions, over random histories.

use std::time::{Duration, Instant};

use portcullis::{
    RateLimitConfig, clock,
    policy::bucket::{Bucket, Reservation},
};
use proptest::prelude::*;

use crate::SECOND;

#[derive(Clone, Copy, Debug)]
struct Numbers {
    permits: u64,
    per: Duration,
    burst: u64,
}

impl Numbers {
    fn config(self) -> RateLimitConfig {
        RateLimitConfig::new("model", self.permits, self.per).burst(self.burst)
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Advance(u64),
    Try(u64),
    Reserve(u64, Option<u64>),
    Cancel(usize),
    Set(Numbers),
}

/// Tokens as a fraction: `level / q` of them, and `p / q` more in every nanosecond.
struct Reference {
    p: i128,
    q: i128,
    burst: i128,
    level: i128,
    /// The time of the level, in nanoseconds.
    now: i128,
    changes: u32,
    /// When the latest reservation may be used, in parts `1/p` of a nanosecond.
    latest: i128,
    /// All that was reserved, less what came back; and how much of it had been when nothing was owed.
    total: i128,
    settled: i128,
    /// What was used: when, and how many.
    used: Vec<(i128, i128)>,
    reserved: Vec<Planned>,
}

#[derive(Clone, Copy)]
struct Planned {
    n: i128,
    due: i128,
    changes: u32,
    /// In nanoseconds.
    usable: i128,
    total: i128,
    cancelled: bool,
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn ceil(a: i128, b: i128) -> i128 {
    -(-a).div_euclid(b)
}

impl Reference {
    fn new(numbers: Numbers) -> Self {
        let mut reference = Self {
            p: 0,
            q: 1,
            burst: 0,
            level: 0,
            now: 0,
            changes: 0,
            latest: 0,
            total: 0,
            settled: 0,
            used: Vec::new(),
            reserved: Vec::new(),
        };
        reference.set(numbers);
        reference.level = reference.burst * reference.q;
        reference
    }

    fn set(&mut self, Numbers { permits, per, burst }: Numbers) {
        let (p, q) = (i128::from(permits), per.as_nanos() as i128);
        let shared = gcd(p, q);
        let (p, q) = if p == 0 { (0, 1) } else { (p / shared, q / shared) };
        if (p, q) != (self.p, self.q) {
            self.changes += 1;
            let left = self.latest - self.now * self.p;
            let told_anew = || self.now * p + ceil(left * q, self.q);
            self.latest = if left >= 0 { told_anew() } else { 0 };
        }
        // A part of a token too small to count is lost.
        self.level = (self.level * q).div_euclid(self.q).min(i128::from(burst) * q);
        (self.p, self.q, self.burst) = (p, q, i128::from(burst));
    }

    fn advance(&mut self, nanos: u64) {
        self.now += i128::from(nanos);
        let full = self.burst * self.q;
        self.level = (self.level + self.p * i128::from(nanos)).min(full);
    }

    /// Nanoseconds until `n` tokens are there; `None` is never.
    fn wait(&self, n: i128) -> Option<i128> {
        let lacking = n * self.q - self.level;
        match lacking {
            _ if n > self.burst => None,
            _ if n == 0 || lacking <= 0 => Some(0),
            _ if self.p == 0 => None,
            _ => Some(ceil(lacking, self.p)),
        }
    }

    fn reserve(&mut self, n: i128, max_wait: Option<i128>) -> Option<i128> {
        let wait = self.wait(n)?;
        if max_wait.is_some_and(|max| wait > max) {
            return None;
        }
        let lacking = if n == 0 { 0 } else { (n * self.q - self.level).max(0) };
        self.level -= n * self.q;
        let due = self.now * self.p + lacking;
        if n > 0 {
            if self.latest < self.now * self.p {
                self.settled = self.total;
            }
            self.latest = due;
            self.total += n;
        }
        let (changes, usable, total) = (self.changes, self.now + wait, self.total);
        self.reserved.push(Planned { n, due, changes, usable, total, cancelled: false });
        Some(wait)
    }

    fn cancel(&mut self, at: usize) {
        let planned = &mut self.reserved[at];
        let now = self.now * self.p;
        let n = planned.n * self.q;
        let due = if planned.changes == self.changes {
            planned.due
        } else {
            (self.latest - (self.total - planned.total).max(0) * self.q).max(0)
        };
        let is_past = if planned.changes == self.changes {
            now > due
        } else {
            self.now > planned.usable || planned.total <= self.settled
        };
        if is_past {
            return;
        }
        planned.cancelled = true;
        let back = (n - (self.latest - due).max(0)).max(0);
        if self.latest == due {
            self.latest = (due - n).max(0).max(now);
        }
        self.total = (self.total - back / self.q).max(0);
        // Without it the bucket would have been full so long after.
        let lost = if now > due { now - due } else { 0 };
        let back = if lost > 0 { back.min((self.burst * self.q - lost).max(0)) } else { back };
        self.level = (self.level + back).min(self.burst * self.q);
    }
}

fn numbers() -> impl Strategy<Value = Numbers> {
    let second = prop::sample::select(vec![1_u64, 2, 3, 7, 100, 999_983, 1_000_000]);
    let other = (0_u64..50, 1_u64..5_000_000_000);
    let rate = prop_oneof![
        2 => second.prop_map(|permits| (permits, SECOND)),
        2 => other.prop_map(|(permits, nanos)| (permits, Duration::from_nanos(nanos))),
    ];
    (rate, 0_u64..12).prop_map(|((permits, per), burst)| Numbers { permits, per, burst })
}

fn op(with_sets: bool) -> impl Strategy<Value = Op> {
    let step = prop_oneof![
        4 => 0_u64..100,
        6 => 0_u64..60_000_000,
        4 => 0_u64..2_000_000_000,
        1 => 0_u64..4_000_000_000_000,
        1 => Just(1_000_000_000_000_000_000),
    ];
    let max_wait = prop::option::of(0_u64..3_000_000_000);
    prop_oneof![
        6 => step.prop_map(Op::Advance),
        8 => (0_u64..13).prop_map(Op::Try),
        4 => (0_u64..13, max_wait).prop_map(|(n, max)| Op::Reserve(n, max)),
        3 => (0_usize..20).prop_map(Op::Cancel),
        if with_sets { 2 } else { 0 } => numbers().prop_map(Op::Set),
    ]
}

struct Driver {
    start: Instant,
    bucket: Bucket,
    reference: Reference,
    reserved: Vec<Option<Reservation>>,
}

impl Driver {
    fn new(numbers: Numbers) -> Self {
        let start = clock::tokio_now();
        let bucket = Bucket::new(numbers.config(), start).unwrap();
        Self { start, bucket, reference: Reference::new(numbers), reserved: Vec::new() }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_nanos(u64::try_from(self.reference.now).unwrap())
    }

    fn take(&mut self, op: Op) -> Result<(), TestCaseError> {
        let now = self.now();
        match op {
            Op::Advance(nanos) if self.reference.now + i128::from(nanos) < 1 << 62 => {
                self.reference.advance(nanos);
            }
            Op::Advance(_) => {}
            Op::Try(n) => {
                let wait = self.reference.wait(i128::from(n));
                let answer = self.bucket.try_acquire(n, now);
                let told =
                    answer.map_or_else(|refusal| refusal.retry_after, |()| Some(Duration::ZERO));
                prop_assert_eq!(told.map(|wait| wait.as_nanos() as i128), wait);
                prop_assert_eq!(answer.is_ok(), wait == Some(0));
                if answer.is_ok() {
                    let n = i128::from(n);
                    self.reference.level -= n * self.reference.q;
                    self.reference.used.push((self.reference.now, n));
                }
            }
            Op::Reserve(n, max_wait) => {
                let expected = self.reference.reserve(n.into(), max_wait.map(i128::from));
                let max_wait = max_wait.map(Duration::from_nanos);
                let found = self.bucket.reserve(n, max_wait, now);
                let wait = found.as_ref().ok().map(|found| found.wait().as_nanos() as i128);
                prop_assert_eq!(wait, expected);
                self.reserved.extend(found.ok().map(Some));
            }
            Op::Cancel(at) => {
                if let Some(reservation) = self.reserved.get_mut(at).and_then(Option::take) {
                    self.reference.cancel(at);
                    self.bucket.cancel(reservation, now);
                }
            }
            Op::Set(numbers) => {
                self.reference.set(numbers);
                prop_assert!(self.bucket.reconfigure(numbers.config(), now).is_ok());
            }
        }
        self.compare()
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let (now, reference) = (self.now(), &self.reference);
        let tokens = reference.level.div_euclid(reference.q).max(0);
        prop_assert_eq!(i128::from(self.bucket.remaining(now)), tokens);
        let exact = reference.level as f64 / reference.q as f64;
        prop_assert!((self.bucket.tokens(now) - exact).abs() <= exact.abs() * 1e-12 + 1e-12);
        let lacking = reference.burst * reference.q - reference.level;
        let reset = match (lacking, reference.p) {
            (0, _) => Some(0),
            (_, 0) => None,
            (lacking, p) => Some(ceil(lacking, p)),
        };
        let found = self.bucket.reset_after(now).map(|after| after.as_nanos() as i128);
        prop_assert_eq!(found, reset);
        Ok(())
    }

    /// In every interval from one use to another, at most burst + rate × its length.
    fn never_too_much(&self) -> Result<(), TestCaseError> {
        let Reference { p, q, burst, ref used, ref reserved, .. } = self.reference;
        let planned = reserved.iter().filter(|planned| !planned.cancelled);
        let mut uses: Vec<_> = planned.map(|planned| (planned.usable, planned.n)).collect();
        uses.extend(used);
        uses.sort_unstable();
        for from in 0..uses.len() {
            let mut sum = 0;
            for (at, n) in &uses[from..] {
                sum += n;
                // A reservation is usable at the first whole nanosecond, up to one after its time.
                prop_assert!(sum * q <= burst * q + p * (at - uses[from].0 + 1), "{:?}", uses);
            }
        }
        Ok(())
    }
}

fn cases() -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..Default::default() };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => ProptestConfig { cases: 512, ..config },
    }
}

proptest! {
    #![proptest_config(cases())]

    /// Every admission, wait, number of tokens and time to full is the reference's, through changes of
    /// the rate, jumps of the clock by decades, and cancellations.
    #[test]
    fn a_bucket_does_what_the_reference_does(
        numbers in numbers(),
        ops in prop::collection::vec(op(true), 0..80),
    ) {
        let mut driver = Driver::new(numbers);
        driver.compare()?;
        for op in ops {
            driver.take(op)?;
        }
    }

    /// However fast the rate becomes and whoever takes tokens meanwhile: a bucket with a reservation that was
    /// cancelled has no more than one without it.
    #[test]
    fn nothing_is_gained_by_what_is_cancelled(
        numbers in numbers(),
        before in prop::collection::vec(op(true), 0..6),
        n in 1_u64..13,
        after in prop::collection::vec(op(true), 0..12),
    ) {
        let (mut with, mut without) = (Driver::new(numbers), Driver::new(numbers));
        let mut play = |with: &mut Driver, op: Op| -> Result<(), TestCaseError> {
            let tried = match op {
                Op::Try(n) => Some(n).filter(|n| with.bucket.try_acquire(*n, with.now()).is_ok()),
                // A smaller burst takes what is above it from a bucket, not from what is reserved.
                Op::Set(numbers) if i128::from(numbers.burst) < with.reference.burst => None,
                Op::Advance(_) | Op::Set(_) => {
                    without.take(op)?;
                    return with.take(op);
                }
                _ => None,
            };
            if let Some(n) = tried {
                with.reference.level -= i128::from(n) * with.reference.q;
                without.take(Op::Try(n))?;
                prop_assert_eq!(without.reference.used.pop().map(|(_, n)| n), Some(i128::from(n)));
            }
            Ok(())
        };
        for op in before {
            play(&mut with, op)?;
        }
        with.take(Op::Reserve(n, None))?;
        for op in after {
            play(&mut with, op)?;
        }
        with.take(Op::Cancel(0))?;
        let some = with.bucket.tokens(with.now());
        let most = without.bucket.tokens(without.now());
        prop_assert!(some <= most + most.abs() * 1e-12 + 1e-9, "{} > {}", some, most);
    }

    /// L1, W1: whatever is used, at once or by reservation, cancelled ones aside.
    #[test]
    fn no_interval_holds_more_than_burst_and_rate(
        numbers in numbers(),
        ops in prop::collection::vec(op(false), 0..80),
    ) {
        let mut driver = Driver::new(numbers);
        for op in ops {
            driver.take(op)?;
        }
        driver.never_too_much()?;
    }
}
