//! The one future of both layers.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use pin_project_lite::pin_project;

use crate::{
    deadline,
    error::{CarryRejection, Rejection},
};

pin_project! {
    /// The response future of [`SetDeadline`](super::SetDeadline) and
    /// [`ForwardDeadline`](super::ForwardDeadline). Dropping it drops the inner future, and nothing else is
    /// held.
    pub struct ResponseFuture<F> {
        #[pin]
        call: Call<F>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<F> {
        Refused { rejection: Option<Rejection> },
        Calling { #[pin] future: F, deadline: Option<Instant> },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn refused(rejection: Rejection) -> Self {
        Self { call: Call::Refused { rejection: Some(rejection) } }
    }

    /// Calls, and polls what comes of it, under a deadline, if there is one.
    pub(super) fn calling(deadline: Option<Instant>, call: impl FnOnce() -> F) -> Self {
        Self { call: Call::Calling { future: under(deadline, call), deadline } }
    }
}

#[inline]
fn under<R>(deadline: Option<Instant>, run: impl FnOnce() -> R) -> R {
    match deadline {
        Some(deadline) => deadline::enter(deadline, run),
        None => run(),
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, Res, Err> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, Err>>,
    Err: CarryRejection,
{
    type Output = Result<Res, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().call.project() {
            CallProjection::Calling { future, deadline } => under(*deadline, || future.poll(cx)),
            CallProjection::Refused { rejection } => match rejection.take() {
                Some(rejection) => Poll::Ready(Err(rejection.into())),
                None => panic!("a response future was polled after it had finished"),
            },
        }
    }
}
