//! The calls and retries that count, in slots of time.
//!
//! A hundred slots make up the time for which something counts. A call is entered in the slot that it
//! falls into, which ends no later than the call does; a retry in the slot whose beginning is no earlier
//! than the retry. So a call counts for its time or up to a hundredth less, a retry for its time or up to
//! a hundredth more, and over any such time there are never more retries than calls pay for. What happens
//! at the beginning of a slot is exact.

use super::config::{TOKEN, parts};

/// Into how many slots the time is divided.
const SLOTS: u64 = 100;
/// A retry may stand in the slot that is yet to begin.
const RETRY_SLOTS: u64 = SLOTS + 1;

/// What calls pay, in parts of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    per_call: u64,
    reserve: u128,
    /// How long something counts, in nanoseconds; at least a microsecond.
    ttl: u64,
}

impl Terms {
    pub(super) fn new(ratio: f64, per_second: f64, ttl: u64) -> Self {
        let reserve = u128::from(parts(per_second)) * u128::from(ttl) / 1_000_000_000;
        Self { per_call: parts(ratio), reserve, ttl }
    }

    /// The slot that a time falls into, and whether it is the slot's beginning.
    fn slot(&self, now: u64) -> (u64, bool) {
        match now.checked_mul(SLOTS) {
            Some(scaled) => (scaled / self.ttl, scaled % self.ttl == 0),
            None => {
                let (scaled, ttl) = (u128::from(now) * u128::from(SLOTS), u128::from(self.ttl));
                ((scaled / ttl) as u64, scaled % ttl == 0)
            }
        }
    }

    /// When a slot begins.
    fn begins(&self, slot: u64) -> u64 {
        let begins = (u128::from(slot) * u128::from(self.ttl)).div_ceil(u128::from(SLOTS));
        u64::try_from(begins).unwrap_or(u64::MAX)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Ledger {
    terms: Terms,
    /// The slot of the latest time seen. Time does not run backwards here.
    slot: u64,
    calls: [u64; SLOTS as usize],
    retries: [u64; RETRY_SLOTS as usize],
    /// The sums of the two.
    called: u64,
    retried: u64,
}

impl Ledger {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            slot: 0,
            calls: [0; SLOTS as usize],
            retries: [0; RETRY_SLOTS as usize],
            called: 0,
            retried: 0,
        }
    }

    pub(super) fn slot(&self) -> u64 {
        self.slot
    }

    pub(super) fn called(&self) -> u64 {
        self.called
    }

    pub(super) fn retried(&self) -> u64 {
        self.retried
    }

    /// Forgets what has counted for its time. However long nothing happened, each slot is emptied once
    /// at the most.
    pub(super) fn advance(&mut self, now: u64) {
        let (slot, _) = self.terms.slot(now);
        if slot <= self.slot {
            return;
        }
        if slot - self.slot >= RETRY_SLOTS {
            self.calls.fill(0);
            self.retries.fill(0);
            (self.called, self.retried) = (0, 0);
        } else {
            for begun in self.slot + 1..=slot {
                self.called -= std::mem::take(&mut self.calls[place(begun, SLOTS)]);
                self.retried -= std::mem::take(&mut self.retries[place(begun + 1, RETRY_SLOTS)]);
            }
        }
        self.slot = slot;
    }

    /// Enters calls in a slot that is not later than the present one.
    pub(super) fn enter(&mut self, calls: u64, slot: u64) {
        if self.slot - slot < SLOTS {
            self.calls[place(slot, SLOTS)] += calls;
            self.called += calls;
        }
    }

    /// Takes a token, if there is one, and says in which slot the retry stands.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        if self.tokens() < i128::from(TOKEN) {
            return None;
        }
        let slot = match self.terms.slot(now) {
            (slot, true) => slot,
            (slot, false) => slot + 1,
        };
        let slot = slot.clamp(self.slot, self.slot + 1);
        self.retries[place(slot, RETRY_SLOTS)] += 1;
        self.retried += 1;
        Some(slot)
    }

    /// Strikes a retry out of its slot, unless it has counted for its time already.
    pub(super) fn give_back(&mut self, slot: u64) {
        let retries = &mut self.retries[place(slot, RETRY_SLOTS)];
        if slot + SLOTS > self.slot && *retries > 0 {
            *retries -= 1;
            self.retried -= 1;
        }
    }

    /// What is left, in parts of a token. Below zero where calls have expired whose retries still count.
    pub(super) fn tokens(&self) -> i128 {
        let earned = self.terms.reserve + u128::from(self.called) * u128::from(self.terms.per_call);
        earned as i128 - i128::from(self.retried) * i128::from(TOKEN)
    }

    /// Counts by other terms from now on. What has been entered keeps its time.
    pub(super) fn rewrite(&mut self, terms: Terms, now: u64) {
        let old = std::mem::replace(self, Self::new(terms));
        self.advance(now.max(old.terms.begins(old.slot)));
        if terms.ttl == old.terms.ttl {
            *self = Self { terms, ..old };
            return;
        }
        let first = (old.slot + 1).saturating_sub(SLOTS);
        for slot in first..=old.slot + 1 {
            let begins = old.terms.begins(slot);
            if slot <= old.slot {
                let calls = old.calls[place(slot, SLOTS)];
                self.enter(calls, terms.slot(begins).0.min(self.slot));
            }
            let retries = old.retries[place(slot, RETRY_SLOTS)];
            let new = match terms.slot(begins) {
                (new, true) => new,
                (new, false) => new + 1,
            };
            if new + SLOTS > self.slot {
                self.retries[place(new.min(self.slot + 1), RETRY_SLOTS)] += retries;
                self.retried += retries;
            }
        }
    }
}

fn place(slot: u64, slots: u64) -> usize {
    (slot % slots) as usize
}
