//! The results of the last stretch of time, in aligned buckets.

use super::Counts;

/// Buckets begin at multiples of `width`; the newest and the `len - 1` before it count.
#[derive(Clone, Debug)]
pub(super) struct TimeWindow {
    width: u64,
    /// Bucket number `n` stands at `n % len`.
    buckets: Box<[Counts]>,
    /// The number of the newest bucket.
    newest: u64,
    totals: Counts,
}

impl TimeWindow {
    pub(super) fn new(length: u64, buckets: u32) -> Self {
        let len = buckets.max(1);
        Self {
            width: (length / u64::from(len)).max(1),
            buckets: vec![Counts::default(); len as usize].into(),
            newest: 0,
            totals: Counts::default(),
        }
    }

    fn bucket(&mut self, number: u64) -> &mut Counts {
        let slot = number % self.buckets.len() as u64;
        &mut self.buckets[slot as usize]
    }

    /// The buckets that stop counting when bucket `to` begins, as far as they hold anything.
    fn expiring(&self, to: u64) -> impl Iterator<Item = u64> + use<> {
        let len = self.buckets.len() as u64;
        let steps = to.saturating_sub(self.newest).min(len);
        // The slot of a bucket that begins is the slot of the one that expires.
        let first = self.newest + 1;
        (0..steps).map(move |step| (first + step) % len)
    }

    pub(super) fn advance(&mut self, now: u64) {
        let number = now / self.width;
        if number <= self.newest {
            return;
        }
        for slot in self.expiring(number) {
            let expired = std::mem::take(&mut self.buckets[slot as usize]);
            self.totals.remove(expired);
        }
        self.newest = number;
    }

    pub(super) fn record(&mut self, now: u64, failure: bool, slow: bool) {
        self.advance(now);
        self.add(self.newest, Counts::one(failure, slow));
    }

    pub(super) fn absorb(&mut self, n: u64) {
        self.add(self.newest, Counts { calls: n, ..Counts::default() });
    }

    fn add(&mut self, number: u64, counts: Counts) {
        self.bucket(number).add(counts);
        self.totals.add(counts);
    }

    pub(super) fn counts(&self, now: u64) -> Counts {
        let mut counts = self.totals;
        for slot in self.expiring(now / self.width) {
            counts.remove(self.buckets[slot as usize]);
        }
        counts
    }

    pub(super) fn latest(&self) -> Counts {
        self.totals
    }

    /// When the newest bucket ends.
    pub(super) fn end(&self) -> u64 {
        self.newest.saturating_add(1).saturating_mul(self.width)
    }

    pub(super) fn clear(&mut self) {
        self.buckets.fill(Counts::default());
        self.totals = Counts::default();
    }

    pub(super) fn reshape(&mut self, length: u64, buckets: u32, now: u64) {
        self.advance(now);
        let mut reshaped = Self::new(length, buckets);
        let len = self.buckets.len() as u64;
        if (reshaped.width, reshaped.buckets.len()) == (self.width, self.buckets.len()) {
            return;
        }
        reshaped.newest = now / reshaped.width;
        let oldest_kept = (reshaped.newest + 1).saturating_sub(reshaped.buckets.len() as u64);
        for number in (self.newest + 1).saturating_sub(len)..=self.newest {
            let to = number * self.width / reshaped.width;
            if to >= oldest_kept {
                let counts = *self.bucket(number);
                reshaped.add(to.min(reshaped.newest), counts);
            }
        }
        *self = reshaped;
    }
}
