//! Configurations as files hold them: every field of every one, what is left out, what is refused and in
//! which words, and that whatever is written is read as the same. What JSON of any kind does is in
//! `serde_configs/any.rs`; TOML, and a reload under live traffic, in `tests/wire/tests/config_file.rs`.
#![cfg(all(feature = "http", feature = "serde"))]

#[path = "serde_configs/any.rs"]
mod any;
#[path = "serde_configs/complete.rs"]
mod complete;
#[path = "serde_configs/fields.rs"]
mod fields;
#[path = "serde_configs/refused.rs"]
mod refused;

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Everything that a file can hold, each with all of its fields and with as few as will do. A piece that
/// is a word or a number has no fields.
macro_rules! every {
    ($visit:ident) => {
        $visit! {
            CircuitBreakerConfig:
                r#"{"name": "db", "window": {"length": "30s", "buckets": 6}, "failure_rate": 0.25,
                    "slow_call_after": "2s", "slow_call_rate": 0.75, "consecutive_failures": 7,
                    "failures": 40, "failures_minimum_calls": 50,
                    "hung": {"calls": 5, "share": 0.4}, "minimum_calls": 10,
                    "sleep": {"base": "1s", "multiplier": 3.0, "max": "1m 30s", "jitter": 0.1,
                              "hints": false},
                    "half_open": {"calls": 8, "failure_rate": 0.3, "slow_rate": 0.6, "total": 9,
                                  "concurrent": 2},
                    "probe_lease": "15s", "recovery_ramp": "20s", "drops_are_failures": true,
                    "seed": 18446744073709551615}"#,
                r#"{}"#;
            Window: r#"{"length": "30s", "buckets": 6}"#, r#"{}"#;
            Sleep:
                r#"{"base": "1s", "multiplier": 3.0, "max": "1m 30s", "jitter": 0.1, "hints": false}"#,
                r#"{}"#;
            HalfOpen:
                r#"{"successes": 4, "failures": 2, "total": 6, "concurrent": 2}"#, r#"{}"#;
            Hung: r#"{"calls": 5, "share": 0.4}"#, r#"{}"#;
            RateLimitConfig:
                r#"{"name": "api", "permits": 100, "per": "1s", "burst": 20}"#,
                r#"{"name": "api", "permits": 100, "per": "1s"}"#;
            Keys: r#"{"most": 1000, "at_cap": "refuse"}"#, r#"1000"#;
            AtCap: r#""admit""#, r#""share_overflow""#;
            Waits: r#"{"max_wait": "250ms", "max_queued": 10}"#, r#"{}"#;
            BulkheadConfig:
                r#"{"name": "db", "max_in_flight": 50, "queue": 100, "max_wait": "250ms",
                    "order": "lifo"}"#,
                r#"{"name": "db", "max_in_flight": 50}"#;
            QueueOrder: r#""lifo""#, r#""fifo""#;
            TimeoutConfig:
                r#"{"name": "db", "limit": "2s", "min_remaining": "50ms"}"#,
                r#"{"name": "db", "limit": "2s"}"#;
            RetryConfig:
                r#"{"name": "db", "attempts": 5,
                    "backoff": {"base": "100ms", "factor": 1.5, "max": "3s",
                                "jitter": {"proportional": 0.25}},
                    "hints": {"mode": {"within": "5s"}, "cap": "30s", "jitter": 0.1, "restart": true},
                    "budget": {"ratio": 0.1, "per_second": 2.5, "ttl": "30s"},
                    "retry_refusals": true, "nested": true, "seed": 7}"#,
                r#"{}"#;
            Backoff:
                r#"{"base": "100ms", "step": "50ms", "max": "3s", "jitter": "equal"}"#, r#"{}"#;
            Jitter: r#"{"proportional": 0.25}"#, r#""full""#;
            Hints:
                r#"{"mode": "capped", "cap": "30s", "jitter": 0.1, "restart": true}"#, r#"{}"#;
            HintMode: r#"{"within": "5s"}"#, r#""exact""#;
            BudgetUse: r#"{"max_tokens": 100, "ratio": 0.1}"#, r#""none""#;
            BudgetConfig: r#"{"ratio": 0.1, "per_second": 2.5, "ttl": "30s"}"#, r#"{}"#;
            BodyTimeoutConfig:
                r#"{"name": "files", "idle": "none", "total": "10m", "until_deadline": true}"#,
                r#"{"name": "files", "idle": "15s"}"#;
            DeadlineConfig:
                r#"{"name": "api", "headers": ["grpc_timeout", {"seconds": "x-timeout"}],
                    "max": "30s", "margin": "5ms", "min_remaining": "20ms"}"#,
                r#"{"name": "api", "headers": ["grpc_timeout"]}"#;
            ForwardDeadlineConfig:
                r#"{"name": "api", "headers": [{"millis": "x-timeout-ms"}], "margin": "1ms"}"#,
                r#"{"name": "api", "headers": ["grpc_timeout"]}"#;
            DeadlineHeader: r#"{"millis": "x-timeout-ms"}"#, r#""grpc_timeout""#;
            ClientIp:
                r#"{"trusted": {"networks": ["10.0.0.0/8", "fd00::/8"]},
                    "header": {"single": "cf-connecting-ip"}, "ipv4_prefix": 24,
                    "ipv6_prefix": 56}"#,
                r#"{"trusted": "nobody"}"#;
            TrustedHops: r#"{"count": 2}"#, r#""nobody""#;
            ClientHeader: r#"{"single": "x-real-ip"}"#, r#""x_forwarded_for""#;
            FallbackConfig: r#"{"name": "prices"}"#, r#"{}"#;
            LastGoodConfig:
                r#"{"name": "prices", "max_age": "5m", "max_keys": 100}"#,
                r#"{"name": "prices", "max_age": "5m"}"#;
            CatchPanicConfig: r#"{"name": "api"}"#, r#"{}"#;
            ClientConfig:
                r#"{"name": "search", "total_timeout": "2s", "max_in_flight": 64,
                    "retry": {"name": "search", "attempts": 2,
                        "backoff": {"delay": "10ms", "max": "forever", "jitter": "none"},
                        "hints": {"mode": "at_least", "cap": "1s", "jitter": 0.0, "restart": false},
                        "budget": "none", "retry_refusals": false, "nested": false, "seed": 1},
                    "circuit_breaker": {"name": "search", "window": {"size": 100},
                        "failure_rate": "none", "slow_call_after": "none", "slow_call_rate": "none",
                        "consecutive_failures": 5, "failures": "none", "failures_minimum_calls": 0,
                        "hung": "none", "minimum_calls": 20,
                        "sleep": {"base": "5s", "multiplier": 1.0, "max": "5s", "jitter": 0.0,
                                  "hints": true},
                        "half_open": {"successes": 1, "failures": 1, "total": "none",
                                      "concurrent": 1},
                        "probe_lease": "30s", "recovery_ramp": "none",
                        "drops_are_failures": false, "seed": 2},
                    "attempt_timeout": "500ms"}"#,
                r#"{"name": "search"}"#;
            ServerConfig:
                r#"{"name": "api", "max_in_flight": 64, "timeout": "3s"}"#, r#"{"name": "api"}"#;
        }
    };
}
use every;

fn read<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// Whether two values are the same, also of what cannot be compared because there is a function in it.
fn shown(value: &impl Debug) -> String {
    format!("{value:?}")
}

#[track_caller]
fn valid<T: DeserializeOwned>(json: &str) -> T {
    read(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

#[track_caller]
fn refusal<T: DeserializeOwned + Debug>(json: &str) -> String {
    match read::<T>(json) {
        Ok(value) => panic!("{json} is read as {value:?}"),
        Err(error) => error,
    }
}

fn written(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("it can be written")
}
