//! Whatever a file holds: it is read, and then means the same when written and read again, or it is
//! refused; nothing panics. `PROPTEST_CASES` sets the number of cases.

use std::{fmt::Debug, time::Duration};

use portcullis::{
    http::{
        deadline::{DeadlineConfig, DeadlineHeader, ForwardDeadlineConfig},
        key::{ClientHeader, ClientIp, TrustedHops},
    },
    policy::body_timeout::config::BodyTimeoutConfig,
    retry::BudgetUse,
    stack::{ClientConfig, ServerConfig},
    *,
};
use proptest::{collection::vec, option, prelude::*, sample::select, strategy::ValueTree};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{every, shown, valid, written};

/// Reads it as a `T`, if it is one, and holds what was read to its word.
fn reads<T: DeserializeOwned + Serialize + Debug>(value: &Value) -> bool {
    let Ok(config) = serde_json::from_value::<T>(value.clone()) else { return false };
    comes_back(&config);
    true
}

/// By way of a `Value`: from text, `serde_json` reads some numbers as their neighbours.
#[track_caller]
fn comes_back<T: DeserializeOwned + Serialize + Debug>(config: &T) {
    let written = written(config);
    match serde_json::from_value::<T>(written.clone()) {
        Ok(again) => assert_eq!(shown(&again), shown(config), "{written}"),
        Err(error) => panic!("{written}: {error}"),
    }
}

macro_rules! any_of_them {
    ($value:expr => $($name:ident: $full:expr, $least:expr;)+) => {
        [$(reads::<$name>($value)),+].into_iter().filter(|read| *read).count()
    };
}

/// Every table there is, with all of its fields.
fn seeds() -> Vec<Value> {
    macro_rules! full {
        ($($name:ident: $full:expr, $least:expr;)+) => { vec![$(valid($full)),+] };
    }
    every!(full)
}

fn words(value: &Value, found: &mut Vec<String>) {
    if let Value::Object(table) = value {
        for (field, value) in table {
            found.push(field.clone());
            words(value, found);
        }
    }
}

/// A field that some table has, mostly.
fn field() -> impl Strategy<Value = String> {
    let mut known = Vec::new();
    seeds().iter().for_each(|seed| words(seed, &mut known));
    known.push("$serde_json::private::Number".to_owned());
    prop_oneof![9 => select(known), 1 => ".{0,8}"]
}

fn leaf() -> impl Strategy<Value = Value> {
    let numbers = [0.0, -0.0, 1e-9, 0.2, 0.5, 1.0, 1.5, 1e9, 1e300, f64::MIN_POSITIVE];
    let words = [
        "none",
        "forever",
        "full",
        "exact",
        "fifo",
        "refuse",
        "250ms",
        "1m 30s",
        "0s",
        "1ns",
        "5",
        "-5s",
        "584542046090years",
        "18446744073709551615s 1000000000ns",
        "payments",
        "",
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(vec![0, 1, 2, 1 << 24, u64::from(u32::MAX), u64::MAX]).prop_map(Value::from),
        select(numbers.to_vec()).prop_map(Value::from),
        select(words.to_vec()).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ]
}

fn anything() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 32, 8, |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..3).prop_map(Value::Array),
            6 => vec((field(), inner), 0..8)
                .prop_map(|fields| Value::Object(Map::from_iter(fields))),
        ]
    })
}

/// A whole table in which some value, however deep, is another one.
fn nearly_right() -> impl Strategy<Value = Value> {
    let place = prop_oneof![9 => Just(false), 1 => Just(true)];
    let value = prop_oneof![5 => leaf(), 1 => anything()];
    (select(seeds()), vec((any::<prop::sample::Index>(), place), 1..4), field(), value).prop_map(
        |(mut whole, path, new, value)| {
            put(&mut whole, &path, &new, value);
            whole
        },
    )
}

