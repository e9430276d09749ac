//! What a breaker shows of itself.

use std::time::Duration;

use super::{
    Breaker, CircuitBreakerConfig, Command, Snapshot, State,
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
        let now = self.since(now);
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

    /// Why the circuit answers as it does, what would let a call in, and when. What it says of a call
    /// made now comes true, but for the recovery ramp, where chance decides.
    pub fn explain(&self, now: impl Now) -> Explanation {
        let now = self.since(now);
        let mut machine = self.lock();
        let (would_admit, cause, until) = match machine.state() {
            State::ForcedOpen => (false, Cause::Command(Command::ForceOpen), None),
            State::Disabled => (true, Cause::Command(Command::Disable), None),
            _ => machine.foresee(now),
        };
        let shadow = machine.mode == Mode::Shadow;
        Explanation {
            policy: machine.config.name,
            state: machine.state().as_str(),
            shadow,
            admits: would_admit || shadow,
            would_admit,
            cause,
            until: until.map(Duration::from_nanos),
            opened_by: machine.opened_by,
        }
    }

    /// The number of the present period and its state, by one atomic load.
    pub fn period(&self) -> (u64, State) {
        let word = Word(self.word.load(Ordering::Acquire));
        (word.generation(), word.state())
    }

    /// The same, after every change that has been made so far.
    pub(crate) fn period_in_order(&self) -> (u64, State) {
        let machine = self.lock();
        (machine.generation, machine.state())
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
}
