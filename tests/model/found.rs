//! Histories that once came out wrong, each as short as it gets.

use std::time::{Duration, Instant};

use portcullis::{
    CircuitBreakerConfig, HalfOpen, Outcome, Sleep, State,
    policy::breaker::{Breaker, Command},
};

const MS: Duration = Duration::from_millis(1);

fn breaker(config: CircuitBreakerConfig) -> (Breaker, Instant) {
    let start = portcullis::clock::tokio_now();
    (Breaker::new(config, start).expect("valid"), start)
}

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("found").sleep(Sleep::fixed(10 * MS))
}

/// The end of a lease and the end of the wait after it show at one call: two changes of state, of
/// which the second begins a count of refusals of its own.
#[test]
fn refusals_are_counted_afresh_when_half_open_follows_half_open() {
    let rules = config().half_open(HalfOpen::counts(1, 1)).probe_lease(10 * MS);
    let (breaker, start) = breaker(rules);
    breaker.command(Command::HalfOpen, start);
    let _hung = breaker.admit(start).expect("a probe");
    assert!(breaker.admit(start).is_err());
    assert_eq!(breaker.snapshot(start).rejected, 1);
    let later = start + 20 * MS;
    assert!(breaker.admit(later).expect("lease and wait are over").is_probe());
    assert_eq!(breaker.snapshot(later).rejected, 0);
}

/// A change of the rules that makes a decision due acts at the next admission, also while every slot
/// is taken.
#[test]
fn a_change_that_decides_a_half_open_period_acts_at_the_next_call() {
    for full in [false, true] {
        let (breaker, now) = breaker(config().half_open(HalfOpen::counts(2, 1)));
        breaker.command(Command::HalfOpen, now);
        let probe = breaker.admit(now).expect("a probe");
        breaker.settle(probe, Outcome::Success, None, now);
        let _in_flight = full.then(|| breaker.admit(now).expect("the other probe"));
        let one = config().half_open(HalfOpen::counts(1, 1));
        breaker.reconfigure(one, now).expect("valid");
        let call = breaker.admit(now).expect("one success was enough");
        assert!(!call.is_probe(), "full: {full}");
        assert_eq!(breaker.state(), State::Closed, "full: {full}");
    }
}

/// No wait means that the very next call is a probe, also if a change of the rules has just opened
/// the circuit.
#[test]
fn nothing_is_refused_with_nothing_left_to_wait() {
    let none = |half_open| config().sleep(Sleep::fixed(Duration::ZERO)).half_open(half_open);
    let (breaker, now) = breaker(none(HalfOpen::counts(1, 2)));
    breaker.command(Command::HalfOpen, now);
    let probe = breaker.admit(now).expect("a probe");
    breaker.settle(probe, Outcome::Failure, None, now);
    breaker.reconfigure(none(HalfOpen::counts(1, 1)), now).expect("valid");
    let next = breaker.admit(now);
    assert!(next.is_ok(), "{next:?}");
}

/// Numbers act at the next decision: whether a slow probe failed is asked when deciding.
#[test]
fn a_slow_probe_is_judged_by_the_rules_in_force() {
    let limit = 5 * MS;
    let half_open = HalfOpen::counts(1, 3);
    let (breaker, start) = breaker(config().slow_calls(limit, 0.5).half_open(half_open));
    breaker.command(Command::HalfOpen, start);
    let probe = breaker.admit(start).expect("a probe");
    let later = start + 2 * limit;
    breaker.settle(probe, Outcome::Success, None, later);
    assert_eq!(breaker.state(), State::HalfOpen, "one slow probe of three that may fail");
    breaker.reconfigure(config().half_open(half_open), later).expect("valid");
    let _ = breaker.admit(later);
    assert_eq!(breaker.state(), State::Closed, "without a slow rule it was a success");
}
