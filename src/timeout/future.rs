//! The one future of a call under a timeout.

use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;

use super::core::Core;
use crate::{
    clock::Timer,
    deadline,
    error::{CarryRejection, Rejection},
    policy::{Mode, timeout::TooShort},
};

pin_project! {
    /// Refused, or a call with its limits.
    #[derive(Debug)]
    #[project = TimedProjection]
    pub(super) enum Timed<F, R> {
        Refused { rejection: Rejection },
        Calling {
            #[pin]
            future: F,
            // Made when the call is first found waiting, so that one which answers at once needs none.
            #[pin]
            timer: Timer,
            // When its time is over.
            deadline: Option<Instant>,
            // Whether that is only looked at, and reported.
            shadow: bool,
            // Nobody looks after a call of a disabled timeout, nor in shadow once it is reported.
            core: Option<R>,
        },
        Finished,
    }
}

impl<F, R: Deref<Target = Core>> Timed<F, R> {
    /// Begins a call under the ambient deadline. `own` is the limit that its request sets; `reference`
    /// keeps the timeout for the call.
    #[inline]
    pub(super) fn begin<Req>(
        core: &Core,
        request: Req,
        own: impl FnOnce(&Req) -> Option<Duration>,
        reference: impl FnOnce() -> R,
        call: impl FnOnce(Req) -> F,
    ) -> Self {
        let mode = core.live.mode();
        if mode == Mode::Disabled {
            return Self::unwatched(call(request));
        }
        let shadow = mode == Mode::Shadow;
        match core.live.decide(own(&request), deadline::current(), core.clock) {
            Ok(deadline) => {
                let core = Some(reference());
                let future = under(deadline, shadow, || call(request));
                Self::Calling { future, timer: Timer::default(), deadline, shadow, core }
            }
            Err(TooShort) => match core.too_short(shadow) {
                Some(rejection) => Self::Refused { rejection },
                None => Self::unwatched(call(request)),
            },
        }
    }

    fn unwatched(future: F) -> Self {
        let (timer, deadline, shadow, core) = (Timer::default(), None, false, None);
        Self::Calling { future, timer, deadline, shadow, core }
    }
}

/// Runs a part of the inner service under the call's deadline, if it has one.
#[inline]
fn under<R>(deadline: Option<Instant>, shadow: bool, run: impl FnOnce() -> R) -> R {
    match deadline {
        Some(deadline) if !shadow => deadline::enter(deadline, run),
        _ => run(),
    }
}

impl<F, R, T, E> Future for Timed<F, R>
where
    R: Deref<Target = Core>,
    F: Future<Output = Result<T, E>>,
    E: CarryRejection,
{
    type Output = Result<T, E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let TimedProjection::Calling { future, deadline, shadow, core, .. } =
            self.as_mut().project()
        else {
            return Poll::Ready(Err(self.refused().into()));
        };
        match under(*deadline, *shadow, || future.poll(cx)) {
            Poll::Ready(result) => {
                let core = core.take();
                self.set(Self::Finished);
                if let Some(core) = core {
                    core.in_time();
                }
                Poll::Ready(result)
            }
            Poll::Pending => self.wait(cx),
        }
    }
}

impl<F, R, T, E> Timed<F, R>
where
    R: Deref<Target = Core>,
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
        let TimedProjection::Calling { timer, deadline: Some(deadline), core: Some(_), .. } =
            self.as_mut().project()
        else {
            return Poll::Pending;
        };
        ready!(timer.poll_until_beside(*deadline, cx));
        self.run_out(cx)
    }

    /// The deadline has passed. Whatever is ready by now still wins; and a policy below that sees the
    /// deadline can hand out what it has.
    #[cold]
    fn run_out(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let TimedProjection::Calling { future, mut timer, deadline, shadow, core } =
            self.as_mut().project()
        else {
            return Poll::Pending;
        };
        let shadow = *shadow;
        let answer = under(*deadline, shadow, || future.poll(cx));
        let Some(core) = core.take() else { return Poll::Pending };
        match answer {
            Poll::Ready(result) => {
                self.set(Self::Finished);
                core.in_time();
                Poll::Ready(result)
            }
            Poll::Pending => {
                // Nothing of a call that is cut is in use any more when its caller learns of it.
                if shadow {
                    timer.set(Timer::default());
                } else {
                    self.set(Self::Finished);
                }
                match core.time_out(shadow) {
                    Some(rejection) => Poll::Ready(Err(rejection.into())),
                    None => Poll::Pending,
                }
            }
        }
    }
}
