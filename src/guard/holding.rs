//! Permits that are held beyond the result, while more of the answer is to come.
//!
//! What a call's future resolves to may be no more than the beginning of the answer: the head of a response
//! whose body follows. Whoever polls such a call by [`poll_held`](PollHeld::poll_held) gets, beside the result,
//! what is left of the permit, to be put where the rest of the answer goes through. How the call began, and
//! every way in which it can end before there is a result, is as under the guard that admitted it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::{
    Guarded, GuardedProjection, Settle, attended, deferred::DeferredFuture, settle,
    waiting::WaitingFuture,
};
use crate::error::{CarryRejection, Rejection};

/// A permit that can be held beyond the result.
pub(crate) trait Hold<Res, Err>: Settle<Res, Err> {
    /// What is left of it then. Dropping it abandons the call.
    type Rest;

    /// There is a result, and more of the answer is to come. A permit that nothing can be learnt for by
    /// then, or that must not be held for longer, is settled here, and nothing is left of it.
    fn hold(self, result: &Result<Res, Err>) -> Option<Self::Rest>;
}

/// A result, and what is left of the permit if more is to come.
pub(crate) type Begun<Res, Err, Rest> = (Result<Res, Err>, Option<Rest>);

/// The future of a guarded call whose permit can be held.
pub(crate) trait PollHeld<Res, Err> {
    /// What is left of the permit when there is a result.
    type Rest;

    /// As `poll`, except that the permit is not settled with a result that says, by `more`, that it is not
    /// all of the answer.
    fn poll_held(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        more: impl FnOnce(&Res) -> bool,
    ) -> Poll<Begun<Res, Err, Self::Rest>>;
}

impl<F, P, Res, Err> PollHeld<Res, Err> for Guarded<F, P>
where
    F: Future<Output = Result<Res, Err>>,
    P: Hold<Res, Err>,
    Err: CarryRejection,
{
    type Rest = P::Rest;

    #[inline]
    fn poll_held(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        more: impl FnOnce(&Res) -> bool,
    ) -> Poll<Begun<Res, Err, P::Rest>> {
        let Some((future, permit)) = self.as_mut().calling() else {
            return self.poll(cx).map(|result| (result, None));
        };
        let result = ready!(attended(permit, || future.poll(cx)));
        let more = match &result {
            // The inner service's own code as well.
            Ok(response) => attended(permit, || more(response)),
            Err(_) => false,
        };
        let rest = if more {
            permit.take().and_then(|permit| permit.hold(&result))
        } else {
            settle(permit, &result);
            None
        };
        Poll::Ready((result, rest))
    }
}

impl<F, P> Guarded<F, P> {
    /// An admitted call that has not ended.
    fn calling(self: Pin<&mut Self>) -> Option<(Pin<&mut F>, &mut Option<P>)> {
        match self.project() {
            GuardedProjection::Calling { future, permit } if permit.is_some() => {
                Some((future, permit))
            }
            _ => None,
        }
    }
}

impl<S, Req, P> PollHeld<S::Response, S::Error> for DeferredFuture<S, Req, S::Future, P>
where
    S: Service<Req>,
    S::Error: CarryRejection,
    P: Hold<S::Response, S::Error>,
{
    type Rest = P::Rest;

    fn poll_held(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        more: impl FnOnce(&S::Response) -> bool,
    ) -> Poll<Begun<S::Response, S::Error, P::Rest>> {
        let go =
            |guarded: Pin<&mut Guarded<_, _>>, cx: &mut Context<'_>| guarded.poll_held(cx, more);
        self.poll_readying(cx, go, |not_ready| (not_ready, None))
    }
}

impl<S, Req, P, W> PollHeld<S::Response, S::Error> for WaitingFuture<S, Req, S::Future, P, W>
where
    S: Service<Req>,
    S::Error: CarryRejection,
    P: Hold<S::Response, S::Error>,
    W: Future<Output = Result<P, Rejection>>,
{
    type Rest = P::Rest;

    fn poll_held(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        more: impl FnOnce(&S::Response) -> bool,
    ) -> Poll<Begun<S::Response, S::Error, P::Rest>> {
        self.poll_wait(cx, |deferred, cx| deferred.poll_held(cx, more))
    }
}
