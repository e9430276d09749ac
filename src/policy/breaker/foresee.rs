//! What would become of a call made now, without making it.

use super::{
    machine::{Machine, Phase},
    rules::{self, Verdict},
};
use crate::policy::{Cause, nanos};

/// Whether it would be admitted, why, and the time until something changes by itself.
pub(super) type Foreseen = (bool, Cause, Option<u64>);

impl Machine {
    /// For a circuit that is not commanded. Takes `&mut self` only to bring ages up to date.
    pub(super) fn foresee(&mut self, now: u64) -> Foreseen {
        match self.phase {
            Phase::Closed { ramp_from } => self.foresee_closed(ramp_from, now),
            Phase::Open { until } => open(until, self.opened_by.unwrap_or(Cause::SleepOver), now),
            Phase::HalfOpen => self.foresee_half_open(now),
        }
    }

    fn foresee_closed(&mut self, ramp_from: Option<u64>, now: u64) -> Foreseen {
        let hanging = self.hanging(now);
        if let Some((cause, true)) = hanging {
            return self.opens(cause, now, now);
        }
        let ramp = self.config.recovery_ramp.map_or(0, nanos);
        let passed = ramp_from.map_or(u64::MAX, |from| now.saturating_sub(from));
        if passed < ramp {
            let share = rules::ramp_share(passed, ramp);
            return (true, Cause::Recovering { share }, Some(ramp - passed));
        }
        let counts = self.window.counts(now);
        let hanging = hanging.map(|(cause, _)| cause);
        (true, rules::standing(&self.config, counts, self.row, hanging), None)
    }

    /// For a circuit that opens from `from` on.
    fn opens(&self, cause: Cause, from: u64, now: u64) -> Foreseen {
        let opening = self.openings.saturating_add(1);
        let wait = rules::sleep(&self.config.sleep, opening, None, &mut self.rng.clone());
        open(from.saturating_add(wait), cause, now)
    }

    fn foresee_half_open(&self, now: u64) -> Foreseen {
        let in_flight = self.in_flight.len().into();
        let cause = rules::probing(&self.config, self.probed, in_flight);
        let lease_end = self.lease_end();
        // What would reopen it, and from when on.
        let reopens = match (lease_end, rules::decide(&self.config, self.probed)) {
            (Some(end), _) if now >= end => Some((self.lease_expired(), end)),
            (_, Verdict::Reopen(cause)) => Some((cause, now)),
            (_, Verdict::Close(_)) => return (true, cause, None),
            (_, Verdict::Undecided) => None,
        };
        match reopens {
            Some((cause, from)) => self.opens(cause, from, now),
            None => (self.free_probes() > 0, cause, lease_end.map(|end| end.saturating_sub(now))),
        }
    }
}

/// An open circuit whose wait ends at `until`.
fn open(until: u64, cause: Cause, now: u64) -> Foreseen {
    match until.checked_sub(now).filter(|left| *left > 0) {
        Some(left) => (false, cause, Some(left)),
        None => (true, Cause::SleepOver, None),
    }
}
