//! The time of one part of the table, in the units of its rate.

use super::super::rate::Rate;

/// A rate, and when its time began. Each part of a table has its own, under its lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    pub(super) rate: Rate,
    /// Where the units are counted from, in nanoseconds since the table was made.
    origin: u64,
    /// The latest time that a decision was taken at. Who reads the clock first may get the lock last:
    /// were that one's time taken as it is, what was dropped in between as full would not yet have been.
    latest: u64,
}

impl Meter {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, origin: 0, latest: 0 }
    }

    /// The time in units; `None` where they are too many to count, and the origin must move on.
    #[inline(always)]
    pub(super) fn now(&mut self, nanos: u64) -> Option<u64> {
        self.latest = self.latest.max(nanos);
        self.rate.units(self.latest - self.origin)
    }

    /// Moves the origin to the latest time. Every time in units is less by the number returned then.
    #[cold]
    pub(super) fn move_on(&mut self) -> u64 {
        let units = u128::from(self.latest - self.origin) * u128::from(self.rate.scale);
        self.origin = self.latest;
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// The time in units, for a look that moves nothing.
    pub(super) fn peek(&self, nanos: u64) -> u64 {
        let nanos = u128::from(self.latest.max(nanos) - self.origin);
        u64::try_from(nanos * u128::from(self.rate.scale)).unwrap_or(u64::MAX)
    }

    /// Takes another rate from now on, with the origin at now. The closure returned says when a bucket
    /// that would have been full at a time is full instead: with as many tokens, or full if it was.
    pub(super) fn change(&mut self, to: Rate, nanos: u64) -> impl Fn(u64) -> u64 + use<> {
        let now = self.peek(nanos);
        let from = std::mem::replace(&mut self.rate, to);
        self.latest = self.latest.max(nanos);
        self.origin = self.latest;
        move |full_at| if full_at <= now { 0 } else { from.convert(full_at, now, &to, 0) }
    }
}
