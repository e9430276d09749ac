//! [`Drain`]: a process that is about to end, and what it still has to finish.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::sync::Notify;

use super::DrainLayer;
use crate::{
    clock::{self, Timer},
    sync::{AtomicU64, Ordering},
};

/// Set once draining has begun; the rest of the word counts what is in flight.
const DRAINING: u64 = 1 << 63;

struct Shared {
    word: AtomicU64,
    begun: Notify,
    idle: Notify,
}

impl Shared {
    fn is_draining(&self) -> bool {
        self.word.load(Ordering::Acquire) & DRAINING != 0
    }
}

/// Tells that a process is about to end, and waits for what it still does. Clones share it.
///
/// ```
/// use std::time::Duration;
/// use portcullis::health::{Drain, Finished};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let drain = Drain::new();
/// let job = drain.track();
/// tokio::spawn(async move {
///     // … work that must not be cut …
///     drop(job);
/// });
///
/// drain.begin();      // readiness fails from here on
/// assert_eq!(drain.finish(Duration::from_secs(30)).await, Finished::All);
/// # }
/// ```
///
/// [`HealthRegistry::drain`](super::HealthRegistry::drain) is the one that readiness follows, and
/// [`layer`](Self::layer) counts a server's requests: see [`docs::health`](crate::docs::health) for a whole
/// shutdown.
#[derive(Clone)]
pub struct Drain {
    shared: Arc<Shared>,
}

/// How [`Drain::finish`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "there is no third way for a wait to end")]
pub enum Finished {
    /// Nothing is in flight any more.
    All,
    /// The time was over first.
    TimedOut {
        /// What was still in flight.
        left: u64,
    },
}

impl Default for Drain {
    fn default() -> Self {
        let (begun, idle) = (Notify::new(), Notify::new());
        Self { shared: Arc::new(Shared { word: AtomicU64::new(0), begun, idle }) }
    }
}

impl Drain {
    /// Nothing drains, nothing is in flight.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to drain, for good: readiness fails from now on, whatever was found before. Liveness does not,
    /// and requests are served as before. Whether it had not begun yet.
    pub fn begin(&self) -> bool {
        let before = self.shared.word.fetch_or(DRAINING, Ordering::AcqRel);
        let first = before & DRAINING == 0;
        if first {
            self.shared.begun.notify_waiters();
        }
        first
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    /// How much is in flight: requests through its [layers](Self::layer), and what is
    /// [tracked](Self::track).
    pub fn in_flight(&self) -> u64 {
        self.shared.word.load(Ordering::Acquire) & !DRAINING
    }

    /// Waits until draining has begun. Cancelling it loses nothing.
    pub async fn begun(&self) {
        self.when(&self.shared.begun, Self::is_draining).await;
    }

    /// Waits until draining has begun, and then for as long as those who send requests may need to see it:
    /// the moment to stop accepting connections. Made for
    /// [`axum::serve(…).with_graceful_shutdown(…)`](https://docs.rs/axum/latest/axum/serve/struct.Serve.html#method.with_graceful_shutdown).
    pub fn begun_for(
        &self,
        lasting: Duration,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        let drain = self.clone();
        async move {
            drain.begun().await;
            elapse(lasting).await;
        }
    }

    /// Begins to drain, unless that has happened, and waits until nothing is in flight, at most for
    /// `within`. What comes in meanwhile counts as well, so stop accepting first. Cancelling it loses
    /// nothing, and draining goes on.
    pub async fn finish(&self, within: Duration) -> Finished {
        self.begin();
        let mut idle = pin!(self.when(&self.shared.idle, |drain| drain.in_flight() == 0));
        let mut over = pin!(elapse(within));
        let all = poll_fn(|cx| match idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => over.as_mut().poll(cx).map(|()| false),
        });
        if all.await {
            return Finished::All;
        }
        match self.in_flight() {
            0 => Finished::All,
            left => Finished::TimedOut { left },
        }
    }

    /// Counts something as in flight until the guard is dropped: a job, a socket after its upgrade.
    pub fn track(&self) -> InFlight {
        self.shared.word.fetch_add(1, Ordering::Relaxed);
        InFlight { shared: Arc::clone(&self.shared) }
    }

    /// A layer that counts the requests of a server, each until the end of its response's body.
    pub fn layer(&self) -> DrainLayer {
        DrainLayer::of(self)
    }

    async fn when(&self, told: &Notify, holds: impl Fn(&Self) -> bool) {
        loop {
            let mut notified = pin!(told.notified());
            // Listens first and looks then, so that nothing is missed in between.
            notified.as_mut().enable();
            if holds(self) {
                return;
            }
            notified.await;
        }
    }
}

/// Waits for a time, for ever if that leaves no instant.
async fn elapse(time: Duration) {
    let until = clock::tokio_now().checked_add(time);
    let mut timer = pin!(Timer::default());
    poll_fn(|cx| match until {
        Some(until) => timer.as_mut().poll_until(until, cx),
        None => Poll::Pending,
    })
    .await;
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("is_draining", &self.is_draining())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}

/// Something in flight, counted until this is dropped: see [`Drain::track`].
#[must_use = "what is tracked ends when this is dropped"]
pub struct InFlight {
    shared: Arc<Shared>,
}

impl InFlight {
    /// Whether what it counts for drains.
    pub(super) fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let before = self.shared.word.fetch_sub(1, Ordering::AcqRel);
        if before == DRAINING | 1 {
            self.shared.idle.notify_waiters();
        }
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").finish_non_exhaustive()
    }
}
