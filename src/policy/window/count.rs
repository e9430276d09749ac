//! The last N results, two bits each.

use super::{Counts, Room};

/// How many successes are taken in one step at the most: bounds the words that one step clears.
const STEP: u64 = 4096;

/// A ring of results. Slots beyond `filled` hold rubbish that is overwritten before it is counted,
/// so that forgetting everything costs nothing.
#[derive(Clone, Debug)]
pub(super) struct CountWindow {
    size: u64,
    filled: u64,
    /// The slot that the next result takes: the oldest one, once the ring is full.
    next: u64,
    failures: Bits,
    slow: Bits,
    totals: Counts,
}

impl CountWindow {
    pub(super) fn new(size: u32) -> Self {
        let size = u64::from(size.max(1));
        Self {
            size,
            filled: 0,
            next: 0,
            failures: Bits::new(size),
            slow: Bits::new(size),
            totals: Counts::default(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.totals
    }

    pub(super) fn record(&mut self, failure: bool, slow: bool) {
        let slot = self.next;
        if self.filled == self.size {
            self.totals.remove(Counts::one(self.failures.get(slot), self.slow.get(slot)));
        } else {
            self.filled += 1;
        }
        self.failures.set(slot, failure);
        self.slow.set(slot, slow);
        self.totals.add(Counts::one(failure, slow));
        self.next = if slot + 1 == self.size { 0 } else { slot + 1 };
    }

    /// Sixty-four results at a time: what was there is counted off, and its bits are cleared.
    pub(super) fn absorb(&mut self, n: u64) {
        let mut left = n.min(self.size);
        while left > 0 {
            // A run that ends at the ring's end, or where slots begin to be replaced.
            let fresh = self.size - self.filled;
            let run = left.min(self.size - self.next).min(if fresh > 0 { fresh } else { left });
            let failures = self.failures.clear(self.next, run);
            let slow = self.slow.clear(self.next, run);
            if fresh > 0 {
                self.filled += run;
                self.totals.calls += run;
            } else {
                self.totals.failures -= failures;
                self.totals.slow -= slow;
            }
            self.next = (self.next + run) % self.size;
            left -= run;
        }
    }

    pub(super) fn room(&self) -> Room {
        let fresh = self.size - self.filled;
        if self.totals.is_clean() && fresh == 0 {
            return Room::Unchanging;
        }
        // A window that is clean becomes unchanging when it is full; one that is not becomes clean
        // after at most its size.
        let successes = if self.totals.is_clean() { fresh } else { self.size };
        Room::Until { successes: successes.min(STEP), end: u64::MAX }
    }

    pub(super) fn clear(&mut self) {
        self.filled = 0;
        self.next = 0;
        self.totals = Counts::default();
    }

    pub(super) fn resize(&mut self, size: u32) {
        let mut resized = Self::new(size);
        if resized.size == self.size {
            return;
        }
        let kept = self.filled.min(resized.size);
        // The oldest of the `kept` newest results.
        let first = (self.next + self.size - kept) % self.size;
        for i in 0..kept {
            let slot = (first + i) % self.size;
            resized.record(self.failures.get(slot), self.slow.get(slot));
        }
        *self = resized;
    }
}

/// A row of bits.
#[derive(Clone, Debug)]
struct Bits(Box<[u64]>);

impl Bits {
    fn new(len: u64) -> Self {
        Self(vec![0; len.div_ceil(64) as usize].into())
    }

    fn get(&self, at: u64) -> bool {
        self.0[(at / 64) as usize] >> (at % 64) & 1 == 1
    }

    fn set(&mut self, at: u64, on: bool) {
        let word = &mut self.0[(at / 64) as usize];
        *word = *word & !(1 << (at % 64)) | u64::from(on) << (at % 64);
    }

    /// Clears `len` bits from `at` on, and says how many of them were set.
    fn clear(&mut self, mut at: u64, mut len: u64) -> u64 {
        let mut were_set = 0;
        while len > 0 {
            let offset = at % 64;
            let run = len.min(64 - offset);
            let mask = (u64::MAX >> (64 - run)) << offset;
            let word = &mut self.0[(at / 64) as usize];
            were_set += u64::from((*word & mask).count_ones());
            *word &= !mask;
            at += run;
            len -= run;
        }
        were_set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absorbing_equals_recording_one_by_one() {
        for size in [1, 2, 63, 64, 65, 100, 130] {
            let (mut at_once, mut singly) = (CountWindow::new(size), CountWindow::new(size));
            let mut random = fastrand::Rng::with_seed(7);
            for _ in 0..2_000 {
                if random.bool() {
                    let (failure, slow) = (random.bool(), random.bool());
                    at_once.record(failure, slow);
                    singly.record(failure, slow);
                } else {
                    let n = random.u64(0..u64::from(size) * 2);
                    at_once.absorb(n);
                    (0..n).for_each(|_| singly.record(false, false));
                }
                if random.u8(0..50) == 0 {
                    at_once.clear();
                    singly.clear();
                }
                assert_eq!(at_once.counts(), singly.counts(), "size {size}");
            }
        }
    }
}
