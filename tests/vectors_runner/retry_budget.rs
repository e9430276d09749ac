//! Replays retry budgets on the pure budget, with the time given at each step.

use std::time::{Duration, Instant};

use portcullis::{BudgetConfig, policy::budget::Budget};
use serde_json::Value;

use super::{
    Replay, Stop, Verdict, VirtualClock, fail, fraction, members, number, only, skip, small, times,
    word,
};

pub(super) fn replay(scenario: &Value) -> Verdict {
    match run(scenario) {
        Ok(()) => Verdict::Passed { notes: Vec::new() },
        Err(Stop::Skip(reason)) => Verdict::Skipped(reason),
        Err(Stop::Fail(what)) => Verdict::Failed(what),
    }
}

/// A budget as scenarios of all kinds write it.
pub(super) fn config(given: &Value) -> Replay<BudgetConfig> {
    let config = match word(given, "algorithm", "budget")? {
        "deposit_withdraw" => {
            only(given, "budget", &["algorithm", "ttl_ms", "min_per_sec", "percent"])?;
            BudgetConfig::new(fraction(given, "percent", "budget")?)
                .per_second(fraction(given, "min_per_sec", "budget")?)
                .ttl(Duration::from_millis(number(given, "ttl_ms", "budget")?))
        }
        "token_ratio" => {
            only(given, "budget", &["algorithm", "max_tokens", "token_ratio", "ratio"])?;
            let key = if given.get("ratio").is_some() { "ratio" } else { "token_ratio" };
            let ratio = fraction(given, key, "budget")?;
            BudgetConfig::grpc(small(given, "max_tokens", "budget")?, ratio)
        }
        other => return skip(format!("budget:{other}")),
    };
    match config.validate() {
        Ok(()) => Ok(config),
        Err(error) => skip(format!("configuration refused: {error}")),
    }
}

/// What a step is for the budget.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Advance(u64),
    Call,
    Success,
    /// A failure that could be retried; is it?
    Failure,
    /// Is a retry allowed? If it is, it is made.
    Retry,
    Nothing,
}

fn run(scenario: &Value) -> Replay {
    only(scenario, "scenario", &["id", "kind", "desc", "source", "features", "config", "steps"])?;
    let config = config(&scenario["config"])?;
    let Some(steps) = scenario["steps"].as_array() else { return skip("no steps") };
    let mut acts = Vec::new();
    for step in steps {
        acts.push(act(step, config)?);
        if let Some(expect) = step.get("expect") {
            only(expect, "expect", &["allowed", "tokens", "balance", "available"])?;
        }
    }
    if matches!(config, BudgetConfig::Grpc { .. }) && !acts.contains(&Act::Failure) {
        // Where failures are no steps of their own, each retry that is asked for follows one.
        acts.iter_mut().filter(|act| **act == Act::Retry).for_each(|act| *act = Act::Failure);
    }
    let mut clock = VirtualClock::new();
    let budget = match Budget::new(config, clock.now()?) {
        Ok(budget) => budget,
        Err(error) => return skip(format!("configuration refused: {error}")),
    };
    for (at, (step, act)) in steps.iter().zip(acts).enumerate() {
        for _ in 0..times(step)? {
            let allowed = apply(&budget, &mut clock, act)?;
            if let (Some(expected), Some(found)) = (step["expect"]["allowed"].as_bool(), allowed) {
                if expected != found {
                    return fail(format!("step {at} {}: allowed is {found}", step["do"]));
                }
            }
        }
        check(&budget, clock.now()?, &step["expect"]).map_err(|stop| match stop {
            Stop::Fail(what) => Stop::Fail(format!("step {at} {}: {what}", step["do"])),
            other => other,
        })?;
    }
    Ok(())
}

fn act(step: &Value, config: BudgetConfig) -> Replay<Act> {
    let what = word(step, "do", "a step")?;
    let known: &[&str] = match what {
        "advance" => &["do", "ms", "times", "expect"],
        "call" => &["do", "outcome", "times", "expect"],
        _ => &["do", "times", "expect"],
    };
    only(step, &format!("step `{what}`"), known)?;
    let asks = |act| match step["expect"]["allowed"].is_boolean() {
        true => skip(format!("`allowed` of a step `{what}`")),
        false => Ok(act),
    };
    match (what, config) {
        ("advance", _) => asks(Act::Advance(number(step, "ms", "advance")?)),
        ("check", _) => asks(Act::Nothing),
        ("retry", _) => Ok(Act::Retry),
        ("failure", _) => Ok(Act::Failure),
        ("success", _) => asks(Act::Success),
        ("request", _) => asks(Act::Call),
        ("call", BudgetConfig::Share { .. }) => asks(Act::Call),
        ("call", _) => match word(step, "outcome", "a call")? {
            "success" => asks(Act::Success),
            "failure" => Ok(Act::Failure),
            "fatal" | "ignored" => asks(Act::Nothing),
            other => skip(format!("outcome:{other}")),
        },
        (other, _) => skip(format!("unknown step `{other}`")),
    }
}

fn apply(budget: &Budget, clock: &mut VirtualClock, act: Act) -> Replay<Option<bool>> {
    let now = clock.now()?;
    match act {
        Act::Advance(ms) => clock.advance(ms),
        Act::Call => budget.record_call(now),
        Act::Success => budget.record_success(),
        Act::Failure => return Ok(Some(budget.record_failure())),
        Act::Retry => return Ok(Some(budget.try_withdraw(now).is_some())),
        Act::Nothing => {}
    }
    Ok(None)
}

fn check(budget: &Budget, now: Instant, expect: &Value) -> Replay {
    if expect.is_null() {
        return Ok(());
    }
    for (name, expected) in members(expect, "expect")? {
        let found = match name.as_str() {
            "allowed" => continue,
            "tokens" => budget.snapshot(now).tokens,
            _ => budget.balance(now) as f64,
        };
        if expected.as_f64().is_none_or(|expected| (found - expected).abs() > 1e-6) {
            return fail(format!("{name} is {found}, not {expected}"));
        }
    }
    Ok(())
}
