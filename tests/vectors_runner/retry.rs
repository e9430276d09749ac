//! Replays scripted calls on the retry layer under tokio's paused clock, and on the pure decision.
//!
//! A composition is the same with a breaker below the retry.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use portcullis::{
    CircuitBreakerLayer, Classify, Error, Event, Hint, HintMode, Hints, Jitter, Options, Outcome,
    RetryConfig, RetryEnd, RetryLayer, deadline,
    policy::retry::{Attempt, Progress, Rules, Verdict as Decided},
};
use serde_json::Value;
use tower::{Layer, Service, ServiceExt, util::Either};

use super::{
    Replay, Stop, Verdict, VirtualClock, backoff, config, fail, fraction, number, only, optional,
    retry_budget, skip, small, word,
};

pub(super) fn replay(scenario: &Value) -> Verdict {
    match run(scenario) {
        Ok(()) => Verdict::Passed { notes: Vec::new() },
        Err(Stop::Skip(reason)) => Verdict::Skipped(reason),
        Err(Stop::Fail(what)) => Verdict::Failed(what),
    }
}

fn run(scenario: &Value) -> Replay {
    let known = ["id", "kind", "desc", "source", "features", "config", "script", "expect"];
    only(scenario, "scenario", &known)?;
    let expect = &scenario["expect"];
    let known = [
        "attempts",
        "result",
        "delays_ms",
        "elapsed_ms",
        "state",
        "breaker_state",
        "service_calls",
    ];
    only(expect, "expect", &known)?;
    let given = &scenario["config"];
    let breaker = ["breaker", "circuit_breaker"].into_iter().find(|key| given.get(key).is_some());
    let plan = match breaker {
        None => plan(given)?,
        Some(key) => {
            only(given, "config", &["retry", key, "deadline_ms"])?;
            let mut plan = plan(&given["retry"])?;
            plan.deadline = plan.deadline.or(deadline(given)?);
            plan.breaker = Some(config::plan(&serde_json::json!({ "config": given[key] }))?);
            plan
        }
    };
    let Some(lines) = scenario["script"].as_array() else { return skip("no script") };
    let script = lines.iter().map(line).collect::<Replay<Vec<_>>>()?;
    if script.is_empty() {
        return skip("an empty script");
    }
    let jittered = plan.config.backoff.jitter != Jitter::None;
    let unbudgeted = matches!(plan.config.budget, portcullis::BudgetUse::None);
    if plan.breaker.is_none() && unbudgeted {
        let seen = decide(&plan, &script)?;
        compare(&seen, expect).map_err(|stop| naming("decision", stop))?;
    } else if jittered {
        return skip("jitter in a composition or under a budget");
    }
    // Numbers that are given for jitter can be put into the decision only.
    if !jittered {
        let seen = call(&plan, &script)?;
        compare(&seen, expect).map_err(|stop| naming("layer", stop))?;
    }
    Ok(())
}

fn naming(what: &str, stop: Stop) -> Stop {
    match stop {
        Stop::Fail(why) => Stop::Fail(format!("{what}: {why}")),
        other => other,
    }
}

struct Plan {
    config: RetryConfig,
    deadline: Option<Duration>,
    breaker: Option<config::Plan>,
}

fn deadline(given: &Value) -> Replay<Option<Duration>> {
    Ok(optional(given, "deadline_ms", "config")?.map(Duration::from_millis))
}

fn plan(given: &Value) -> Replay<Plan> {
    if given.get("max_elapsed_ms").is_some() {
        return skip("max_elapsed");
    }
    let known =
        ["max_attempts", "backoff", "retry_after", "deadline_ms", "budget", "retry_refusals"];
    only(given, "config", &known)?;
    let mut config = RetryConfig::new("vector").backoff(backoff::config(&given["backoff"])?);
    config = match given["max_attempts"] {
        Value::Null => config.unlimited_attempts(),
        _ => config.attempts(small(given, "max_attempts", "config")?),
    };
    config = match given.get("budget") {
        Some(budget) => config.budget(retry_budget::config(budget)?),
        None => config.no_budget(),
    };
    let hints = hints(&given["retry_after"], &config)?;
    config = config.hints(hints);
    config = config.retry_refusals(given["retry_refusals"] == true);
    if let Err(error) = config.validate() {
        return skip(format!("configuration refused: {error}"));
    }
    Ok(Plan { config, deadline: deadline(given)?, breaker: None })
}

