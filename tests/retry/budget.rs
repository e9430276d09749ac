//! The budget by itself, on explicit time.

use std::time::{Duration, Instant};

use portcullis::{BudgetConfig, RetryBudget, policy::budget::Budget};

use crate::script::ms;

fn budget(config: BudgetConfig) -> (Budget, Instant) {
    let now = Instant::now();
    (Budget::new(config, now).unwrap(), now)
}

/// No reserve: only calls pay.
fn share(ratio: f64) -> BudgetConfig {
    BudgetConfig::new(ratio).per_second(0.0)
}

fn granted(budget: &Budget, now: Instant) -> u64 {
    (0..).take_while(|_| budget.try_withdraw(now).is_some()).count() as u64
}

#[test]
fn the_default_is_that_of_the_documentation() {
    let (default, now) = budget(BudgetConfig::default());
    let BudgetConfig::Share { ratio, per_second, ttl } = default.config() else { panic!() };
    assert_eq!((ratio, per_second, ttl), (0.2, 10.0, Duration::from_secs(10)));
    assert_eq!(granted(&default, now), 100);
}

/// W4: ratios are exact. A percentage that is truncated to the reciprocal of a whole number makes 33 % of
/// 0.3 and 100 % of everything above one half.
#[test]
fn ratios_are_exact() {
    for percent in 1..=100_u64 {
        let (budget, now) = budget(share(percent as f64 / 100.0));
        (0..1_000).for_each(|_| budget.record_call(now));
        assert_eq!(granted(&budget, now), percent * 10, "{percent} %");
    }
    // Down to a millionth, and also far above one.
    let (budget, now) = budget(share(0.000_001));
    (0..999_999).for_each(|_| budget.count_call(now));
    assert_eq!(granted(&budget, now), 0);
    budget.count_call(now);
    assert_eq!(granted(&budget, now), 1);
}

/// W5: O(1) after any idle time, however short the slots and however long nothing happened.
#[test]
fn a_long_idle_time_costs_nothing() {
    let (budget, now) = budget(share(1.0).ttl(Duration::from_micros(1)));
    budget.record_call(now);
    // A century in slots of ten nanoseconds is 3·10¹⁷ of them: a step for each would never end.
    let much_later = now + Duration::from_secs(100 * 365 * 86_400);
    assert_eq!(granted(&budget, much_later), 0);
    budget.record_call(much_later);
    assert_eq!(granted(&budget, much_later), 1);
}

#[test]
fn a_call_counts_for_its_time_and_a_retry_as_well() {
    let (budget, now) = budget(share(1.0).ttl(ms(1_000)));
    budget.record_call(now);
    assert!(budget.try_withdraw(now + ms(500)).is_some());
    assert_eq!(budget.snapshot(now + ms(999)).tokens, 0.0);
    // At 1000 the call expires, and its retry still counts.
    let snapshot = budget.snapshot(now + ms(1_000));
    assert_eq!((snapshot.tokens, snapshot.calls, snapshot.retries), (-1.0, 0, 1));
    budget.record_call(now + ms(1_000));
    assert_eq!(granted(&budget, now + ms(1_499)), 0);
    assert_eq!(granted(&budget, now + ms(1_500)), 1);
}

/// Between the beginnings of slots a call counts for a little less and a retry for a little more.
#[test]
fn what_happens_within_a_slot_is_counted_on_the_safe_side() {
    let (budget, now) = budget(share(1.0).ttl(ms(1_000)));
    budget.record_call(now + ms(15));
    assert_eq!(budget.balance(now + ms(1_009)), 1);
    assert_eq!(budget.balance(now + ms(1_010)), 0, "the slot began at 10 ms");
    budget.record_call(now + ms(2_000));
    assert!(budget.try_withdraw(now + ms(2_005)).is_some());
    budget.record_call(now + ms(3_000));
    assert_eq!(budget.balance(now + ms(3_009)), 0);
    assert_eq!(budget.balance(now + ms(3_010)), 1, "the next slot began at 2010 ms");
}

#[test]
fn a_refund_takes_the_retry_back_once_and_only_while_it_counts() {
    let (budget, now) = budget(share(1.0).ttl(ms(1_000)));
    budget.record_call(now);
    let paid = budget.try_withdraw(now).unwrap();
    assert_eq!(budget.balance(now), 0);
    budget.refund(paid);
    assert_eq!(budget.balance(now), 1);
    let paid = budget.try_withdraw(now).unwrap();
    budget.record_call(now + ms(1_500));
    budget.refund(paid);
    assert_eq!(budget.balance(now + ms(1_500)), 1, "it had expired by itself");
    // Nor is a later one struck out that stands where it stood.
    let first = budget.try_withdraw(now + ms(1_500)).unwrap();
    budget.record_call(now + ms(2_510));
    assert!(budget.try_withdraw(now + ms(2_510)).is_some());
    budget.refund(first);
    assert_eq!(budget.balance(now + ms(2_510)), 0);
    budget.reset(now + ms(1_500));
    budget.record_call(now + ms(1_500));
    // A retry from before a reset is not one of those after it.
    let paid = budget.try_withdraw(now + ms(1_500)).unwrap();
    budget.reset(now + ms(1_500));
    budget.record_call(now + ms(1_500));
    assert!(budget.try_withdraw(now + ms(1_500)).is_some());
    budget.refund(paid);
    assert_eq!(budget.balance(now + ms(1_500)), 0);
}

