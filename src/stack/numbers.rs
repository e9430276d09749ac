//! Numbers of different layers that fight.

use std::time::Duration;

use super::report::{Finding, Rule};
use crate::{error::Rounded, plan::Part};

/// What is wrong with the numbers of these parts, the outermost first.
pub(super) fn findings(parts: &[Part]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        for (between, inner) in parts[at + 1..].iter().enumerate() {
            let between = &parts[at + 1..at + 1 + between];
            found.extend(fight(part, between, inner));
        }
    }
    found
}

/// `outer` over `inner`, with `between` in between.
fn fight(outer: &Part, between: &[Part], inner: &Part) -> Vec<Finding> {
    match (outer, inner) {
        (Part::Timeout { limit: Some(limit), .. }, _) => {
            under_timeout(outer, *limit, between, inner)
        }
        (
            Part::CircuitBreaker { slow_after, lease, .. },
            Part::Timeout { limit: Some(limit), .. },
        ) => under_breaker(outer, *slow_after, *lease, inner, *limit),
        _ => Vec::new(),
    }
}

fn under_timeout(outer: &Part, total: Duration, between: &[Part], inner: &Part) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(wait) = inner.longest_wait().filter(|wait| *wait >= total) {
        found.push(Finding::new(
            Rule::QueueOutlastsTimeout,
            format!(
                "{inner} lets a call wait for up to {}, but {outer} ends it after {}: a call that waited \
                 for that long has no time left to be made; make the wait a fraction of the timeout",
                Rounded(wait),
                Rounded(total)
            ),
        ));
    }
    let Part::Timeout { limit, min_remaining, .. } = *inner else { return found };
    if min_remaining > total {
        found.push(Finding::new(
            Rule::MinimumNeverLeft,
            format!(
                "{inner} wants at least {} left, but {outer} never leaves more than {}: every call is \
                 refused",
                Rounded(min_remaining),
                Rounded(total)
            ),
        ));
    }
    let Some(attempt) = limit else { return found };
    if attempt >= total {
        found.push(Finding::new(
            Rule::TimeoutNeverFires,
            format!(
                "{inner} ends a call after {}, but {outer} does so after {} already: it never acts, and \
                 no attempt follows a slow one; make the inner limit shorter",
                Rounded(attempt),
                Rounded(total)
            ),
        ));
    } else if let Some(retry @ Part::Retry { attempts, longest_delays, .. }) =
        between.iter().find(|part| matches!(part, Part::Retry { .. }))
    {
        let all = attempt.saturating_mul(*attempts).saturating_add(*longest_delays);
        if all > total {
            found.push(Finding::new(
                Rule::TotalTooShort,
                format!(
                    "{retry} may need {} for {attempts} attempts of {} and the delays between them, and \
                     {outer} ends it after {}: if all attempts are slow, the last ones are not made",
                    Rounded(all),
                    Rounded(attempt),
                    Rounded(total)
                ),
            ));
        }
    }
    found
}

fn under_breaker(
    outer: &Part,
    slow_after: Option<Duration>,
    lease: Duration,
    inner: &Part,
    limit: Duration,
) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(slow) = slow_after.filter(|slow| *slow >= limit) {
        found.push(Finding::new(
            Rule::SlowLimitNeverReached,
            format!(
                "{outer} takes a call for slow after {}, but {inner} ends it after {}: no call is ever \
                 slow; make the limit for slow calls shorter than the timeout",
                Rounded(slow),
                Rounded(limit)
            ),
        ));
    }
    if lease < limit {
        found.push(Finding::new(
            Rule::LeaseBeforeTimeout,
            format!(
                "{outer} gives up on a probe after {}, but {inner} waits {} for it: a probe that \
                 answers in time reopens the circuit; make the lease longer than the timeout",
                Rounded(lease),
                Rounded(limit)
            ),
        ));
    }
    found
}
