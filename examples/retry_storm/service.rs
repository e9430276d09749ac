//! A service that can do so much a second and no more, on tokio's clock.

use std::{
    error::Error,
    fmt,
    future::Future,
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tower::Service;

/// How many requests the service can do in a second while it is well, and during its trouble.
pub(crate) const CAPACITY: f64 = 1_000.0;
pub(crate) const TROUBLED: f64 = 350.0;
/// When the trouble begins and ends, and when the story does, in seconds.
pub(crate) const TROUBLE: Range<u64> = 15..30;
pub(crate) const END: u64 = 60;
/// With so many requests in its queue, it turns further ones away.
pub(crate) const QUEUE: f64 = 2_000.0;

/// The service has too much to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overloaded;

impl fmt::Display for Overloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the service is overloaded")
    }
}

impl Error for Overloaded {}

/// How many requests it could have done from the start until then.
fn done_by(second: f64) -> f64 {
    let (begins, ends) = (TROUBLE.start as f64, TROUBLE.end as f64);
    let troubled = second.clamp(begins, ends) - begins;
    troubled * TROUBLED + (second - troubled) * CAPACITY
}

/// When it could have done so many: the other way round.
fn second_of(done: f64) -> f64 {
    let (begins, ends) = (TROUBLE.start as f64, TROUBLE.end as f64);
    if done <= done_by(begins) {
        done / CAPACITY
    } else if done <= done_by(ends) {
        begins + (done - done_by(begins)) / TROUBLED
    } else {
        ends + (done - done_by(ends)) / CAPACITY
    }
}

/// One service for the whole fleet. It works off its queue in order, and does not know which callers have
/// given up meanwhile: their requests are work all the same.
#[derive(Clone)]
pub(crate) struct Backend(Arc<Shared>);

struct Shared {
    start: Instant,
    state: Mutex<State>,
}

struct State {
    /// What it will have done, on the scale of [`done_by`], when its queue is empty.
    queued: f64,
    came: Vec<u32>,
}

impl Backend {
    pub(crate) fn new(start: Instant) -> Self {
        let state = Mutex::new(State { queued: 0.0, came: vec![0; END as usize + 1] });
        Self(Arc::new(Shared { start, state }))
    }

    /// How many requests came in each second; in the last one, those that came later.
    pub(crate) fn came(&self) -> Vec<u32> {
        self.lock().came.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a request that comes in now is answered, unless it is turned away.
    fn take(&self) -> Result<Instant, Overloaded> {
        let second = self.0.start.elapsed().as_secs_f64();
        let mut state = self.lock();
        state.came[(second as usize).min(END as usize)] += 1;
        let done = done_by(second);
        if state.queued >= done + QUEUE {
            return Err(Overloaded);
        }
        state.queued = state.queued.max(done) + 1.0;
        Ok(self.0.start + Duration::from_secs_f64(second_of(state.queued)))
    }
}

impl Service<()> for Backend {
    type Response = ();
    type Error = Overloaded;
    type Future = Pin<Box<dyn Future<Output = Result<(), Overloaded>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Overloaded>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let taken = self.take();
        Box::pin(async move {
            sleep_until(taken?).await;
            Ok(())
        })
    }
}
