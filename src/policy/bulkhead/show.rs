//! What a bulkhead shows of itself.

use super::{Slots, word};
use crate::{
    policy::{Cause, Explanation, Mode, Now},
    sync::Ordering,
};

/// A bulkhead at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// What it does with its verdicts.
    pub mode: Mode,
    /// Calls that hold a slot.
    pub in_flight: usize,
    /// Calls that wait for their turn.
    pub queued: usize,
    /// How many calls may hold a slot at once.
    pub limit: usize,
    /// How many calls may wait.
    pub queue_limit: usize,
    /// Calls that were refused since the start or the last reset; in shadow, that would have been.
    pub rejected: u64,
}

impl<T> Slots<T> {
    /// How many calls hold a slot, by one atomic load.
    pub fn in_flight(&self) -> usize {
        word::in_flight(self.word.load(Ordering::Acquire)) as usize
    }

    /// How many calls wait. One whose time is over counts until that is noticed: see
    /// [semantics](crate::policy::bulkhead#semantics).
    pub fn queued(&self) -> usize {
        self.locked.lock().line.len()
    }

    /// Everything at one moment. Reading moves nothing.
    pub fn snapshot(&self) -> Snapshot {
        let locked = self.locked.lock();
        Snapshot {
            mode: self.mode.get(),
            in_flight: self.in_flight(),
            queued: locked.line.len(),
            limit: locked.config.max_in_flight,
            queue_limit: locked.config.queue,
            rejected: self.rejected.sum().wrapping_sub(locked.rejected_before),
        }
    }

    /// Why it answers as it does. A call that would wait in the queue counts as one that is admitted;
    /// only a call that is refused at once is not.
    pub fn explain(&self, now: impl Now) -> Explanation {
        let locked = self.locked.lock();
        let word = self.word.load(Ordering::Acquire);
        let (mode, queued) = (self.mode.get(), locked.line.len());
        // Whose time is over makes room for whoever comes.
        let joins = |queue| queued < queue || locked.line.waiting_at(now.now()) < queue;
        let would_admit =
            mode == Mode::Disabled || word::admits(word) || joins(locked.config.queue);
        Explanation {
            policy: locked.config.name,
            state: mode.as_str(),
            shadow: mode == Mode::Shadow,
            admits: would_admit || mode == Mode::Shadow,
            would_admit,
            cause: Cause::InFlight {
                observed: word::in_flight(word),
                limit: locked.config.max_in_flight as u64,
                queued: queued as u64,
            },
            until: None,
            opened_by: None,
        }
    }
}
