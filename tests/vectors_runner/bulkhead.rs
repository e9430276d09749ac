//! Replays bulkhead scenarios on the pure slots.

use std::time::{Duration, Instant};

use portcullis::{
    BulkheadConfig, QueueOrder, Reason,
    policy::bulkhead::{Admission, Change, Slots, Ticket, Verdict},
};
use serde_json::Value;

use super::{
    Replay, Stop, Verdict as Outcome, VirtualClock, fail, members, number, only, optional, parts,
    skip, times, word,
};

pub(super) fn replay(scenario: &Value) -> Outcome {
    match run(scenario) {
        Ok(()) => Outcome::Passed { notes: Vec::new() },
        Err(Stop::Skip(reason)) => Outcome::Skipped(reason),
        Err(Stop::Fail(what)) => Outcome::Failed(what),
    }
}

fn run(scenario: &Value) -> Replay {
    parts(scenario, &["steps"])?;
    let Some(steps) = scenario["steps"].as_array() else { return skip("no steps") };
    for step in steps {
        check_schema(step)?;
    }
    let mut bench = Bench::new(config(&scenario["config"])?)?;
    for (at, step) in steps.iter().enumerate() {
        bench.step(step).map_err(|stop| match stop {
            Stop::Fail(what) => Stop::Fail(format!("step {at} {}: {what}", step["do"])),
            other => other,
        })?;
    }
    Ok(())
}

const SETTINGS: [&str; 4] = ["max_concurrent", "max_queue", "queue_order", "max_wait_ms"];

fn check_schema(step: &Value) -> Replay {
    let what = word(step, "do", "a step")?;
    let known: &[&str] = match what {
        "enter" | "leave" | "cancel" => &["as"],
        "advance" => &["ms"],
        "set" => &SETTINGS,
        "check" => &[],
        other => return skip(format!("unknown step `{other}`")),
    };
    if step.get("partition").is_some() {
        return skip("partitions");
    }
    let known = [&["do", "times", "expect"], known].concat();
    only(step, &format!("step `{what}`"), &known)?;
    let known = ["outcome", "in_flight", "queued", "then_admitted", "timed_out"];
    step.get("expect").map_or(Ok(()), |expect| only(expect, "expect", &known))
}

fn config(config: &Value) -> Replay<BulkheadConfig> {
    if config.get("partitions").is_some() {
        return skip("partitions");
    }
    only(config, "config", &SETTINGS)?;
    let limit = size(config, "max_concurrent")?;
    let Some(limit) = limit else { return skip("no `max_concurrent` in config") };
    // Where nothing is said about it, a queue has no limit to its waits.
    let config_so_far = BulkheadConfig::new("vector", limit).max_wait(Duration::MAX);
    with_settings(config_so_far, config)
}

/// A configuration with those settings replaced that are given.
fn with_settings(mut config: BulkheadConfig, given: &Value) -> Replay<BulkheadConfig> {
    if let Some(limit) = size(given, "max_concurrent")? {
        config = config.max_in_flight(limit);
    }
    if let Some(queue) = size(given, "max_queue")? {
        config = config.queue(queue);
    }
    config = match given["queue_order"].as_str() {
        Some("fifo") => config.order(QueueOrder::Fifo),
        Some("lifo") => config.lifo(),
        Some(order) => return skip(format!("queue_order:{order}")),
        None => config,
    };
    match optional(given, "max_wait_ms", "config")? {
        // A queue in which nobody may wait is none.
        Some(0) => Ok(config.queue(0)),
        Some(ms) => Ok(config.max_wait(Duration::from_millis(ms))),
        None => Ok(config),
    }
}

