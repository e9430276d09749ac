//! A small number that a thread has to itself while it lives.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

/// How many threads at a time can own a slot.
pub(crate) const OWNED: usize = 7;
/// The slot of every other thread.
pub(crate) const SHARED: usize = OWNED;
/// A thread that has not asked yet.
const UNASKED: usize = usize::MAX;

/// One bit per slot that is owned.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Gives the slot back when its thread ends.
struct Owner(usize);

impl Owner {
    fn claim() -> Self {
        let mut taken = TAKEN.load(Ordering::Relaxed);
        loop {
            let free = taken.trailing_ones() as usize;
            // Models explore threads of their own kind, in which nobody owns anything.
            if free >= OWNED || cfg!(portcullis_loom) {
                return Self(SHARED);
            }
            // Acquire: what the slot's last owner wrote is seen before this thread adds to it.
            match TAKEN.compare_exchange_weak(
                taken,
                taken | 1 << free,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Self(free),
                Err(changed) => taken = changed,
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Whatever this thread still does while it ends, it does as one of many.
        SLOT.set(SHARED);
        if self.0 != SHARED {
            TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

thread_local! {
    // Apart from its owner, since a value without a destructor is read without asking for its state.
    static SLOT: Cell<usize> = const { Cell::new(UNASKED) };
    static OWNER: Owner = Owner::claim();
}

/// This thread's own slot, or [`SHARED`] when all are owned by others or the thread is ending.
#[inline(always)]
pub(crate) fn thread_slot() -> usize {
    match SLOT.get() {
        UNASKED => ask(),
        slot => slot,
    }
}

#[cold]
fn ask() -> usize {
    let slot = OWNER.try_with(|owner| owner.0).unwrap_or(SHARED);
    SLOT.set(slot);
    slot
}
