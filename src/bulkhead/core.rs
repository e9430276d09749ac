//! What every handle, layer and service of one bulkhead shares.

use std::{ops::Deref, task::Waker, time::Duration};

use super::permit::Held;
use crate::{
    clock::Clock,
    error::{PolicyKind, Reason, Rejection},
    event::{Event, Observers, guarded},
    options::Options,
    policy::bulkhead::{Admission, BulkheadConfig, Change, LetIn, Owed, Slots, Ticket, Verdict},
    sync::{self, reference::Ref},
};

/// Keeps a bulkhead alive for a handle or a call.
pub(super) type CoreRef = Ref<Core>;
/// Keeps it alive for a call of a layer.
pub(super) type CallRef = sync::reference::CallRef<Core>;
/// The handle, and references for calls.
pub(super) type References = sync::reference::References<super::Bulkhead, Core>;

/// Timers and deadlines are tokio's, and a bulkhead has no other use for the time.
pub(super) const CLOCK: Clock = Clock::Tokio;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) name: &'static str,
    pub(super) observers: Observers,
    /// With each one that waits, how to wake it, once it has been polled.
    pub(super) slots: Slots<Option<Waker>>,
}

impl Core {
    /// A bulkhead with all slots free.
    pub(super) fn new(
        config: BulkheadConfig,
        options: Options,
    ) -> Result<Self, crate::error::ConfigError> {
        Ok(Self { name: config.name, observers: options.observers, slots: Slots::new(config)? })
    }

    /// Leave for a call that does not wait. `reference` is asked for once there is a slot to hold.
    #[inline(always)]
    pub(super) fn try_enter<R: Deref<Target = Self>>(
        &self,
        reference: impl FnOnce() -> R,
    ) -> Result<Held<R>, Rejection> {
        if self.slots.enter_plainly() {
            return Ok(self.hold(reference));
        }
        match self.slots.try_enter() {
            Ok(admission) => Ok(self.admitted(admission, reference)),
            Err(reason) => Err(self.refuse(reason)),
        }
    }

    /// Leave for a call, a place in the queue, or neither.
    #[inline(always)]
    pub(super) fn enter<R: Deref<Target = Self>>(&self, reference: impl FnOnce() -> R) -> Entry<R> {
        if self.slots.enter_plainly() {
            return Entry::In(self.hold(reference));
        }
        self.join(reference)
    }

    #[inline(never)]
    fn join<R: Deref<Target = Self>>(&self, reference: impl FnOnce() -> R) -> Entry<R> {
        let (verdict, change) = self.slots.enter(CLOCK, crate::deadline::current(), None);
        let entry = match verdict {
            Verdict::Admitted(admission) => Entry::In(self.admitted(admission, reference)),
            Verdict::Queued(ticket) => Entry::Waits(reference(), ticket),
            Verdict::Rejected(reason) => Entry::Out(self.rejection(reason)),
        };
        self.tell_of(change);
        match &entry {
            Entry::In(_) => {}
            Entry::Waits(..) => self
                .observers
                .tell_of_call(|| Event::Queued { policy: self.name, kind: PolicyKind::Bulkhead }),
            Entry::Out(rejection) => self.observers.tell(|| Event::Rejected(*rejection)),
        }
        entry
    }

    /// A slot that was taken, in the hands of its call.
    #[inline(always)]
    fn hold<R: Deref<Target = Self>>(&self, reference: impl FnOnce() -> R) -> Held<R> {
        // Telling does not unwind, so that the slot cannot be lost in between; and what is held is not
        // kept in memory across it.
        if self.observers.listen_to_calls() {
            self.tell_admitted(Duration::ZERO);
        }
        Held::slot(reference())
    }

    fn admitted<R: Deref<Target = Self>>(
        &self,
        admission: Admission,
        reference: impl FnOnce() -> R,
    ) -> Held<R> {
        match admission {
            Admission::Slot => self.hold(reference),
            Admission::Pass { would_reject } => {
                if let Some(reason) = would_reject {
                    self.observers.tell(|| Event::WouldReject {
                        policy: self.name,
                        kind: PolicyKind::Bulkhead,
                        reason,
                    });
                }
                Held::nothing()
            }
        }
    }

    #[cold]
    fn tell_admitted(&self, waited: Duration) {
        self.observers.tell_of_call(|| Event::Admitted {
            policy: self.name,
            kind: PolicyKind::Bulkhead,
            waited,
        });
    }

    /// Gives a slot back.
    #[inline(always)]
    pub(super) fn leave(&self) {
        let freed = self.slots.free_plainly();
        if freed.is_err() || self.observers.listen_to_calls() {
            self.leave_specially(freed);
        }
    }

    #[cold]
    fn leave_specially(&self, freed: Result<(), Owed>) {
        self.tell_of(match freed {
            Ok(()) => Change::FREED,
            Err(owed) => self.slots.free_with_care(owed, CLOCK),
        });
    }

    /// Tells of what an operation changed, and wakes whom it let in. Whoever lets a call in tells of
    /// it, not the call: so what is told adds up to what is, also before the call has been polled.
    pub(super) fn tell_of(&self, change: Change<Option<Waker>>) {
        (0..change.left).for_each(|_| self.tell_left());
        if change.freed {
            self.observers
                .tell_of_call(|| Event::Released { policy: self.name, kind: PolicyKind::Bulkhead });
        }
        if let Some(next) = change.let_in {
            self.wake(next);
        }
    }

    fn tell_left(&self) {
        self.observers
            .tell_of_call(|| Event::LeftQueue { policy: self.name, kind: PolicyKind::Bulkhead });
    }

    fn wake(&self, LetIn { kept, waited, slot, .. }: LetIn<Option<Waker>>) {
        if slot {
            // A wait of no time is told as one of the least time, so that a gauge made from events knows
            // who comes out of the queue.
            self.tell_admitted(waited.max(Duration::from_nanos(1)));
        } else {
            self.tell_left();
        }
        // Somebody else's code: it may run while a dropped call unwinds, or before others are woken.
        if let Some(waker) = kept {
            guarded(|| waker.wake());
        }
    }

    fn rejection(&self, reason: Reason) -> Rejection {
        Rejection::new(reason, self.name).with_kind(PolicyKind::Bulkhead)
    }

    pub(super) fn refuse(&self, reason: Reason) -> Rejection {
        let rejection = self.rejection(reason);
        self.observers.tell(|| Event::Rejected(rejection));
        rejection
    }
}

/// What became of a call that may wait.
#[derive(Debug)]
pub(super) enum Entry<R: Deref<Target = Core> = CoreRef> {
    In(Held<R>),
    Waits(R, Ticket),
    Out(Rejection),
}
