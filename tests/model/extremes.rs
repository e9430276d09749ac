//! Zero, huge and not-a-number: every configuration works or is refused by name and value.

use std::time::{Duration, Instant};

use portcullis::{
    CircuitBreakerConfig, Decide, HalfOpen, Hung, Outcome, Sleep, State, Window,
    policy::breaker::{Breaker, Command},
};
use proptest::{option, prelude::*, sample::select};

fn number() -> impl Strategy<Value = u32> {
    select(vec![0, 1, 2, 3, 1_024, 1_025, 16_777_216, 16_777_217, u32::MAX - 1, u32::MAX])
}

fn share() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => select(vec![f64::MIN_POSITIVE, 0.5, 1.0]),
        1 => select(vec![
            0.0, -0.0, -1.0, 1.000_000_1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX,
        ]),
    ]
}

fn time() -> impl Strategy<Value = Duration> {
    select(vec![
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_micros(1),
        Duration::from_nanos(1_025_001),
        Duration::from_secs(10),
        Duration::from_secs(u64::MAX),
        Duration::MAX,
    ])
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        number().prop_map(Window::count),
        (time(), number()).prop_map(|(length, buckets)| Window::Time { length, buckets }),
        time().prop_map(Window::time),
    ]
}

fn half_open() -> impl Strategy<Value = HalfOpen> {
    let decide = prop_oneof![
        (number(), number())
            .prop_map(|(successes, failures)| Decide::Counts { successes, failures }),
        (number(), share(), option::of(share())).prop_map(|(calls, failure_rate, slow_rate)| {
            Decide::Rate { calls, failure_rate, slow_rate }
        }),
    ];
    (decide, option::of(number()), option::of(number())).prop_map(|(decide, total, concurrent)| {
        let mut half_open = HalfOpen::default();
        half_open.decide = decide;
        half_open.total = total;
        half_open.concurrent = concurrent;
        half_open
    })
}

fn sleep() -> impl Strategy<Value = Sleep> {
    let multiplier = prop_oneof![
        select(vec![1.0, 1.5, f64::MAX]),
        select(vec![0.0, 0.999, -2.0, f64::NAN, f64::INFINITY]),
    ];
    (time(), multiplier, time(), share()).prop_map(|(base, multiplier, max, jitter)| {
        Sleep::growing(base, multiplier, max).jitter(jitter)
    })
}

/// A field is extreme in one case out of `n`, so that most cases reach the fields behind it.
fn seldom<T: std::fmt::Debug + Clone>(
    usual: T,
    extreme: impl Strategy<Value = T>,
) -> impl Strategy<Value = T> {
    prop_oneof![2 => Just(usual), 1 => extreme]
}

fn config() -> impl Strategy<Value = CircuitBreakerConfig> {
    let base = CircuitBreakerConfig::new("extreme");
    let hung = (number(), share()).prop_map(|(calls, share)| {
        let mut hung = Hung::default();
        (hung.calls, hung.share) = (calls, share);
        Some(hung)
    });
    let trip = (
        seldom(base.failure_rate, option::of(share())),
        seldom(Some(Duration::from_secs(1)), option::of(time())),
        seldom(None, option::of(share())),
        seldom(None, option::of(number())),
        seldom(None, option::of(number())),
        seldom(0, number()),
        seldom(None, hung),
    );
    let rest = (
        seldom(base.window, window()),
        seldom(base.minimum_calls, number()),
        seldom(base.sleep, sleep()),
        seldom(base.half_open, half_open()),
        seldom(base.probe_lease, time()),
        seldom(None, option::of(time())),
        any::<(bool, Option<u64>)>(),
    );
    (trip, rest).prop_map(|(trip, rest)| {
        let mut config = CircuitBreakerConfig::new("extreme");
        (config.failure_rate, config.slow_call_after, config.slow_call_rate, ..) = trip;
        (
            ..,
            config.consecutive_failures,
            config.failures,
            config.failures_minimum_calls,
            config.hung,
        ) = trip;
        (config.window, config.minimum_calls, config.sleep, config.half_open, ..) = rest;
        (.., config.probe_lease, config.recovery_ramp, (config.drops_are_failures, config.seed)) =
            rest;
        config
    })
}

