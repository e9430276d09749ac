//! What admissions share without a lock: one word, and the rate that it is read by.
//!
//! The word holds the time at which the bucket is full, in units of the rate since an origin. Rate and
//! origin change together and seldom. They stand in one of two slots; the word's lowest bits are an epoch
//! that says which one. Whoever changes them writes the other slot and then swaps the word, with the next
//! epoch and the time told anew, so that no admission in between is lost. Whoever admits looks at the word
//! again after the slot, and swaps the word only if it is still the same: what was read of a slot that is
//! being written is never used. `tests/loom.rs` checks every interleaving.

use crossbeam_utils::CachePadded;

use super::rate::Rate;
use crate::sync::{AtomicU64, Ordering};

const EPOCH_BITS: u32 = 4;
/// It wraps after so many changes, which a thread would have to sleep through between its load and its
/// exchange, to the change exactly, and find the same time again.
const EPOCHS: u64 = 1 << EPOCH_BITS;
/// The furthest time that a word can hold.
pub(super) const FURTHEST: u64 = u64::MAX >> EPOCH_BITS;

/// The word and the slots. The word and one of the slots are on one line of memory.
#[derive(Debug)]
pub(super) struct Word(CachePadded<Inner>);

#[derive(Debug)]
struct Inner {
    word: AtomicU64,
    slots: [Slot; 2],
}

#[derive(Debug)]
struct Slot {
    /// Nanoseconds since the bucket was made at which units begin to count.
    origin: AtomicU64,
    scale: AtomicU64,
    interval: AtomicU64,
    burst: AtomicU64,
}

/// The word at one moment and the rate that belongs to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    word: u64,
    pub(super) origin: u64,
    pub(super) rate: Rate,
}

impl Seen {
    #[inline(always)]
    pub(super) fn full_at(&self) -> u64 {
        self.word >> EPOCH_BITS
    }

    /// The time in units since the origin, or as of the origin before it; `None` where they are too many.
    #[inline(always)]
    pub(super) fn units(&self, nanos: u64) -> Option<u64> {
        self.rate.units(nanos.saturating_sub(self.origin))
    }

    /// How many units from now the bucket is full, however long the time since the origin.
    pub(super) fn ahead(&self, nanos: u64) -> u64 {
        let now = u128::from(nanos.saturating_sub(self.origin)) * u128::from(self.rate.scale);
        u64::try_from(u128::from(self.full_at()).saturating_sub(now)).unwrap_or(u64::MAX)
    }
}

impl Slot {
    fn new(origin: u64, rate: Rate) -> Self {
        Self {
            origin: AtomicU64::new(origin),
            scale: AtomicU64::new(rate.scale),
            interval: AtomicU64::new(rate.interval),
            burst: AtomicU64::new(rate.burst),
        }
    }

    /// Releases: who reads what is written here sees the epoch that stood when it was.
    fn set(&self, origin: u64, rate: Rate) {
        self.origin.store(origin, Ordering::Release);
        self.scale.store(rate.scale, Ordering::Release);
        self.interval.store(rate.interval, Ordering::Release);
        self.burst.store(rate.burst, Ordering::Release);
    }
}

impl Word {
    /// A full bucket.
    pub(super) fn new(rate: Rate) -> Self {
        let slots = [Slot::new(0, rate), Slot::new(0, rate)];
        Self(CachePadded::new(Inner { word: AtomicU64::new(0), slots }))
    }

    #[inline(always)]
    pub(super) fn see(&self) -> Seen {
        let mut word = self.0.word.load(Ordering::Acquire);
        loop {
            let slot = &self.0.slots[(word & 1) as usize];
            let origin = slot.origin.load(Ordering::Acquire);
            let rate = Rate {
                scale: slot.scale.load(Ordering::Acquire),
                interval: slot.interval.load(Ordering::Acquire),
                burst: slot.burst.load(Ordering::Acquire),
            };
            let again = self.0.word.load(Ordering::Acquire);
            if (again ^ word) & (EPOCHS - 1) == 0 {
                return Seen { word: again, origin, rate };
            }
            word = again;
        }
    }

    /// Lets the bucket be full at another time, if nothing has changed since it was seen. At most
    /// [`FURTHEST`].
    #[inline(always)]
    pub(super) fn swap(&self, seen: Seen, full_at: u64) -> bool {
        let epoch = seen.word & (EPOCHS - 1);
        let word = (full_at << EPOCH_BITS) | epoch;
        self.0.word.compare_exchange(seen.word, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Changes origin and rate, and tells the time anew by `full_at`; one at a time. Changes nothing when
    /// `full_at` finds no time.
    pub(super) fn change(
        &self,
        origin: u64,
        rate: Rate,
        mut full_at: impl FnMut(&Seen) -> Option<u64>,
    ) -> bool {
        let mut seen = self.see();
        // Time does not go back: others may have read a later one from the clock already.
        let origin = origin.max(seen.origin);
        // Nobody else changes the epoch, so that this stays the slot that nobody uses.
        let epoch = (seen.word + 1) & (EPOCHS - 1);
        self.0.slots[(epoch & 1) as usize].set(origin, rate);
        loop {
            let Some(full_at) = full_at(&seen) else { return false };
            let word = (full_at << EPOCH_BITS) | epoch;
            // Releases the slot to whoever reads the new epoch.
            match self.0.word.compare_exchange(seen.word, word, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return true,
                Err(changed) => seen.word = changed,
            }
        }
    }
}
