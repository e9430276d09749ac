//! What is read is what the same words make in code.

use std::time::Duration;

use portcullis::{
    http::{
        deadline::{DeadlineConfig, ForwardDeadlineConfig},
        key::ClientIp,
    },
    policy::body_timeout::config::BodyTimeoutConfig,
    retry::BudgetUse,
    stack::{self, ClientConfig, ServerConfig},
    *,
};
use serde_json::json;

use crate::{shown, valid, written};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[test]
fn what_is_left_out_is_what_it_is_in_code() {
    assert_eq!(valid::<CircuitBreakerConfig>("{}"), CircuitBreakerConfig::default());
    assert_eq!(valid::<Sleep>("{}"), Sleep::default());
    assert_eq!(valid::<HalfOpen>("{}"), HalfOpen::default());
    assert_eq!(valid::<Hung>("{}"), Hung::default());
    assert_eq!(valid::<Window>("{}"), Window::time(10 * SECOND));
    assert_eq!(
        valid::<RateLimitConfig>(r#"{"name": "api", "permits": 5, "per": "1m"}"#),
        RateLimitConfig::new("api", 5, 60 * SECOND)
    );
    assert_eq!(valid::<Keys>("500"), Keys::at_most(500));
    assert_eq!(valid::<Keys>(r#"{"most": 500}"#), Keys::at_most(500));
    assert_eq!(valid::<Waits>("{}"), Waits::default());
    assert_eq!(
        valid::<BulkheadConfig>(r#"{"name": "db", "max_in_flight": 5}"#),
        BulkheadConfig::new("db", 5)
    );
    assert_eq!(
        valid::<TimeoutConfig>(r#"{"name": "db", "limit": "2s"}"#),
        TimeoutConfig::new("db", 2 * SECOND)
    );
    assert_eq!(valid::<RetryConfig>("{}"), RetryConfig::default());
    assert_eq!(valid::<Backoff>("{}"), Backoff::default());
    assert_eq!(valid::<Hints>("{}"), Hints::default());
    assert_eq!(valid::<BudgetConfig>("{}"), BudgetConfig::default());
    assert_eq!(valid::<BudgetUse>("{}"), BudgetUse::Own(BudgetConfig::default()));
    assert_eq!(valid::<FallbackConfig>("{}"), FallbackConfig::default());
    assert_eq!(
        valid::<LastGoodConfig>(r#"{"name": "prices", "max_age": "5m"}"#),
        LastGoodConfig::new("prices", 300 * SECOND)
    );
    assert_eq!(valid::<CatchPanicConfig>("{}"), CatchPanicConfig::default());
    assert_eq!(valid::<ClientConfig>(r#"{"name": "a"}"#), stack::client("a"));
    assert_eq!(valid::<ServerConfig>(r#"{"name": "a"}"#), stack::server("a"));
}

#[test]
fn a_breaker_with_everything() {
    let read: CircuitBreakerConfig = valid(
        r#"{"name": "db", "window": {"size": 50}, "failure_rate": 0.25, "slow_call_after": "2s",
            "slow_call_rate": 0.75, "consecutive_failures": 7, "failures": 40,
            "failures_minimum_calls": 45, "hung": {"calls": 5}, "minimum_calls": 10,
            "sleep": {"base": "1s", "max": "1m 30s", "hints": false},
            "half_open": {"calls": 8, "failure_rate": 0.3, "slow_rate": 0.6, "concurrent": 2},
            "probe_lease": "15s", "recovery_ramp": "20s", "drops_are_failures": true, "seed": 7}"#,
    );
    let made = CircuitBreakerConfig::new("db")
        .window(Window::count(50))
        .failure_rate(0.25)
        .slow_calls(2 * SECOND, 0.75)
        .consecutive_failures(7)
        .failures_of(40, 45)
        .hung(Hung::new(5, 0.5))
        .minimum_calls(10)
        .sleep(Sleep::growing(SECOND, 2.0, 90 * SECOND).hints(false))
        .half_open(HalfOpen::rate(8, 0.3).slow_rate(0.6).concurrent(2))
        .probe_lease(15 * SECOND)
        .recovery_ramp(20 * SECOND)
        .drops_are_failures(true)
        .seed(7);
    assert_eq!(read, made);
}

#[test]
fn a_retry_with_everything() {
    let read: RetryConfig = valid(
        r#"{"name": "db", "attempts": 5,
            "backoff": {"base": "100ms", "factor": 3, "max": "5s", "jitter": {"proportional": 0.5}},
            "hints": {"mode": {"within": "1s"}, "cap": "9s", "jitter": 0.1, "restart": true},
            "budget": {"ratio": 1, "per_second": 2, "ttl": "1m"},
            "retry_refusals": true, "nested": true, "seed": 7}"#,
    );
    let backoff = Backoff::exponential(100 * MS, 3.0).max(5 * SECOND);
    let hints = Hints::http().mode(HintMode::Within(SECOND)).cap(9 * SECOND).restart(true);
    let made = RetryConfig::new("db")
        .attempts(5)
        .backoff(backoff.jitter(Jitter::Proportional(0.5)))
        .hints(hints)
        .budget(BudgetConfig::new(1.0).per_second(2.0).ttl(60 * SECOND))
        .retry_refusals(true)
        .nested(true)
        .seed(7);
    assert_eq!(read, made);
}

#[test]
fn which_choice_it_is_shows_by_its_fields() {
    let window = valid::<Window>(r#"{"buckets": 20}"#);
    assert_eq!(window, Window::Time { length: 10 * SECOND, buckets: 20 });
    assert_eq!(valid::<Window>(r#"{"size": 7}"#), Window::count(7));

    assert_eq!(valid::<HalfOpen>(r#"{"successes": 5}"#), HalfOpen::counts(5, 1));
    assert_eq!(valid::<HalfOpen>(r#"{"failures": 2}"#), HalfOpen::counts(3, 2));
    let rate = valid::<HalfOpen>(r#"{"calls": 9, "failure_rate": 0.5}"#);
    assert_eq!(rate, HalfOpen::rate(9, 0.5));
    let endless = valid::<HalfOpen>(r#"{"total": "none", "concurrent": 2}"#);
    assert_eq!(endless, HalfOpen::default().only_concurrent(2));

    assert_eq!(valid::<Backoff>(r#"{"delay": "1s"}"#), Backoff::constant(SECOND));
    let linear = valid::<Backoff>(r#"{"base": "1s", "step": "2s"}"#);
    assert_eq!(linear, Backoff::linear(SECOND, 2 * SECOND));
    assert_eq!(valid::<Backoff>(r#"{"base": "1s"}"#), Backoff::exponential(SECOND, 2.0));
    assert_eq!(valid::<Backoff>(r#"{"factor": 4.0}"#), Backoff::exponential(50 * MS, 4.0));
    for (word, jitter) in [
        ("none", Jitter::None),
        ("full", Jitter::Full),
        ("equal", Jitter::Equal),
        ("decorrelated", Jitter::Decorrelated),
    ] {
        let read = valid::<Backoff>(&json!({"jitter": word}).to_string());
        assert_eq!(read, Backoff::default().jitter(jitter));
        assert_eq!(written(&jitter), word);
    }
    for (word, mode) in
        [("exact", HintMode::Exact), ("at_least", HintMode::AtLeast), ("capped", HintMode::Capped)]
    {
        let read = valid::<Hints>(&json!({"mode": word}).to_string());
        assert_eq!(read, Hints::default().mode(mode));
        assert_eq!(written(&mode), word);
    }
    for (word, at_cap) in [
        ("share_overflow", AtCap::ShareOverflow),
        ("refuse", AtCap::Refuse),
        ("admit", AtCap::Admit),
    ] {
        let read = valid::<Keys>(&json!({"most": 10, "at_cap": word}).to_string());
        assert_eq!(read, Keys::at_most(10).or(at_cap));
        assert_eq!(written(&at_cap), word);
    }

    let throttle = valid::<BudgetConfig>(r#"{"max_tokens": 100, "ratio": 0.1}"#);
    assert_eq!(throttle, BudgetConfig::grpc(100, 0.1));
    let budget = |json| valid::<RetryConfig>(json).budget;
    assert_eq!(budget(r#"{"budget": "none"}"#), BudgetUse::None);
    assert_eq!(budget(r#"{"budget": null}"#), BudgetUse::None);
    let share = BudgetConfig::default().ttl(SECOND);
    assert_eq!(budget(r#"{"budget": {"ttl": "1s"}}"#), BudgetUse::Own(share));
}

#[test]
fn what_only_http_has() {
    let read: BodyTimeoutConfig =
        valid(r#"{"name": "files", "idle": "none", "total": "10m", "until_deadline": true}"#);
    let made = BodyTimeoutConfig::new("files", SECOND).no_idle().total(600 * SECOND);
    assert_eq!(read, made.until_deadline(true));
    let read: BodyTimeoutConfig = valid(r#"{"name": "files", "idle": "15s"}"#);
    assert_eq!(read, BodyTimeoutConfig::new("files", 15 * SECOND));

    let read: DeadlineConfig = valid(
        r#"{"name": "api", "max": "30s", "margin": "5ms", "min_remaining": "20ms",
            "headers": ["grpc_timeout", {"millis": "x-timeout-ms"}, {"seconds": "x-timeout"}]}"#,
    );
    let made =
        DeadlineConfig::new("api").grpc_timeout().millis("x-timeout-ms").seconds("x-timeout");
    assert_eq!(read, made.max(30 * SECOND).margin(5 * MS).min_remaining(20 * MS));
    let read: ForwardDeadlineConfig = valid(r#"{"name": "api", "headers": ["grpc_timeout"]}"#);
    assert_eq!(read, ForwardDeadlineConfig::new("api").grpc_timeout());

    for (json, made) in [
        (r#"{"trusted": "nobody"}"#, ClientIp::peer()),
        (
            r#"{"trusted": {"count": 2}, "header": "x_forwarded_for", "ipv4_prefix": 24}"#,
            ClientIp::trusted_hops(2).x_forwarded_for().ipv4_prefix(24),
        ),
        (
            r#"{"trusted": {"networks": ["10.0.0.0/8", "::1"]}, "header": "forwarded"}"#,
            ClientIp::trusted_proxies(["10.0.0.0/8", "::1"]).forwarded(),
        ),
        (
            r#"{"trusted": {"count": 1}, "header": {"single": "x-real-ip"}, "ipv6_prefix": 48}"#,
            ClientIp::trusted_hops(1).header("x-real-ip").ipv6_prefix(48),
        ),
    ] {
        assert_eq!(shown(&valid::<ClientIp>(json)), shown(&made));
    }
}

#[test]
fn what_is_optional_can_be_switched_off() {
    for none in [r#""none""#, "null"] {
        let json =
            format!(r#"{{"failure_rate": {none}, "hung": {none}, "slow_call_after": {none}}}"#);
        let expected = CircuitBreakerConfig::default().no_failure_rate();
        assert_eq!(valid::<CircuitBreakerConfig>(&json), expected);
        let json = format!(r#"{{"name": "db", "limit": {none}}}"#);
        assert_eq!(valid::<TimeoutConfig>(&json), TimeoutConfig::per_request("db"));
    }
    // What is found by other means where it is not given has nothing to be switched off.
    let client: ClientConfig = valid(r#"{"name": "a", "attempt_timeout": null}"#);
    assert_eq!(client, stack::client("a"));
    let limit: RateLimitConfig =
        valid(r#"{"name": "a", "permits": 3, "per": "1s", "burst": null}"#);
    assert_eq!(limit.burst_tokens(), 3);
}

#[test]
fn a_stack_gives_its_policies_its_name() {
    let client: ClientConfig = valid(
        r#"{"circuit_breaker": {"minimum_calls": 5}, "retry": {"attempts": 2}, "name": "search"}"#,
    );
    assert_eq!((client.retry.name, client.circuit_breaker.name), ("search", "search"));
    let made = stack::client("search")
        .retry(RetryConfig::new("search").attempts(2))
        .circuit_breaker(CircuitBreakerConfig::new("search").minimum_calls(5));
    assert_eq!(client, made);
    assert!(client.build().is_ok());
}

#[test]
fn a_name_is_kept_once_however_often_it_is_read() {
    let json = r#"{"name": "read twice"}"#;
    let [one, two] = [(); 2].map(|()| valid::<CatchPanicConfig>(json).name);
    assert!(std::ptr::eq(one, two) && std::ptr::eq(one, intern("read twice")));
}

#[test]
fn what_is_written_is_for_people() {
    let config = RateLimitConfig::per_second("api", 100).burst(20);
    assert_eq!(
        serde_json::to_string(&config).expect("it is written"),
        r#"{"name":"api","permits":100,"per":"1s","burst":20}"#
    );
    let default = written(&CircuitBreakerConfig::default());
    assert_eq!(default["sleep"]["max"], "1m");
    assert_eq!(default["recovery_ramp"], "none");
    assert_eq!(default.get("seed"), None);
    assert_eq!(written(&Waits::up_to(Duration::MAX))["max_wait"], "forever");
    assert_eq!(written(&Waits::up_to(90 * 86_400 * SECOND + MS))["max_wait"], "90d 1ms");
}

#[test]
fn of_a_budget_that_is_shared_its_numbers_are_written() {
    let shared = RetryBudget::new(BudgetConfig::new(0.5)).expect("a valid budget");
    let config = RetryConfig::default().budget(&shared);
    let read: RetryConfig = valid(&written(&config).to_string());
    assert_eq!(read.budget, BudgetUse::Own(BudgetConfig::new(0.5)));
}

/// As `serde_json` hands numbers out when it keeps all of their digits, a feature that any crate of a
/// program may switch on for all of it.
#[test]
fn numbers_with_all_their_digits_are_numbers() {
    let digits = |text: &str| json!({"$serde_json::private::Number": text});
    let json = json!({
        "failure_rate": digits("0.25"), "minimum_calls": digits("7"), "hung": {"share": digits("1")}, "slow_call_after": "1s",
    });
    let expected = CircuitBreakerConfig::default()
        .failure_rate(0.25)
        .minimum_calls(7)
        .slow_call_after(SECOND)
        .hung(Hung::new(10, 1.0));
    assert_eq!(valid::<CircuitBreakerConfig>(&json.to_string()), expected);
    assert_eq!(valid::<Keys>(&digits("12").to_string()), Keys::at_most(12));
    let error = crate::refusal::<Hung>(&json!({"calls": digits("-1")}).to_string());
    assert!(error.starts_with("`hung.calls` = -1: must be a whole number"), "{error}");
}