fn hints(given: &Value, config: &RetryConfig) -> Replay<Hints> {
    // Where a scenario gives no cap there is none.
    let unbounded = Hints::default().cap(Duration::MAX);
    if given.is_null() {
        return Ok(unbounded);
    }
    only(given, "retry_after", &["mode", "extra_ms", "resets_backoff", "cap_ms", "max_ms"])?;
    let cap =
        optional(given, "cap_ms", "retry_after")?.or(optional(given, "max_ms", "retry_after")?);
    let cap = cap.map(Duration::from_millis);
    let hints = unbounded.restart(given["resets_backoff"] == true);
    let hints = match word(given, "mode", "retry_after")? {
        "exact" => hints.mode(HintMode::Exact),
        "at_least" => hints.mode(HintMode::AtLeast),
        // The old SDKs of AWS cap a hint as they cap their own delays.
        "cap" => hints.mode(HintMode::Capped).cap(config.backoff.max),
        "clamp" => {
            let above = Duration::from_millis(number(given, "extra_ms", "retry_after")?);
            hints.mode(HintMode::Within(above))
        }
        other => return skip(format!("retry_after:{other}")),
    };
    Ok(cap.map_or(hints, |cap| hints.cap(cap)))
}

/// One line of a script.
#[derive(Clone, Copy, Debug)]
struct Line {
    outcome: Outcome,
    hint: Option<Hint>,
    took: Duration,
    random: f64,
}

fn line(given: &Value) -> Replay<Line> {
    if given.get("backoff").is_some() {
        return skip("a back-off per failure");
    }
    only(given, "script", &["outcome", "took_ms", "retry_after_ms", "pushback", "random"])?;
    let outcome = match word(given, "outcome", "script")? {
        "success" => Outcome::Success,
        "failure" => Outcome::Failure,
        "fatal" => Outcome::Ignored,
        other => return skip(format!("outcome:{other}")),
    };
    let after = optional(given, "retry_after_ms", "script")?;
    let hint = match (&given["pushback"], after) {
        (Value::Null, after) => after.map(|ms| Hint::After(Duration::from_millis(ms))),
        (stop, None) if stop == "stop" => Some(Hint::Stop),
        (other, _) => return skip(format!("pushback:{other}")),
    };
    Ok(Line {
        outcome,
        hint,
        took: Duration::from_millis(optional(given, "took_ms", "script")?.unwrap_or(0)),
        random: given.get("random").map_or(Ok(0.0), |_| fraction(given, "random", "script"))?,
    })
}

fn at(script: &[Line], nth: usize) -> Line {
    script[nth.min(script.len() - 1)]
}

/// What a call looked like from outside.
#[derive(Debug, Default)]
struct Seen {
    attempts: u64,
    delays: Vec<u128>,
    end: Option<RetryEnd>,
    elapsed: u128,
    service_calls: u64,
    refused: bool,
    state: String,
}

/// More attempts than any scenario can mean.
const ENDLESS: usize = 100_000;

fn decide(plan: &Plan, script: &[Line]) -> Replay<Seen> {
    let mut clock = VirtualClock::new();
    let rules = Rules::new(plan.config.attempts, plan.config.backoff).hints(plan.config.hints);
    let deadline = match plan.deadline {
        Some(after) => clock.now()?.checked_add(after),
        None => None,
    };
    let (mut progress, mut seen) = (Progress::new(), Seen::default());
    for nth in 0..ENDLESS {
        let line = at(script, nth);
        clock.advance(line.took.as_millis() as u64);
        let ended = Attempt::new(line.outcome, clock.now()?)
            .hint(line.hint)
            .deadline(deadline)
            .random(line.random);
        match progress.decide(&rules, ended, || true) {
            Decided::After(delay) => {
                clock.advance(delay.as_millis() as u64);
                seen.delays.push(delay.as_millis());
            }
            Decided::Stop(end) => {
                seen.end = Some(end);
                seen.attempts = progress.attempts().into();
                seen.service_calls = seen.attempts;
                seen.elapsed = clock.now_ms.into();
                return Ok(seen);
            }
        }
    }
    fail("it never ends")
}

