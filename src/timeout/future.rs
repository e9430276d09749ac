//! The one future of a call under a timeout.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use pin_project_lite::pin_project;

use super::core::{Begun, CoreRef, Limits, under};
use crate::{
    clock::{self, Timer},
    error::{CarryRejection, Rejection},
};

/// Looks after one call.
#[derive(Debug)]
pub(super) struct Watch {
    core: CoreRef,
    limits: Limits,
}

impl Watch {
    /// When to look whether the call has run out of time.
    #[inline]
    fn due(&self) -> Option<Instant> {
        self.limits.deadline
    }
}

pin_project! {
    /// Refused, or a call with its limits.
    #[derive(Debug)]
    #[project = TimedProjection]
    pub(super) enum Timed<F> {
        Refused { rejection: Rejection },
        Calling {
            #[pin]
            future: F,
            // Made when the call is first found waiting, so that one which answers at once needs none.
            #[pin]
            timer: Timer,
            // Nobody looks after a call of a disabled timeout, nor in shadow once it is reported.
            watch: Option<Watch>,
        },
        Finished,
    }
}

impl<F> Timed<F> {
    /// Begins the inner call as it was decided; `core` gives the call's own reference.
    #[inline]
    pub(super) fn begin(
        begun: Begun,
        core: impl FnOnce() -> CoreRef,
        call: impl FnOnce() -> F,
    ) -> Self {
        let (watch, ambient) = match begun {
            Begun::Watched(limits) => (Some(Watch { core: core(), limits }), limits.ambient()),
            Begun::Unwatched => (None, None),
            Begun::Refused(rejection) => return Self::Refused { rejection },
        };
        Self::Calling { future: under(ambient, call), timer: Timer::default(), watch }
    }
}

impl<F, T, E> Future for Timed<F>
where
    F: Future<Output = Result<T, E>>,
    E: CarryRejection,
{
    type Output = Result<T, E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, watch) = match self.as_mut().project() {
            TimedProjection::Calling { future, watch, .. } => (future, watch),
            _ => return Poll::Ready(Err(self.refused().into())),
        };
        let ambient = watch.as_ref().and_then(|watch| watch.limits.ambient());
        match under(ambient, || future.poll(cx)) {
            Poll::Ready(result) => {
                let watch = watch.take();
                self.set(Self::Finished);
                if let Some(watch) = watch {
                    watch.core.in_time();
                }
                Poll::Ready(result)
            }
            Poll::Pending if watch.as_ref().and_then(Watch::due).is_some() => self.wait(cx),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<F, T, E> Timed<F>
where
    F: Future<Output = Result<T, E>>,
    E: CarryRejection,
{
    /// Takes the refusal that there is instead of a call.
    #[cold]
    fn refused(mut self: Pin<&mut Self>) -> Rejection {
        let TimedProjection::Refused { rejection } = self.as_mut().project() else {
            panic!("a response future was polled after it had finished");
        };
        let rejection = *rejection;
        self.set(Self::Finished);
        rejection
    }

    /// The call waits: so does the timer, and one of the two wakes the task.
    fn wait(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let TimedProjection::Calling { timer, watch, .. } = self.as_mut().project() else {
            return Poll::Pending;
        };
        let Some(due) = watch.as_ref().and_then(Watch::due) else { return Poll::Pending };
        let again = timer.is_set();
        if timer.poll_until(due, cx).is_pending() {
            // A service that uses up its task's budget in every poll leaves none for tokio's timer, which
            // then never fires. So whoever comes by again looks at the clock as well.
            if !again || clock::tokio_now() < due {
                return Poll::Pending;
            }
        }
        self.run_out(cx)
    }

    /// The deadline has passed. Whatever is ready by now still wins; and a policy below that sees the
    /// deadline can hand out what it has.
    #[cold]
    fn run_out(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let TimedProjection::Calling { future, mut timer, watch } = self.as_mut().project() else {
            return Poll::Pending;
        };
        let ambient = watch.as_ref().and_then(|watch| watch.limits.ambient());
        let answer = under(ambient, || future.poll(cx));
        let Some(Watch { core, limits }) = watch.take() else { return Poll::Pending };
        match answer {
            Poll::Ready(result) => {
                self.set(Self::Finished);
                core.in_time();
                Poll::Ready(result)
            }
            Poll::Pending => {
                // Nothing of a call that is cut is in use any more when its caller learns of it.
                if limits.shadow {
                    timer.set(Timer::default());
                } else {
                    self.set(Self::Finished);
                }
                match core.time_out(limits.shadow) {
                    Some(rejection) => Poll::Ready(Err(rejection.into())),
                    None => Poll::Pending,
                }
            }
        }
    }
}
