//! Replays tables of delays on the pure back-off.

use std::time::Duration;

use portcullis::{Backoff, Growth, Jitter};
use serde_json::Value;

use super::{
    Replay, Stop, Verdict, fail, fraction, number, only, optional, parts, same_ms, skip, small,
    word,
};

pub(super) fn replay(scenario: &Value) -> Verdict {
    match run(scenario) {
        Ok(()) => Verdict::Passed { notes: Vec::new() },
        Err(Stop::Skip(reason)) => Verdict::Skipped(reason),
        Err(Stop::Fail(what)) => Verdict::Failed(what),
    }
}

fn run(scenario: &Value) -> Replay {
    parts(scenario, &["cases"])?;
    let backoff = config(&scenario["config"])?;
    let Some(cases) = scenario["cases"].as_array() else { return skip("no cases") };
    for case in cases {
        only(case, "case", &["retry", "random", "previous_ms", "delay_ms", "min_ms", "max_ms"])?;
    }
    cases.iter().try_for_each(|case| check(&backoff, case))
}

/// A back-off as scenarios of all kinds write it.
pub(super) fn config(given: &Value) -> Replay<Backoff> {
    let known = ["kind", "base_ms", "step_ms", "factor", "max_ms", "jitter"];
    only(given, "backoff", &known)?;
    let base = Duration::from_millis(number(given, "base_ms", "backoff")?);
    let growth = match word(given, "kind", "backoff")? {
        "constant" => Growth::Constant { delay: base },
        "linear" => {
            let step = optional(given, "step_ms", "backoff")?.map(Duration::from_millis);
            Growth::Linear { base, step: step.unwrap_or(base) }
        }
        "exponential" => {
            let given = given.get("factor").map(|_| fraction(given, "factor", "backoff"));
            Growth::Exponential { base, factor: given.unwrap_or(Ok(2.0))? }
        }
        other => return skip(format!("backoff:{other}")),
    };
    let max = optional(given, "max_ms", "backoff")?.map_or(Duration::MAX, Duration::from_millis);
    let mut backoff = Backoff::default().max(max).jitter(jitter(&given["jitter"])?);
    backoff.growth = growth;
    match backoff.validate() {
        Ok(()) => Ok(backoff),
        Err(error) => skip(format!("configuration refused: {error}")),
    }
}

fn jitter(given: &Value) -> Replay<Jitter> {
    if given.is_null() {
        return Ok(Jitter::None);
    }
    let kind = match given.as_str() {
        Some(kind) => kind,
        None => {
            only(given, "jitter", &["kind", "ratio"])?;
            word(given, "kind", "jitter")?
        }
    };
    Ok(match kind {
        "none" => Jitter::None,
        "full" => Jitter::Full,
        "equal" => Jitter::Equal,
        "proportional" => Jitter::Proportional(fraction(given, "ratio", "jitter")?),
        "decorrelated" => Jitter::Decorrelated,
        other => return skip(format!("jitter:{other}")),
    })
}

fn check(backoff: &Backoff, case: &Value) -> Replay {
    let retry = small(case, "retry", "a case")?;
    let previous = optional(case, "previous_ms", "a case")?.map(Duration::from_millis);
    let randoms = match case.get("random") {
        Some(_) => vec![fraction(case, "random", "a case")?],
        None => (0..=20).map(|nth| f64::from(nth) / 20.0).collect(),
    };
    let bound = |key| optional(case, key, "a case");
    let (exact, min, max) = (bound("delay_ms")?, bound("min_ms")?, bound("max_ms")?);
    if exact.or(min).or(max).is_none() {
        return skip("a case without an expectation");
    }
    for random in randoms {
        let delay = backoff.delay(retry, random, previous);
        let near = |bound: u64| same_ms(delay, bound as f64);
        let holds = exact.is_none_or(near)
            && min.is_none_or(|min| delay >= Duration::from_millis(min) || near(min))
            && max.is_none_or(|max| delay <= Duration::from_millis(max) || near(max));
        if !holds {
            return fail(format!("retry {retry}, random {random}: {delay:?}, not {case}"));
        }
    }
    Ok(())
}
