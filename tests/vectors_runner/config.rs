//! A breaker scenario's `config` in this library's words.

use std::time::Duration;

use portcullis::{CircuitBreakerConfig, HalfOpen, Sleep, Window};
use serde_json::Value;

use super::{Replay, fraction, members, number, only, optional, skip, small, times, word};

/// Longer than any scenario: where a scenario gives no limit there is none.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The systems that keep time windows as this library does, in buckets aligned to the clock.
const ALIGNED: [&str; 3] = ["resilience4j", "Hystrix", "gobreaker"];

/// What the replay needs to know.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: CircuitBreakerConfig,
    /// `max_wait` of a half-open period with one probe, which is the probe lease here.
    pub(super) lease: Option<Duration>,
}

pub(super) fn plan(scenario: &Value) -> Replay<Plan> {
    let given = &scenario["config"];
    let known = ["window", "trip", "open", "half_open", "stale_results", "trip_on", "cancelled"];
    only(given, "config", &known)?;
    let mut config = CircuitBreakerConfig::new("vector").no_failure_rate();
    config = config.drops_are_failures(given["cancelled"] == "failure");
    config = window(config, scenario)?;
    config = trip(config, given)?;
    config = config.sleep(sleep(&given["open"])?);
    let slow_is_known = config.slow_call_after.is_some();
    let (half_open, lease) = half_open(&given["half_open"], slow_is_known)?;
    config = config.half_open(half_open).probe_lease(lease.unwrap_or(NEVER));
    for (key, values) in [
        ("trip_on", &["any_result", "failure_only"][..]),
        ("stale_results", &["ignore", "count"]),
        ("cancelled", &["neutral", "failure", "success"]),
    ] {
        if let Some(value) = given.get(key) {
            if !values.iter().any(|v| value == v) {
                return skip(format!("unknown {key} {value}"));
            }
        }
    }
    Ok(Plan { config, lease })
}

/// The choices, among those that decide this scenario, in which its config differs from this
/// library: open ends at `>=`, rates compare with `>=`, a success may trip, stale results are
/// ignored, a cancelled call is neutral (or a failure, by configuration), buckets are aligned.
/// Both probe limits can be configured, so that one never differs.
pub(super) fn differing_choices(scenario: &Value) -> Vec<String> {
    let config = &scenario["config"];
    let differs = |dimension: &str| match dimension {
        "open_ready_boundary" => config["open"]["ready"] == "after",
        "threshold_cmp" => {
            config["trip"].as_array().is_some_and(|rules| rules.iter().any(|r| r["cmp"] == ">"))
        }
        "trip_on_success" => config["trip_on"] == "failure_only",
        "stale_results" => config["stale_results"] == "count",
        "cancelled_outcome" => config["cancelled"] == "success",
        "probe_limit" => false,
        // The config does not say which model was meant; the system it comes from does.
        "window_model" => {
            scenario["source"]["system"].as_str().is_none_or(|s| !ALIGNED.contains(&s))
        }
        // A dimension that the schema does not have: nothing is known about this library's choice.
        _ => true,
    };
    let sensitive = scenario["sensitive_to"].as_array().map_or(&[][..], Vec::as_slice);
    sensitive.iter().filter_map(Value::as_str).filter(|d| differs(d)).map(str::to_owned).collect()
}

fn window(config: CircuitBreakerConfig, scenario: &Value) -> Replay<CircuitBreakerConfig> {
    let given = &scenario["config"]["window"];
    match word(given, "kind", "window")? {
        "count" => {
            only(given, "window", &["kind", "size"])?;
            Ok(config.window(Window::count(small(given, "size", "window")?)))
        }
        "time" => {
            only(given, "window", &["kind", "length_ms", "buckets"])?;
            Ok(config.window(Window::Time {
                length: Duration::from_millis(number(given, "length_ms", "window")?),
                buckets: small(given, "buckets", "window")?,
            }))
        }
        // Everything since entering closed is the same as the last N results when a scenario has
        // fewer than N calls, because closing empties the window.
        "lifetime" => {
            only(given, "window", &["kind"])?;
            let mut calls = 1;
            for step in scenario["steps"].as_array().map_or(&[][..], Vec::as_slice) {
                calls = u64::saturating_add(calls, times(step)?);
            }
            for rule in scenario["config"]["trip"].as_array().map_or(&[][..], Vec::as_slice) {
                calls = calls.max(optional(rule, "min_calls", "trip")?.unwrap_or(0));
                calls = calls.max(optional(rule, "count", "trip")?.unwrap_or(0));
            }
            match u32::try_from(calls) {
                Ok(size) if size <= 1 << 20 => Ok(config.window(Window::count(size))),
                _ => skip("window:lifetime over more than a million calls"),
            }
        }
        kind => skip(format!("window:{kind}")),
    }
}

