//! Replays sliding window scenarios on the pure window.

use std::time::Duration;

use portcullis::{Window, policy::window::Rolling};
use serde_json::Value;

use super::{Replay, Stop, Verdict, fail, members, number, only, parts, skip, small, times, word};

/// What this library's window is called where a scenario lists the models that it fails under:
/// buckets aligned to the time at which the window was made.
const OURS: [&str; 3] = ["aligned", "aligned@0", "aligned@0.0"];

pub(super) fn replay(scenario: &Value) -> Verdict {
    match run(scenario) {
        Ok(()) => Verdict::Passed { notes: Vec::new() },
        Err(Stop::Skip(reason)) => Verdict::Skipped(reason),
        Err(Stop::Fail(what)) => {
            let models = scenario["fails_under"].as_array().map_or(&[][..], Vec::as_slice);
            if models.iter().filter_map(Value::as_str).any(|m| OURS.contains(&m)) {
                Verdict::Skipped("documented choice: window_model".to_owned())
            } else {
                Verdict::Failed(what)
            }
        }
    }
}

fn run(scenario: &Value) -> Replay {
    parts(scenario, &["steps"])?;
    let Some(steps) = scenario["steps"].as_array() else { return skip("no steps") };
    for step in steps {
        check_schema(step)?;
    }
    let mut window = Rolling::new(shape(&scenario["config"], steps)?);
    let mut now_ms: u64 = 0;
    for (at, step) in steps.iter().enumerate() {
        for _ in 0..times(step)? {
            match word(step, "do", "a step")? {
                "record" => {
                    let slow = step["slow"].as_bool().unwrap_or(false);
                    let failure = step["outcome"] == "failure" || step["outcome"] == "panic";
                    if step["outcome"] != "ignored" {
                        window.record(nanos(now_ms), failure, slow);
                    }
                }
                "advance" => now_ms = now_ms.saturating_add(number(step, "ms", "advance")?),
                "reset" => window.clear(),
                _ => {}
            }
        }
        check(&window, now_ms, &step["expect"]).map_err(|stop| match stop {
            Stop::Fail(what) => Stop::Fail(format!("step {at} {}: {what}", step["do"])),
            other => other,
        })?;
    }
    Ok(())
}

fn check_schema(step: &Value) -> Replay {
    let what = word(step, "do", "a step")?;
    let known: &[&str] = match what {
        "record" => &["do", "outcome", "slow", "times", "expect"],
        "advance" => &["do", "ms", "times", "expect"],
        "reset" | "check" => &["do", "times", "expect"],
        other => return skip(format!("unknown step `{other}`")),
    };
    only(step, &format!("step `{what}`"), known)?;
    let outcomes = ["success", "failure", "panic", "ignored"];
    if what == "record" && !step["outcome"].as_str().is_some_and(|o| outcomes.contains(&o)) {
        return skip(format!("outcome:{}", step["outcome"]));
    }
    let known = ["calls", "failures", "successes", "slow", "failure_rate", "slow_rate"];
    step.get("expect").map_or(Ok(()), |expect| only(expect, "expect", &known))
}

fn shape(config: &Value, steps: &[Value]) -> Replay<Window> {
    match word(config, "kind", "window")? {
        "count" => {
            only(config, "window", &["kind", "size"])?;
            Ok(Window::count(small(config, "size", "window")?))
        }
        "time" => {
            only(config, "window", &["kind", "length_ms", "buckets"])?;
            Ok(Window::Time {
                length: Duration::from_millis(number(config, "length_ms", "window")?),
                buckets: small(config, "buckets", "window")?,
            })
        }
        // The last N results are all there are when there are no more than N.
        "lifetime" => {
            only(config, "window", &["kind"])?;
            let calls = steps.iter().map(times).sum::<Replay<u64>>()?.clamp(1, 1 << 20);
            Ok(Window::count(calls as u32))
        }
        kind => skip(format!("window:{kind}")),
    }
}

fn check(window: &Rolling, now_ms: u64, expect: &Value) -> Replay {
    if expect.is_null() {
        return Ok(());
    }
    let counts = window.counts(nanos(now_ms));
    let share = |part: u64| (counts.calls > 0).then(|| part as f64 / counts.calls as f64);
    for (name, expected) in members(expect, "expect")? {
        let found = match name.as_str() {
            "calls" => Some(counts.calls as f64),
            "failures" => Some(counts.failures as f64),
            "successes" => Some((counts.calls - counts.failures) as f64),
            "slow" => Some(counts.slow as f64),
            "failure_rate" => share(counts.failures),
            _ => share(counts.slow),
        };
        let same = match (found, expected.as_f64()) {
            (Some(found), Some(expected)) => (found - expected).abs() <= 1e-6,
            // A rate over nothing is written as null or as zero.
            (None, expected) => expected.is_none_or(|rate| rate == 0.0),
            (Some(_), None) => false,
        };
        if !same {
            return fail(format!("{name} is {found:?}, not {expected}"));
        }
    }
    Ok(())
}

fn nanos(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}
