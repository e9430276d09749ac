//! A count that many threads add to without meeting on one cache line.

use std::sync::OnceLock;

use crossbeam_utils::CachePadded;

use crate::sync::{
    AtomicU64, Ordering,
    thread_slot::{OWNED, SHARED, thread_slot},
};

/// An exact count. Threads that own a slot add with a load and a store, which costs a fraction of a
/// read-modify-write; the others share the last stripe. Takes its memory (1 KiB) at the first count.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    stripes: OnceLock<Box<[CachePadded<AtomicU64>]>>,
}

impl Tally {
    pub(crate) const fn new() -> Self {
        Self { stripes: OnceLock::new() }
    }

    #[inline]
    pub(crate) fn add_one(&self) {
        let stripes = self
            .stripes
            .get_or_init(|| (0..OWNED + 1).map(|_| CachePadded::new(AtomicU64::new(0))).collect());
        match thread_slot() {
            SHARED => {
                stripes[SHARED].fetch_add(1, Ordering::Relaxed);
            }
            // Only this thread writes here, so that nothing comes between the load and the store.
            own => stripes[own]
                .store(stripes[own].load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed),
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.stripes.get().map_or(0, |stripes| {
            stripes.iter().fold(0, |sum, one| sum.wrapping_add(one.load(Ordering::Relaxed)))
        })
    }
}

#[cfg(all(test, not(portcullis_loom)))]
mod tests {
    use super::*;

    #[test]
    fn no_count_is_lost_among_more_threads_than_slots() {
        let tally = Tally::new();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..OWNED * 3 {
                    scope.spawn(|| (0..1_000).for_each(|_| tally.add_one()));
                }
            });
        }
        assert_eq!(tally.sum(), 3 * 3 * OWNED as u64 * 1_000);
    }
}
