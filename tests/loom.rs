//! Every interleaving of the breaker's lock-free side with its machine, and of a token bucket's takers with
//! those who change it (`loom/rate_limit.rs`), with a bounded number of
//! preemptions: `LOOM_MAX_PREEMPTIONS=4` takes seconds, 6 minutes, and no bound hours for the model with
//! two grants.
//!
//! `LOOM_MAX_PREEMPTIONS=4 RUSTFLAGS="--cfg portcullis_loom" cargo test --release --test loom`
#![cfg(portcullis_loom)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and picks any instant to begin with"
)]

#[path = "loom/budget.rs"]
mod budget;
#[path = "loom/bulkhead.rs"]
mod bulkhead;
#[path = "loom/rate_limit.rs"]
mod rate_limit;
#[path = "loom/timeout.rs"]
mod timeout;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use loom::thread;
use portcullis::{
    CircuitBreakerConfig, Command, HalfOpen, Outcome, Sleep, State, Window,
    policy::breaker::Breaker,
};

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("model")
        .sleep(Sleep::fixed(Duration::from_secs(1)))
        .minimum_calls(1_000)
        .seed(1)
}

/// Runs a model on a breaker of either window.
fn with_each_window(
    config: impl Fn() -> CircuitBreakerConfig + Send + Sync + Copy + 'static,
    model: impl Fn(Arc<Breaker>, Instant) + Send + Sync + Copy + 'static,
) {
    for window in [Window::time(Duration::from_secs(10)), Window::count(8), Window::count(2)] {
        let start = Instant::now();
        loom::model(move || {
            let breaker = Breaker::new(config().window(window), start).unwrap();
            model(Arc::new(breaker), start);
        });
    }
}

/// Makes a call on a thread of its own.
fn call(breaker: &Arc<Breaker>, outcome: Outcome, now: Instant) -> thread::JoinHandle<()> {
    let breaker = breaker.clone();
    thread::spawn(move || {
        if let Ok(permit) = breaker.admit(now) {
            breaker.settle(permit, outcome, None, now);
        }
    })
}

#[test]
fn every_result_counts_once() {
    with_each_window(config, |breaker, now| {
        let other = call(&breaker, Outcome::Success, now);
        let permit = breaker.admit(now).unwrap();
        breaker.settle(permit, Outcome::Failure, None, now);
        other.join().unwrap();
        let seen = breaker.snapshot(now);
        assert_eq!((seen.calls, seen.failures), (2, 1));
    });
}

#[test]
fn successes_race_for_the_last_credit() {
    with_each_window(config, |breaker, now| {
        let others = [(); 2].map(|()| call(&breaker, Outcome::Success, now));
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(breaker.snapshot(now).calls, 2);
    });
}

#[test]
fn a_result_of_an_older_period_changes_nothing() {
    for outcome in [Outcome::Success, Outcome::Failure] {
        with_each_window(config, move |breaker, now| {
            let permit = breaker.admit(now).unwrap();
            let late = breaker.clone();
            let late = thread::spawn(move || late.settle(permit, outcome, None, now));
            breaker.command(Command::Reset, now);
            late.join().unwrap();
            // Recorded before the reset and forgotten by it, or after it and stale.
            assert_eq!(breaker.snapshot(now).calls, 0);
        });
    }
}

#[test]
fn a_stale_success_does_not_take_a_newer_periods_credit() {
    with_each_window(config, |breaker, now| {
        let permit = breaker.admit(now).unwrap();
        let late = breaker.clone();
        let late = thread::spawn(move || late.settle(permit, Outcome::Success, None, now));
        breaker.command(Command::Reset, now);
        let fresh = breaker.admit(now).unwrap();
        breaker.settle(fresh, Outcome::Success, None, now);
        late.join().unwrap();
        assert_eq!(breaker.snapshot(now).calls, 1);
    });
}

#[test]
fn whoever_completes_the_volume_trips() {
    let config = || config().minimum_calls(2).failure_rate(0.5);
    with_each_window(config, |breaker, now| {
        let other = call(&breaker, Outcome::Success, now);
        let permit = breaker.admit(now).unwrap();
        breaker.settle(permit, Outcome::Failure, None, now);
        other.join().unwrap();
        assert_eq!(breaker.state(), State::Open);
    });
}

#[test]
fn one_probe_means_one_probe() {
    let config = || config().half_open(HalfOpen::counts(1, 1));
    with_each_window(config, |breaker, now| {
        breaker.command(Command::Open, now);
        let later = now + Duration::from_secs(1);
        let other = breaker.clone();
        let other = thread::spawn(move || other.admit(later).is_ok());
        let own = breaker.admit(later).is_ok();
        assert!(own ^ other.join().unwrap(), "exactly one of two is the probe");
    });
}

#[test]
fn a_slot_given_back_can_be_taken() {
    let config = || config().half_open(HalfOpen::counts(1, 1));
    with_each_window(config, |breaker, now| {
        breaker.command(Command::HalfOpen, now);
        let probe = breaker.admit(now).unwrap();
        let other = breaker.clone();
        let other = thread::spawn(move || other.admit(now).ok());
        breaker.abandon(probe, now);
        let taken = other.join().unwrap();
        // Once the first is back and the second is not out, there is room.
        if taken.is_none() {
            assert!(breaker.admit(now).is_ok());
        }
    });
}

#[test]
fn an_open_circuit_admits_nobody_after_it_opened() {
    let config = || config().consecutive_failures(1);
    with_each_window(config, |breaker, now| {
        let other = call(&breaker, Outcome::Failure, now);
        let admitted = breaker.admit(now);
        other.join().unwrap();
        assert!(breaker.admit(now).is_err());
        if let Ok(permit) = admitted {
            // Admitted before the opening: its result is that of an older period.
            breaker.settle(permit, Outcome::Success, None, now);
        }
        assert_eq!(breaker.state(), State::Open);
    });
}

#[test]
fn transitions_are_told_once_and_in_order() {
    with_each_window(config, |breaker, now| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = |breaker: &Breaker, told: &Mutex<Vec<u64>>| {
            breaker.deliver(|transition| {
                told.lock().unwrap_or_else(PoisonError::into_inner).push(transition.generation);
            });
        };
        let (other, to) = (breaker.clone(), told.clone());
        let other = thread::spawn(move || {
            other.command(Command::ForceOpen, now);
            tell(&other, &to);
        });
        breaker.command(Command::Disable, now);
        tell(&breaker, &told);
        other.join().unwrap();
        assert!(!breaker.has_news());
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*told, [2, 3]);
    });
}
