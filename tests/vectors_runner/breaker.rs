//! Replays circuit breaker scenarios on the pure breaker, with the time given at each step.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use portcullis::{
    Outcome, Reason, State,
    policy::breaker::{Breaker, Command, Permit, Refusal},
};
use serde_json::Value;

use super::{
    Replay, Stop, Verdict, VirtualClock, config, fail, key_of, members, number, only, optional,
    parts, same_ms, skip, times, word,
};

/// Rates are given with six decimals at most.
const RATE_TOLERANCE: f64 = 1e-6;

pub(super) fn replay(scenario: &Value) -> Verdict {
    let mut notes = Vec::new();
    match run(scenario, &mut notes) {
        Ok(()) => Verdict::Passed { notes },
        Err(Stop::Skip(reason)) => Verdict::Skipped(reason),
        Err(Stop::Fail(what)) => {
            let choices = config::differing_choices(scenario);
            let unknown = config::unknown_features(scenario);
            if !choices.is_empty() {
                Verdict::Skipped(format!("documented choice: {}", choices.join(", ")))
            } else if !unknown.is_empty() {
                Verdict::Skipped(format!("unknown feature {} ({what})", unknown.join(", ")))
            } else {
                Verdict::Failed(what)
            }
        }
    }
}

fn run(scenario: &Value, notes: &mut Vec<String>) -> Replay {
    parts(scenario, &["steps"])?;
    config::expects_illegal_commands(scenario)?;
    let plan = config::plan(scenario)?;
    let Some(steps) = scenario["steps"].as_array() else { return skip("no steps") };
    for step in steps {
        check_schema(step)?;
    }
    let mut replay = Timeline {
        clock: VirtualClock::new(),
        circuits: BTreeMap::new(),
        plan: &plan,
        deferred: None,
        notes,
    };
    for (at, step) in steps.iter().enumerate() {
        replay.step(step).map_err(|stop| match stop {
            Stop::Fail(what) => Stop::Fail(format!("step {at} {}: {what}", step["do"])),
            other => other,
        })?;
    }
    replay.settle_deferred()
}

/// Checked before the first step, so that a scenario is either replayed whole or skipped.
fn check_schema(step: &Value) -> Replay {
    let what = word(step, "do", "a step")?;
    let known: &[&str] = match what {
        "advance" => &["do", "ms", "times", "key", "expect"],
        "call" => &["do", "outcome", "took_ms", "times", "key", "expect"],
        "acquire" => &["do", "as", "times", "key", "expect"],
        "complete" => &["do", "as", "outcome", "took_ms", "times", "key", "expect"],
        "cancel" => &["do", "as", "times", "key", "expect"],
        "command" => &["do", "name", "ms", "times", "key", "expect"],
        "check" => &["do", "times", "key", "expect"],
        other => return skip(format!("unknown step `{other}`")),
    };
    only(step, &format!("step `{what}`"), known)?;
    if matches!(what, "call" | "complete") {
        outcome(step)?;
    }
    if what == "command" {
        command(step)?;
    }
    let Some(expect) = step.get("expect") else { return Ok(()) };
    let known =
        ["admitted", "reason", "state", "retry_after_ms", "error", "transitions", "metrics"];
    only(expect, "expect", &known)?;
    if expect["state"] == "metrics_only" {
        return skip("state metrics_only");
    }
    if let Some(metrics) = expect.get("metrics") {
        let known =
            ["calls", "failures", "successes", "slow", "rejected", "failure_rate", "slow_rate"];
        only(metrics, "metrics", &known)?;
    }
    Ok(())
}

fn outcome(step: &Value) -> Replay<Outcome> {
    match word(step, "outcome", "a step")? {
        "success" => Ok(Outcome::Success),
        "failure" | "panic" => Ok(Outcome::Failure),
        "ignored" => Ok(Outcome::Ignored),
        other => skip(format!("outcome:{other}")),
    }
}

fn command(step: &Value) -> Replay<Command> {
    Ok(match word(step, "name", "a command")? {
        "open" => Command::Open,
        "open_for" => Command::OpenFor(Duration::from_millis(number(step, "ms", "open_for")?)),
        "half_open" => Command::HalfOpen,
        "close" => Command::Close,
        "reset" => Command::Reset,
        "force_open" => Command::ForceOpen,
        "disable" => Command::Disable,
        "enable" => Command::Enable,
        "shadow" => Command::Shadow,
        other => return skip(format!("command:{other}")),
    })
}

