//! Rolling counts of results: the last N, or those of the last stretch of time.
//!
//! Both are exact when used in sequence, take constant memory however many calls there are, and do
//! constant work per call: totals are kept, never recounted. Times are nanoseconds since the window
//! was made.

mod count;
mod time;

use std::time::Duration;

use self::{count::CountWindow, time::TimeWindow};
use crate::policy::nanos;

/// Which results a breaker judges by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// The results of the last `length`, kept in `buckets` equal parts that begin at multiples of
    /// `length / buckets` after the breaker was made. A part expires when `now - start >= length`.
    Time {
        /// How far back results count; at least one microsecond per bucket.
        length: Duration,
        /// In how many parts, `1..=1024`.
        buckets: u32,
    },
    /// The last `size` results, `1..=16_777_216`.
    Count {
        /// How many results count.
        size: u32,
    },
}

impl Window {
    /// The results of the last `length`, in ten buckets.
    pub const fn time(length: Duration) -> Self {
        Self::Time { length, buckets: 10 }
    }

    /// The last `size` results.
    pub const fn count(size: u32) -> Self {
        Self::Count { size }
    }
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// All results.
    pub calls: u64,
    /// Results that were failures.
    pub failures: u64,
    /// Results that were slow, whether they failed or not.
    pub slow: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failures += other.failures;
        self.slow += other.slow;
    }

    fn remove(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failures -= other.failures;
        self.slow -= other.slow;
    }

    /// One result.
    fn one(failure: bool, slow: bool) -> Self {
        Self { calls: 1, failures: failure.into(), slow: slow.into() }
    }

    /// Whether nothing but plain successes is in it.
    pub(crate) fn is_clean(&self) -> bool {
        self.failures == 0 && self.slow == 0
    }
}

/// The results that count, by either rule of [`Window`].
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Window, policy::window::Rolling};
///
/// let mut window = Rolling::new(Window::time(Duration::from_secs(10)));
/// window.record(0, true, false);
/// assert_eq!(window.counts(9_999_999_999).failures, 1);
/// assert_eq!(window.counts(10_000_000_000).failures, 0);
/// ```
#[derive(Clone, Debug)]
pub struct Rolling(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Count(CountWindow),
    Time(TimeWindow),
}

/// How many plain successes may be added before anything but the counts could change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// A success would change nothing at all: the window is full of them.
    Unchanging,
    /// So many, and only before this time.
    Until { successes: u64, end: u64 },
}

impl Rolling {
    /// An empty window whose time begins at zero. Sizes of zero are taken as one, more than
    /// 1024 buckets as 1024.
    pub fn new(shape: Window) -> Self {
        Self(match shape {
            Window::Count { size } => Kind::Count(CountWindow::new(size)),
            Window::Time { length, buckets } => Kind::Time(TimeWindow::new(nanos(length), buckets)),
        })
    }

    /// Adds one result at `now` nanoseconds. A `now` before the newest result counts with that.
    pub fn record(&mut self, now: u64, failure: bool, slow: bool) {
        match &mut self.0 {
            Kind::Count(window) => window.record(failure, slow),
            Kind::Time(window) => window.record(now, failure, slow),
        }
    }

    /// Adds `n` plain successes where the newest result stands.
    pub(crate) fn absorb(&mut self, n: u64) {
        match &mut self.0 {
            Kind::Count(window) => window.absorb(n),
            Kind::Time(window) => window.absorb(n),
        }
    }

    /// What counts at `now`; looking changes nothing.
    pub fn counts(&self, now: u64) -> Counts {
        match &self.0 {
            Kind::Count(window) => window.counts(),
            Kind::Time(window) => window.counts(now),
        }
    }

    /// Lets what has expired at `now` go.
    pub(crate) fn advance(&mut self, now: u64) {
        if let Kind::Time(window) = &mut self.0 {
            window.advance(now);
        }
    }

    /// What counted when the window last moved.
    pub(crate) fn latest(&self) -> Counts {
        match &self.0 {
            Kind::Count(window) => window.counts(),
            Kind::Time(window) => window.latest(),
        }
    }

    /// How many plain successes fit before the window itself has to move.
    pub(crate) fn room(&self) -> Room {
        match &self.0 {
            Kind::Count(window) => window.room(),
            Kind::Time(window) => Room::Until { successes: u64::MAX, end: window.end() },
        }
    }

    /// Forgets every result.
    pub fn clear(&mut self) {
        match &mut self.0 {
            Kind::Count(window) => window.clear(),
            Kind::Time(window) => window.clear(),
        }
    }

    /// Takes another shape at `now`. A count window keeps its newest results, a time window re-adds
    /// the buckets that are still live by their start; a change of kind empties it.
    pub fn reshape(&mut self, shape: Window, now: u64) {
        match (&mut self.0, shape) {
            (Kind::Count(window), Window::Count { size }) => window.resize(size),
            (Kind::Time(window), Window::Time { length, buckets }) => {
                window.reshape(nanos(length), buckets, now);
            }
            (kind, shape) => *kind = Self::new(shape).0,
        }
    }
}
