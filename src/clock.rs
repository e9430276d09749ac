//! The only file that reads time.
//!
//! A clock is a plain function, `fn() -> Instant`. The default is tokio's, so a test under
//! `#[tokio::test(start_paused = true)]` drives every policy by `tokio::time::advance`. Timers and
//! deadlines are always tokio's.

use std::time::Instant;

use crate::policy::Now;

/// Where a policy gets the time from: a function, read only when a decision needs it.
pub type ClockFn = fn() -> Instant;

/// tokio's clock: the system's monotonic clock, or the paused one of a test. The default.
pub fn tokio_now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this file is the one that reads time")]
    tokio::time::Instant::now().into_std()
}

/// The processor's time-stamp counter, calibrated by [`quanta`] against the system's clock.
///
/// About half the cost of [`tokio_now`]. It does not follow tokio's paused time.
#[cfg(feature = "quanta")]
#[cfg_attr(docsrs, doc(cfg(feature = "quanta")))]
pub fn quanta_now() -> Instant {
    use std::sync::LazyLock;
    struct Anchor {
        clock: quanta::Clock,
        raw: u64,
        instant: Instant,
    }
    static ANCHOR: LazyLock<Anchor> = LazyLock::new(|| {
        let clock = quanta::Clock::new();
        #[expect(clippy::disallowed_methods, reason = "this file is the one that reads time")]
        let instant = Instant::now();
        Anchor { raw: clock.raw(), clock, instant }
    });
    let anchor = &*ANCHOR;
    let passed = anchor.clock.delta_as_nanos(anchor.raw, anchor.clock.raw());
    anchor.instant + std::time::Duration::from_nanos(passed)
}

/// A clock as a policy takes it: read only if the decision asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(pub(crate) ClockFn);

impl Now for Clock {
    #[inline]
    fn now(self) -> Instant {
        (self.0)()
    }
}
