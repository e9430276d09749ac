//! How long, and how many, calls may wait.

use std::time::Duration;

/// How long a call may wait for its tokens, and how many calls may wait at once. Every value works: with
/// zero of either no call ever waits, and [`Duration::MAX`] is a wait without a bound.
///
/// ```
/// use std::time::Duration;
/// use portcullis::rate_limit::Waits;
///
/// let patient = Waits::up_to(Duration::from_secs(5)).queue(200);
/// assert_eq!(Waits::default(), Waits::up_to(Duration::from_secs(1)).queue(1_000));
/// # let _ = patient;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Waits {
    /// A call whose tokens would come later than this is refused at once. Default 1 s.
    pub max_wait: Duration,
    /// A call that would have to wait while so many do already is refused at once. What waits on one
    /// limiter is counted together, whichever layer or handle it came by. Default 1 000, which is there
    /// for the sake of memory: the wait bounds the queue as well, to as many as come back in that time.
    pub max_queued: usize,
}

impl Default for Waits {
    fn default() -> Self {
        Self::up_to(Duration::from_secs(1))
    }
}

impl Waits {
    /// Waits up to `max_wait`, in a queue of the default length.
    pub const fn up_to(max_wait: Duration) -> Self {
        Self { max_wait, max_queued: 1_000 }
    }

    /// Sets how many calls may wait at once.
    pub const fn queue(mut self, max_queued: usize) -> Self {
        self.max_queued = max_queued;
        self
    }
}
