//! The lock: what happens when it is taken and given back, and telling of what changed under it.

use std::ops::{Deref, DerefMut};

use super::{Breaker, machine::Machine, state::Transition};
use crate::sync::{MutexGuard, Ordering};

impl Breaker {
    /// Passes every transition that nobody has been told of to `tell`, in order and outside the lock.
    /// If somebody is at it already, that one tells them all. The newest 256 are kept until then.
    pub fn deliver(&self, mut tell: impl FnMut(Transition)) {
        let mut machine = self.machine.lock();
        if machine.telling {
            return;
        }
        while let Some(transition) = machine.news.pop_front() {
            machine.telling = true;
            drop(machine);
            // A panic in `tell` must not silence the circuit for good.
            let telling = Telling(self);
            tell(transition);
            machine = telling.end();
        }
        self.word.store(machine.word().0, Ordering::Release);
    }

    /// Takes the lock and calls the credit in; the guard publishes and grants anew when it goes.
    pub(super) fn lock(&self) -> Locked<'_> {
        let mut machine = self.machine.lock();
        let used = self.credit.call_in(machine.granted);
        machine.absorb(used);
        Locked { breaker: self, machine }
    }
}

/// The machine under the lock, with the credit called in.
pub(super) struct Locked<'a> {
    breaker: &'a Breaker,
    machine: MutexGuard<'a, Machine>,
}

impl Deref for Locked<'_> {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let Self { breaker, machine } = self;
        if std::mem::take(&mut machine.recount_refusals) {
            breaker.rejected_before.store(breaker.rejected.sum(), Ordering::Relaxed);
        }
        breaker.slow_after.store(machine.slow_after(), Ordering::Relaxed);
        breaker.until.store(machine.until(), Ordering::Release);
        // The word before the grant: see `Credit::take`.
        breaker.word.store(machine.word().0, Ordering::Release);
        machine.granted = machine.grantable();
        breaker.credit.grant(machine.granted);
    }
}

/// Someone is telling transitions.
struct Telling<'a>(&'a Breaker);

impl<'a> Telling<'a> {
    /// Takes the lock again, in which nobody is telling.
    fn end(self) -> MutexGuard<'a, Machine> {
        let breaker = self.0;
        std::mem::forget(self);
        let mut machine = breaker.machine.lock();
        machine.telling = false;
        machine
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.0.machine.lock().telling = false;
    }
}
