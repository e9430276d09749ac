//! The budget beside a list of everything that ever happened.

use std::time::{Duration, Instant};

use portcullis::{BudgetConfig, policy::budget::Budget};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Advance(u64),
    Calls(u32),
    Retry,
    Refund,
    Reset,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => prop_oneof![0_u64..40, 0_u64..2_000, Just(1_000)].prop_map(Op::Advance),
        4 => (1_u32..200).prop_map(Op::Calls),
        6 => Just(Op::Retry),
        1 => Just(Op::Refund),
        1 => Just(Op::Reset),
    ];
    proptest::collection::vec(op, 1..120)
}

/// Milliseconds and millionths of a token; everything ever entered is kept.
#[derive(Debug, Default)]
struct List {
    ratio: i128,
    reserve: i128,
    calls: Vec<(u64, i128)>,
    retries: Vec<u64>,
}

/// How long something counts, and how long a slot is.
const TTL: u64 = 1_000;
const SLOT: u64 = 10;

impl List {
    /// What is left if calls count from the beginning of their slot, and retries from the end of theirs.
    fn tokens(&self, now: u64) -> i128 {
        let slot = |at: u64| at / SLOT * SLOT;
        let calls = self.calls.iter().filter(|(at, _)| slot(*at) + TTL > now / SLOT * SLOT);
        let retries = self.retries.iter().filter(|at| at.next_multiple_of(SLOT) + TTL > slot(now));
        self.reserve + calls.map(|(_, calls)| calls * self.ratio).sum::<i128>()
            - retries.count() as i128 * 1_000_000
    }

    /// The bound that is promised, without any slots: the retries of the last `TTL` against its calls.
    fn is_within_its_means(&self, now: u64) -> bool {
        let calls = self.calls.iter().filter(|(at, _)| at + TTL > now);
        let paid = self.reserve + calls.map(|(_, calls)| calls * self.ratio).sum::<i128>();
        let retries = self.retries.iter().filter(|at| *at + TTL > now).count() as i128;
        retries * 1_000_000 <= paid
    }
}

fn parts(ratio: u32, per_second: u32) -> (BudgetConfig, List) {
    let config = BudgetConfig::new(f64::from(ratio) / 1_000.0)
        .per_second(f64::from(per_second))
        .ttl(Duration::from_millis(TTL));
    let list = List {
        ratio: i128::from(ratio) * 1_000,
        reserve: i128::from(per_second) * 1_000_000,
        ..List::default()
    };
    (config, list)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Calls that are entered one by one: every answer is that of the list.
    #[test]
    fn entered_at_their_time_calls_pay_exactly(
        ops in ops(), ratio in 0_u32..2_000, per_second in 0_u32..5,
    ) {
        let (config, mut list) = parts(ratio, per_second);
        let start = Instant::now();
        let budget = Budget::new(config, start).unwrap();
        let (mut now, mut paid) = (0, Vec::new());
        for op in ops {
            let at = start + Duration::from_millis(now);
            match op {
                Op::Advance(millis) => now += millis,
                Op::Calls(calls) => {
                    (0..calls).for_each(|_| budget.record_call(at));
                    list.calls.push((now, calls.into()));
                }
                Op::Retry => {
                    let expected = list.tokens(now) >= 1_000_000;
                    let withdrawal = budget.try_withdraw(at);
                    prop_assert_eq!(withdrawal.is_some(), expected);
                    if let Some(withdrawal) = withdrawal {
                        list.retries.push(now);
                        prop_assert!(list.is_within_its_means(now));
                        paid.push((now, withdrawal));
                    }
                }
                Op::Refund => {
                    if let Some((when, withdrawal)) = paid.pop() {
                        budget.refund(withdrawal);
                        let place = list.retries.iter().rposition(|at| *at == when).unwrap();
                        list.retries.remove(place);
                    }
                }
                Op::Reset => {
                    budget.reset(at);
                    list.calls.clear();
                    list.retries.clear();
                    paid.clear();
                }
            }
            let at = start + Duration::from_millis(now);
            let snapshot = budget.snapshot(at);
            prop_assert_eq!((snapshot.tokens * 1e6).round() as i128, list.tokens(now));
        }
    }

    /// Calls that are counted in batches never pay for more than they would one by one.
    #[test]
    fn counted_in_batches_calls_never_pay_too_much(
        ops in ops(), ratio in 0_u32..2_000, per_second in 0_u32..5,
    ) {
        let (config, mut list) = parts(ratio, per_second);
        let start = Instant::now();
        let budget = Budget::new(config, start).unwrap();
        let mut now = 0;
        for op in ops {
            let at = start + Duration::from_millis(now);
            match op {
                Op::Advance(millis) => now += millis,
                Op::Calls(calls) => {
                    (0..calls).for_each(|_| budget.count_call(at));
                    list.calls.push((now, calls.into()));
                }
                Op::Retry if budget.try_withdraw(at).is_some() => {
                    list.retries.push(now);
                    prop_assert!(list.is_within_its_means(now));
                }
                Op::Retry | Op::Refund => {}
                Op::Reset => {
                    budget.reset(at);
                    list.calls.clear();
                    list.retries.clear();
                }
            }
        }
        // Only now, since looking ends the batches.
        let tokens = budget.snapshot(start + Duration::from_millis(now)).tokens;
        prop_assert!((tokens * 1e6).round() as i128 <= list.tokens(now));
    }
}

/// At a steady rate batches cost a call no more than two slots of its time.
#[test]
fn a_steady_stream_of_calls_pays_for_nearly_all_of_its_time() {
    for every in [1_u64, 3, 20, 200] {
        let start = Instant::now();
        let config = BudgetConfig::new(1.0).per_second(0.0).ttl(Duration::from_millis(TTL));
        let budget = Budget::new(config, start).unwrap();
        let at = |millis| start + Duration::from_millis(millis);
        let mut checked = 0;
        for nth in 0..10_000 / every {
            let now = nth * every;
            budget.count_call(at(now));
            // Looked at rarely, so that looking does not keep the batches fresh.
            if nth % (2_000 / every) == 1_500 / every {
                let calls = budget.snapshot(at(now)).calls;
                let all = TTL.div_ceil(every).min(nth + 1);
                let least = (TTL - 2 * SLOT).div_euclid(every).min(nth);
                assert!((least..=all).contains(&calls), "every {every} ms: {calls} of {all}");
                checked += 1;
            }
        }
        assert!(checked >= 4);
    }
}
