//! The breaker's invariants under real threads that meet on one circuit.
//!
//! Threads are bounded in number and work, and nothing depends on how long anything takes: the clock is
//! a counter that the test moves.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and picks any instant to begin with"
)]

mod support;

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use portcullis::{
    CircuitBreakerConfig, Command, HalfOpen, Outcome, Sleep, State, Window,
    policy::breaker::Breaker,
};
use support::on_threads;

const THREADS: u32 = 8;
const ALL: u64 = THREADS as u64;

fn config(window: Window) -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("stress").window(window).sleep(Sleep::fixed(Duration::from_secs(1)))
}

#[test]
fn each_result_is_counted_once() {
    const EACH: u64 = 20_000;
    let start = Instant::now();
    // Longer than the test's clock ever gets, and a rate that is never reached.
    let window = Window::Time { length: Duration::from_secs(1_000), buckets: 10 };
    let breaker = Breaker::new(config(window).failure_rate(1.0), start).unwrap();
    let clock = AtomicU64::new(0);
    on_threads(THREADS, |thread| {
        let thread = u64::from(thread);
        for call in 0..EACH {
            let now = start + Duration::from_millis(clock.fetch_add(1, Ordering::Relaxed));
            let permit = breaker.admit(now).unwrap();
            let outcome = match (call + thread) % 4 {
                0 => Outcome::Failure,
                1 => Outcome::Ignored,
                _ => Outcome::Success,
            };
            breaker.settle(permit, outcome, None, now);
        }
    });
    let end = start + Duration::from_millis(clock.load(Ordering::Relaxed));
    let seen = breaker.snapshot(end);
    assert_eq!((seen.calls, seen.failures), (ALL * EACH * 3 / 4, ALL * EACH / 4));
}

/// Few failures, so that successes are recorded without the lock and threads meet on the credit.
#[test]
fn no_success_is_lost_where_threads_meet() {
    const EACH: u64 = 200_000;
    let start = Instant::now();
    let window = Window::Time { length: Duration::from_secs(1_000), buckets: 10 };
    let breaker = Breaker::new(config(window), start).unwrap();
    on_threads(THREADS, |thread| {
        let thread = u64::from(thread);
        for call in 0..EACH {
            let permit = breaker.admit(start).unwrap();
            let failed = call % 10_000 == thread;
            let outcome = if failed { Outcome::Failure } else { Outcome::Success };
            breaker.settle(permit, outcome, None, start);
        }
    });
    let seen = breaker.snapshot(start);
    assert_eq!((seen.calls, seen.failures), (ALL * EACH, ALL * EACH / 10_000));
}

#[test]
fn a_count_window_holds_exactly_its_size() {
    let start = Instant::now();
    let breaker = Breaker::new(config(Window::count(64)).no_failure_rate(), start).unwrap();
    on_threads(THREADS, |thread| {
        let thread = u64::from(thread);
        for call in 0..20_000 {
            let permit = breaker.admit(start).unwrap();
            let failed = (call * 7 + thread) % 5 == 0;
            let outcome = if failed { Outcome::Failure } else { Outcome::Success };
            breaker.settle(permit, outcome, None, start);
        }
    });
    assert_eq!(breaker.snapshot(start).calls, 64);
    for _ in 0..64 {
        breaker.settle(breaker.admit(start).unwrap(), Outcome::Success, None, start);
    }
    let seen = breaker.snapshot(start);
    assert_eq!((seen.calls, seen.failures), (64, 0), "64 fresh successes push everything else out");
}

#[test]
fn never_more_probes_than_configured_and_no_slot_is_lost() {
    let start = Instant::now();
    let half_open = HalfOpen::counts(1_000_000, 1).only_concurrent(3);
    let breaker = Breaker::new(config(Window::count(10)).half_open(half_open), start).unwrap();
    breaker.command(Command::HalfOpen, start);
    let (in_flight, most) = (AtomicU32::new(0), AtomicU32::new(0));
    on_threads(THREADS, |thread| {
        let thread = u64::from(thread);
        for call in 0..20_000 {
            let Ok(permit) = breaker.admit(start) else { continue };
            assert!(permit.is_probe());
            most.fetch_max(in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            in_flight.fetch_sub(1, Ordering::SeqCst);
            match (call + thread) % 3 {
                0 => drop(breaker.abandon(permit, start)),
                1 => drop(breaker.settle(permit, Outcome::Ignored, None, start)),
                _ => drop(breaker.settle(permit, Outcome::Success, None, start)),
            }
        }
    });
    let most = most.load(Ordering::SeqCst);
    assert!((1..=3).contains(&most), "{most} probes at once");
    assert_eq!(breaker.snapshot(start).probes_in_flight, 0);
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[test]
fn a_period_admits_its_total_and_not_one_more() {
    let start = Instant::now();
    let config = config(Window::count(10)).half_open(HalfOpen::counts(5, 1));
    for _ in 0..200 {
        let breaker = Breaker::new(config.clone(), start).unwrap();
        breaker.command(Command::Open, start);
        let probes = AtomicU32::new(0);
        on_threads(THREADS, |_| {
            for _ in 0..50 {
                if let Ok(permit) = breaker.admit(start + Duration::from_secs(1)) {
                    assert!(permit.is_probe());
                    probes.fetch_add(1, Ordering::Relaxed);
                    // Kept: a probe that is still out.
                }
            }
        });
        assert_eq!(probes.load(Ordering::Relaxed), 5);
    }
}

#[test]
fn generations_grow_and_stale_results_change_nothing() {
    let start = Instant::now();
    let breaker = Breaker::new(config(Window::count(1_000)).no_failure_rate(), start).unwrap();
    on_threads(THREADS, |thread| {
        let thread = u64::from(thread);
        let mut last = 0;
        for call in 0..5_000 {
            let permit = breaker.admit(start);
            let generation = breaker.generation();
            assert!(generation >= last, "from {last} to {generation}");
            last = generation;
            if thread == 0 && call % 10 == 0 {
                breaker.command(Command::Reset, start);
            }
            if let Ok(permit) = permit {
                breaker.settle(permit, Outcome::Failure, None, start);
            }
        }
    });
    breaker.command(Command::Reset, start);
    assert_eq!(breaker.snapshot(start).calls, 0);
}

#[test]
fn transitions_are_told_in_order_while_threads_command() {
    let start = Instant::now();
    let breaker = Breaker::new(config(Window::count(10)), start).unwrap();
    let (last, told) = (AtomicU64::new(0), AtomicU64::new(0));
    on_threads(THREADS, |thread| {
        let thread = u64::from(thread);
        let command = if thread % 2 == 0 { Command::ForceOpen } else { Command::Disable };
        for _ in 0..2_000 {
            breaker.command(command, start);
            breaker.deliver(|transition| {
                let before = last.swap(transition.generation, Ordering::SeqCst);
                assert!(before < transition.generation);
                told.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    assert!(!breaker.has_news());
    assert!(told.load(Ordering::SeqCst) > 0);
}