/// The value that a field has in the configuration, as its error must give it.
fn given(config: &CircuitBreakerConfig, field: &str) -> Option<String> {
    let half_open = &config.half_open;
    let (mut successes, mut failures, mut calls, mut failure_rate, mut slow_rate) =
        (None, None, None, None, None);
    match half_open.decide {
        Decide::Counts { successes: s, failures: f } => (successes, failures) = (Some(s), Some(f)),
        Decide::Rate { calls: c, failure_rate: f, slow_rate: s } => {
            (calls, failure_rate, slow_rate) = (Some(c), Some(f), s);
        }
        _ => {}
    }
    let (mut size, mut length, mut buckets) = (None, None, None);
    match config.window {
        Window::Count { size: s } => size = Some(s),
        Window::Time { length: l, buckets: b } => (length, buckets) = (Some(l), Some(b)),
        _ => {}
    }
    fn text<T: ToString>(value: Option<T>) -> Option<String> {
        value.map(|value| value.to_string())
    }
    match field {
        "window.size" => text(size),
        "window.buckets" => text(buckets),
        "window.length" => length.map(|length| format!("{length:?}")),
        "failure_rate" => text(config.failure_rate),
        "slow_call_rate" => text(config.slow_call_rate),
        "consecutive_failures" => text(config.consecutive_failures),
        "failures" => text(config.failures),
        "hung" | "hung.calls" => text(config.hung.map(|hung| hung.calls)),
        "hung.share" => text(config.hung.map(|hung| hung.share)),
        "sleep.multiplier" => text(Some(config.sleep.multiplier)),
        "sleep.jitter" => text(Some(config.sleep.jitter)),
        "sleep.max" => Some(format!("{:?}", config.sleep.max)),
        "half_open.total" => Some(text(half_open.total).unwrap_or_else(|| "None".into())),
        "half_open.concurrent" => text(half_open.concurrent),
        "half_open.successes" => text(successes),
        "half_open.failures" => text(failures),
        "half_open.calls" => text(calls),
        "half_open.failure_rate" => text(failure_rate),
        "half_open.slow_rate" => text(slow_rate),
        "probe_lease" => Some(format!("{:?}", config.probe_lease)),
        _ => None,
    }
}

const COMMANDS: [Command; 10] = [
    Command::Open,
    Command::OpenFor(Duration::MAX),
    Command::OpenFor(Duration::ZERO),
    Command::HalfOpen,
    Command::Close,
    Command::ForceOpen,
    Command::Disable,
    Command::Shadow,
    Command::Enable,
    Command::Reset,
];

/// A few calls of every kind; what they do is the other tests' business.
fn use_it(breaker: &Breaker, times: &[Instant]) {
    for (at, &now) in times.iter().enumerate() {
        let later = times[(at + 1).min(times.len() - 1)];
        for outcome in [Outcome::Failure, Outcome::Success, Outcome::Ignored, Outcome::Failure] {
            if let Ok(permit) = breaker.admit(now) {
                breaker.settle(permit, outcome, Some(Duration::MAX), later);
            }
            if let Ok(permit) = breaker.admit_until(Some(now), later) {
                breaker.abandon(permit, later);
            }
            breaker.not_ready(outcome, Some(Duration::ZERO), later);
            let _ = (breaker.snapshot(later), breaker.explain(later).to_string());
            let _ = breaker.refuses(later);
        }
        breaker.deliver(|turn| assert!(turn.generation <= breaker.generation()));
    }
}

proptest! {
    #![proptest_config(super::cases())]

    #[test]
    fn every_configuration_works_or_is_named(config in config(), next in config()) {
        let start = portcullis::clock::tokio_now();
        let breaker = match Breaker::new(config.clone(), start) {
            Ok(breaker) => breaker,
            Err(error) => {
                let expected = given(&config, error.field());
                prop_assert_eq!(Some(error.value()), expected.as_deref(), "{}", error);
                prop_assert!(!error.why().is_empty());
                return Ok(());
            }
        };
        let times: Vec<Instant> = [0, 1, 1_000_000_000, 3_000_000_000_000_000_000, u64::MAX]
            .into_iter()
            .filter_map(|ns| start.checked_add(Duration::from_nanos(ns)))
            .collect();
        use_it(&breaker, &times);
        for command in COMMANDS {
            breaker.command(command, times[1]);
            use_it(&breaker, &times[1..]);
        }
        // Whatever the numbers, a half-open circuit sends a probe.
        breaker.command(Command::Enable, start);
        breaker.command(Command::HalfOpen, start);
        let probe = breaker.admit(start);
        prop_assert!(probe.is_ok_and(|permit| permit.is_probe()));

        let before = breaker.snapshot(start);
        match breaker.reconfigure(next.clone(), start) {
            Ok(()) => use_it(&breaker, &times),
            Err(error) => {
                let expected = given(&next, error.field());
                prop_assert_eq!(Some(error.value()), expected.as_deref(), "{}", error);
                prop_assert_eq!(breaker.snapshot(start), before, "a refused change changed something");
            }
        }
    }
}

/// The waits of ever more openings grow to the cap and stay there.
#[test]
fn the_wait_reaches_its_cap_and_stays() {
    let start = portcullis::clock::tokio_now();
    let cap = Duration::from_secs(60);
    for multiplier in [1.000_001, 2.0, 1e18, f64::MAX] {
        let config = CircuitBreakerConfig::new("cap")
            .sleep(Sleep::growing(Duration::from_secs(5), multiplier, cap).jitter(0.0));
        let breaker = Breaker::new(config, start).expect("valid");
        let (mut now, mut last) = (start, Duration::ZERO);
        breaker.command(Command::Open, now);
        for opening in 1..3_000 {
            let wait = breaker.snapshot(now).time_to_half_open.expect("open");
            assert!(wait >= last && wait <= cap, "{wait:?} after {last:?}, opening {opening}");
            last = wait;
            now += wait;
            let probe = breaker.admit(now).expect("the wait is over");
            breaker.settle(probe, Outcome::Failure, None, now);
            assert_eq!(breaker.state(), State::Open);
        }
        assert!(multiplier < 2.0 || last == cap);
    }
}
