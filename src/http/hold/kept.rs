//! What a body holds, and how it is settled.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, Response};
use http_body::Body;

use super::trailers::ClassifyTrailers;
use crate::{
    bulkhead::HeldSlot,
    circuit_breaker::Unended,
    guard::{
        Settle,
        holding::{Begun, PollHeld},
    },
    outcome::{Hint, Outcome},
};

/// What is left of a permit at the head. Dropping it abandons the call.
#[derive(Debug)]
pub struct Kept(Of);

#[derive(Debug)]
enum Of {
    #[expect(dead_code, reason = "kept to be dropped")]
    Bulkhead(HeldSlot),
    Breaker(Unended),
}

impl From<HeldSlot> for Kept {
    fn from(slot: HeldSlot) -> Self {
        Self(Of::Bulkhead(slot))
    }
}

impl From<Unended> for Kept {
    fn from(permit: Unended) -> Self {
        Self(Of::Breaker(permit))
    }
}

impl Kept {
    /// What waits for an outcome. Of a slot there is nothing to be said: dropping it is all.
    fn permit(&mut self) -> Option<&mut Unended> {
        match &mut self.0 {
            Of::Bulkhead(_) => None,
            Of::Breaker(permit) => Some(permit),
        }
    }
}

/// What a body holds, with what its trailers are judged by.
pub(super) struct Held<T> {
    kept: Kept,
    trailers: T,
}

impl<T> Held<T> {
    pub(super) fn new(kept: Kept, trailers: T) -> Self {
        Self { kept, trailers }
    }

    /// All that was announced is there.
    pub(super) fn complete(&mut self) {
        if let Some(permit) = self.kept.permit() {
            permit.complete();
        }
    }

    fn end(&mut self, outcome: impl FnOnce(Outcome) -> Outcome) {
        if let Some(permit) = self.kept.permit() {
            permit.end(outcome(permit.begun()), None);
        }
    }
}

impl<T: ClassifyTrailers> Held<T> {
    /// The body has ended with these trailers.
    pub(super) fn judge(mut self, trailers: &HeaderMap) {
        let Some(permit) = self.kept.permit() else { return };
        let outcome = self.trailers.classify(permit.begun(), trailers);
        let hint = match outcome {
            Outcome::Failure => self.trailers.hint(trailers),
            _ => None,
        };
        let wait = match hint {
            Some(Hint::After(wait)) => Some(wait),
            _ => None,
        };
        permit.end(outcome, wait);
    }
}

/// The body's end is the call's, and its error, too.
impl<T> Settle<(), ()> for Held<T> {
    fn settle(&mut self, result: &Result<(), ()>) {
        let failed = result.is_err();
        self.end(|head| if failed { Outcome::Failure } else { head });
    }

    #[cold]
    fn panicked(&mut self) {
        self.end(|_| Outcome::Failure);
    }
}

impl<T> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kept.fmt(f)
    }
}

/// The response future of a layer whose permit can be held: of one of the four that have `hold_body()`. Not to
/// be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "nothing of `{Self}` can be held to the end of a body",
    note = "the service below must answer with an `http::Response` whose body is an `http_body::Body`"
)]
pub trait HoldsPermit<B, E>: sealed::PollHead<B, E> {}

impl<F: sealed::PollHead<B, E>, B, E> HoldsPermit<B, E> for F {}

pub(super) mod sealed {
    use super::{Begun, Body, Context, Kept, Pin, Poll, PollHeld, Response};

    pub trait PollHead<B, E> {
        fn poll_head(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Begun<Response<B>, E, Kept>>;
    }

    impl<F, B, E> PollHead<B, E> for F
    where
        F: PollHeld<Response<B>, E>,
        F::Rest: Into<Kept>,
        B: Body,
    {
        #[inline]
        fn poll_head(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Begun<Response<B>, E, Kept>> {
            self.poll_held(cx, |response| !response.body().is_end_stream())
                .map(|(result, rest)| (result, rest.map(Into::into)))
        }
    }
}
