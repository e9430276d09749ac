//! What the reference counts, decides by, and shows: always from its lists.

use super::{Call, Kind, Logged, Phase, Reference, View};
use crate::rules::{Decision, Shape};

impl Reference {
    pub(super) fn counted(&self, now: u64) -> Vec<Logged> {
        match self.rules.shape {
            Shape::Count(size) => {
                let old = self.log.len().saturating_sub(size as usize);
                self.log[old..].to_vec()
            }
            Shape::Time { length, .. } => {
                self.log.iter().filter(|r| now - r.start < length).copied().collect()
            }
        }
    }

    pub(super) fn bucket_of(&self, time: u64) -> u64 {
        match self.rules.shape {
            Shape::Count(_) => 0,
            Shape::Time { length, buckets } => {
                let width = length / u64::from(buckets);
                time / width * width
            }
        }
    }

    fn capped_by_size(&self, minimum: u32) -> u64 {
        match self.rules.shape {
            Shape::Count(size) => minimum.min(size).into(),
            Shape::Time { .. } => minimum.into(),
        }
    }

    pub(super) fn trips(&self, now: u64) -> bool {
        let (calls, failures, slow) = tally(&self.counted(now));
        let enough = calls > 0 && calls >= self.capped_by_size(self.rules.minimum);
        let rate = |part: u64, limit: Option<f64>| {
            limit.is_some_and(|limit| part as f64 / calls as f64 >= limit)
        };
        let many = self.rules.failures.is_some_and(|(limit, minimum)| {
            failures >= u64::from(limit) && calls >= self.capped_by_size(minimum)
        });
        enough && (rate(failures, self.rules.failure_rate) || rate(slow, self.rules.slow_rate))
            || self.rules.consecutive.is_some_and(|limit| self.row >= limit)
            || many
    }

    /// `Some(true)` closes, `Some(false)` opens again.
    pub(super) fn judged(&self) -> Option<bool> {
        let results = self.probed.len() as u64;
        let failures = self.probed.iter().filter(|(failed, _)| *failed).count() as u64;
        let slow = self.probed.iter().filter(|(_, slow)| *slow).count() as u64;
        match self.rules.decision {
            Decision::Counts { successes, failures } => {
                let slow_fails = self.rules.slow_rate.is_some();
                let bad = self.probed.iter().filter(|(f, slow)| *f || (*slow && slow_fails));
                let bad = bad.count() as u64;
                if bad >= failures.into() {
                    Some(false)
                } else if results - bad >= successes.into() {
                    Some(true)
                } else {
                    None
                }
            }
            Decision::Rate { calls, failure_rate, slow_rate } => {
                if results < calls.into() {
                    return None;
                }
                let slow_limit = slow_rate.or(self.rules.slow_rate);
                let failed = failures as f64 / results as f64 >= failure_rate;
                let dragged = slow_limit.is_some_and(|l| slow as f64 / results as f64 >= l);
                Some(!failed && !dragged)
            }
        }
    }

    /// Whether a slow probe that did not fail is held against the service.
    pub(super) fn slow_probes_matter(&self) -> bool {
        let own = match self.rules.decision {
            Decision::Counts { .. } => None,
            Decision::Rate { slow_rate, .. } => slow_rate,
        };
        own.or(self.rules.slow_rate).is_some()
    }

    pub(super) fn probes_in_flight(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|c| c.kind == Kind::Probe && c.period == self.period)
    }

    /// `base * multiplier^(k - 1)`, at most `max`, for the k-th opening in a row.
    pub(super) fn wait(&self, hint: Option<u64>) -> u64 {
        let wait = self.rules.wait;
        let (over, under) = wait.multiplier;
        let (mut top, mut bottom) = (u128::from(wait.base), 1u128);
        for _ in 1..self.openings {
            if top / bottom > u128::from(wait.max) {
                break;
            }
            top *= u128::from(over);
            bottom *= u128::from(under);
        }
        let own = (top / bottom).min(wait.max.into()) as u64;
        own.max(hint.filter(|_| wait.hints).map_or(0, |hint| hint.min(wait.max)))
    }

    pub(crate) fn view(&self, now: u64) -> View {
        let half_open = self.phase == Phase::HalfOpen;
        let (calls, failures, slow) = if half_open {
            let probes =
                self.probed.iter().map(|&(failed, slow)| Logged { start: 0, failed, slow });
            tally(&probes.collect::<Vec<_>>())
        } else {
            tally(&self.counted(now))
        };
        // Probes are few by design: their rates show from the first one on.
        let minimum = if half_open { 1 } else { self.capped_by_size(self.rules.minimum).max(1) };
        let rate = |part: u64| (calls >= minimum).then(|| part as f64 / calls as f64);
        View {
            state: self.state(),
            shadow: self.shadow,
            calls,
            failures,
            slow,
            rejected: self.rejected,
            failure_rate: rate(failures),
            slow_rate: rate(slow),
            row: self.row,
            probes_in_flight: if half_open { self.probes_in_flight().count() as u32 } else { 0 },
            openings: self.openings,
            time_to_half_open: match self.phase {
                Phase::Open { since, wait } => Some((since + wait).saturating_sub(now)),
                _ => None,
            },
        }
    }

    /// Moments at which something may change by itself, for steps that aim at them.
    pub(crate) fn edges(&self, now: u64) -> [Option<u64>; 5] {
        let (bucket, expiry) = match self.rules.shape {
            Shape::Count(_) => (None, None),
            Shape::Time { length, buckets } => (
                Some(self.bucket_of(now) + length / u64::from(buckets)),
                self.counted(now).iter().map(|r| r.start + length).min(),
            ),
        };
        let wait = match self.phase {
            Phase::Open { since, wait } => Some(since + wait),
            _ => None,
        };
        let lease = self.probes_in_flight().map(|c| c.started + self.rules.lease).min();
        let slow = self.rules.slow_after.and_then(|limit| {
            self.calls.iter().map(|c| c.started + limit + 1).filter(|end| *end >= now).min()
        });
        [bucket, expiry, wait, lease, slow]
    }
}

fn tally(results: &[Logged]) -> (u64, u64, u64) {
    let count = |which: fn(&&Logged) -> bool| results.iter().filter(which).count() as u64;
    (results.len() as u64, count(|r| r.failed), count(|r| r.slow))
}
