//! The results of the last stretch of time, in aligned buckets.

use super::Counts;

/// Buckets begin at multiples of `width`. One counts until `length` after it began.
#[derive(Clone, Debug)]
pub(super) struct TimeWindow {
    length: u64,
    width: u64,
    /// Bucket number `n` stands at `n % len`; there are as many as can count at once.
    buckets: Box<[Counts]>,
    /// The number of the oldest bucket that counts, and of the newest.
    oldest: u64,
    newest: u64,
    totals: Counts,
}

impl TimeWindow {
    pub(super) fn new(length: u64, buckets: u32) -> Self {
        let (length, buckets) = (length.max(1), buckets.clamp(1, 1024));
        let width = (length / u64::from(buckets)).max(1);
        // One or two more than asked for, where the buckets do not divide the length.
        let len = length.div_ceil(width).max(1);
        Self {
            length,
            width,
            buckets: vec![Counts::default(); len as usize].into(),
            oldest: 0,
            newest: 0,
            totals: Counts::default(),
        }
    }

    fn slot(&self, number: u64) -> usize {
        (number % self.buckets.len() as u64) as usize
    }

    /// The number of the first bucket that counts at `now`.
    fn first_live(&self, now: u64) -> u64 {
        now.checked_sub(self.length).map_or(0, |ended| (ended / self.width).saturating_add(1))
    }

    /// The slots of buckets that have stopped counting at `now`, as many as there are at the most.
    fn expired(&self, now: u64) -> impl Iterator<Item = usize> {
        let end = self.first_live(now).min(self.newest.saturating_add(1));
        (self.oldest..end).map(|number| self.slot(number))
    }

    pub(super) fn advance(&mut self, now: u64) {
        let end = self.first_live(now);
        for number in self.oldest..end.min(self.newest.saturating_add(1)) {
            let slot = self.slot(number);
            self.totals.remove(std::mem::take(&mut self.buckets[slot]));
        }
        self.oldest = self.oldest.max(end);
        self.newest = self.newest.max(now / self.width);
    }

    pub(super) fn record(&mut self, now: u64, failure: bool, slow: bool) {
        self.advance(now);
        self.add(self.newest, Counts::one(failure, slow));
    }

    pub(super) fn absorb(&mut self, n: u64) {
        self.add(self.newest, Counts { calls: n, ..Counts::default() });
    }

    fn add(&mut self, number: u64, counts: Counts) {
        self.buckets[self.slot(number)].add(counts);
        self.totals.add(counts);
    }

    pub(super) fn counts(&self, now: u64) -> Counts {
        let mut counts = self.totals;
        self.expired(now).for_each(|slot| counts.remove(self.buckets[slot]));
        counts
    }

    pub(super) fn latest(&self) -> Counts {
        self.totals
    }

    /// When the window next has to move: the newest bucket ends, or the oldest stops counting.
    pub(super) fn end(&self) -> u64 {
        let ends = self.newest.saturating_add(1).saturating_mul(self.width);
        ends.min(self.oldest.saturating_mul(self.width).saturating_add(self.length))
    }

    pub(super) fn clear(&mut self) {
        self.buckets.fill(Counts::default());
        self.totals = Counts::default();
    }

    pub(super) fn reshape(&mut self, length: u64, buckets: u32, now: u64) {
        self.advance(now);
        let mut reshaped = Self::new(length, buckets);
        if (reshaped.width, reshaped.length) == (self.width, self.length) {
            return;
        }
        reshaped.advance(now);
        for number in self.oldest..=self.newest {
            let to = number * self.width / reshaped.width;
            if to >= reshaped.oldest {
                reshaped.add(to.min(reshaped.newest), self.buckets[self.slot(number)]);
            }
        }
        *self = reshaped;
    }
}
