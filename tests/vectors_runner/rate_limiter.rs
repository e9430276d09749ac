//! Replays rate limiter scenarios on the pure token bucket, with the time given at each step; and beside it,
//! where nothing is reserved, on the table of buckets by key, which must answer alike.

use std::{collections::BTreeMap, time::Duration};

use portcullis::{
    RateLimitConfig,
    policy::bucket::{Bucket, Buckets, Refusal, Reservation},
};
use serde_json::Value;

use super::{
    Replay, Stop, Verdict, VirtualClock, fail, key_of, members, number, only, optional, parts,
    same_ms, skip, times, word,
};

/// Tokens are given with six decimals at most.
const TOKEN_TOLERANCE: f64 = 1e-6;

pub(super) fn replay(scenario: &Value) -> Verdict {
    match run(scenario) {
        Ok(()) => Verdict::Passed { notes: Vec::new() },
        Err(Stop::Skip(reason)) => Verdict::Skipped(reason),
        Err(Stop::Fail(what)) => Verdict::Failed(what),
    }
}

fn run(scenario: &Value) -> Replay {
    parts(scenario, &["steps"])?;
    let config = config(&scenario["config"])?;
    let Some(steps) = scenario["steps"].as_array() else { return skip("no steps") };
    for step in steps {
        check_schema(step)?;
    }
    let clock = VirtualClock::new();
    let reserves = steps.iter().any(|step| matches!(step["do"].as_str(), Some("reserve")));
    let table = match Buckets::new(config.clone(), 1_000, clock.now()?) {
        Ok(table) => Some(table).filter(|_| !reserves),
        Err(error) => return skip(format!("configuration refused: {error}")),
    };
    let mut timeline = Timeline { clock, limiters: BTreeMap::new(), table, config };
    for (at, step) in steps.iter().enumerate() {
        timeline.step(step).map_err(|stop| match stop {
            Stop::Fail(what) => Stop::Fail(format!("step {at} {}: {what}", step["do"])),
            other => other,
        })?;
    }
    Ok(())
}

fn config(config: &Value) -> Replay<RateLimitConfig> {
    match word(config, "algorithm", "config")? {
        "token_bucket" => {}
        // Windows and grids are other limits than a bucket: the first lets twice its number through.
        other => return skip(format!("algorithm:{other}")),
    }
    only(config, "config", &["algorithm", "permits", "per_ms", "burst", "start"])?;
    if !matches!(config["start"].as_str(), None | Some("full")) {
        return skip(format!("start:{}", config["start"]));
    }
    let permits = number(config, "permits", "config")?;
    let per = Duration::from_millis(number(config, "per_ms", "config")?);
    let plain = RateLimitConfig::new("vectors", permits, per);
    Ok(optional(config, "burst", "config")?.map_or(plain.clone(), |burst| plain.burst(burst)))
}

/// Checked before the first step, so that a scenario is either replayed whole or skipped.
fn check_schema(step: &Value) -> Replay {
    let what = word(step, "do", "a step")?;
    let known: &[&str] = match what {
        "advance" => &["do", "ms", "times", "key", "expect"],
        "try" => &["do", "n", "times", "key", "expect"],
        "reserve" => &["do", "n", "max_wait_ms", "as", "times", "key", "expect"],
        "cancel" => &["do", "as", "times", "key", "expect"],
        "set" => &["do", "permits", "per_ms", "burst", "times", "key", "expect"],
        "check" => &["do", "times", "key", "expect"],
        other => return skip(format!("unknown step `{other}`")),
    };
    only(step, &format!("step `{what}`"), known)?;
    if what == "advance" && step["ms"].as_i64().is_some_and(|ms| ms < 0) {
        return skip("clock_backwards");
    }
    let known = [
        "admitted",
        "wait_ms",
        "retry_after_ms",
        "remaining",
        "reset_after_ms",
        "tokens",
        "tokens_before",
    ];
    step.get("expect").map_or(Ok(()), |expect| only(expect, "expect", &known))
}

