//! The one future of a call whose panics are caught.

use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::core::Core;
use crate::error::Rejection;

pin_project! {
    /// Panicked already in `call`, or may yet in a poll.
    #[derive(Debug)]
    #[project = CaughtProjection]
    pub(super) enum Caught<F, R> {
        Panicked { rejection: Rejection },
        Calling {
            #[pin]
            future: F,
            // Taken when the call ends.
            core: Option<R>,
        },
        Finished,
    }
}

impl<F, R: Deref<Target = Core>> Caught<F, R> {
    #[inline]
    pub(super) fn begin(called: Result<F, Rejection>, core: impl FnOnce() -> R) -> Self {
        match called {
            Ok(future) => Self::Calling { future, core: Some(core()) },
            Err(rejection) => Self::Panicked { rejection },
        }
    }
}

impl<F, R, T, E> Future for Caught<F, R>
where
    R: Deref<Target = Core>,
    F: Future<Output = Result<T, E>>,
    E: From<Rejection>,
{
    type Output = Result<T, E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (polled, core) = match self.as_mut().project() {
            CaughtProjection::Calling { future, core: place @ Some(_) } => {
                let Some(core) = place.as_ref() else { unreachable!("matched above") };
                match core.attempt(|| future.poll(cx)) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(result)) => (result, place.take()),
                    Err(rejection) => (Err(rejection.into()), place.take()),
                }
            }
            CaughtProjection::Panicked { rejection } => (Err((*rejection).into()), None),
            _ => panic!("a response future was polled after it had finished"),
        };
        // A future that panicked is never polled again, and its drop may panic as well.
        match core {
            Some(core) => core.release(|| self.set(Self::Finished)),
            None => self.set(Self::Finished),
        }
        Poll::Ready(polled)
    }
}