fn trip(mut config: CircuitBreakerConfig, given: &Value) -> Replay<CircuitBreakerConfig> {
    let Some(rules) = given["trip"].as_array() else { return skip("no trip rules") };
    let mut minimum = None;
    for rule in rules {
        let kind = word(rule, "kind", "a trip rule")?;
        let what = format!("trip:{kind}");
        let known: &[&str] = match kind {
            "failure_rate" => &["kind", "rate", "min_calls", "cmp"],
            "slow_rate" => &["kind", "rate", "min_calls", "slow_above_ms", "cmp"],
            "consecutive_failures" => &["kind", "count"],
            "failures" => &["kind", "count", "min_calls"],
            _ => return skip(what),
        };
        only(rule, &what, known)?;
        if !matches!(rule["cmp"].as_str(), None | Some(">=" | ">")) {
            return skip(format!("{what} with cmp {}", rule["cmp"]));
        }
        match kind {
            "failure_rate" => {
                config = config.failure_rate(fraction(rule, "rate", &what)?);
                minimum = one_volume(minimum, optional(rule, "min_calls", &what)?)?;
            }
            "slow_rate" => {
                let after = Duration::from_millis(number(rule, "slow_above_ms", &what)?);
                config = config.slow_calls(after, fraction(rule, "rate", &what)?);
                minimum = one_volume(minimum, optional(rule, "min_calls", &what)?)?;
            }
            "consecutive_failures" => {
                config = config.consecutive_failures(small(rule, "count", &what)?);
            }
            _ => {
                let volume = optional(rule, "min_calls", &what)?.unwrap_or(0);
                let volume = u32::try_from(volume).unwrap_or(u32::MAX);
                config = config.failures_of(small(rule, "count", &what)?, volume);
            }
        }
    }
    let duplicated = rules
        .iter()
        .enumerate()
        .any(|(at, rule)| rules[..at].iter().any(|earlier| earlier["kind"] == rule["kind"]));
    if duplicated {
        return skip("two trip rules of one kind");
    }
    match minimum {
        Some(calls) => Ok(config.minimum_calls(calls)),
        None => Ok(config),
    }
}

/// There is one volume threshold for all rates.
fn one_volume(so_far: Option<u32>, given: Option<u64>) -> Replay<Option<u32>> {
    // A rate of nothing is no rate, so that no minimum and a minimum of 1 are the same.
    let given = u32::try_from(given.unwrap_or(1).max(1)).unwrap_or(u32::MAX);
    match so_far {
        Some(before) if before != given => skip("min_calls differs between rates"),
        _ => Ok(Some(given)),
    }
}

fn sleep(given: &Value) -> Replay<Sleep> {
    only(given, "open", &["wait_ms", "multiplier", "max_wait_ms", "ready"])?;
    if !matches!(given["ready"].as_str(), None | Some("at" | "after")) {
        return skip(format!("open:ready {}", given["ready"]));
    }
    let wait = Duration::from_millis(number(given, "wait_ms", "open")?);
    let max = optional(given, "max_wait_ms", "open")?.map_or(NEVER, Duration::from_millis);
    let multiplier = given["multiplier"].as_f64().unwrap_or(1.0);
    Ok(Sleep::growing(wait, multiplier, max).jitter(0.0))
}

fn half_open(given: &Value, slow_is_known: bool) -> Replay<(HalfOpen, Option<Duration>)> {
    let known = ["max_probes", "probe_limit", "decide", "max_wait_ms", "max_wait_to"];
    only(given, "half_open", &known)?;
    let decide = &given["decide"];
    let half_open = match word(decide, "kind", "half_open.decide")? {
        "counts" => {
            let known = ["kind", "successes_to_close", "failures_to_open"];
            only(decide, "half_open.decide", &known)?;
            HalfOpen::counts(
                small(decide, "successes_to_close", "half_open.decide")?,
                small(decide, "failures_to_open", "half_open.decide")?,
            )
        }
        "rate_after" => {
            let known = ["kind", "calls", "failure_rate", "slow_rate"];
            only(decide, "half_open.decide", &known)?;
            let rate = HalfOpen::rate(
                small(decide, "calls", "half_open.decide")?,
                fraction(decide, "failure_rate", "half_open.decide")?,
            );
            match decide["slow_rate"].as_f64() {
                // Nothing is slow where no rule says what slow means.
                Some(slow) if slow_is_known => rate.slow_rate(slow),
                _ => rate,
            }
        }
        kind => return skip(format!("half_open:{kind}")),
    };
    let probes = small(given, "max_probes", "half_open")?;
    let half_open = match given["probe_limit"].as_str() {
        None | Some("total") => half_open.total(probes),
        Some("concurrent") => half_open.only_concurrent(probes),
        Some(limit) => return skip(format!("half_open:probe_limit {limit}")),
    };
    let Some(max_wait) = optional(given, "max_wait_ms", "half_open")?.filter(|wait| *wait > 0)
    else {
        return Ok((half_open, None));
    };
    if probes != 1 {
        return skip("half_open:max_wait with several probes");
    }
    if !matches!(given["max_wait_to"].as_str(), None | Some("open")) {
        return skip(format!("half_open:max_wait to {}", given["max_wait_to"]));
    }
    Ok((half_open, Some(Duration::from_millis(max_wait))))
}

/// The scenario's features outside the families that the schema has. Those families are judged by
/// their elements in config and steps, which say more than the name.
pub(super) fn unknown_features(scenario: &Value) -> Vec<String> {
    let families = ["window:", "trip:", "half_open:", "command:", "outcome:", "open:"];
    let single = [
        "metrics(optional)",
        "metrics",
        "retry_after",
        "events",
        "transitions",
        "cancel",
        "keyed",
        "key",
        "stale_results",
        "took_ms",
    ];
    let features = scenario["features"].as_array().map_or(&[][..], Vec::as_slice);
    features
        .iter()
        .filter_map(Value::as_str)
        .filter(|f| !single.contains(f) && !families.iter().any(|family| f.starts_with(family)))
        .map(str::to_owned)
        .collect()
}

/// Scenarios that say that some command is illegal in some state: here each is legal in every state.
pub(super) fn expects_illegal_commands(scenario: &Value) -> Replay {
    for step in scenario["steps"].as_array().map_or(&[][..], Vec::as_slice) {
        if step["expect"].get("error").is_some() {
            members(&step["expect"], "expect")?;
            return skip(format!(
                "error:{}, but every command is legal in every state",
                step["expect"]["error"].as_str().unwrap_or("?")
            ));
        }
    }
    Ok(())
}