struct Limiter {
    bucket: Bucket,
    config: RateLimitConfig,
    /// By name, the newest last. One that was refused has nothing to cancel.
    reserved: Vec<(String, Option<Reservation>)>,
}

struct Timeline {
    clock: VirtualClock,
    limiters: BTreeMap<String, Limiter>,
    /// The same by key; it takes no reservations.
    table: Option<Buckets<String>>,
    config: RateLimitConfig,
}

/// How a step was answered: with a wait, or refused.
type Answer = Result<Duration, Refusal>;

impl Timeline {
    fn limiter(&mut self, key: &str) -> Replay<&mut Limiter> {
        if !self.limiters.contains_key(key) {
            let start = VirtualClock { now_ms: 0, ..self.clock }.now()?;
            let bucket = match Bucket::new(self.config.clone(), start) {
                Ok(bucket) => bucket,
                Err(error) => return skip(format!("configuration refused: {error}")),
            };
            let config = self.config.clone();
            self.limiters.insert(key.to_owned(), Limiter { bucket, config, reserved: Vec::new() });
        }
        Ok(self.limiters.get_mut(key).expect("just inserted"))
    }

    fn step(&mut self, step: &Value) -> Replay {
        let key = key_of(step);
        let expect = &step["expect"];
        let repetitions = times(step)?;
        for nth in 1..=repetitions {
            let now = self.clock.now()?;
            let before = self.limiter(&key)?.bucket.tokens(now);
            if let Some(answer) = self.act(step, &key)? {
                check_answer(answer, expect, nth == repetitions)?;
            }
            if let Some(expected) = expect.get("tokens_before").filter(|_| nth == repetitions) {
                check_tokens("tokens_before", before, expected)?;
            }
        }
        if expect.is_object() { self.check(expect, &key) } else { Ok(()) }
    }

    fn act(&mut self, step: &Value, key: &str) -> Replay<Option<Answer>> {
        let now = self.clock.now()?;
        let n = optional(step, "n", "a step")?.unwrap_or(1);
        match word(step, "do", "a step")? {
            "advance" => self.clock.advance(number(step, "ms", "advance")?),
            "try" => {
                let bucket = &self.limiter(key)?.bucket;
                let foretold = bucket.foretell(n, now);
                let answer = bucket.try_acquire(n, now);
                if answer != foretold {
                    return fail(format!("{answer:?}, but {foretold:?} was foretold"));
                }
                let by_key = self.table.as_ref().map(|table| table.try_acquire(key, n, now));
                if by_key.is_some_and(|by_key| by_key.map(drop) != answer) {
                    return fail(format!("{answer:?}, but {by_key:?} by key"));
                }
                return Ok(Some(answer.map(|()| Duration::ZERO)));
            }
            "reserve" => {
                let max_wait = optional(step, "max_wait_ms", "reserve")?.map(Duration::from_millis);
                let limiter = self.limiter(key)?;
                let reserved = limiter.bucket.reserve(n, max_wait, now);
                let answer = reserved.as_ref().map(Reservation::wait).map_err(|refusal| *refusal);
                let name = step["as"].as_str().unwrap_or_default();
                limiter.reserved.push((name.to_owned(), reserved.ok()));
                return Ok(Some(answer));
            }
            "cancel" => {
                let name = word(step, "as", "cancel")?;
                let limiter = self.limiter(key)?;
                let Some(at) = limiter.reserved.iter().rposition(|(other, _)| other == name) else {
                    return fail(format!("`{name}` was never reserved"));
                };
                if let (_, Some(reservation)) = limiter.reserved.remove(at) {
                    limiter.bucket.cancel(reservation, now);
                }
            }
            // A change that names no key is one for all of them, as the rate is that of every key.
            "set" if key.is_empty() && self.limiters.keys().any(|other| !other.is_empty()) => {
                let keys: Vec<String> = self.limiters.keys().cloned().collect();
                for key in keys.iter().filter(|key| !key.is_empty()) {
                    self.act(step, key)?;
                }
            }
            "set" => {
                let limiter = self.limiter(key)?;
                let mut config = limiter.config.clone();
                config.burst = Some(config.burst_tokens());
                if let Some(permits) = optional(step, "permits", "set")? {
                    config.permits = permits;
                }
                if let Some(per) = optional(step, "per_ms", "set")? {
                    config.per = Duration::from_millis(per);
                }
                if let Some(burst) = optional(step, "burst", "set")? {
                    config.burst = Some(burst);
                }
                if let Err(error) = limiter.bucket.reconfigure(config.clone(), now) {
                    return fail(format!("refused: {error}"));
                }
                // By key, a full bucket is as good as none and so stays full, and a rate is that of every key.
                let raised = config.burst_tokens() > limiter.config.burst_tokens();
                limiter.config = config.clone();
                if raised || self.limiters.len() > 1 {
                    self.table = None;
                }
                if let Some(Err(error)) = self.table.as_ref().map(|t| t.reconfigure(config, now)) {
                    return fail(format!("refused by key: {error}"));
                }
            }
            _ => {}
        }
        Ok(None)
    }

