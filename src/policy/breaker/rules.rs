//! The arithmetic of a breaker: when a window trips it, what the probes decide, how long it sleeps.
//! Functions of their arguments, without state.

use std::time::Duration;

use super::config::{CircuitBreakerConfig, Decide, HalfOpen, Sleep};
use crate::policy::{
    Cause, nanos,
    rng::Rng,
    window::{Counts, Window},
};

/// The volume below which no rate trips: a count window can hold no more than its size.
pub(super) fn minimum_calls(config: &CircuitBreakerConfig) -> u64 {
    let minimum = match config.window {
        Window::Count { size } => config.minimum_calls.min(size),
        Window::Time { .. } => config.minimum_calls,
    };
    u64::from(minimum.max(1))
}

/// The volume below which an absolute number of failures does not trip.
fn failures_minimum(config: &CircuitBreakerConfig) -> u64 {
    let minimum = match config.window {
        Window::Count { size } => config.failures_minimum_calls.min(size),
        Window::Time { .. } => config.failures_minimum_calls,
    };
    u64::from(minimum)
}

/// The first rule that trips, if one does.
pub(super) fn trips(config: &CircuitBreakerConfig, counts: Counts, row: u32) -> Option<Cause> {
    let Counts { calls, failures, slow } = counts;
    if calls >= minimum_calls(config) {
        if let Some(limit) = config.failure_rate {
            let observed = share(failures, calls);
            if observed >= limit {
                return Some(Cause::FailureRate { observed, limit });
            }
        }
        if let Some(limit) = config.slow_call_rate {
            let observed = share(slow, calls);
            if observed >= limit {
                return Some(Cause::SlowCallRate { observed, limit });
            }
        }
    }
    if let Some(limit) = config.consecutive_failures.filter(|limit| row >= *limit) {
        return Some(Cause::ConsecutiveFailures { observed: row.into(), limit: limit.into() });
    }
    let limit = config.failures.map(u64::from)?;
    (failures >= limit && calls >= failures_minimum(config))
        .then_some(Cause::Failures { observed: failures, limit })
}

/// How many plain successes can be added to `counts` before one completes a volume threshold and so
/// may trip. More successes alone only lower a rate.
pub(super) fn successes_before_volume(config: &CircuitBreakerConfig, counts: Counts) -> u64 {
    if counts.is_clean() {
        return u64::MAX;
    }
    [minimum_calls(config), failures_minimum(config)]
        .into_iter()
        .filter(|minimum| *minimum > counts.calls)
        .map(|minimum| minimum - counts.calls - 1)
        .min()
        .unwrap_or(u64::MAX)
}

/// What holds in a closed circuit: the rule that is nearest to tripping, the rates first.
pub(super) fn standing(
    config: &CircuitBreakerConfig,
    counts: Counts,
    row: u32,
    hanging: Option<Cause>,
) -> Cause {
    let minimum = minimum_calls(config);
    let rate = |limit: Option<f64>, part, cause: fn(f64, f64) -> Cause| {
        let limit = limit?;
        if counts.calls < minimum {
            return Some((0.0, Cause::BelowVolume { observed: counts.calls, limit: minimum }));
        }
        let observed = share(part, counts.calls);
        Some((observed / limit, cause(observed, limit)))
    };
    let number = |limit: Option<u32>, observed: u64, cause: fn(u64, u64) -> Cause| {
        let limit = u64::from(limit?);
        Some((share(observed, limit), cause(observed, limit)))
    };
    [
        rate(config.failure_rate, counts.failures, |observed, limit| Cause::FailureRate {
            observed,
            limit,
        }),
        rate(config.slow_call_rate, counts.slow, |observed, limit| Cause::SlowCallRate {
            observed,
            limit,
        }),
        number(config.consecutive_failures, row.into(), |observed, limit| {
            Cause::ConsecutiveFailures { observed, limit }
        }),
        number(config.failures, counts.failures, |observed, limit| Cause::Failures {
            observed,
            limit,
        }),
        hanging.map(|cause| match cause {
            Cause::HungCalls { observed, limit, .. } => (share(observed, limit), cause),
            _ => (0.0, cause),
        }),
    ]
    .into_iter()
    .flatten()
    .reduce(|nearest, next| if next.0 > nearest.0 { next } else { nearest })
    .map_or(Cause::NoRule, |(_, cause)| cause)
}

/// What holds in a half-open circuit.
pub(super) fn probing(config: &CircuitBreakerConfig, probed: Probed, in_flight: u64) -> Cause {
    let limit = match config.half_open.decide {
        Decide::Counts { successes, .. } => successes,
        Decide::Rate { calls, .. } => calls,
    };
    let observed = probed.results.saturating_sub(probed.bad(config));
    Cause::Probing { observed: observed.into(), limit: limit.into(), in_flight }
}