#[test]
fn time_that_runs_backwards_is_taken_as_standing_still() {
    let (budget, now) = budget(share(1.0).ttl(ms(1_000)));
    budget.record_call(now + ms(5_000));
    budget.record_call(now);
    assert_eq!(granted(&budget, now + ms(100)), 2);
    assert_eq!(granted(&budget, now + ms(5_999)), 0);
}

#[test]
fn numbers_change_live_and_what_counts_goes_on_counting() {
    let (budget, now) = budget(share(0.1).ttl(ms(1_000)));
    (0..100).for_each(|_| budget.count_call(now + ms(500)));
    assert_eq!(budget.balance(now + ms(500)), 10);
    budget.reconfigure(share(0.5).ttl(ms(1_000)), now + ms(600)).unwrap();
    assert_eq!(budget.balance(now + ms(600)), 50);
    assert!(budget.try_withdraw(now + ms(600)).is_some());
    // Another time to live: calls of 500 ms count up to 2500 now, the retry of 600 ms up to 2600.
    budget.reconfigure(share(0.5).ttl(ms(2_000)), now + ms(700)).unwrap();
    assert_eq!(budget.balance(now + ms(2_499)), 49);
    assert_eq!(budget.snapshot(now + ms(2_500)).tokens, -1.0);
    assert_eq!(budget.snapshot(now + ms(2_600)).tokens, 0.0);
    // And a shorter one: what would have expired by it has.
    (0..10).for_each(|_| budget.record_call(now + ms(3_000)));
    budget.reconfigure(share(0.5).ttl(ms(100)), now + ms(3_050)).unwrap();
    assert_eq!(budget.balance(now + ms(3_050)), 5);
    assert_eq!(budget.balance(now + ms(3_100)), 0);
    let grpc = BudgetConfig::grpc(10, 0.1);
    assert_eq!(budget.reconfigure(grpc, now).unwrap_err().field(), "budget");
    assert_eq!(budget.config(), share(0.5).ttl(ms(100)));
}

/// gRFC A6: a failure takes a token, a success puts the ratio back, and more than half must be left.
#[test]
fn grpc_throttles_below_half_of_its_tokens() {
    let (budget, now) = budget(BudgetConfig::grpc(10, 0.5));
    let failures = |times| (0..times).map(|_| budget.record_failure()).collect::<Vec<_>>();
    assert_eq!(failures(5), [true, true, true, true, false], "9, 8, 7, 6, and 5 is not above 5");
    assert!(budget.try_withdraw(now).is_none());
    budget.record_success();
    assert_eq!(budget.snapshot(now).tokens, 5.5);
    assert!(budget.try_withdraw(now).is_some(), "which takes nothing");
    assert_eq!(budget.snapshot(now).tokens, 5.5);
    assert_eq!(failures(9), [false; 9]);
    assert_eq!(budget.balance(now), 0, "never below zero");
    (0..1_000).for_each(|_| budget.record_success());
    assert_eq!(budget.balance(now), 10, "never above the most");
    // Three decimals of a ratio, as gRPC has them, are exact.
    budget.reconfigure(BudgetConfig::grpc(1_000, 0.001), now).unwrap();
    (0..1_000).for_each(|_| budget.record_success());
    assert_eq!(budget.snapshot(now).tokens, 11.0);
    budget.reset(now);
    assert_eq!(budget.balance(now), 1_000);
}

#[tokio::test(start_paused = true)]
async fn the_handle_is_the_budget_on_tokios_clock() {
    let budget = RetryBudget::new(share(0.5).ttl(ms(1_000))).unwrap();
    (0..4).for_each(|_| budget.record_call());
    assert_eq!(budget.balance(), 2);
    tokio::time::advance(ms(400)).await;
    let paid = budget.clone().try_withdraw().unwrap();
    assert!(budget.has_token() && budget.record_failure());
    budget.refund(paid);
    assert!(format!("{budget:?}").contains("balance: 2"), "{budget:?}");
    tokio::time::advance(ms(600)).await;
    assert_eq!((budget.balance(), budget.has_token()), (0, false));
    assert_ne!(budget, RetryBudget::grpc(10, 0.1).unwrap());
    assert_eq!(budget, budget.clone());
}
