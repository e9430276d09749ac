//! Numbers of different layers that fight.

use std::time::Duration;

use super::{
    report::{Finding, Rule},
    words::Long,
};
use crate::plan::Part;

/// What is wrong with the numbers of these parts, the outermost first.
pub(super) fn findings(parts: &[Part]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let (over, under) = (&parts[..at], &parts[at + 1..]);
        match part {
            Part::CircuitBreaker { .. } => found.extend(breaker(part, over, under)),
            Part::Timeout { .. } => found.extend(timeout(part, over)),
            Part::RateLimit { .. } | Part::Bulkhead { .. } => found.extend(queue(part, over)),
            _ => {}
        }
    }
    found
}

/// The timeout among these that comes first, with its limit: those of nested timeouts never add up.
fn shortest<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Option<(&'a Part, Duration)> {
    let limits = parts.into_iter().filter_map(|part| match part {
        Part::Timeout { limit, .. } => limit.map(|limit| (part, limit)),
        _ => None,
    });
    limits.min_by_key(|(_, limit)| *limit)
}

fn queue(part: &Part, over: &[Part]) -> Option<Finding> {
    let wait = part.longest_wait()?;
    let (outer, total) = shortest(over)?;
    (wait >= total).then(|| {
        Finding::new(
            Rule::QueueOutlastsTimeout,
            format!(
                "{part} lets a call wait for up to {}, but {outer} ends it after {}: a call that waited \
                 for that long has no time left to be made; make the wait a fraction of the timeout",
                Long(wait),
                Long(total)
            ),
        )
    })
}

fn timeout(part: &Part, over: &[Part]) -> Vec<Finding> {
    let mut found = Vec::new();
    let (Part::Timeout { limit, min_remaining, .. }, Some((outer, total))) =
        (*part, shortest(over))
    else {
        return found;
    };
    // The same is too much, too: the outer one has begun to count by then.
    if min_remaining >= total {
        found.push(Finding::new(
            Rule::MinimumNeverLeft,
            format!(
                "{part} wants at least {} left, but {outer} never leaves as much of its {}: every call \
                 is refused",
                Long(min_remaining),
                Long(total)
            ),
        ));
    }
    let Some(attempt) = limit else { return found };
    let between = over.iter().rev().take_while(|part| !std::ptr::eq(*part, outer));
    let retry = between.into_iter().find(|part| part.retries());
    if attempt >= total {
        let comes_of_it = match retry {
            Some(retry) => format!("one slow attempt takes all of it, and {retry} makes no other"),
            None => "its own limit never comes to bear".into(),
        };
        found.push(Finding::new(
            Rule::TimeoutNeverFires,
            format!(
                "{part} ends a call after {}, but {outer} does so after {} already: {comes_of_it}; make \
                 the inner limit shorter",
                Long(attempt),
                Long(total)
            ),
        ));
        return found;
    }
    let Some(retry @ &Part::Retry { attempts, longest_delays, .. }) = retry else {
        return found;
    };
    // Where nothing limits the attempts, it is the timeout that is meant to end them.
    if attempts == u32::MAX {
        return found;
    }
    let all = attempt.saturating_mul(attempts).saturating_add(longest_delays);
    if all > total {
        found.push(Finding::new(
            Rule::TotalTooShort,
            format!(
                "{retry} may need {} for {attempts} attempts of {} and the delays between them, and \
                 {outer} ends it after {}: if all attempts are slow, the last ones are cut short or not made",
                Long(all),
                Long(attempt),
                Long(total)
            ),
        ));
    }
    found
}

fn breaker(part: &Part, over: &[Part], under: &[Part]) -> Vec<Finding> {
    let mut found = Vec::new();
    let (Part::CircuitBreaker { slow_after, lease, .. }, Some((timeout, limit))) =
        (*part, shortest(over.iter().chain(under)))
    else {
        return found;
    };
    if let Some(slow) = slow_after.filter(|slow| *slow >= limit) {
        found.push(Finding::new(
            Rule::SlowLimitNeverReached,
            format!(
                "{part} takes a call for slow after {}, but {timeout} ends it after {}: no call is ever \
                 slow; make the limit for slow calls shorter than the timeout",
                Long(slow),
                Long(limit)
            ),
        ));
    }
    if lease < limit {
        found.push(Finding::new(
            Rule::LeaseBeforeTimeout,
            format!(
                "{part} gives up on a probe after {}, but {timeout} waits {} for it: a probe that \
                 answers in time reopens the circuit; make the lease longer than the timeout",
                Long(lease),
                Long(limit)
            ),
        ));
    }
    found
}
