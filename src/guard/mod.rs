//! The one middleware: admit → call → settle.
//!
//! A policy says whether a call may be made and takes note of how it ended; everything that Tower and
//! cancellation ask of a middleware is done here, once:
//!
//! - The decision is taken in `call`, and the permit is made before the inner future, so that nothing is
//!   lost when the response future is dropped before its first poll.
//! - A permit is settled with the result, told of a panic that left the inner service's own `call` or
//!   `poll`, or dropped, which abandons the call.
//! - `poll_ready` is the inner service's, except while the policy surely refuses: then it is ready
//!   without asking the inner service, and the next `call` keeps that refusal, so that a service that was
//!   not readied is never called. A caller that is parked on the inner service's readiness is woken when
//!   the policy begins to refuse.
//!
//! [`Guard`] needs nothing of the inner service but `Service`. [`Deferred`](deferred::Deferred) is for
//! policies that need the request before they can say anything: always ready, it readies a clone in the
//! future, under the permit. [`Waiting`](waiting::Waiting) is for those that may let a call wait. With any of
//! them a permit can be [held](holding) beyond the result, while more of the answer is to come.

pub(crate) mod deferred;
#[cfg(feature = "http")]
pub(crate) mod holding;
mod parking;
pub(crate) mod waiting;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use self::parking::Berth;
pub(crate) use self::parking::Parking;
use crate::error::{CarryRejection, Rejection};

/// Decides over calls whose results are `Result<Res, Err>`.
pub(crate) trait Policy<Req, Res, Err> {
    /// Leave for one call. Dropping it abandons the call.
    type Permit: Settle<Res, Err>;

    /// Asks for leave.
    fn admit(&self, request: &Req) -> Result<Self::Permit, Rejection>;
}

/// A policy that can say something before there is a request; by default it says nothing.
pub(crate) trait Ready<Res, Err> {
    /// The refusal that every call would surely get now.
    #[inline(always)]
    fn refuses(&self) -> Option<Rejection> {
        None
    }

    /// A call was answered with a refusal from [`refuses`](Self::refuses).
    fn refused(&self, rejection: &Rejection) {
        let _ = rejection;
    }

    /// The inner service's `poll_ready` failed; the result is that error.
    fn not_ready(&self, result: &Result<Res, Err>) {
        let _ = result;
    }

    /// Where callers leave their wakers while the inner service is not ready; nowhere, if the policy
    /// never [refuses](Self::refuses) beforehand.
    fn parking(&self) -> Option<&Parking> {
        None
    }
}

/// Takes note of how a call ended, once. It does so where the permit lies: to move the permit out of a
/// future would cost more than the note.
pub(crate) trait Settle<Res, Err> {
    /// It ended with this result.
    fn settle(&mut self, result: &Result<Res, Err>);

    /// A panic left the inner service.
    fn panicked(&mut self);
}

/// Settles a permit and drops it where it lies, also if a classifier panics.
#[inline(always)]
pub(crate) fn settle<P: Settle<Res, Err>, Res, Err>(
    permit: &mut Option<P>,
    result: &Result<Res, Err>,
) {
    struct Spent<'a, P>(&'a mut Option<P>);
    impl<P> Drop for Spent<'_, P> {
        #[inline(always)]
        fn drop(&mut self) {
            *self.0 = None;
        }
    }
    let spent = Spent(permit);
    if let Some(permit) = &mut *spent.0 {
        permit.settle(result);
    }
}

/// Runs the inner service's own code with a permit in hand: if that code panics, the permit is told.
#[inline(always)]
pub(crate) fn attended<P: Settle<Res, Err>, Res, Err, R>(
    permit: &mut Option<P>,
    run: impl FnOnce() -> R,
) -> R {
    struct Attended<'a, P: Settle<Res, Err>, Res, Err> {
        permit: &'a mut Option<P>,
        result: std::marker::PhantomData<fn(Res, Err)>,
    }
    impl<P: Settle<Res, Err>, Res, Err> Drop for Attended<'_, P, Res, Err> {
        fn drop(&mut self) {
            // Only unwinding gets here: the ordinary way out forgets this value.
            if let Some(mut permit) = self.permit.take() {
                permit.panicked();
            }
        }
    }
    let attended = Attended::<P, Res, Err> { permit, result: std::marker::PhantomData };
    let returned = run();
    std::mem::forget(attended);
    returned
}

/// The middleware of a policy that decides at once.
#[derive(Debug)]
pub(crate) struct Guard<S, P> {
    inner: S,
    policy: P,
    /// The refusal with which `poll_ready` answered in place of the inner service.
    kept: Option<Rejection>,
    /// The place of our waker while the inner service is not ready.
    berth: Option<Berth>,
}

