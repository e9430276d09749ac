//! The one place where a check's own code runs.

use std::{
    any::Any,
    fmt::Display,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::Found;
use crate::{catch_panic, deadline};

/// What a check says.
pub(super) type Verdict = Result<Found, String>;
/// A check in the one place it is ever in: its future is made in place, and no run allocates.
pub(super) type PinnedRun = Pin<Box<dyn Run>>;

/// A check that runs again and again, once at a time.
pub(super) trait Run: Send {
    /// Goes on with the run, or begins one. A panic ends here.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict>;

    /// Drops the run, if one goes on.
    fn stop(self: Pin<&mut Self>);
}

pin_project! {
    struct Checked<M, F> {
        make: M,
        #[pin]
        running: Option<F>,
    }
}

/// Gives a check its place. It runs under a deadline of its own: whoever asks shares it with others.
pub(super) fn pinned<M, F, T, E>(mut make: M, timeout: Duration) -> PinnedRun
where
    M: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Found> + 'static,
    E: Display + 'static,
{
    let make = move || {
        let future = make();
        deadline::clear(async move { deadline::within(timeout, future).await })
    };
    Box::into_pin(Box::new(Checked { make, running: None }))
}

impl<M, F, T, E> Run for Checked<M, F>
where
    M: FnMut() -> F + Send,
    F: Future<Output = Result<T, E>> + Send,
    T: Into<Found>,
    E: Display,
{
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict> {
        let going = self.as_mut();
        // What a panic leaves half done is dropped below, and the closure is called anew as any handler is.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let mut this = going.project();
            if this.running.is_none() {
                let future = (this.make)();
                this.running.set(Some(future));
            }
            match this.running.as_pin_mut() {
                // What it answers may run code as well, and so may its text.
                Some(running) => running.poll(cx).map(|answer| match answer {
                    Ok(found) => Ok(found.into()),
                    Err(error) => Err(error.to_string()),
                }),
                None => Poll::Pending,
            }
        }));
        let verdict = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(verdict)) => verdict,
            Err(payload) => Err(panicked(payload)),
        };
        self.stop();
        Poll::Ready(verdict)
    }

    fn stop(self: Pin<&mut Self>) {
        let mut running = self.project().running;
        contained(|| running.set(None));
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> String {
    let text = catch_panic::message(&*payload).map_or_else(
        || "the check panicked".to_owned(),
        |text| format!("the check panicked: {text}"),
    );
    contained(|| drop(payload));
    text
}

/// Runs code that may panic once more, and ends that here.
fn contained(run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        // Its drop may panic again, and one of them has to be the last.
        mem::forget(payload);
    }
}
