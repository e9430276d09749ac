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
// Never inlined, so that it has one address: see `Clock::of`.
#[inline(never)]
pub fn tokio_now() -> Instant {
    read_tokio()
}

#[inline(always)]
fn read_tokio() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this file is the one that reads time")]
    tokio::time::Instant::now().into_std()
}

/// The time of day, which headers name where they name a date.
#[cfg(feature = "http")]
pub(crate) type WallTime = std::time::SystemTime;

/// The time of day. It can jump, so that it serves to understand a date that another machine wrote, and
/// for nothing else.
#[cfg(feature = "http")]
pub(crate) fn wall_now() -> WallTime {
    #[expect(clippy::disallowed_methods, reason = "this file is the one that reads time")]
    WallTime::now()
}

/// The system's time since the beginning of 1970; zero before it. For people to read, never to decide by.
#[cfg(feature = "http")]
pub(crate) fn since_epoch() -> Duration {
    wall_now().duration_since(WallTime::UNIX_EPOCH).unwrap_or_default()
}

/// The processor's time-stamp counter, calibrated by [`quanta`] against the system's clock.
///
/// About half the cost of [`tokio_now`]; a policy that only compares times, as most do, makes no `Instant`
/// of what it reads, and pays less. It does not follow tokio's paused time.
#[cfg(feature = "quanta")]
#[cfg_attr(docsrs, doc(cfg(feature = "quanta")))]
#[inline(never)]
pub fn quanta_now() -> Instant {
    let anchor = Anchor::get();
    anchor.instant + Duration::from_nanos(anchor.passed())
}

/// The one moment that both the counter and the system's clock were read at.
#[cfg(feature = "quanta")]
#[derive(Debug)]
pub(crate) struct Anchor {
    clock: quanta::Clock,
    raw: u64,
    instant: Instant,
}

#[cfg(feature = "quanta")]
impl Anchor {
    fn get() -> &'static Self {
        static ANCHOR: std::sync::LazyLock<Anchor> = std::sync::LazyLock::new(|| {
            let clock = quanta::Clock::new();
            #[expect(clippy::disallowed_methods, reason = "this file is the one that reads time")]
            let instant = Instant::now();
            Anchor { raw: clock.raw(), clock, instant }
        });
        &ANCHOR
    }

    /// Nanoseconds since then.
    #[inline(always)]
    fn passed(&self) -> u64 {
        self.clock.delta_as_nanos(self.raw, self.clock.raw())
    }
}

/// A clock as a policy takes it: read only if the decision asks. Those that are known are read without a
/// call through a pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    Tokio,
    /// With the origin that it is asked about, and that one's own distance from the anchor.
    #[cfg(feature = "quanta")]
    Quanta {
        anchor: &'static Anchor,
        origin: Instant,
        distance: u64,
    },
    Other(ClockFn),
}

impl Clock {
    /// Knows a function by its address. If that fails, the function is called, which tells the same time.
    pub(crate) fn of(clock: ClockFn) -> Self {
        let is = |known: ClockFn| std::ptr::fn_addr_eq(clock, known);
        #[cfg(feature = "quanta")]
        if is(quanta_now) {
            let anchor = Anchor::get();
            return Self::Quanta { anchor, origin: anchor.instant, distance: 0 };
        }
        if is(tokio_now) { Self::Tokio } else { Self::Other(clock) }
    }

    /// The time, and the clock of a policy that counts from it.
    pub(crate) fn start(self) -> (Self, Instant) {
        let origin = self.now();
        match self {
            #[cfg(feature = "quanta")]
            Self::Quanta { anchor, .. } => {
                let distance = origin.nanos_since(anchor.instant);
                (Self::Quanta { anchor, origin, distance }, origin)
            }
            other => (other, origin),
        }
    }
}

impl Now for Clock {
    #[inline(always)]
    fn now(self) -> Instant {
        match self {
            Self::Tokio => read_tokio(),
            #[cfg(feature = "quanta")]
            Self::Quanta { .. } => quanta_now(),
            Self::Other(clock) => clock(),
        }
    }

    #[inline(always)]
    fn nanos_since(self, since: Instant) -> u64 {
        match self {
            // No `Instant` is made, and none taken apart again.
            #[cfg(feature = "quanta")]
            Self::Quanta { anchor, origin, distance } if since == origin => {
                anchor.passed().saturating_sub(distance)
            }
            other => other.now().nanos_since(since),
        }
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

    /// The same, beside something that waits as well and was polled first. Should that use up its task's
    /// budget in every poll, it leaves none for tokio's timer, which then never fires. So whoever comes by
    /// again looks at the clock, too.
    pub(crate) fn poll_until_beside(
        self: Pin<&mut Self>,
        until: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let again = self.sleep.as_ref().is_some_and(|armed| armed.deadline().into_std() == until);
        match self.poll_until(until, cx) {
            Poll::Pending if !again || tokio_now() < until => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }
}

#[cfg(all(test, not(portcullis_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fixed() -> Instant {
        tokio_now() + Duration::from_secs(7)
    }

    #[test]
    fn clocks_are_known_by_their_functions() {
        assert!(matches!(Clock::of(tokio_now), Clock::Tokio));
        assert!(matches!(Clock::of(fixed), Clock::Other(_)));
        #[cfg(feature = "quanta")]
        assert!(matches!(Clock::of(quanta_now), Clock::Quanta { .. }));
    }

    /// Whether it is asked about its own origin or any other instant, by itself or through an instant.
    #[test]
    fn nanoseconds_are_those_of_the_instants() {
        let clocks = [
            tokio_now as ClockFn,
            fixed,
            #[cfg(feature = "quanta")]
            quanta_now,
        ];
        for function in clocks {
            let (clock, origin) = Clock::of(function).start();
            for since in [origin, origin - Duration::from_millis(3), function()] {
                let before = function().nanos_since(since);
                let told = clock.nanos_since(since);
                let after = function().nanos_since(since);
                assert!(before <= told && told <= after, "{before} {told} {after}");
            }
            assert_eq!(clock.nanos_since(origin + Duration::from_secs(3600)), 0);
        }
    }
}
