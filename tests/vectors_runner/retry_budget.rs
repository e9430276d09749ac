//! Replays retry budgets on the pure budget, with the time given at each step.

use std::time::{Duration, Instant};

use portcullis::{BudgetConfig, policy::budget::Budget};
use serde_json::Value;

use super::{
    Replay, Stop, Verdict, VirtualClock, fail, fraction, members, number, only, parts, skip, small,
    times, word,
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

/// How scenarios call the answer to a retry, and what is left.
const ALLOWED: [&str; 4] = ["allowed", "admitted", "retry_allowed", "may_retry"];
const TOKENS: [&str; 4] = ["tokens", "balance", "available", "remaining"];

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
    parts(scenario, &["steps"])?;
    let config = config(&scenario["config"])?;
    let Some(steps) = scenario["steps"].as_array() else { return skip("no steps") };
    let mut acts = Vec::new();
    for step in steps {
        acts.push(act(step, config)?);
        if let Some(expect) = step.get("expect") {
            only(expect, "expect", &[&ALLOWED[..], &TOKENS].concat())?;
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
        let mut answer = None;
        for _ in 0..times(step)? {
            answer = apply(&budget, &mut clock, act)?;
        }
        // Of a step that asks for no retry, it is whether one would be allowed.
        let now = clock.now()?;
        let found = answer.unwrap_or_else(|| budget.has_token(now));
        for key in ALLOWED {
            if step["expect"][key].as_bool().is_some_and(|expected| expected != found) {
                return fail(format!("step {at} {}: {key} is {found}", step["do"]));
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
        "call" | "request" => &["do", "outcome", "times", "expect"],
        _ => &["do", "times", "expect"],
    };
    only(step, &format!("step `{what}`"), known)?;
    match (what, config) {
        ("advance", _) => Ok(Act::Advance(number(step, "ms", "advance")?)),
        ("check", _) => Ok(Act::Nothing),
        ("retry", _) => Ok(Act::Retry),
        ("failure", _) => Ok(Act::Failure),
        ("success", _) => Ok(Act::Success),
        ("request", _) => Ok(Act::Call),
        ("call", BudgetConfig::Share { .. }) => Ok(Act::Call),
        ("call", _) => match word(step, "outcome", "a call")? {
            "success" => Ok(Act::Success),
            "failure" => Ok(Act::Failure),
            "fatal" | "ignored" => Ok(Act::Nothing),
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
        if !TOKENS.contains(&name.as_str()) {
            continue;
        }
        // Given whole, or with a part of a token.
        let (exact, whole) = (budget.snapshot(now).tokens, budget.balance(now) as f64);
        let near = |found: f64| expected.as_f64().is_some_and(|e| (found - e).abs() <= 1e-6);
        if !near(exact) && !near(whole) {
            return fail(format!("{name} is {exact}, not {expected}"));
        }
    }
    Ok(())
}
