//! A service that can do so much a second and no more, on tokio's clock.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tower::Service;

/// How much the service can do in a second while it is well, and during its trouble.
pub(crate) const CAPACITY: f64 = 1_000.0;
pub(crate) const TROUBLED: f64 = 350.0;
/// When the trouble begins and ends, and when the story does.
pub(crate) const TROUBLE: std::ops::Range<u64> = 15..30;
pub(crate) const END: u64 = 75;
/// More requests than this in its queue, and it turns further ones away.
const QUEUE: usize = 2_000;

/// The service has too much to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overloaded;

impl std::fmt::Display for Overloaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the service is overloaded")
    }
}

impl std::error::Error for Overloaded {}

/// What the service has seen, second by second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Requests that came in.
    pub(crate) came: u32,
    /// Requests that were turned away.
    pub(crate) turned_away: u32,
}

/// One service for the whole fleet: works off a queue in order, also for callers that have left.
#[derive(Clone)]
pub(crate) struct Backend(Arc<Shared>);

struct Shared {
    start: Instant,
    state: Mutex<State>,
}

struct State {
    /// When the last request in the queue is done.
    free_at: Instant,
    seen: Vec<Seen>,
}

impl Backend {
    pub(crate) fn new(start: Instant) -> Self {
        let seen = vec![Seen::default(); END as usize + 1];
        let state = Mutex::new(State { free_at: start, seen });
        Self(Arc::new(Shared { start, state }))
    }

    /// What was seen in each second.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).seen.clone()
    }

    /// When a request that comes in now is answered, unless it is turned away.
    fn take(&self) -> Result<Instant, Overloaded> {
        let now = Instant::now();
        let second = (now - self.0.start).as_secs();
        let capacity = if TROUBLE.contains(&second) { TROUBLED } else { CAPACITY };
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting =
            (state.free_at.saturating_duration_since(now).as_secs_f64() * capacity) as usize;
        let seen = &mut state.seen[(second as usize).min(END as usize)];
        seen.came += 1;
        if waiting >= QUEUE {
            seen.turned_away += 1;
            return Err(Overloaded);
        }
        state.free_at = state.free_at.max(now) + Duration::from_secs_f64(1.0 / capacity);
        Ok(state.free_at)
    }
}

impl Service<u64> for Backend {
    type Response = ();
    type Error = Overloaded;
    type Future = Pin<Box<dyn Future<Output = Result<(), Overloaded>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Overloaded>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _id: u64) -> Self::Future {
        let taken = self.take();
        Box::pin(async move {
            sleep_until(taken?).await;
            Ok(())
        })
    }
}
