//! What a breaker shows of itself.

use std::time::Duration;

use super::{
    Breaker, CircuitBreakerConfig, Snapshot, State,
    fast::Word,
    locked::Locked,
    machine::{Mode, Phase},
    rules,
};
use crate::{
    policy::{Cause, Explanation, Now},
    sync::Ordering,
};

impl Breaker {
    /// Everything at one moment. It takes the lock for an instant, and moves nothing.
    pub fn snapshot(&self, now: impl Now) -> Snapshot {
        let now = self.since(now.now());
        let machine = self.lock();
        let half_open = machine.phase == Phase::HalfOpen;
        let (counts, minimum) = if half_open {
            (machine.probed.counts(), 1)
        } else {
            (machine.window.counts(now), rules::minimum_calls(&machine.config))
        };
        let rate = |part| (counts.calls >= minimum).then(|| rules::share(part, counts.calls));
        Snapshot {
            state: machine.state(),
            shadow: machine.mode == Mode::Shadow,
            generation: machine.generation,
            calls: counts.calls,
            failures: counts.failures,
            successes: counts.calls - counts.failures,
            slow: counts.slow,
            rejected: self
                .rejected
                .sum()
                .wrapping_sub(self.rejected_before.load(Ordering::Relaxed)),
            failure_rate: rate(counts.failures),
            slow_rate: rate(counts.slow),
            consecutive_failures: machine.row,
            probes_in_flight: if half_open { machine.in_flight.len() } else { 0 },
            consecutive_openings: machine.openings,
            time_to_half_open: machine.time_to_half_open(now),
        }
    }

    /// Why the circuit answers as it does, what would let a call in, and when.
    pub fn explain(&self, now: impl Now) -> Explanation {
        let now = self.since(now.now());
        let machine = self.lock();
        let state = machine.state();
        let opened_by = machine.opened_by;
        let (admits, cause, until) = match (state, machine.phase) {
            (State::ForcedOpen | State::Disabled, _) => {
                let command = match state {
                    State::ForcedOpen => super::Command::ForceOpen,
                    _ => super::Command::Disable,
                };
                (state == State::Disabled, Cause::Command(command), None)
            }
            (_, Phase::Open { until }) => {
                let over = now >= until;
                let cause = if over { Some(Cause::SleepOver) } else { opened_by };
                let left = (!over).then(|| Duration::from_nanos(until - now));
                (over, cause.unwrap_or(Cause::SleepOver), left)
            }
            (_, Phase::HalfOpen) => {
                let in_flight = machine.in_flight.len().into();
                let cause = rules::probing(&machine.config, machine.probed, in_flight);
                (machine.free_probes() > 0, cause, machine.lease_left(now))
            }
            (_, Phase::Closed { ramp_from }) => {
                let ramp = machine.config.recovery_ramp.map_or(0, crate::policy::nanos);
                let passed = ramp_from.map_or(u64::MAX, |from| now.saturating_sub(from));
                if passed < ramp {
                    let share = rules::ramp_share(passed, ramp);
                    (true, Cause::Recovering { share }, Some(Duration::from_nanos(ramp - passed)))
                } else {
                    let counts = machine.window.counts(now);
                    (true, rules::standing(&machine.config, counts, machine.row), None)
                }
            }
        };
        Explanation {
            policy: machine.config.name,
            state: state.as_str(),
            shadow: machine.mode == Mode::Shadow,
            admits,
            cause,
            until,
            opened_by,
        }
    }

    /// The number of the present period and its state, by one atomic load.
    pub fn period(&self) -> (u64, State) {
        let word = Word(self.word.load(Ordering::Acquire));
        (word.generation(), word.state())
    }

    /// Whether the circuit only reports what it would do.
    pub fn is_shadow(&self) -> bool {
        Word(self.word.load(Ordering::Acquire)).has(Word::SHADOW)
    }

    /// The configuration in force.
    pub fn config(&self) -> CircuitBreakerConfig {
        self.machine.lock().config.as_ref().clone()
    }
}

impl Locked<'_> {
    fn time_to_half_open(&self, now: u64) -> Option<Duration> {
        match (self.state(), self.phase) {
            (State::Open, Phase::Open { until }) => {
                Some(Duration::from_nanos(until.saturating_sub(now)))
            }
            _ => None,
        }
    }

    fn lease_left(&self, now: u64) -> Option<Duration> {
        let end =
            self.in_flight.oldest()?.saturating_add(crate::policy::nanos(self.config.probe_lease));
        Some(Duration::from_nanos(end.saturating_sub(now)))
    }
}