/// Answers by the script, from its next line on.
#[derive(Clone)]
struct Scripted {
    script: Rc<[Line]>,
    calls: Rc<RefCell<usize>>,
}

impl Service<()> for Scripted {
    type Response = Line;
    type Error = Error<Infallible>;
    type Future = Pin<Box<dyn Future<Output = Result<Line, Error<Infallible>>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let line = at(&self.script, self.calls.replace_with(|calls| *calls + 1));
        Box::pin(async move {
            tokio::time::advance(line.took).await;
            Ok(line)
        })
    }
}

#[derive(Clone, Copy)]
struct ByLine;

impl Classify<Line, Error<Infallible>> for ByLine {
    fn classify(&self, result: &Result<Line, Error<Infallible>>) -> Outcome {
        result.as_ref().map_or(Outcome::Ignored, |line| line.outcome)
    }

    fn hint(&self, result: &Result<Line, Error<Infallible>>) -> Option<Hint> {
        result.as_ref().ok().and_then(|line| line.hint)
    }
}

fn call(plan: &Plan, script: &[Line]) -> Replay<Seen> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without any input").block_on(async {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        let options = Options::new().observer(move |event: &Event| {
            log.lock().expect("whole").push(*event);
        });
        let retry = RetryLayer::with(plan.config.clone(), options).expect("validated before");
        let calls = Rc::new(RefCell::new(0));
        let service = Scripted { script: script.into(), calls: calls.clone() };
        let mut circuit = None;
        let below = match &plan.breaker {
            None => Either::Right(service),
            Some(breaker) => match CircuitBreakerLayer::new(breaker.config.clone()) {
                Err(error) => return skip(format!("configuration refused: {error}")),
                Ok(layer) => {
                    circuit = Some(layer.circuit().clone());
                    let layer = layer.classify_with(ByLine);
                    Either::Left(layer.layer(service))
                }
            },
        };
        let start = portcullis::clock::tokio_now();
        let call = retry.classify_with(ByLine).layer(below).oneshot(());
        let answer = match plan.deadline {
            None => call.await,
            Some(after) => deadline::within(after, call).await,
        };
        let mut seen = Seen {
            elapsed: (portcullis::clock::tokio_now() - start).as_millis(),
            service_calls: *calls.borrow() as u64,
            refused: answer.is_err_and(|error| error.is_rejected()),
            state: circuit.map_or_else(String::new, |circuit| circuit.state().to_string()),
            ..Seen::default()
        };
        for event in told.lock().expect("whole").iter() {
            match *event {
                Event::Retrying { delay, .. } => seen.delays.push(delay.as_millis()),
                Event::RetryEnded { attempts, end, .. } => {
                    (seen.attempts, seen.end) = (attempts.into(), Some(end));
                }
                _ => {}
            }
        }
        Ok(seen)
    })
}

fn compare(seen: &Seen, expect: &Value) -> Replay {
    let number = |key: &str, found: u128| match optional(expect, key, "expect")? {
        Some(expected) if u128::from(expected) != found => {
            fail(format!("{key} is {found}, not {expected}: {seen:?}"))
        }
        _ => Ok(()),
    };
    number("attempts", seen.attempts.into())?;
    number("service_calls", seen.service_calls.into())?;
    number("elapsed_ms", seen.elapsed)?;
    if let Some(expected) = expect["delays_ms"].as_array() {
        let expected: Vec<_> = expected.iter().filter_map(Value::as_u64).map(u128::from).collect();
        if expected != seen.delays {
            return fail(format!("delays_ms are {:?}, not {expected:?}", seen.delays));
        }
    }
    for key in ["state", "breaker_state"] {
        if expect[key].as_str().is_some_and(|state| state != seen.state) {
            return fail(format!("{key} is {}, not {}", seen.state, expect[key]));
        }
    }
    let Some(expected) = expect["result"].as_str() else { return Ok(()) };
    let found = match seen.end {
        Some(RetryEnd::ToldToStop | RetryEnd::HintTooLong) => "server_pushback",
        Some(end) => end.as_str(),
        None => "nothing",
    };
    let same = found == expected
        || seen.refused && matches!(expected, "open" | "circuit_open" | "rejected");
    if same { Ok(()) } else { fail(format!("result is {found}, not {expected}: {seen:?}")) }
}