fn size(given: &Value, key: &str) -> Replay<Option<usize>> {
    let given = optional(given, key, "config")?;
    Ok(given.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
}

struct Bench {
    slots: Slots<String>,
    clock: VirtualClock,
    queued: Vec<(String, Ticket)>,
    inside: Vec<(String, Admission)>,
    /// What the step has brought about.
    then_admitted: Vec<String>,
    timed_out: Vec<String>,
    outcome: &'static str,
}

impl Bench {
    fn new(config: BulkheadConfig) -> Replay<Self> {
        match Slots::new(config) {
            Ok(slots) => Ok(Self {
                slots,
                clock: VirtualClock::new(),
                queued: Vec::new(),
                inside: Vec::new(),
                then_admitted: Vec::new(),
                timed_out: Vec::new(),
                outcome: "",
            }),
            Err(error) => skip(format!("a configuration that is none here: {error}")),
        }
    }

    fn step(&mut self, step: &Value) -> Replay {
        self.then_admitted.clear();
        self.timed_out.clear();
        for time in 0..times(step)? {
            self.once(step, time)?;
        }
        if let Some(expected) = step["expect"].get("outcome").filter(|_| step["do"] == "enter") {
            if *expected != self.outcome {
                return fail(format!("outcome is {}, not {expected}", self.outcome));
            }
        }
        self.check(&step["expect"])
    }

    fn once(&mut self, step: &Value, time: u64) -> Replay {
        let now = self.clock.now()?;
        match word(step, "do", "a step")? {
            "enter" => {
                let name = step["as"].as_str().map_or_else(String::new, |name| match time {
                    0 => name.to_owned(),
                    time => format!("{name}#{time}"),
                });
                self.enter(name, now);
            }
            "leave" => {
                let name = word(step, "as", "a step")?;
                if !self.go(name, now) {
                    return fail(format!("{name} is neither in flight nor queued"));
                }
            }
            // One that is out already may still be cancelled.
            "cancel" => {
                self.go(word(step, "as", "a step")?, now);
            }
            "advance" => {
                self.clock.advance(number(step, "ms", "advance")?);
                self.look(self.clock.now()?);
            }
            "set" => {
                let config = with_settings(self.slots.config(), step)?;
                match self.slots.reconfigure(config, now) {
                    Ok(changes) => changes.into_iter().for_each(|change| self.note(change, now)),
                    Err(error) => {
                        return skip(format!("a configuration that is none here: {error}"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, name: String, now: Instant) {
        let (verdict, change) = self.slots.enter(now, None, name.clone());
        self.note(change, now);
        self.outcome = match verdict {
            Verdict::Admitted(admission) => {
                self.inside.push((name, admission));
                "admitted"
            }
            Verdict::Queued(ticket) => {
                self.queued.push((name, ticket));
                "queued"
            }
            _ => "rejected",
        };
    }

    /// A call goes: one that runs leaves, one that waits gives up. Whether there is such a one.
    fn go(&mut self, name: &str, now: Instant) -> bool {
        let change = if let Some(at) = self.inside.iter().position(|(other, _)| other == name) {
            self.slots.leave(self.inside.remove(at).1, now)
        } else if let Some(at) = self.queued.iter().position(|(other, _)| other == name) {
            self.slots.cancel(self.queued.remove(at).1, now)
        } else {
            return false;
        };
        self.note(change, now);
        true
    }

    /// Takes the slot of whoever was let in.
    fn note(&mut self, change: Change<String>, now: Instant) {
        if let Some(next) = change.let_in {
            self.then_admitted.push(next.kept);
        }
        self.look(now);
    }

    /// Asks after everybody who waits, as their timers and wake-ups would.
    fn look(&mut self, now: Instant) {
        for (name, ticket) in std::mem::take(&mut self.queued) {
            match self.slots.ask(ticket, now).0 {
                Verdict::Queued(ticket) => self.queued.push((name, ticket)),
                Verdict::Admitted(admission) => self.inside.push((name, admission)),
                Verdict::Rejected(Reason::QueueTimeout) => self.timed_out.push(name),
                other => panic!("{name} waits without a deadline, and now {other:?}"),
            }
        }
    }

    fn check(&self, expect: &Value) -> Replay {
        if expect.is_null() {
            return Ok(());
        }
        let now = self.slots.snapshot();
        for (name, expected) in members(expect, "expect")? {
            let found = match name.as_str() {
                "in_flight" => Value::from(now.in_flight),
                "queued" => Value::from(now.queued),
                "then_admitted" => Value::from(self.then_admitted.clone()),
                "timed_out" => Value::from(self.timed_out.clone()),
                _ => continue,
            };
            if found != *expected {
                return fail(format!("{name} is {found}, not {expected}"));
            }
        }
        if (now.in_flight, now.queued) != (self.inside.len(), self.queued.len()) {
            return fail(format!(
                "{now:?}, but {} in and {} waiting",
                self.inside.len(),
                self.queued.len()
            ));
        }
        Ok(())
    }
}
