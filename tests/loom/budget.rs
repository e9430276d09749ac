//! The retry budget: calls are counted without a lock, tokens are granted under one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loom::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};
use portcullis::{BudgetConfig, policy::budget::Budget};

/// Half a token per call and so many tokens besides.
fn budget(reserve: u32, now: Instant) -> Arc<Budget> {
    let config = BudgetConfig::new(0.5).per_second(f64::from(reserve) / 10.0);
    Arc::new(Budget::new(config, now).unwrap())
}

fn remaining(budget: &Budget, now: Instant) -> u64 {
    (0..).take_while(|_| budget.try_withdraw(now).is_some()).count() as u64
}

/// W5: grants ≤ tokens. Calls on two threads, one of which owns a stripe of memory and one of which does
/// not, while both ask for tokens: none is granted twice, and no call is lost.
#[test]
fn no_token_is_granted_twice_and_no_call_is_lost() {
    let now = Instant::now();
    loom::model(move || {
        let budget = budget(1, now);
        let granted = Arc::new(AtomicU64::new(0));
        let work = move |budget: &Budget, granted: &AtomicU64| {
            for _ in 0..2 {
                budget.count_call(now);
                if budget.try_withdraw(now).is_some() {
                    granted.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let other = {
            let (budget, granted) = (budget.clone(), granted.clone());
            thread::spawn(move || work(&budget, &granted))
        };
        work(&budget, &granted);
        other.join().unwrap();
        let granted = granted.load(Ordering::Relaxed);
        // One of the reserve, and one for each two of four calls.
        assert_eq!(granted + remaining(&budget, now), 3);
    });
}

/// Whatever the order in which calls and the passing of time are seen, a call pays only for its time.
#[test]
fn a_call_does_not_count_beyond_its_time() {
    let start = Instant::now();
    let at = move |seconds| start + Duration::from_secs(seconds);
    loom::model(move || {
        let budget = budget(0, start);
        (0..2).for_each(|_| budget.count_call(at(0)));
        let other = {
            let budget = budget.clone();
            thread::spawn(move || {
                // Counted at five seconds, so these pay until fifteen at the latest.
                (0..2).for_each(|_| budget.count_call(at(5)));
                budget.try_withdraw(at(5)).is_some()
            })
        };
        let early = remaining(&budget, at(9));
        let other = u64::from(other.join().unwrap());
        assert!(early + other <= 2, "four calls pay for two");
        assert_eq!(remaining(&budget, at(15)), 0, "nothing pays beyond its time");
    });
}

/// A refund is one token, and a call that is counted meanwhile is not disturbed.
#[test]
fn a_refund_gives_back_one_token() {
    let now = Instant::now();
    loom::model(move || {
        let budget = budget(1, now);
        let paid = budget.try_withdraw(now).unwrap();
        let other = {
            let budget = budget.clone();
            thread::spawn(move || {
                budget.count_call(now);
                budget.try_withdraw(now).is_some()
            })
        };
        budget.count_call(now);
        budget.refund(paid);
        let granted = u64::from(other.join().unwrap());
        // The reserve again, and one for two calls.
        assert_eq!(granted + remaining(&budget, now), 2);
    });
}

/// gRPC's throttling: no failure and no success is lost.
#[test]
fn every_failure_and_every_success_counts_in_the_throttling() {
    loom::model(|| {
        let now = Instant::now();
        let budget = Arc::new(Budget::new(BudgetConfig::grpc(8, 0.5), now).unwrap());
        (0..3).for_each(|_| assert!(budget.record_failure()));
        let other = {
            let budget = budget.clone();
            thread::spawn(move || {
                budget.record_failure();
                budget.record_success();
            })
        };
        budget.record_success();
        budget.record_failure();
        other.join().unwrap();
        assert_eq!(budget.snapshot(now).tokens, 4.0);
    });
}
