//! The breaker beside a slow, obvious reference, over random configurations and histories.
//!
//! `PROPTEST_CASES` sets the number of cases; 512 by default.

#[path = "model/driver.rs"]
mod driver;
#[path = "model/extremes.rs"]
mod extremes;
#[path = "model/found.rs"]
mod found;
#[path = "model/reference.rs"]
mod reference;
#[path = "model/rules.rs"]
mod rules;
#[path = "model/strategies.rs"]
mod strategies;

use std::time::Duration;

use driver::Driver;
use portcullis::{
    CircuitBreakerConfig, HalfOpen, Outcome, Sleep, State, Window,
    policy::{
        breaker::{Breaker, Command, Permit},
        window::Rolling,
    },
};
use proptest::prelude::*;
use strategies::{MS, ops, rules, shape};

fn cases() -> ProptestConfig {
    // A failing case is printed in full; it then becomes a test of its own rather than a seed file.
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

proptest! {
    #![proptest_config(cases())]

    /// Every admission, refusal, state, count, rate, transition and generation is the reference's,
    /// after every step. At the end no slot is lost, and what is stale changes nothing.
    #[test]
    fn a_breaker_does_what_the_reference_does(rules in rules(), ops in ops(80)) {
        let mut driver = Driver::new(rules);
        driver.compare()?;
        for op in ops {
            driver.take(op)?;
        }
        driver.has_every_slot()?;
    }

    /// The same with many calls in flight under the in-flight rule, whose limits change live.
    #[test]
    fn a_breaker_sees_calls_hang_as_the_reference_does(
        rules in strategies::hanging_rules(),
        ops in strategies::hanging_ops(),
    ) {
        let mut driver = Driver::new(rules);
        for op in ops {
            driver.take(op)?;
        }
        driver.has_every_slot()?;
    }

    /// A window that holds N forgets what came before its last N results: after any history, the
    /// circuit opens at the failure that makes those N all failures, which takes N at the most.
    #[test]
    fn n_fresh_failures_trip_a_count_window_of_n(
        size in 1u32..=150,
        minimum in 0u32..=200,
        long_ago in 0u32..3_000,
        history in prop::collection::vec(prop::bool::weighted(0.7), 0..400),
    ) {
        let config = CircuitBreakerConfig::new("b1")
            .window(Window::count(size))
            .minimum_calls(minimum)
            .failure_rate(1.0)
            .sleep(Sleep::fixed(Duration::ZERO))
            .half_open(HalfOpen::counts(1, 1));
        let start = portcullis::clock::tokio_now();
        let breaker = Breaker::new(config, start).expect("valid");
        let mut results = Vec::new();
        let past = (0..long_ago).map(|_| true).chain(history);
        for success in past {
            // No wait and one probe: a success closes an open circuit, and begins a fresh window.
            if breaker.state() == State::Open {
                call(&breaker, start, Outcome::Success);
                prop_assert_eq!(breaker.state(), State::Closed);
                results.clear();
            }
            call(&breaker, start, if success { Outcome::Success } else { Outcome::Failure });
            results.push(success);
        }
        if breaker.state() == State::Open {
            call(&breaker, start, Outcome::Success);
            results.clear();
        }
        for fresh in 1..=size {
            call(&breaker, start, Outcome::Failure);
            results.push(false);
            let window = &results[results.len().saturating_sub(size as usize)..];
            let enough = window.len() >= minimum.min(size).max(1) as usize;
            let all_failed = enough && window.iter().all(|success| !success);
            prop_assert_eq!(breaker.state() == State::Open, all_failed, "after {} more", fresh);
            if all_failed {
                return Ok(());
            }
        }
        prop_assert!(false, "still closed after {} fresh failures", size);
    }

    /// The volume threshold is min(minimum, N): one result fewer never trips, that many do.
    #[test]
    fn judging_starts_at_the_smaller_of_minimum_and_size(
        size in 1u32..=150,
        minimum in 0u32..=200,
        slow in any::<bool>(),
    ) {
        let config = CircuitBreakerConfig::new("b2").window(Window::count(size));
        let config = config.minimum_calls(minimum);
        let limit = Duration::from_millis(1);
        let config = if slow {
            config.no_failure_rate().slow_calls(limit, 0.01)
        } else {
            config.failure_rate(0.01)
        };
        let start = portcullis::clock::tokio_now();
        let breaker = Breaker::new(config, start).expect("valid");
        let threshold = minimum.min(size).max(1);
        for n in 1..=threshold {
            prop_assert_eq!(breaker.state(), State::Closed, "before result {} of {}", n, threshold);
            let permit = breaker.admit(start).expect("closed");
            let outcome = if slow { Outcome::Success } else { Outcome::Failure };
            breaker.settle(permit, outcome, None, start + limit * 2);
        }
        prop_assert_eq!(breaker.state(), State::Open);
    }

    /// A half-open period ends, whatever the time between its probes (it has counters of its own,
    /// not the time window's), if each probe answers within its lease.
    #[test]
    fn half_open_ends_for_any_spacing_of_probes(
        rules in rules(),
        spacing in prop::collection::vec(0u64..200 * MS, 16),
        outcome in prop_oneof![Just(Outcome::Success), Just(Outcome::Failure)],
    ) {
        let needed = rules.probes_needed() as usize;
        let start = portcullis::clock::tokio_now();
        let config = rules.config().probe_lease(Duration::from_secs(1));
        let breaker = Breaker::new(config, start).expect("valid");
        breaker.command(Command::HalfOpen, start);
        let mut now = start;
        for spacing in spacing.into_iter().take(needed) {
            if breaker.state() != State::HalfOpen {
                break;
            }
            let probe = breaker.admit(now);
            prop_assert!(probe.is_ok(), "{:?} with nothing in flight", probe);
            now += Duration::from_nanos(spacing);
            breaker.settle(probe.expect("checked"), outcome, None, now);
        }
        prop_assert_ne!(breaker.state(), State::HalfOpen);
    }

    /// A window's totals are those of a list that keeps every result.
    #[test]
    fn a_window_counts_what_a_list_counts(
        shape in shape(),
        steps in prop::collection::vec((0u64..40 * MS, any::<bool>(), any::<bool>()), 1..300),
    ) {
        let mut window = Rolling::new(shape_of(shape));
        let mut list: Vec<(u64, bool, bool)> = Vec::new();
        let mut now = 0;
        for (at, (passed, failed, slow)) in steps.into_iter().enumerate() {
            // Mostly in small steps, so that a bucket gets more than one result.
            now += if at % 5 == 0 { passed } else { passed / 64 };
            window.record(now, failed, slow);
            list.push((now, failed, slow));
            let live: Vec<_> = match shape {
                rules::Shape::Count(n) => list.iter().rev().take(n as usize).collect(),
                rules::Shape::Time { length, buckets } => {
                    let width = length / u64::from(buckets);
                    list.iter().filter(|(t, ..)| now - t / width * width < length).collect()
                }
            };
            let counts = window.counts(now);
            prop_assert_eq!(counts.calls, live.len() as u64);
            prop_assert_eq!(counts.failures, live.iter().filter(|r| r.1).count() as u64);
            prop_assert_eq!(counts.slow, live.iter().filter(|r| r.2).count() as u64);
        }
    }

    /// Time that runs backwards, or before the breaker was made, breaks nothing.
    #[test]
    fn a_clock_that_runs_backwards_breaks_nothing(
        rules in rules(),
        steps in prop::collection::vec((0u64..100 * MS, 0u8..8, any::<bool>()), 1..80),
    ) {
        let base = portcullis::clock::tokio_now();
        let start = base + Duration::from_millis(50);
        let breaker = Breaker::new(rules.config(), start).expect("valid");
        let mut permits: Vec<Permit> = Vec::new();
        for (at, what, failed) in steps {
            let now = base + Duration::from_nanos(at);
            let outcome = if failed { Outcome::Failure } else { Outcome::Success };
            match (what, permits.pop()) {
                (0..3, kept) => {
                    permits.extend(kept);
                    permits.extend(breaker.admit(now));
                }
                (3..6, Some(permit)) => {
                    breaker.settle(permit, outcome, None, now);
                }
                (6, Some(permit)) => {
                    breaker.abandon(permit, now);
                }
                _ => breaker.not_ready(outcome, None, now),
            }
            let snapshot = breaker.snapshot(now);
            prop_assert!(snapshot.failures <= snapshot.calls && snapshot.slow <= snapshot.calls);
            let _ = breaker.explain(now);
        }
    }
}

fn shape_of(shape: rules::Shape) -> Window {
    match shape {
        rules::Shape::Count(size) => Window::count(size),
        rules::Shape::Time { length, buckets } => {
            Window::Time { length: Duration::from_nanos(length), buckets }
        }
    }
}

fn call(breaker: &Breaker, now: std::time::Instant, outcome: Outcome) {
    let permit = breaker.admit(now).expect("closed");
    breaker.settle(permit, outcome, None, now);
}

/// A bucket counts until its age is the window's length, also where the buckets do not divide that
/// length: their width is rounded down to whole nanoseconds, the length is not.
#[test]
fn a_length_that_the_buckets_do_not_divide_is_kept_to_the_nanosecond() {
    let (length, buckets) = (10 * MS, 3);
    let width = length / buckets;
    let shape = Window::Time { length: Duration::from_nanos(length), buckets: buckets as u32 };
    let mut window = Rolling::new(shape);
    window.record(0, true, false);
    assert_eq!(window.counts(length - 1).calls, 1);
    assert_eq!(window.counts(length).calls, 0);
    window.record(4 * width, true, false);
    assert_eq!(window.counts(4 * width + length - 1).calls, 1);
    assert_eq!(window.counts(4 * width + length).calls, 0);
}

/// The ways into a state, and whether calls are admitted in it.
fn enter(breaker: &Breaker, state: State, now: std::time::Instant) {
    match state {
        State::Closed => breaker.command(Command::Close, now),
        State::Open => breaker.command(Command::Open, now),
        State::HalfOpen => breaker.command(Command::HalfOpen, now),
        State::ForcedOpen => breaker.command(Command::ForceOpen, now),
        _ => breaker.command(Command::Disable, now),
    }
    assert_eq!(breaker.state(), state);
}

/// Whatever period a call was admitted in, and whatever period its result comes in: it is the
/// former's result and none of the latter's.
#[test]
fn a_stale_result_changes_nothing_for_every_pair_of_states() {
    let states = [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled];
    let start = portcullis::clock::tokio_now();
    let late = start + Duration::from_secs(1);
    let config = CircuitBreakerConfig::new("b5")
        .window(Window::count(1))
        .minimum_calls(1)
        .slow_calls(Duration::from_millis(1), 0.01)
        .consecutive_failures(1)
        .failures(1)
        .sleep(Sleep::fixed(Duration::from_secs(60)))
        .half_open(HalfOpen::counts(1, 1).concurrent(1));
    for (from, to) in states.iter().flat_map(|from| states.map(|to| (*from, to))) {
        for ending in 0..5 {
            for shadow in [false, true] {
                let breaker = Breaker::new(config.clone(), start).expect("valid");
                if shadow && !matches!(from, State::ForcedOpen | State::Disabled) {
                    breaker.command(Command::Shadow, start);
                }
                enter(&breaker, from, start);
                let deadline = (ending == 4).then_some(start);
                let Ok(permit) = breaker.admit_until(deadline, start) else { continue };
                enter(&breaker, to, start);
                // The period at hand has a probe of its own in flight, where it has probes.
                let _own = (to == State::HalfOpen).then(|| breaker.admit(start));
                breaker.deliver(|_| {});
                let before = breaker.snapshot(late);
                match ending {
                    0 => breaker.settle(permit, Outcome::Success, None, late),
                    1 => breaker.settle(permit, Outcome::Failure, None, late),
                    2 => breaker.settle(permit, Outcome::Ignored, None, late),
                    _ => breaker.abandon(permit, late),
                };
                let what = format!("{from} > {to}, ending {ending}, shadow {shadow}");
                assert_eq!(breaker.snapshot(late), before, "{what}");
                breaker.deliver(|turn| panic!("{what}: {turn:?}"));
            }
        }
    }
}