    fn check(&mut self, expect: &Value, key: &str) -> Replay {
        let now = self.clock.now()?;
        let bucket = &self.limiter(key)?.bucket;
        let seen = (bucket.remaining(now), bucket.reset_after(now));
        let by_key = self.table.as_ref().map(|table| table.level(key, now));
        if by_key.is_some_and(|level| (level.remaining, level.reset_after) != seen) {
            return fail(format!("{seen:?}, but {by_key:?} by key"));
        }
        let bucket = &self.limiter(key)?.bucket;
        for (name, expected) in members(expect, "expect")? {
            match name.as_str() {
                "remaining" if expected.as_u64() != Some(bucket.remaining(now)) => {
                    return fail(format!("{} remaining, not {expected}", bucket.remaining(now)));
                }
                "reset_after_ms" => check_time(name, bucket.reset_after(now), expected)?,
                "tokens" => check_tokens(name, bucket.tokens(now), expected)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a step is admitted is of interest every time; how long it waits, the last time.
fn check_answer(answer: Answer, expect: &Value, last: bool) -> Replay {
    if expect.is_null() {
        return Ok(());
    }
    for (name, expected) in members(expect, "expect")? {
        match (name.as_str(), answer) {
            ("admitted", _) if expected.as_bool() != Some(answer.is_ok()) => {
                return fail(format!("answered {answer:?}, not admitted: {expected}"));
            }
            _ if !last => {}
            ("wait_ms", Ok(wait)) => check_time(name, Some(wait), expected)?,
            ("retry_after_ms", Err(refusal)) => check_time(name, refusal.retry_after, expected)?,
            ("wait_ms" | "retry_after_ms", _) if !expected.is_null() => {
                return fail(format!("answered {answer:?}, which has no {name}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Times are given in whole milliseconds; ours are exact to the nanosecond, rounded up.
fn check_time(name: &str, found: Option<Duration>, expected: &Value) -> Replay {
    let same = match (found, expected.as_f64()) {
        (None, None) => expected.is_null(),
        (Some(found), Some(expected)) => same_ms(found, expected),
        _ => false,
    };
    if same { Ok(()) } else { fail(format!("{name} is {found:?}, not {expected}")) }
}

/// Given whole, or with a part of a token.
fn check_tokens(name: &str, found: f64, expected: &Value) -> Replay {
    let near = |found: f64| expected.as_f64().is_some_and(|e| (found - e).abs() <= TOKEN_TOLERANCE);
    if near(found) || near((found + TOKEN_TOLERANCE).floor()) {
        Ok(())
    } else {
        fail(format!("{name} is {found}, not {expected}"))
    }
}