impl<S: Clone, P: Clone> Clone for Guard<S, P> {
    fn clone(&self) -> Self {
        // Readiness is not cloned: neither the inner service's nor a kept refusal.
        Self::new(self.inner.clone(), self.policy.clone())
    }
}

impl<S, P> Guard<S, P> {
    pub(crate) fn new(inner: S, policy: P) -> Self {
        Self { inner, policy, kept: None, berth: None }
    }

    pub(crate) fn policy(&self) -> &P {
        &self.policy
    }

    pub(crate) fn inner(&self) -> &S {
        &self.inner
    }

    pub(crate) fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    pub(crate) fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, P, Req> Service<Req> for Guard<S, P>
where
    S: Service<Req>,
    S::Error: CarryRejection,
    P: Policy<Req, S::Response, S::Error> + Ready<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Guarded<S::Future, P::Permit>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if let Some(rejection) = self.policy.refuses() {
            return self.keep(rejection);
        }
        self.kept = None;
        match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) if self.berth.is_none() => Poll::Ready(Ok(())),
            answer => self.take_answer::<Req>(answer, cx),
        }
    }

    #[inline(always)]
    fn call(&mut self, request: Req) -> Self::Future {
        if let Some(rejection) = &self.kept {
            self.policy.refused(rejection);
            // Taken only here: taking first would read the whole of it with every call.
            return Guarded::Refused { rejection: self.kept.take() };
        }
        match self.policy.admit(&request) {
            Ok(permit) => {
                let mut permit = Some(permit);
                let future = attended(&mut permit, || self.inner.call(request));
                Guarded::Calling { future, permit }
            }
            Err(rejection) => Guarded::Refused { rejection: Some(rejection) },
        }
    }
}

impl<S, P> Guard<S, P> {
    /// Ready to give this refusal, whatever becomes of the policy before the call.
    #[cold]
    fn keep<E>(&mut self, rejection: Rejection) -> Poll<Result<(), E>> {
        self.kept = Some(rejection);
        self.berth = None;
        Poll::Ready(Ok(()))
    }

    /// What the inner service answered, where it is not simply ready.
    #[cold]
    fn take_answer<Req>(
        &mut self,
        answer: Poll<Result<(), S::Error>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), S::Error>>
    where
        S: Service<Req>,
        P: Ready<S::Response, S::Error>,
    {
        match answer {
            Poll::Ready(Ok(())) => {
                self.berth = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                self.berth = None;
                let result = Err(error);
                self.policy.not_ready(&result);
                Poll::Ready(result.map(drop))
            }
            Poll::Pending => {
                let Some(parking) = self.policy.parking() else {
                    return Poll::Pending;
                };
                parking.moor(&mut self.berth, cx.waker());
                // Looked at again after mooring: what began in between did not wake us.
                match self.policy.refuses() {
                    Some(rejection) => self.keep(rejection),
                    None => Poll::Pending,
                }
            }
        }
    }
}

/// Polls a call and takes note of its end. The answer is left where the caller wants it: one that is taken
/// apart and put together again is copied, in wide pieces that have to wait for the narrow ones it was
/// written in.
#[inline(always)]
fn poll_calling<F, P, Res, Err>(
    future: Pin<&mut F>,
    permit: &mut Option<P>,
    cx: &mut Context<'_>,
) -> Poll<Result<Res, Err>>
where
    F: Future<Output = Result<Res, Err>>,
    P: Settle<Res, Err>,
{
    let answer = attended(permit, || future.poll(cx));
    if let Poll::Ready(result) = &answer {
        settle(permit, result);
    }
    answer
}

pin_project! {
    /// The one future of a guarded call.
    #[derive(Debug)]
    #[project = GuardedProjection]
    pub(crate) enum Guarded<F, P> {
        /// Answered by the policy.
        Refused { rejection: Option<Rejection> },
        /// Admitted; the permit is taken when the call ends.
        Calling { #[pin] future: F, permit: Option<P> },
    }
}

impl<F, P, Res, Err> Future for Guarded<F, P>
where
    F: Future<Output = Result<Res, Err>>,
    P: Settle<Res, Err>,
    Err: CarryRejection,
{
    type Output = Result<Res, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            GuardedProjection::Calling { future, permit } if permit.is_some() => {
                poll_calling(future, permit, cx)
            }
            GuardedProjection::Refused { rejection: rejection @ Some(_) } => {
                Poll::Ready(Err(Err::from(rejection.take().expect("matched above"))))
            }
            _ => panic!("a response future was polled after it had finished"),
        }
    }
}
