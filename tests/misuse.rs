//! What is put in wrongly changes nothing and panics nowhere.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and picks any instant to begin with"
)]

use std::time::{Duration, Instant};

use portcullis::{
    CircuitBreakerConfig, Command, HalfOpen, Outcome, State, Window,
    policy::{breaker::Breaker, window::Rolling},
};

/// A permit belongs to the breaker that gave it.
#[test]
fn a_permit_of_another_breaker_is_none() {
    let now = Instant::now();
    let config = CircuitBreakerConfig::new("misuse").half_open(HalfOpen::counts(3, 1));
    let half_open = || {
        let breaker = Breaker::new(config.clone(), now).unwrap();
        breaker.command(Command::HalfOpen, now);
        breaker
    };
    let (one, other) = (half_open(), half_open());
    // Other has no slot yet, then one that is free.
    other.settle(one.admit(now).unwrap(), Outcome::Ignored, None, now);
    other.settle(other.admit(now).unwrap(), Outcome::Ignored, None, now);
    other.settle(one.admit(now).unwrap(), Outcome::Ignored, None, now);
    assert_eq!(other.snapshot(now).probes_in_flight, 0);
    let probes = [(); 3].map(|()| other.admit(now).unwrap());
    assert!(other.admit(now).is_err());
    for probe in probes {
        other.settle(probe, Outcome::Success, None, now);
    }
    assert_eq!(other.state(), State::Closed);
}

/// The pure window takes any shape, also those that a configuration refuses.
#[test]
fn windows_of_any_shape_work() {
    let shapes = [
        Window::Time { length: Duration::ZERO, buckets: 0 },
        Window::Time { length: Duration::ZERO, buckets: 1 },
        Window::Time { length: Duration::from_nanos(1), buckets: u32::MAX },
        Window::Time { length: Duration::MAX, buckets: u32::MAX },
        Window::Count { size: 0 },
        Window::Count { size: 1 },
    ];
    for shape in shapes {
        let mut window = Rolling::new(shape);
        for now in [0, 1, 1_000_000_000, 2_000_000_000, u64::MAX - 1, u64::MAX] {
            window.record(now, true, false);
            let counts = window.counts(now);
            assert!(counts.calls >= 1 && counts.failures == counts.calls, "{shape:?}");
        }
        for other in shapes {
            window.reshape(other, u64::MAX);
        }
    }
    let mut instant = Rolling::new(Window::Time { length: Duration::ZERO, buckets: 1 });
    (0..100).for_each(|second| instant.record(second * 1_000_000_000, true, false));
    assert_eq!(
        instant.counts(99_000_000_000).calls,
        1,
        "a length of zero is taken as one nanosecond"
    );
}

/// Transitions that nobody asks for do not pile up.
#[test]
fn untold_transitions_are_bounded() {
    let now = Instant::now();
    let breaker = Breaker::new(CircuitBreakerConfig::new("misuse"), now).unwrap();
    for _ in 0..10_000 {
        breaker.command(Command::Open, now);
        breaker.command(Command::Close, now);
    }
    let mut told = Vec::new();
    breaker.deliver(|transition| told.push(transition.generation));
    assert_eq!(told.len(), 256);
    assert_eq!(told.last(), Some(&breaker.generation()), "the newest are kept");
}

/// A call that was cut when it was slow is no success, and does not make failures look rare.
#[test]
fn slow_drops_without_a_slow_rule_count_for_nothing() {
    let start = Instant::now();
    let config = CircuitBreakerConfig::new("misuse")
        .minimum_calls(4)
        .slow_call_after(Duration::from_secs(1));
    let breaker = Breaker::new(config, start).unwrap();
    let later = start + Duration::from_secs(2);
    for _ in 0..10 {
        breaker.abandon(breaker.admit(start).unwrap(), later);
    }
    assert_eq!(breaker.snapshot(later).calls, 0);
    for _ in 0..4 {
        breaker.settle(breaker.admit(later).unwrap(), Outcome::Failure, None, later);
    }
    assert_eq!(breaker.state(), State::Open);
}

/// A classifier may count, or be dear: it is asked once for each result.
#[test]
fn a_result_is_judged_once() {
    use std::cell::Cell;

    use portcullis::{Circuit, Error};

    let windows = [Window::time(Duration::from_secs(10)), Window::count(4)];
    for window in windows {
        let circuit = Circuit::new(CircuitBreakerConfig::new("misuse").window(window)).unwrap();
        let judged = Cell::new(0);
        let classify = |result: &Result<u32, Error<()>>| {
            judged.set(judged.get() + 1);
            if result.is_ok() { Outcome::Success } else { Outcome::Failure }
        };
        for call in 1..=40 {
            let result = if call % 5 == 0 { Err(Error::Inner(())) } else { Ok(call) };
            assert_eq!(circuit.call_classified(&classify, || result), result);
            assert_eq!(judged.get(), call);
        }
    }
}
