//! The budget under threads.

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

use portcullis::{
    Backoff, BudgetConfig, Error, RetryBudget, RetryConfig, RetryEnd, RetryPolicy,
    policy::budget::Budget,
};

use crate::support::{Caller, on_threads};

/// W5: as many retries are granted as there are tokens, by however many threads they are asked for.
#[test]
fn no_token_is_granted_twice() {
    for round in 0..20 {
        let now = Instant::now();
        let config = BudgetConfig::new(0.5).per_second(f64::from(round));
        let budget = Budget::new(config, now).unwrap();
        let granted = AtomicU64::new(0);
        on_threads(8, |_| {
            for _ in 0..1_000 {
                budget.count_call(now);
                if budget.try_withdraw(now).is_some() {
                    granted.fetch_add(1, SeqCst);
                }
                if budget.try_withdraw(now).is_some() {
                    granted.fetch_add(1, SeqCst);
                }
            }
        });
        // What was refused while a call was on its way is there now.
        let left = (0..).take_while(|_| budget.try_withdraw(now).is_some()).count() as u64;
        let tokens = 8 * 1_000 / 2 + 10 * round as u64;
        assert_eq!(granted.load(SeqCst) + left, tokens);
    }
}

#[test]
fn refunds_of_many_threads_lose_and_make_nothing() {
    let now = Instant::now();
    let config = BudgetConfig::new(0.0).per_second(1.0);
    let budget = Budget::new(config, now).unwrap();
    let most = AtomicU64::new(0);
    let held = AtomicU64::new(0);
    on_threads(8, |thread| {
        for step in 0..5_000_u64 {
            let at = now + Duration::from_millis(step % 100);
            if let Some(paid) = budget.try_withdraw(at) {
                most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                if (step + u64::from(thread)) % 3 == 0 {
                    std::thread::yield_now();
                }
                held.fetch_sub(1, SeqCst);
                budget.refund(paid);
            }
        }
    });
    assert!(most.load(SeqCst) <= 10);
    assert_eq!(budget.balance(now), 10);
}

/// A budget that is shared between two policies bounds them together, exactly, under eight threads.
#[test]
fn two_policies_share_one_budget() {
    let config = BudgetConfig::new(0.2).per_second(1.0).ttl(Duration::from_secs(10_000));
    let budget = RetryBudget::new(config).unwrap();
    let policy = |name| {
        let config = RetryConfig::new(name).budget(&budget).attempts(2);
        RetryPolicy::new(config.backoff(Backoff::constant(Duration::ZERO))).unwrap()
    };
    let policies = [policy("reads"), policy("writes")];
    let attempts = AtomicU64::new(0);
    on_threads(8, |thread| {
        let policy = &policies[thread as usize % 2];
        for _ in 0..1_500 {
            let call = policy.run(|| {
                attempts.fetch_add(1, SeqCst);
                async { Err::<(), _>(Error::Inner(())) }
            });
            assert!(Caller::new().finish(&mut Box::pin(call)).is_err());
        }
    });
    let calls = 8 * 1_500;
    let tokens = calls / 5 + 10_000;
    assert_eq!(attempts.load(SeqCst) + budget.balance(), calls + tokens);
    let snapshots = policies.map(|policy| policy.snapshot());
    let ended = |end| snapshots.iter().map(|snapshot| snapshot.ends.of(end)).sum::<u64>();
    assert_eq!(snapshots[0].calls + snapshots[1].calls, calls);
    assert_eq!(
        ended(RetryEnd::AttemptsExhausted) + ended(RetryEnd::BudgetExhausted),
        calls,
        "{snapshots:?}"
    );
}
