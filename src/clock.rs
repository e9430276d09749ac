//! The only file that reads time or sleeps.
//!
//! A clock is a plain function, `fn() -> Instant`. The default is tokio's, so a test under
//! `#[tokio::test(start_paused = true)]` drives every policy by `tokio::time::advance`. Timers and
//! deadlines are always tokio's.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;

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
    anchor.instant + Duration::from_nanos(passed)
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

/// What tokio's timers tell apart.
const TICK: Duration = Duration::from_millis(1);

pin_project! {
    /// A timer that is made when it is first polled, since most calls end before they need one. Dropping
    /// it cancels it.
    #[derive(Debug, Default)]
    pub(crate) struct Timer {
        #[pin]
        sleep: Option<tokio::time::Sleep>,
    }
}

impl Timer {
    /// Whether it has been asked for a time before.
    pub(crate) fn is_set(&self) -> bool {
        self.sleep.is_some()
    }

    /// Ready from `until` on, by tokio's clock; asking for another time than before sets it anew.
    pub(crate) fn poll_until(
        mut self: Pin<&mut Self>,
        until: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        // tokio rounds up. What is so late that this leaves no instant never comes.
        if until.checked_add(TICK).is_none() {
            return Poll::Pending;
        }
        let until = tokio::time::Instant::from_std(until);
        let mut sleep = self.as_mut().project().sleep;
        match sleep.as_mut().as_pin_mut() {
            Some(armed) if armed.deadline() != until => armed.reset(until),
            Some(_) => {}
            #[expect(clippy::disallowed_methods, reason = "this file is the one that sleeps")]
            None => sleep.set(Some(tokio::time::sleep_until(until))),
        }
        // Polled after every change, so that what came due meanwhile is seen.
        match sleep.as_pin_mut() {
            Some(armed) => armed.poll(cx),
            None => Poll::Pending,
        }
    }
}
