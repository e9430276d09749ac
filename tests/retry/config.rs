//! Any number gives a working policy or a typed error.

use std::time::Duration;

use portcullis::{
    Backoff, BudgetConfig, ConfigError, Error, Growth, HintMode, Hints, Jitter, RetryBudget,
    RetryConfig, RetryPolicy,
};

use crate::{script::ms, support::Caller};

#[test]
fn a_value_that_cannot_work_is_named() {
    let new = || RetryConfig::new("db");
    let exponential = |factor| Backoff::exponential(ms(1), factor);
    let proportional = |share| Backoff::default().jitter(Jitter::Proportional(share));
    let cases = [
        (RetryConfig::new(""), "name", "\"\""),
        (new().attempts(0), "attempts", "0"),
        (new().backoff(exponential(0.5)), "backoff.factor", "0.5"),
        (new().backoff(exponential(f64::NAN)), "backoff.factor", "NaN"),
        (new().backoff(exponential(f64::INFINITY)), "backoff.factor", "inf"),
        (new().backoff(proportional(1.5)), "backoff.jitter", "1.5"),
        (new().backoff(proportional(f64::NAN)), "backoff.jitter", "NaN"),
        (new().hints(Hints::default().jitter(-0.1)), "hints.jitter", "-0.1"),
        (new().hints(Hints::default().cap(Duration::ZERO)), "hints.cap", "0ns"),
        (new().budget(BudgetConfig::new(-0.1)), "budget.ratio", "-0.1"),
        (new().budget(BudgetConfig::new(f64::NAN)), "budget.ratio", "NaN"),
        (new().budget(BudgetConfig::new(1_001.0)), "budget.ratio", "1001"),
        (new().budget(BudgetConfig::new(1e-9)), "budget.ratio", "0.000000001"),
        (
            new().budget(BudgetConfig::new(0.2).per_second(f64::INFINITY)),
            "budget.per_second",
            "inf",
        ),
        (new().budget(BudgetConfig::new(0.2).ttl(Duration::ZERO)), "budget.ttl", "0ns"),
        (new().budget(BudgetConfig::grpc(0, 0.1)), "budget.max_tokens", "0"),
        (new().budget(BudgetConfig::grpc(10, 0.0)), "budget.ratio", "0"),
    ];
    for (config, field, value) in cases {
        let error: ConfigError = RetryPolicy::new(config.clone()).unwrap_err();
        assert_eq!((error.field(), error.value()), (field, value), "{config:?}");
    }
}

/// What is extreme and allowed works: two attempts are made, or the call waits.
#[tokio::test(start_paused = true)]
async fn the_largest_and_the_smallest_numbers_work() {
    let new = || RetryConfig::new("db").budget(BudgetConfig::default());
    let mut backoff = Backoff::constant(Duration::MAX);
    backoff.growth = Growth::Linear { base: Duration::MAX, step: Duration::MAX };
    let configs = [
        new().unlimited_attempts(),
        new().backoff(Backoff::constant(Duration::MAX)),
        new().backoff(backoff),
        new().backoff(Backoff::exponential(Duration::MAX, f64::MAX).max(Duration::MAX)),
        new().backoff(Backoff::exponential(Duration::ZERO, f64::MAX)),
        new().backoff(Backoff::default().max(Duration::ZERO)),
        new().backoff(Backoff::default().jitter(Jitter::Decorrelated).max(Duration::MAX)),
        new().hints(Hints::default().cap(Duration::MAX).mode(HintMode::Within(Duration::MAX))),
        new().budget(BudgetConfig::new(0.0).per_second(0.0)),
        new().budget(BudgetConfig::new(1_000.0).per_second(1e9).ttl(Duration::MAX)),
        new().budget(BudgetConfig::new(1_000.0).ttl(Duration::from_micros(1))),
        new().budget(BudgetConfig::grpc(u32::MAX, 1_000.0)),
        new().budget(BudgetConfig::grpc(1, 0.000_001)),
    ];
    for config in configs {
        let policy = RetryPolicy::new(config).unwrap();
        let mut call = Box::pin(policy.run(|| async { Err::<(), _>(Error::Inner(())) }));
        let caller = Caller::new();
        for _ in 0..5 {
            if caller.poll(&mut call).is_ready() {
                break;
            }
            tokio::time::advance(Duration::from_secs(30)).await;
        }
        drop(call);
        let snapshot = policy.snapshot();
        assert!(snapshot.calls == 1 && snapshot.attempts >= 1, "{snapshot:?}");
        assert!(!policy.explain().to_string().is_empty());
    }
}

#[test]
fn a_budget_can_be_of_the_policys_own_or_shared_or_absent() {
    let budget = RetryBudget::new(BudgetConfig::new(0.5)).unwrap();
    let made = |config: RetryConfig| RetryPolicy::new(config).unwrap();
    let new = || RetryConfig::new("db");
    assert_eq!(made(new().budget(&budget)).budget(), Some(&budget));
    assert_eq!(made(new().budget(budget.clone())).budget(), Some(&budget));
    assert_ne!(made(new().budget(BudgetConfig::new(0.5))).budget(), Some(&budget));
    assert_eq!(made(new().no_budget()).budget(), None);
    assert_eq!(made(new()).budget().unwrap().config(), BudgetConfig::default());
}
