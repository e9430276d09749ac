//! Polling by hand, catching panics, counting wake-ups.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tower::Service;

/// A task without an executor: whoever polls with it can be told apart, and its wake-ups counted.
#[derive(Debug)]
pub(crate) struct Caller(Arc<Wakeups>);

#[derive(Debug, Default)]
struct Wakeups(AtomicU32);

impl Wake for Wakeups {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Caller {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Wakeups::default()))
    }

    /// How often this task was woken.
    pub(crate) fn wakeups(&self) -> u32 {
        self.0.0.load(SeqCst)
    }

    /// How many wakers of this task somebody still keeps.
    pub(crate) fn wakers(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }

    pub(crate) fn ready<S, Req>(&self, service: &mut S) -> Poll<Result<(), S::Error>>
    where
        S: Service<Req>,
    {
        let waker = Waker::from(Arc::clone(&self.0));
        service.poll_ready(&mut Context::from_waker(&waker))
    }

    pub(crate) fn poll<F: Future>(&self, future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.0));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Polls until the future is ready, at most as often as any future here can need.
    #[track_caller]
    pub(crate) fn finish<F: Future>(&self, future: &mut Pin<Box<F>>) -> F::Output {
        for _ in 0..100 {
            if let Poll::Ready(output) = self.poll(future) {
                return output;
            }
        }
        panic!("the future is still pending after 100 polls");
    }
}

/// Runs the closure and returns the text of the panic that must leave it.
#[track_caller]
pub(crate) fn panic_of<R>(run: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(_) => panic!("expected a panic"),
        Err(payload) => text(&*payload),
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    let formatted = payload.downcast_ref::<String>().cloned();
    formatted
        .or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
        .expect("a panic with a text")
}

/// The longest time from now on that still ends at an instant.
pub(crate) fn longest() -> Duration {
    let now = portcullis::clock::tokio_now();
    let fits = |span: &Duration| now.checked_add(*span).is_some();
    let mut longest = Duration::ZERO;
    let mut step = Duration::from_secs(1 << 62);
    while !step.is_zero() {
        while let Some(longer) = longest.checked_add(step).filter(fits) {
            longest = longer;
        }
        step /= 2;
    }
    longest
}
