//! What is refused, and in which words: the field, the value and what it needs.

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
use serde_json::Value;

use crate::{every, refusal, valid};

macro_rules! unknown {
    ($($name:ident: $full:expr, $least:expr;)+) => {$(
        if let Value::Object(mut table) = valid::<Value>($full) {
            table.insert("surprise".to_owned(), Value::Bool(true));
            let error = refusal::<$name>(&Value::Object(table).to_string());
            assert!(error.starts_with("unknown field `"), "{error}");
            assert!(error.contains("surprise`, expected "), "{error}");
        }
    )+};
}

#[test]
fn a_field_that_nobody_knows_is_refused_by_name() {
    every!(unknown);
    let error = refusal::<CircuitBreakerConfig>(r#"{"sleep": {"bse": "1s"}}"#);
    assert!(
        error.starts_with(
            "unknown field `sleep.bse`, expected one of `base`, `multiplier`, `max`, `jitter`, `hints`"
        ),
        "{error}"
    );
}

macro_rules! wrong_kinds {
    ($($name:ident: $full:expr, $least:expr;)+) => {$(
        // No array is anything, and no field of any table is one.
        refusal::<$name>("[]");
        refusal::<$name>("true");
        if let Value::Object(table) = valid::<Value>($full) {
            for (field, value) in &table {
                let mut wrong = table.clone();
                let (list, kind) = match value {
                    Value::Array(_) => (Value::Bool(true), "true"),
                    _ => (Value::Array(vec![]), "sequence"),
                };
                wrong.insert(field.clone(), list);
                let error = refusal::<$name>(&Value::Object(wrong).to_string());
                assert!(error.contains(kind) && error.contains(&format!("{field}`")), "{error}");
                assert!(error.contains(" be "), "{error}");
            }
        }
    )+};
}

#[test]
fn a_value_of_another_kind_is_refused_by_its_field() {
    every!(wrong_kinds);
}

macro_rules! twice {
    ($($name:ident: $full:expr, $least:expr;)+) => {$(
        if let Value::Object(table) = valid::<Value>($full) {
            for (field, value) in &table {
                let mut text = $full.trim_end().trim_end_matches('}').to_owned();
                let opened = text.matches('{').count() - text.matches('}').count();
                text += &"}".repeat(opened - 1);
                text += &format!(", {field:?}: {value}}}");
                let error = refusal::<$name>(&text);
                assert!(error.starts_with("duplicate field `"), "{error}");
                assert!(error.contains(field.as_str()), "{error}");
            }
        }
    )+};
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    every!(twice);
}

#[test]
fn what_must_be_given_is_named() {
    for (error, field) in [
        (refusal::<RateLimitConfig>(r#"{"permits": 1, "per": "1s"}"#), "name"),
        (refusal::<RateLimitConfig>(r#"{"name": "a", "per": "1s"}"#), "permits"),
        (refusal::<RateLimitConfig>(r#"{"name": "a", "permits": 1}"#), "per"),
        (refusal::<BulkheadConfig>(r#"{"max_in_flight": 1}"#), "name"),
        (refusal::<BulkheadConfig>(r#"{"name": "a"}"#), "max_in_flight"),
        (refusal::<TimeoutConfig>(r#"{"limit": "1s"}"#), "name"),
        (refusal::<TimeoutConfig>(r#"{"name": "a"}"#), "limit"),
        (refusal::<LastGoodConfig>(r#"{"max_age": "1s"}"#), "name"),
        (refusal::<LastGoodConfig>(r#"{"name": "a"}"#), "max_age"),
        (refusal::<ClientConfig>("{}"), "name"),
        (refusal::<ServerConfig>("{}"), "name"),
        (refusal::<Keys>("{}"), "keys.most"),
        (refusal::<HalfOpen>(r#"{"calls": 5}"#), "half_open.failure_rate"),
        (refusal::<HalfOpen>(r#"{"failure_rate": 0.5}"#), "half_open.calls"),
        (refusal::<Backoff>(r#"{"step": "1s"}"#), "backoff.base"),
        (refusal::<BudgetConfig>(r#"{"max_tokens": 5}"#), "budget.ratio"),
        (refusal::<BodyTimeoutConfig>(r#"{"name": "a"}"#), "idle"),
        (refusal::<DeadlineConfig>("{}"), "name"),
        (refusal::<ForwardDeadlineConfig>("{}"), "name"),
        (refusal::<ClientIp>("{}"), "trusted"),
        (refusal::<ClientHeader>("{}"), "header.single"),
        (refusal::<Jitter>("{}"), "backoff.jitter.proportional"),
        (refusal::<HintMode>("{}"), "hints.mode.within"),
    ] {
        assert!(error.starts_with(&format!("missing field `{field}`")), "{error}");
    }
}

#[test]
fn two_choices_at_once_are_refused() {
    for (error, says) in [
        (
            refusal::<Window>(r#"{"size": 5, "buckets": 5}"#),
            "`window.size` is for a window of calls",
        ),
        (
            refusal::<Window>(r#"{"size": 5, "length": "1s"}"#),
            "`window.size` is for a window of calls",
        ),
        (refusal::<HalfOpen>(r#"{"successes": 5, "calls": 5}"#), "`half_open` decides by"),
        (refusal::<HalfOpen>(r#"{"failures": 5, "slow_rate": 0.5}"#), "`half_open` decides by"),
        (refusal::<Backoff>(r#"{"delay": "1s", "base": "1s"}"#), "`backoff` grows by"),
        (refusal::<Backoff>(r#"{"base": "1s", "step": "1s", "factor": 2}"#), "`backoff` grows by"),
        (
            refusal::<BudgetConfig>(r#"{"max_tokens": 5, "ratio": 1, "ttl": "1s"}"#),
            "`budget.max_tokens` is",
        ),
        (refusal::<DeadlineHeader>(r#"{"millis": "a", "seconds": "b"}"#), "one of `headers` has"),
        (refusal::<TrustedHops>(r#"{"count": 1, "networks": []}"#), "`trusted` has"),
    ] {
        assert!(error.starts_with(says), "{error}");
    }
}

/// In code each of these is a [`ConfigError`]; a file that says the same is refused in the same words.
#[test]
fn what_no_code_could_use_is_refused_in_the_words_of_the_code() {
    let error = |result: Result<(), ConfigError>| result.expect_err("it cannot work").to_string();
    let breaker = CircuitBreakerConfig::default;
    for (read, said) in [
        (
            refusal::<CircuitBreakerConfig>(r#"{"failure_rate": 1.5}"#),
            error(breaker().failure_rate(1.5).validate()),
        ),
        (
            refusal::<CircuitBreakerConfig>(r#"{"failure_rate": 0}"#),
            error(breaker().failure_rate(0.0).validate()),
        ),
        (
            refusal::<CircuitBreakerConfig>(r#"{"window": {"size": 0}}"#),
            error(breaker().window(Window::count(0)).validate()),
        ),
        (refusal::<CircuitBreakerConfig>(r#"{"name": ""}"#), error(breaker().name("").validate())),
        (
            refusal::<CircuitBreakerConfig>(r#"{"sleep": {"multiplier": 0.5}}"#),
            "`sleep.multiplier` = 0.5: must be a finite number of at least 1.0".to_owned(),
        ),
        (
            refusal::<CircuitBreakerConfig>(r#"{"half_open": {"total": "none"}}"#),
            "`half_open.total` = None: something must bound the probes".to_owned(),
        ),
        (
            refusal::<RateLimitConfig>(r#"{"name": "a", "permits": 1, "per": "0s"}"#),
            error(RateLimitConfig::new("a", 1, std::time::Duration::ZERO).validate()),
        ),
        (
            refusal::<RateLimitConfig>(
                r#"{"name": "a", "permits": 1, "per": "1s", "burst": 18446744073709551615}"#,
            ),
            error(RateLimitConfig::per_second("a", 1).burst(u64::MAX).validate()),
        ),
        (
            refusal::<BulkheadConfig>(r#"{"name": "a", "max_in_flight": 0}"#),
            error(BulkheadConfig::new("a", 0).validate()),
        ),
        (
            refusal::<RetryConfig>(r#"{"attempts": 0}"#),
            error(RetryConfig::default().attempts(0).validate()),
        ),
        (
            refusal::<RetryConfig>(r#"{"budget": {"ratio": -0.5}}"#),
            error(BudgetConfig::new(-0.5).validate()),
        ),
        (
            refusal::<RetryConfig>(r#"{"hints": {"jitter": 2}}"#),
            "`hints.jitter` = 2: must be a share in 0.0..=1.0".to_owned(),
        ),
        (
            refusal::<Backoff>(r#"{"jitter": {"proportional": 3}}"#),
            "`backoff.jitter` = 3: must be a share in 0.0..=1.0".to_owned(),
        ),
        (refusal::<Keys>("0"), "0: must be in 1..=16777216".to_owned()),
        (refusal::<Keys>(r#"{"most": 0}"#), "`max_keys` = 0: must be in 1..=16777216".to_owned()),
        (
            refusal::<ClientConfig>(r#"{"name": "a", "attempt_timeout": "1m"}"#),
            error(
                stack::client("a").attempt_timeout(std::time::Duration::from_secs(60)).validate(),
            ),
        ),
        (
            refusal::<ClientConfig>(r#"{"name": "a", "total_timeout": "0s"}"#),
            "`total_timeout` = 0ns: must be longer than zero".to_owned(),
        ),
        (
            refusal::<ServerConfig>(r#"{"name": "a", "timeout": "0s"}"#),
            "`timeout` = 0ns: must be longer than zero".to_owned(),
        ),
        (
            refusal::<ClientConfig>(r#"{"name": "a", "retry": {"name": "b"}}"#),
            r#"`retry.name` = "b": a stack's policies have its name, which is "a""#.to_owned(),
        ),
        (
            refusal::<ClientConfig>(r#"{"name": "a", "circuit_breaker": {"name": "b"}}"#),
            r#"`circuit_breaker.name` = "b": a stack's policies have its name"#.to_owned(),
        ),
        (
            refusal::<BodyTimeoutConfig>(r#"{"name": "a", "idle": "none"}"#),
            "`idle` = none: is needed where there is neither `total` nor".to_owned(),
        ),
        (refusal::<DeadlineConfig>(r#"{"name": "a"}"#), error(DeadlineConfig::new("a").validate())),
        (
            refusal::<ForwardDeadlineConfig>(
                r#"{"name": "a", "headers": [{"millis": "no name"}]}"#,
            ),
            error(ForwardDeadlineConfig::new("a").millis("no name").validate()),
        ),
        (
            refusal::<DeadlineConfig>(r#"{"name": "a", "headers": ["grpc-timeout"]}"#),
            r#"`headers` = "grpc-timeout": must be "grpc_timeout", or a table"#.to_owned(),
        ),
        (
            refusal::<ClientIp>(
                r#"{"trusted": {"networks": ["10.0.0.0/99"]}, "header": "forwarded"}"#,
            ),
            error(ClientIp::trusted_proxies(["10.0.0.0/99"]).forwarded().validate()),
        ),
        (
            refusal::<ClientIp>(r#"{"trusted": {"count": 1}}"#),
            error(ClientIp::trusted_hops(1).validate()),
        ),
        (
            refusal::<ClientIp>(r#"{"trusted": "nobody", "ipv6_prefix": 8}"#),
            error(ClientIp::peer().ipv6_prefix(8).validate()),
        ),
    ] {
        assert!(read.starts_with(&said), "{read}\n{said}");
    }
}

#[test]
fn numbers_out_of_range_are_refused_with_the_range() {
    for (value, says) in [
        ("-1", "`minimum_calls` = -1: must be a whole number in 0..=4294967295"),
        ("4294967296", "`minimum_calls` = 4294967296: must be a whole number in 0..=4294967295"),
        ("1.0", "`minimum_calls` = 1.0: must be a whole number in 0..=4294967295"),
        ("1e300", "`minimum_calls` = 1e300: must be a whole number in 0..=4294967295"),
        (r#""7""#, r#"`minimum_calls` = "7": must be a whole number in 0..=4294967295"#),
        ("null", "invalid type: null, expected `minimum_calls` to be a whole number in"),
        ("{}", "invalid type: map, expected `minimum_calls` to be a whole number in"),
    ] {
        let error = refusal::<CircuitBreakerConfig>(&format!(r#"{{"minimum_calls": {value}}}"#));
        assert!(error.starts_with(says), "{error}");
    }
    let error = refusal::<CircuitBreakerConfig>(r#"{"failure_rate": "off"}"#);
    assert!(error.starts_with(r#"`failure_rate` = "off": must be a number, or "none""#), "{error}");
    let error = refusal::<CircuitBreakerConfig>(r#"{"failure_rate": 1e400}"#);
    assert!(error.starts_with("number out of range"), "{error}");
    let error = refusal::<RateLimitConfig>(r#"{"name": "a", "permits": -1, "per": "1s"}"#);
    assert!(error.starts_with("`permits` = -1: must be a whole number, zero or more"), "{error}");
    let error = refusal::<ClientConfig>(r#"{"name": "a", "attempt_timeout": "none"}"#);
    assert!(error.starts_with(r#"`attempt_timeout` = "none": has a"#), "{error}");
}

/// What is no number cannot be said in JSON; other formats have a word for it.
#[test]
fn what_is_no_number_is_refused() {
    use serde::{Deserialize, de::value};
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let map = |field: &'static str| {
            value::MapDeserializer::<_, value::Error>::new([(field, number)].into_iter())
        };
        let errors = [
            CircuitBreakerConfig::deserialize(map("failure_rate")).map(drop),
            BudgetConfig::deserialize(map("ratio")).map(drop),
            BudgetConfig::deserialize(map("per_second")).map(drop),
            Backoff::deserialize(map("factor")).map(drop),
            Hints::deserialize(map("jitter")).map(drop),
        ];
        for error in errors.map(|read| read.expect_err("no number").to_string()) {
            assert!(error.contains(&number.to_string()), "{error}");
        }
    }
}

#[test]
fn a_duration_that_is_none_is_refused_with_the_way_to_write_it() {
    let hint =
        r#"must be a duration with its unit, such as "250ms", "5s" or "1m 30s", or "forever""#;
    for (value, says) in [
        ("5", format!("`probe_lease` = 5: {hint}")),
        ("0.25", format!("`probe_lease` = 0.25: {hint}")),
        ("-5", format!("`probe_lease` = -5: {hint}")),
        ("true", format!("`probe_lease` = true: {hint}")),
        (r#""5""#, format!(r#"`probe_lease` = "5": has a number without a unit; it {hint}"#)),
        (r#""-5s""#, format!(r#"`probe_lease` = "-5s": has a part without a number; it {hint}"#)),
        (r#""""#, format!(r#"`probe_lease` = "": is empty; it {hint}"#)),
        (
            r#""99999999999999999999s""#,
            format!(
                r#"`probe_lease` = "99999999999999999999s": is longer than can be counted; it {hint}"#
            ),
        ),
    ] {
        let error = refusal::<CircuitBreakerConfig>(&format!(r#"{{"probe_lease": {value}}}"#));
        assert!(error.starts_with(&says), "{error}\n{says}");
    }
}

#[test]
fn an_error_says_where() {
    let error = refusal::<CircuitBreakerConfig>(
        "{\n  \"minimum_calls\": 5,\n  \"sleep\": {\n    \"base\": 5\n  }\n}",
    );
    assert!(error.ends_with("at line 4 column 13"), "{error}");
}
