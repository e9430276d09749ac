//! Orders that break what a layer promises.

use super::{
    report::{Finding, Rule},
    words::Long,
};
use crate::plan::Part;

/// What is wrong with the order of these parts, the outermost first.
pub(super) fn findings(parts: &[Part]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let (over, under) = (&parts[..at], &parts[at + 1..]);
        match part {
            Part::ErrorLayer => found.extend(error_layer(under)),
            Part::CircuitBreaker { .. } => found.extend(breaker(part, under)),
            Part::Retry { .. } => found.extend(retry(part, over, under)),
            Part::Fallback { .. } => found.extend(fallback(part, over)),
            Part::RateLimit { .. } | Part::Bulkhead { .. } => found.extend(queue(part, over)),
            Part::CatchPanic { .. } => found.extend(catch_panic(part, under)),
            Part::Respond => found.extend(respond(over)),
            Part::Timeout { .. } => {}
        }
    }
    found
}

fn nearest(parts: &[Part], is: impl Fn(&Part) -> bool) -> Option<&Part> {
    parts.iter().rev().find(|part| is(part))
}

fn is_breaker(part: &Part) -> bool {
    matches!(part, Part::CircuitBreaker { .. })
}

fn is_timeout(part: &Part) -> bool {
    matches!(part, Part::Timeout { .. })
}

fn error_layer(under: &[Part]) -> Option<Finding> {
    // What stands below a respond layer is answered there and wraps nothing.
    let under = under.split(|part| matches!(part, Part::Respond)).next()?;
    let (other, below) = under.split_first()?;
    // Whoever has an error layer of its own below is a service like any other, and the error layer its
    // boundary.
    let stack = |part: &Part| matches!(part, Part::ErrorLayer);
    Some(if stack(other) || below.iter().any(stack) {
        let what =
            if stack(other) { "another one".into() } else { format!("{other} and another one") };
        Finding::new(
            Rule::NestedStacks,
            format!(
                "an error layer stands over {what}: to the layers over it, refusals further in are \
                 failures of a service; where the two are meant to be one stack, leave out the upper one"
            ),
        )
    } else {
        Finding::new(
            Rule::ErrorLayerOverOthers,
            format!(
                "the error layer stands over {other}, whose refusals it wraps as errors of the service: \
                 layers further out take them for failures; put it right above the service, or leave it \
                 out where the error can carry a refusal already"
            ),
        )
    })
}

fn breaker(part: &Part, under: &[Part]) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(retry) = under.iter().find(|part| part.retries()) {
        found.push(Finding::new(
            Rule::RetryInsideBreaker,
            format!(
                "{retry} stands inside {part}, which then sees one result for several attempts and \
                 opens late, while the retry goes on calling a service that is down; put the retry \
                 over the breaker"
            ),
        ));
    }
    if let Some(queue) = under.iter().find(|part| part.longest_wait().is_some()) {
        found.push(Finding::new(
            Rule::QueueInsideBreaker,
            format!(
                "{queue} lets calls wait inside {part}, so that waiting counts as slowness of the \
                 service and probes wait in a queue; put it over the breaker"
            ),
        ));
    }
    found
}

fn retry(part: &Part, over: &[Part], under: &[Part]) -> Vec<Finding> {
    let mut found = Vec::new();
    let Part::Retry { attempts, budget, longest_hint, retries_refusals, nested, .. } = *part else {
        return found;
    };
    if !part.retries() {
        return found;
    }
    if let Some(outer) = nearest(over, Part::retries) {
        let what = if nested {
            "their attempts multiply"
        } else {
            "the inner one makes one attempt per attempt of the outer one"
        };
        found.push(Finding::new(
            Rule::NestedRetries,
            format!("{part} stands inside {outer}: {what}; one retry is enough"),
        ));
        if !nested {
            return found;
        }
    }
    if !over.iter().any(is_timeout) {
        let hints = longest_hint.map_or(String::new(), |longest| {
            format!(", and the service may ask for {} between two of them", Long(longest))
        });
        found.push(Finding::new(
            Rule::RetryWithoutTotalTimeout,
            format!(
                "{part} has no timeout over it: its attempts and the delays between them take as long as \
                 they take{hints}; put a timeout for the whole call over the retry"
            ),
        ));
    }
    if budget.is_none() {
        let becomes = match attempts {
            u32::MAX => "as many calls as there is time for".into(),
            attempts => format!("{attempts} calls"),
        };
        found.push(Finding::new(
            Rule::RetryWithoutBudget,
            format!(
                "{part} has no budget: while the service is down, every call becomes {becomes}; give it \
                 one"
            ),
        ));
    }
    if let Some(refuser) = under.iter().find(|part| retries_refusals && part.refuses()) {
        found.push(Finding::new(
            Rule::RetryOfRefusals,
            format!(
                "{part} tries refusals of {refuser} again: its caller waits, and attempts are used up, for \
                 calls that do not reach the service; leave refusals alone unless they end soon"
            ),
        ));
    }
    found
}

fn fallback(part: &Part, over: &[Part]) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(retry) = nearest(over, Part::retries) {
        found.push(Finding::new(
            Rule::FallbackInsideRetry,
            format!(
                "{part} stands inside {retry}, which then sees answers where the service failed and \
                 never tries again; put the fallback outermost"
            ),
        ));
    }
    if let Some(breaker) = nearest(over, is_breaker) {
        found.push(Finding::new(
            Rule::FallbackInsideBreaker,
            format!(
                "{part} stands inside {breaker}, which then never sees a failure and never opens; put \
                 the fallback outermost"
            ),
        ));
    }
    let refuser = |part: &Part| (part.refuses() && !is_breaker(part)) || is_timeout(part);
    if let Some(refuser) = nearest(over, refuser) {
        found.push(Finding::new(
            Rule::FallbackInsideRefuser,
            format!(
                "{part} stands inside {refuser}, whose refusals reach the caller without it; put the \
                 fallback outermost"
            ),
        ));
    }
    found
}

fn queue(part: &Part, over: &[Part]) -> Vec<Finding> {
    let mut found = Vec::new();
    if part.longest_wait().is_none() {
        return found;
    }
    if let Some(retry) = nearest(over, Part::retries) {
        found.push(Finding::new(
            Rule::QueueInsideRetry,
            format!(
                "{part} lets calls wait inside {retry}: each attempt waits anew and at the end of the \
                 queue; put it over the retry"
            ),
        ));
    }
    if !over.iter().any(is_timeout) {
        found.push(Finding::new(
            Rule::QueueOutsideTimeout,
            format!(
                "{part} lets calls wait with no timeout over it: that wait comes on top of every limit \
                 further in"
            ),
        ));
    }
    found
}

fn catch_panic(part: &Part, under: &[Part]) -> Option<Finding> {
    let retry = under.iter().find(|part| part.retries())?;
    Some(Finding::new(
        Rule::CatchPanicOverRetry,
        format!(
            "{part} stands over {retry}, through which a panic passes without another attempt; put it \
             right above the error layer"
        ),
    ))
}

fn respond(over: &[Part]) -> Option<Finding> {
    let outer = nearest(over, |part| !matches!(part, Part::ErrorLayer | Part::Respond))?;
    Some(Finding::new(
        Rule::RespondInsideOthers,
        format!(
            "the respond layer stands inside {outer}, which takes answered refusals for answers of the \
             service, and whose own refusals it does not answer; put it outermost"
        ),
    ))
}