/// Puts a value where a path of fields leads, some of which get a new name.
fn put(at: &mut Value, path: &[(prop::sample::Index, bool)], new: &str, value: Value) {
    match (at, path.split_first()) {
        (Value::Object(table), Some(((index, renamed), path))) if !table.is_empty() => {
            let field = index.get(&table.keys().cloned().collect::<Vec<_>>()).clone();
            let old = if *renamed { table.remove(&field) } else { None };
            let field = if *renamed { new.to_owned() } else { field };
            put(table.entry(field).or_insert(old.unwrap_or_default()), path, new, value);
        }
        (at, _) => *at = value,
    }
}

fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1..u64::MAX).prop_map(Duration::from_nanos),
        (1..10_000_u64).prop_map(Duration::from_millis),
        Just(Duration::MAX),
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n)),
    ]
}

fn share() -> impl Strategy<Value = f64> {
    (0.0..=1.0_f64).prop_map(|share| 1.0 - share * 0.999_999)
}

prop_compose! {
    fn breakers()(
        window in prop_oneof![
            (1..=1_u32 << 24).prop_map(Window::count),
            (1..=1024_u32, 1..u64::MAX / 2048).prop_map(|(buckets, us)| Window::Time {
                length: Duration::from_micros(u64::from(buckets)) + Duration::from_nanos(us),
                buckets,
            }),
        ],
        rate in option::of(share()),
        slow in option::of((span(), option::of(share()), option::of((1..9_u32, share())))),
        consecutive in option::of(1..=u32::MAX),
        failures in option::of((1..5_u32, any::<u32>())),
        minimum_calls: u32,
        sleep in (span(), span(), 1.0..1e9_f64, 0.0..=1.0_f64, any::<bool>()),
        half_open in prop_oneof![
            (1..9_u32, 1..9_u32).prop_map(|(s, f)| HalfOpen::counts(s, f)),
            (1..9_u32, share()).prop_map(|(calls, rate)| HalfOpen::rate(calls, rate)),
        ],
        concurrent in option::of(1..9_u32),
        endless: bool,
        lease in span(),
        ramp in option::of(span()),
        drops: bool,
        seed: Option<u64>,
    ) -> CircuitBreakerConfig {
        let mut config = CircuitBreakerConfig::new("made up").window(window);
        config.failure_rate = rate;
        if let Some((after, rate, hung)) = slow {
            config.slow_call_after = Some(after);
            config.slow_call_rate = rate;
            config.hung = hung.map(|(calls, share)| Hung::new(calls, share));
        }
        config.consecutive_failures = consecutive;
        if let Some((failures, calls)) = failures {
            let most = match window { Window::Count { size } => size, _ => u32::MAX };
            config = config.failures_of(failures.min(most), calls);
        }
        let (base, max, multiplier, jitter, hints) = sleep;
        let sleep = Sleep::growing(base.min(max), multiplier, base.max(max));
        config.sleep = sleep.jitter(jitter).hints(hints);
        config.half_open = half_open;
        config.half_open.concurrent = concurrent;
        if endless {
            config.half_open = config.half_open.only_concurrent(concurrent.unwrap_or(1));
        }
        config.probe_lease = lease;
        config.recovery_ramp = ramp;
        config.seed = seed;
        config.minimum_calls(minimum_calls).drops_are_failures(drops)
    }
}

