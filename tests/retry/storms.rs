//! Load on the service while much or everything fails, simulated on explicit time.

use std::{
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use portcullis::{
    Backoff, BudgetConfig, Outcome, RetryEnd,
    policy::{
        budget::Budget,
        retry::{Attempt, Progress, Rules, Verdict},
    },
};

use crate::script::ms;

/// What reached the service.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    calls: u64,
    attempts: u64,
    exhausted: u64,
}

impl Load {
    fn amplification(&self) -> f64 {
        self.attempts as f64 / self.calls as f64
    }
}

/// A client that calls every `every` for a minute; attempts fail by the share `failing`, in the order in
/// which they reach the service. Everything of the last `last` seconds is measured.
fn simulate(every: Duration, failing: f64, budget: Option<BudgetConfig>, last: u64) -> Load {
    let start = Instant::now();
    let budget = budget.map(|config| Budget::new(config, start).unwrap());
    let rules = Rules::new(3, Backoff::default());
    let mut random = fastrand::Rng::with_seed(11);
    let mut queue = BinaryHeap::new();
    let (mut progress, mut load) = (Vec::new(), Load::default());
    let calls = (60_000_000 / every.as_micros()) as u32;
    for nth in 0..calls {
        progress.push(Progress::new());
        queue.push((std::cmp::Reverse(start + every * nth), nth, true));
    }
    let measured = start + Duration::from_secs(60 - last);
    while let Some((std::cmp::Reverse(now), nth, is_first)) = queue.pop() {
        if let (true, Some(budget)) = (is_first, &budget) {
            budget.count_call(now);
        }
        if now >= measured {
            load.calls += u64::from(is_first);
            load.attempts += 1;
        }
        let outcome = if random.f64() < failing { Outcome::Failure } else { Outcome::Success };
        let seen = Attempt::new(outcome, now).random(random.f64());
        let pay = || budget.as_ref().is_none_or(|budget| budget.try_withdraw(now).is_some());
        match progress[nth as usize].decide(&rules, seen, pay) {
            Verdict::After(delay) => queue.push((std::cmp::Reverse(now + delay), nth, false)),
            Verdict::Stop(RetryEnd::BudgetExhausted) if now >= measured => load.exhausted += 1,
            Verdict::Stop(_) => {}
        }
    }
    load
}

fn twenty_percent() -> BudgetConfig {
    BudgetConfig::new(0.2).per_second(0.0)
}

#[test]
fn in_a_total_outage_a_budget_holds_amplification_at_its_ratio() {
    let naive = simulate(ms(1), 1.0, None, 40);
    assert!(naive.amplification() > 2.9, "without a budget: {naive:?}");
    for every in [Duration::from_micros(200), ms(1), ms(20)] {
        let load = simulate(every, 1.0, Some(twenty_percent()), 40);
        let amplification = load.amplification();
        assert!(amplification <= 1.2, "every {every:?}: {load:?}");
        assert!(amplification >= 1.18, "and what is allowed is used: every {every:?}: {load:?}");
        assert!(load.exhausted > load.calls / 2, "{load:?}");
    }
}

#[test]
fn in_a_partial_outage_the_budget_allows_what_it_must_and_no_more() {
    // One in ten fails: retries are about an eleventh, and none is missing.
    let load = simulate(ms(1), 0.1, Some(twenty_percent()), 40);
    assert!((1.10..=1.12).contains(&load.amplification()), "{load:?}");
    assert_eq!(load.exhausted, 0);
    // Half fail: naive retries are 75 %, the budget's 20 %.
    let load = simulate(ms(1), 0.5, Some(twenty_percent()), 40);
    assert!((1.18..=1.2).contains(&load.amplification()), "{load:?}");
    assert!(load.exhausted > 0);
}

#[test]
fn the_reserve_comes_on_top_and_lets_a_quiet_client_retry() {
    let load = simulate(ms(1), 1.0, Some(BudgetConfig::default()), 40);
    // Ten a second on a thousand a second are one percent more.
    let bound = load.calls as f64 * 1.2 + 10.0 * 40.0 + 100.0;
    assert!(load.attempts as f64 <= bound, "{load:?}");
    assert!((1.19..=1.22).contains(&load.amplification()), "{load:?}");
    let quiet = simulate(ms(1_000), 1.0, Some(BudgetConfig::default()), 60);
    assert_eq!((quiet.exhausted, quiet.attempts), (0, quiet.calls * 3));
}

/// An outage after a quiet hour does not find an hour's worth of tokens.
#[test]
fn what_was_earned_long_ago_is_not_there_when_everything_fails() {
    let start = Instant::now();
    let budget = Budget::new(twenty_percent(), start).unwrap();
    let hour = 3_600_000_u32;
    for call in (0..hour).step_by(10) {
        budget.count_call(start + Duration::from_millis(call.into()));
    }
    let now = start + Duration::from_millis(hour.into());
    let granted = (0..).take_while(|_| budget.try_withdraw(now).is_some()).count();
    assert!((195..=200).contains(&granted), "a thousand calls of the last ten seconds: {granted}");
}
