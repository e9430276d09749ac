//! A call's place in the line.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::core::CoreRef;
use crate::{
    clock::{Timer, tokio_now},
    error::Rejection,
    guard::Settle,
    policy::bucket::line::{Ticket, Turn},
};

/// Leave for one call: its tokens are taken, and there is nothing to give back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed;

impl<T, E> Settle<T, E> for Passed {
    #[inline(always)]
    fn settle(&mut self, _: &Result<T, E>) {}

    fn panicked(&mut self) {}
}

pin_project! {
    /// Ready when the call's turn has come. Dropping it gives place and tokens up.
    #[derive(Debug)]
    pub(super) struct Place {
        core: CoreRef,
        ticket: Ticket,
        // When it came, in nanoseconds since the bucket was made.
        entered: u64,
        max_wait: Duration,
        in_line: bool,
        #[pin]
        timer: Timer,
    }

    impl PinnedDrop for Place {
        fn drop(this: Pin<&mut Self>) {
            if this.in_line {
                this.core.leave(this.ticket);
            }
        }
    }
}

impl Place {
    pub(super) fn new(core: CoreRef, ticket: Ticket, entered: u64, max_wait: Duration) -> Self {
        let timer = Timer::default();
        Self { core, ticket, entered, max_wait, in_line: true, timer }
    }
}

impl Future for Place {
    type Output = Result<Passed, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        assert!(*this.in_line, "a response future was polled after it had finished");
        loop {
            match this.core.ask(*this.ticket, *this.entered, *this.max_wait, cx.waker()) {
                Turn::Now => {
                    *this.in_line = false;
                    return Poll::Ready(Ok(Passed));
                }
                Turn::Never(refusal) => {
                    *this.in_line = false;
                    this.core.left_queue();
                    return Poll::Ready(Err(this.core.refuse(refusal)));
                }
                Turn::After(wait) => {
                    // A wait too long to be an instant ends when the rate is changed.
                    let Some(until) = tokio_now().checked_add(wait) else { return Poll::Pending };
                    // The timer's clock need not be the limiter's: when it has run, the turn is asked for
                    // again, and the timer set anew if it has not come.
                    if this.timer.as_mut().poll_until(until, cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}
