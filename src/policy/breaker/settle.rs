//! How calls end.

use std::time::Duration;

use super::{
    Breaker,
    machine::End,
    permit::{Kind, NEVER, Permit},
    state::Recorded,
};
use crate::{
    outcome::Outcome,
    policy::{Now, Once},
    sync::Ordering,
};

impl Breaker {
    /// Gives a permit back with the call's outcome. A `hint` is how long the service asks to be left
    /// alone, for a failure that opens the circuit.
    #[inline]
    pub fn settle(
        &self,
        permit: Permit,
        outcome: Outcome,
        hint: Option<Duration>,
        now: impl Now,
    ) -> Recorded {
        if permit.kind() == Kind::Untracked {
            return Recorded { outcome, slow: false };
        }
        let mut now = Once::new(now);
        if self.settles_plainly_at(&permit, outcome, &mut now) {
            return Recorded { outcome, slow: false };
        }
        let slow = self.is_slow(&permit, &mut now);
        self.settle_by_machine(&permit, outcome.into(), slow, hint, now.since(self.origin));
        Recorded { outcome, slow }
    }

    /// Settles the usual call, which takes no thought: a success within the credit.
    // What is inlined into the caller's future is no more than a success that changes nothing needs: with
    // more of it, that future's own `poll` is not inlined any longer.
    #[inline(always)]
    pub(crate) fn settles_plainly(
        &self,
        permit: &Permit,
        outcome: Outcome,
        now: &impl Now,
    ) -> bool {
        outcome == Outcome::Success
            && permit.kind() == Kind::Call
            && (permit.started == NEVER && self.credit.is_unchanging()
                || self.succeeds(permit.generation(), permit.started, now))
    }

    /// A success of a closed circuit's call. Small, so that it keeps everything in registers.
    #[inline(never)]
    fn succeeds(&self, mine: u64, started: u64, now: &impl Now) -> bool {
        if started == NEVER {
            if let Some((left, end)) = self.credit.look(mine, &self.word) {
                let in_time = end == NEVER || now.nanos_since(self.origin) < end;
                if in_time && self.credit.spend(left) {
                    return true;
                }
            }
        }
        self.succeeds_after_all(mine, started, now)
    }

    #[inline(never)]
    fn succeeds_after_all(&self, mine: u64, started: u64, now: &impl Now) -> bool {
        let mut now = Once::new(*now);
        (started == NEVER || !self.is_slow_at(started, now.since(self.origin)))
            && self.credit.take(mine, &self.word, || now.since(self.origin))
    }

    #[inline]
    fn settles_plainly_at(
        &self,
        permit: &Permit,
        outcome: Outcome,
        now: &mut Once<impl Now>,
    ) -> bool {
        if permit.kind() != Kind::Call || self.is_slow(permit, now) {
            return false;
        }
        match outcome {
            Outcome::Success => {
                self.credit.take(permit.generation(), &self.word, || now.since(self.origin))
            }
            Outcome::Ignored => true,
            Outcome::Failure => false,
        }
    }

    #[inline]
    pub(super) fn is_slow(&self, permit: &Permit, now: &mut Once<impl Now>) -> bool {
        permit.started != NEVER && self.is_slow_at(permit.started, now.since(self.origin))
    }

    #[inline]
    fn is_slow_at(&self, started: u64, now: u64) -> bool {
        now.saturating_sub(started) > self.slow_after.load(Ordering::Relaxed)
    }

    #[cold]
    fn settle_by_machine(
        &self,
        permit: &Permit,
        end: End,
        slow: bool,
        hint: Option<Duration>,
        now: u64,
    ) {
        let id = (permit.generation(), permit.kind(), permit.slot());
        self.lock().settle(id, end, slow, hint, now);
    }

    /// Gives the permit of a dropped call back. It counts as a failure if drops do, or at or after its
    /// deadline; as a slow call past the slow limit; else not at all. A probe's slot is free again.
    pub fn abandon(&self, permit: Permit, now: impl Now) -> Recorded {
        if permit.kind() == Kind::Untracked {
            return Recorded { outcome: Outcome::Ignored, slow: false };
        }
        let mut now = Once::new(now);
        let slow = self.is_slow(&permit, &mut now);
        let late = permit.deadline != NEVER && now.since(self.origin) >= permit.deadline;
        let fails = permit.drop_is_failure() || late;
        let (outcome, end) = match (fails, slow) {
            (true, _) => (Outcome::Failure, End::Failure),
            (false, true) => (Outcome::Ignored, End::CutSlow),
            (false, false) => (Outcome::Ignored, End::Ignored),
        };
        if end != End::Ignored || permit.kind() != Kind::Call {
            self.settle_by_machine(&permit, end, slow, None, now.since(self.origin));
        }
        Recorded { outcome, slow }
    }

    /// Records what an error from the service's `poll_ready` says. It needs no permit, and as a
    /// failure it reopens a half-open circuit at once.
    pub fn not_ready(&self, outcome: Outcome, hint: Option<Duration>, now: impl Now) {
        if outcome != Outcome::Ignored {
            let now = self.since(now);
            self.lock().not_ready(outcome.into(), hint, now);
        }
    }
}
