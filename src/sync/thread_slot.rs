//! A small number that a thread has to itself while it lives.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many threads at a time can own a slot.
pub(crate) const OWNED: usize = 7;
/// The slot of every other thread.
pub(crate) const SHARED: usize = OWNED;

/// One bit per slot that is owned.
static TAKEN: AtomicU64 = AtomicU64::new(0);

struct Slot(usize);

impl Slot {
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

impl Drop for Slot {
    fn drop(&mut self) {
        if self.0 != SHARED {
            TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

thread_local! {
    static SLOT: Slot = Slot::claim();
}

/// This thread's own slot, or [`SHARED`] when all are owned by others or the thread is ending.
#[inline]
pub(crate) fn thread_slot() -> usize {
    SLOT.try_with(|slot| slot.0).unwrap_or(SHARED)
}