/// One breaker and what is in flight through it.
#[derive(Debug)]
struct Circuit {
    breaker: Breaker,
    /// By name, oldest first: one name may stand for several calls.
    in_flight: BTreeMap<String, VecDeque<(Permit, Instant)>>,
    transitions: Vec<String>,
}

impl Circuit {
    fn take(&mut self, name: &str) -> Replay<Permit> {
        match self.in_flight.get_mut(name).and_then(VecDeque::pop_front) {
            Some((permit, _)) => Ok(permit),
            None => fail(format!("`{name}` was never admitted")),
        }
    }
}

/// What a refusal or an admission looks like from outside.
type Admission = Result<(), Refusal>;

struct Timeline<'a> {
    clock: VirtualClock,
    circuits: BTreeMap<String, Circuit>,
    plan: &'a config::Plan,
    /// A state that a bare look should have shown, and when. There is no task: the end of a probe's
    /// lease shows at the next call or late result, so what a timer would have done is looked for
    /// at the next acquire.
    deferred: Option<(String, String, u64)>,
    notes: &'a mut Vec<String>,
}

impl Timeline<'_> {
    fn circuit(&mut self, key: &str) -> Replay<&mut Circuit> {
        if !self.circuits.contains_key(key) {
            // Each key's buckets begin at time 0, whenever its first call comes.
            let start = VirtualClock { now_ms: 0, ..self.clock }.now()?;
            let breaker = match Breaker::new(self.plan.config.clone(), start) {
                Ok(breaker) => breaker,
                Err(error) => return skip(format!("configuration refused: {error}")),
            };
            let circuit = Circuit { breaker, in_flight: BTreeMap::new(), transitions: Vec::new() };
            self.circuits.insert(key.to_owned(), circuit);
        }
        Ok(self.circuits.get_mut(key).expect("just inserted"))
    }

    fn step(&mut self, step: &Value) -> Replay {
        let key = key_of(step);
        let expect = &step["expect"];
        let mut refusal = None;
        for _ in 0..times(step)? {
            let admission = self.act(step, &key)?;
            let Circuit { breaker, transitions, .. } = self.circuit(&key)?;
            breaker.deliver(|turn| transitions.push(format!("{}>{}", turn.from, turn.to)));
            if let Some(admission) = admission {
                check_admission(admission, expect)?;
                refusal = admission.err();
            }
        }
        if expect.is_object() {
            self.check(step, &key, refusal)?;
        }
        Ok(())
    }

    fn act(&mut self, step: &Value, key: &str) -> Replay<Option<Admission>> {
        let now = self.clock.now()?;
        let what = word(step, "do", "a step")?;
        if matches!(what, "call" | "acquire" | "complete" | "cancel" | "command") {
            // Whatever the step expects is checked after it, and is then what a timer would show.
            self.deferred = None;
        }
        match what {
            "advance" => self.clock.advance(number(step, "ms", "advance")?),
            "call" => {
                let outcome = outcome(step)?;
                let took = optional(step, "took_ms", "call")?.unwrap_or(0);
                match self.circuit(key)?.breaker.admit(now) {
                    Ok(permit) => {
                        self.clock.advance(took);
                        let done = self.clock.now()?;
                        self.circuit(key)?.breaker.settle(permit, outcome, None, done);
                        return Ok(Some(Ok(())));
                    }
                    Err(refusal) => return Ok(Some(Err(refusal))),
                }
            }
            "acquire" => {
                let name = word(step, "as", "acquire")?;
                let circuit = self.circuit(key)?;
                return Ok(Some(circuit.breaker.admit(now).map(|permit| {
                    circuit.in_flight.entry(name.to_owned()).or_default().push_back((permit, now));
                })));
            }
            "complete" => {
                let outcome = outcome(step)?;
                self.clock.advance(optional(step, "took_ms", "complete")?.unwrap_or(0));
                let now = self.clock.now()?;
                let circuit = self.circuit(key)?;
                let permit = circuit.take(word(step, "as", "complete")?)?;
                circuit.breaker.settle(permit, outcome, None, now);
            }
            "cancel" => {
                let circuit = self.circuit(key)?;
                let permit = circuit.take(word(step, "as", "cancel")?)?;
                circuit.breaker.abandon(permit, now);
            }
            "command" => {
                let command = command(step)?;
                self.circuit(key)?.breaker.command(command, now);
            }
            _ => {}
        }
        Ok(None)
    }

    fn check(&mut self, step: &Value, key: &str, refusal: Option<Refusal>) -> Replay {
        let now = self.clock.now()?;
        let expect = &step["expect"];
        if let Some(expected) = expect["state"].as_str() {
            let found = self.circuit(key)?.breaker.state();
            if found.to_string() != expected {
                self.defer(step, key, expected, found)?;
                // The rest of this look belongs to the state that it has not shown yet.
                return Ok(());
            }
        }
        let circuit = self.circuit(key)?;
        if let Some(expected) = expect.get("retry_after_ms") {
            // Where the step was not refused itself, it is what the next call would be told.
            let refusal = refusal.or_else(|| circuit.breaker.refuses(now));
            let found = refusal.and_then(|refusal| refusal.retry_after);
            let same = match (found, expected.as_f64()) {
                (Some(found), Some(expected)) => same_ms(found, expected),
                (None, None) => expected.is_null(),
                _ => false,
            };
            if !same {
                return fail(format!("retry_after is {found:?}, not {expected}"));
            }
        }
        if let Some(expected) = expect["transitions"].as_array() {
            let expected: Vec<_> = expected.iter().filter_map(Value::as_str).collect();
            if circuit.transitions != expected {
                return fail(format!("transitions {:?}, not {expected:?}", circuit.transitions));
            }
        }
        if let Some(metrics) = expect.get("metrics") {
            let found = circuit.breaker.snapshot(now);
            for (name, expected) in members(metrics, "metrics")? {
                let found = match name.as_str() {
                    "calls" => Some(found.calls as f64),
                    "failures" => Some(found.failures as f64),
                    "successes" => Some(found.successes as f64),
                    "slow" => Some(found.slow as f64),
                    "rejected" => Some(found.rejected as f64),
                    "failure_rate" => found.failure_rate,
                    _ => found.slow_rate,
                };
                let same = match (found, expected.as_f64()) {
                    (Some(found), Some(expected)) => (found - expected).abs() <= RATE_TOLERANCE,
                    (None, None) => expected.is_null(),
                    _ => false,
                };
                if !same {
                    return fail(format!("{name} is {found:?}, not {expected}"));
                }
            }
        }
        Ok(())
    }

    /// A look that shows another state than a timer would have: a mismatch, except for a probe that
    /// has outlived its lease.
    fn defer(&mut self, step: &Value, key: &str, expected: &str, found: State) -> Replay {
        let mismatch = format!("state is {found}, not {expected}");
        let Some(lease) = self.plan.lease else { return fail(mismatch) };
        let looks = matches!(step["do"].as_str(), Some("advance" | "check"));
        if !looks || expected != "open" || found != State::HalfOpen {
            return fail(mismatch);
        }
        let (now, now_ms) = (self.clock.now()?, self.clock.now_ms);
        let circuit = self.circuit(key)?;
        let Some(oldest) = circuit.in_flight.values().flatten().map(|(_, since)| *since).min()
        else {
            return skip("half_open:max_wait with no probe in flight: a lease needs a probe");
        };
        if now.saturating_duration_since(oldest) < lease {
            return fail(mismatch);
        }
        self.deferred = Some((key.to_owned(), expected.to_owned(), now_ms));
        self.notes.push(format!(
            "state {expected} at {now_ms} ms is looked for at the next acquire: a lease ends at a call"
        ));
        Ok(())
    }

    /// A deferred look that no later step took over is taken by one more call.
    fn settle_deferred(&mut self) -> Replay {
        let Some((key, expected, at_ms)) = self.deferred.take() else { return Ok(()) };
        if self.clock.now_ms != at_ms {
            return Ok(());
        }
        let now = self.clock.now()?;
        let circuit = self.circuit(&key)?;
        let _ = circuit.breaker.admit(now);
        let found = circuit.breaker.state().to_string();
        if found == expected { Ok(()) } else { fail(format!("state is {found}, not {expected}")) }
    }
}

fn check_admission(admission: Admission, expect: &Value) -> Replay {
    if let Some(expected) = expect["admitted"].as_bool() {
        if admission.is_ok() != expected {
            return fail(match admission {
                Ok(()) => "was admitted".to_owned(),
                Err(refusal) => format!("was refused: {refusal:?}"),
            });
        }
    }
    let Err(refusal) = admission else {
        if let Some(reason) = expect.get("reason") {
            return fail(format!("was admitted, not refused for {reason}"));
        }
        return Ok(());
    };
    if let Some(expected) = expect["reason"].as_str() {
        let reason = match expected {
            "open" => Reason::CircuitOpen,
            "probe_limit" => Reason::ProbeLimit,
            "forced_open" => Reason::ForcedOpen,
            other => return skip(format!("reason:{other}")),
        };
        if refusal.reason != reason {
            return fail(format!("was refused for {}, not {reason}", refusal.reason));
        }
    }
    Ok(())
}