prop_compose! {
    fn retries()(
        attempts in 1..=u32::MAX,
        growth in prop_oneof![
            span().prop_map(Backoff::constant),
            (span(), span()).prop_map(|(base, step)| Backoff::linear(base, step)),
            (span(), 1.0..1e300_f64).prop_map(|(base, factor)| Backoff::exponential(base, factor)),
        ],
        max in span(),
        jitter in prop_oneof![
            select(vec![Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated]),
            (0.0..=1.0_f64).prop_map(Jitter::Proportional),
        ],
        mode in prop_oneof![
            select(vec![HintMode::Exact, HintMode::AtLeast, HintMode::Capped]),
            span().prop_map(HintMode::Within),
        ],
        cap in span(),
        share in 0.0..=1.0_f64,
        budget in prop_oneof![
            Just(BudgetUse::None),
            (0.001..=1000.0_f64, 1.0..=1e9_f64, 1_000..u64::MAX).prop_map(|(ratio, rate, ttl)| {
                let ttl = Duration::from_nanos(ttl);
                BudgetUse::Own(BudgetConfig::new(ratio).per_second(rate).ttl(ttl))
            }),
            (1..=u32::MAX, 0.001..=1000.0_f64)
                .prop_map(|(most, ratio)| BudgetUse::Own(BudgetConfig::grpc(most, ratio))),
        ],
        [refusals, nested, restart]: [bool; 3],
        seed: Option<u64>,
    ) -> RetryConfig {
        let mut config = RetryConfig::new("made up")
            .attempts(attempts)
            .backoff(growth.max(max).jitter(jitter))
            .hints(Hints::default().mode(mode).cap(cap).jitter(share).restart(restart))
            .retry_refusals(refusals)
            .nested(nested);
        config.budget = budget;
        config.seed = seed;
        config
    }
}

proptest! {
    #[test]
    fn no_json_panics(value in anything()) {
        macro_rules! each { ($($all:tt)+) => { any_of_them!(&value => $($all)+) } }
        every!(each);
    }

    #[test]
    fn nothing_nearly_right_panics(value in nearly_right()) {
        macro_rules! each { ($($all:tt)+) => { any_of_them!(&value => $($all)+) } }
        every!(each);
    }

    #[test]
    fn every_breaker_comes_back(config in breakers()) {
        prop_assert_eq!(config.validate(), Ok(()));
        comes_back(&config);
    }

    #[test]
    fn every_retry_comes_back(config in retries()) {
        prop_assert_eq!(config.validate(), Ok(()));
        comes_back(&config);
    }

    #[test]
    fn every_other_comes_back(
        (permits, per, burst) in (1..1_000_000_u64, 1..1_000_000_u64, option::of(1..1_000_u64)),
        (most, at_cap) in (
            1..=1_usize << 24, select(vec![AtCap::ShareOverflow, AtCap::Refuse, AtCap::Admit]),
        ),
        long in span(),
        (calls, queue, lifo) in (1..usize::MAX, 0..usize::MAX, any::<bool>()),
        (breaker, retry) in (breakers(), retries()),
        attempt in option::of(span()),
    ) {
        let mut limit = RateLimitConfig::new("made up", permits, Duration::from_micros(per));
        limit.burst = burst;
        comes_back(&limit);
        comes_back(&Keys::at_most(most).or(at_cap));
        comes_back(&Waits::up_to(long).queue(queue));
        let mut bulkhead = BulkheadConfig::new("made up", calls).queue(queue).max_wait(long);
        if lifo {
            bulkhead = bulkhead.lifo();
        }
        comes_back(&bulkhead);
        comes_back(&TimeoutConfig::new("made up", long).min_remaining(long / 3));
        comes_back(&LastGoodConfig::new("made up", long).max_keys(most));
        comes_back(&stack::server("made up").max_in_flight(calls).timeout(long));
        let mut client = stack::client("made up").max_in_flight(calls).retry(retry);
        client = client.circuit_breaker(breaker);
        client.total_timeout = long;
        client.attempt_timeout = attempt.filter(|attempt| *attempt < long);
        comes_back(&client);
    }
}

/// These properties would hold of a reader that refused everything.
#[test]
fn much_of_what_is_nearly_right_is_right() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut read = 0;
    for _ in 0..300 {
        let value = nearly_right().new_tree(&mut runner).expect("a value").current();
        macro_rules! each { ($($all:tt)+) => { any_of_them!(&value => $($all)+) } }
        read += usize::from(every!(each) > 0);
    }
    assert!(read > 15, "{read} of 300");
    assert!(!reads::<Keys>(&json!([])));
}