/// What the results of a half-open period so far decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    Undecided,
    Close(Cause),
    Reopen(Cause),
}

/// The results of a half-open period.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probed {
    pub(super) results: u32,
    pub(super) failures: u32,
    /// Slow ones, failed or not.
    pub(super) slow: u32,
    /// Slow ones that did not fail.
    pub(super) only_slow: u32,
}

impl Probed {
    pub(super) fn add(&mut self, failed: bool, slow: bool) {
        let add = |to: &mut u32, on: bool| *to = to.saturating_add(on.into());
        add(&mut self.results, true);
        add(&mut self.failures, failed);
        add(&mut self.slow, slow);
        add(&mut self.only_slow, slow && !failed);
    }

    /// Failures, and slow successes where slowness can fail a probe.
    fn bad(self, config: &CircuitBreakerConfig) -> u32 {
        let slow = if slow_probes_count(config) { self.only_slow } else { 0 };
        self.failures.saturating_add(slow)
    }

    pub(super) fn counts(self) -> Counts {
        Counts {
            calls: self.results.into(),
            failures: self.failures.into(),
            slow: self.slow.into(),
        }
    }
}

/// The share of slow probes that reopens.
fn slow_probe_rate(config: &CircuitBreakerConfig) -> Option<f64> {
    match config.half_open.decide {
        Decide::Rate { slow_rate: Some(rate), .. } => Some(rate),
        _ => config.slow_call_rate,
    }
}

/// Whether being slow can fail a probe.
pub(super) fn slow_probes_count(config: &CircuitBreakerConfig) -> bool {
    slow_probe_rate(config).is_some()
}

pub(super) fn decide(config: &CircuitBreakerConfig, probed: Probed) -> Verdict {
    let Probed { results, failures, slow, .. } = probed;
    let bad = probed.bad(config);
    let good = results.saturating_sub(bad);
    match config.half_open.decide {
        Decide::Counts { failures: limit, .. } if bad >= limit => {
            Verdict::Reopen(Cause::ProbesFailed { observed: bad.into(), limit: limit.into() })
        }
        Decide::Counts { successes: limit, .. } if good >= limit => {
            Verdict::Close(Cause::ProbesSucceeded { observed: good.into(), limit: limit.into() })
        }
        Decide::Rate { calls, failure_rate: limit, .. } if results >= calls => {
            let observed = share(failures.into(), results.into());
            if observed >= limit {
                return Verdict::Reopen(Cause::FailureRate { observed, limit });
            }
            let observed = share(slow.into(), results.into());
            match slow_probe_rate(config) {
                Some(limit) if observed >= limit => {
                    Verdict::Reopen(Cause::SlowCallRate { observed, limit })
                }
                _ => Verdict::Close(Cause::ProbesSucceeded {
                    observed: good.into(),
                    limit: calls.into(),
                }),
            }
        }
        _ => Verdict::Undecided,
    }
}

/// How many more probes may start.
pub(super) fn free_probes(half_open: &HalfOpen, results: u32, in_flight: u32) -> u32 {
    let of_total = half_open.total.map(|n| n.saturating_sub(results).saturating_sub(in_flight));
    let at_once = half_open.concurrent.map(|n| n.saturating_sub(in_flight));
    of_total.unwrap_or(u32::MAX).min(at_once.unwrap_or(u32::MAX))
}

/// How long the `opening`-th consecutive opening lasts: `base * multiplier^(opening - 1)`, at most
/// `max`, a longer hint in its place, and jitter on top.
pub(super) fn sleep(sleep: &Sleep, opening: u32, hint: Option<Duration>, rng: &mut Rng) -> u64 {
    let (base, max) = (nanos(sleep.base), nanos(sleep.max));
    let factor = sleep.multiplier.powi(opening.saturating_sub(1).min(i32::MAX as u32) as i32);
    let own = match factor {
        1.0 => base,
        // The cast saturates, and the cap comes first: a product beyond all numbers is the cap.
        _ if base > 0 => ((base as f64 * factor) as u64).min(max),
        _ => 0,
    };
    let hinted = hint.filter(|_| sleep.hints).map_or(0, |hint| nanos(hint).min(max));
    let wait = own.max(hinted);
    if sleep.jitter == 0.0 || wait == 0 {
        return wait;
    }
    wait.saturating_add((wait as f64 * sleep.jitter * rng.share()) as u64)
}

/// The share of calls that is admitted `passed` of the way through the recovery ramp.
pub(super) fn ramp_share(passed: u64, ramp: u64) -> f64 {
    0.1 + 0.9 * (passed as f64 / ramp as f64).min(1.0)
}

pub(super) fn share(part: u64, of: u64) -> f64 {
    part as f64 / of as f64
}
