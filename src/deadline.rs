//! The ambient deadline that every policy can see.
//!
//! Whoever knows when an answer stops being useful sets it once, around a future; every policy
//! below reads it with [`current`] in the synchronous part of its `call` and `poll`. It costs one
//! thread-local read. Deadlines only shrink: a nested [`scope`] keeps the earlier one.
//!
//! ```
//! # use std::time::Duration;
//! use portcullis::deadline;
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! deadline::within(Duration::from_secs(2), async {
//!     let left = deadline::remaining().unwrap();
//!     assert!(left <= Duration::from_secs(2));
//! })
//! .await;
//! assert!(deadline::current().is_none());
//! # }
//! ```
//!
//! | policy | what it makes of the deadline |
//! |---|---|
//! | [timeout](crate::timeout) | sets it for whatever stands below, enforces an earlier one that holds already, and refuses a call for which too little time is left |
//! | [circuit breaker](crate::circuit_breaker) | a call that is dropped at or after the deadline it was admitted under is a failure |
//! | [rate limit](crate::rate_limit) that lets wait | a call whose turn would come at or after it is refused at once |
//! | [bulkhead](crate::bulkhead) with a queue | no wait lasts beyond it |
//! | [retry](crate::retry) | no delay is begun that would end at or after it |
//!
//! Setting a deadline cuts nothing by itself: that is what a timeout is for.
//!
//! A spawned task does not inherit the deadline: wrap its future with [`carry`]. Work that is shared
//! by several callers must not die with the first of them: wrap it with [`clear`]. Under a
//! `tower::buffer`, `call` runs on the worker's task and sees none, while polls of the response do.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;

use crate::{ambient, clock};

thread_local! {
    static CURRENT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The deadline that holds here, if there is one.
#[inline]
pub fn current() -> Option<Instant> {
    ambient::current(&CURRENT, None)
}

/// The time left until the deadline that holds here: zero once it has passed, `None` without one.
pub fn remaining() -> Option<Duration> {
    current().map(|deadline| deadline.saturating_duration_since(clock::tokio_now()))
}

/// Runs `future` under `deadline`, or under the one that holds already if that is earlier.
pub fn scope<F>(deadline: Instant, future: F) -> Scoped<F> {
    let deadline = current().map_or(deadline, |outer| outer.min(deadline));
    Scoped { future, deadline: Some(deadline), shrink: true }
}

/// Runs `future` under a deadline `limit` from now. A limit too long to be an instant sets none.
pub fn within<F>(limit: Duration, future: F) -> Scoped<F> {
    match clock::tokio_now().checked_add(limit) {
        Some(deadline) => scope(deadline, future),
        None => carry(future),
    }
}

/// Runs `future` without any deadline: for work that outlives or is shared by its callers.
pub fn clear<F>(future: F) -> Scoped<F> {
    Scoped { future, deadline: None, shrink: false }
}

/// Takes the deadline that holds here along to wherever `future` is polled, such as a spawned task.
pub fn carry<F>(future: F) -> Scoped<F> {
    Scoped { future, deadline: current(), shrink: true }
}

/// Runs a closure under `deadline`, or under the one that holds already if that is earlier.
pub fn enter<R>(deadline: Instant, run: impl FnOnce() -> R) -> R {
    let _restore =
        ambient::set(&CURRENT, Some(current().map_or(deadline, |outer| outer.min(deadline))));
    run()
}

pin_project! {
    /// A future that is polled under its own deadline. Made by [`scope`], [`within`], [`clear`] and
    /// [`carry`]; dropping it drops the inner future, and nothing else is held.
    #[derive(Debug)]
    pub struct Scoped<F> {
        #[pin]
        future: F,
        deadline: Option<Instant>,
        // Whether an earlier deadline at the place of polling wins.
        shrink: bool,
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let deadline = match (*this.shrink, *this.deadline, current()) {
            (false, own, _) => own,
            (true, Some(own), Some(outer)) => Some(own.min(outer)),
            (true, own, outer) => own.or(outer),
        };
        let _restore = ambient::set(&CURRENT, deadline);
        this.future.poll(cx)
    }
}
