//! A small number that a thread has to itself while it lives.

use std::cell::Cell;
#[cfg(not(portcullis_loom))]
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(portcullis_loom)]
use loom::sync::atomic::{AtomicU64, Ordering};

/// How many threads at a time can own a slot. A model has one that does and one that does not.
pub(crate) const OWNED: usize = if cfg!(portcullis_loom) { 1 } else { 7 };
/// The slot of every other thread.
pub(crate) const SHARED: usize = OWNED;
/// A thread that has not asked yet.
const UNASKED: usize = usize::MAX;

// One bit per slot that is owned.
#[cfg(not(portcullis_loom))]
static TAKEN: AtomicU64 = AtomicU64::new(0);
#[cfg(portcullis_loom)]
loom::lazy_static! {
    static ref TAKEN: AtomicU64 = AtomicU64::new(0);
}

/// Gives the slot back when its thread ends.
struct Owner(usize);

impl Owner {
    fn claim() -> Self {
        let mut taken = TAKEN.load(Ordering::Relaxed);
        loop {
            let free = taken.trailing_ones() as usize;
            if free >= OWNED {
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

// Not in models: loom's statics are gone before its threads' values are dropped.
#[cfg(not(portcullis_loom))]
impl Drop for Owner {
    fn drop(&mut self) {
        // Whatever this thread still does while it ends, it does as one of many.
        let _ = SLOT.try_with(|slot| slot.set(SHARED));
        if self.0 != SHARED {
            TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

#[cfg(not(portcullis_loom))]
thread_local! {
    // Apart from its owner, since a value without a destructor is read without asking for its state.
    static SLOT: Cell<usize> = const { Cell::new(UNASKED) };
    static OWNER: Owner = Owner::claim();
}
#[cfg(portcullis_loom)]
loom::thread_local! {
    static SLOT: Cell<usize> = Cell::new(UNASKED);
    static OWNER: Owner = Owner::claim();
}

/// This thread's own slot, or [`SHARED`] when all are owned by others or the thread is ending.
#[inline(always)]
pub(crate) fn thread_slot() -> usize {
    match SLOT.try_with(Cell::get) {
        Ok(UNASKED) => ask(),
        Ok(slot) => slot,
        Err(_) => SHARED,
    }
}

#[cold]
fn ask() -> usize {
    let slot = OWNER.try_with(|owner| owner.0).unwrap_or(SHARED);
    let _ = SLOT.try_with(|own| own.set(slot));
    slot
}
