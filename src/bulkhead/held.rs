//! Slots that are held beyond the result.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{core::CallRef, layer::ResponseFuture, permit::Held, queued::QueuedResponseFuture};
use crate::{
    error::CarryRejection,
    guard::holding::{Begun, Hold, PollHeld},
};

/// The slot of a call of which there is a result already. Dropping it gives the slot back.
pub(crate) struct HeldSlot(#[expect(dead_code, reason = "kept to be dropped")] Held<CallRef>);

impl fmt::Debug for HeldSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldSlot")
    }
}

impl<T, E> Hold<T, E> for Held<CallRef> {
    type Rest = HeldSlot;

    fn hold(self, _: &Result<T, E>) -> Option<HeldSlot> {
        self.is_slot().then(|| HeldSlot(self))
    }
}

impl<F, T, E> PollHeld<T, E> for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: CarryRejection,
{
    type Rest = HeldSlot;

    fn poll_held(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        more: impl FnOnce(&T) -> bool,
    ) -> Poll<Begun<T, E, HeldSlot>> {
        self.project().guarded.poll_held(cx, more)
    }
}

impl<S, Req> PollHeld<S::Response, S::Error> for QueuedResponseFuture<S, Req, S::Future>
where
    S: Service<Req>,
    S::Error: CarryRejection,
{
    type Rest = HeldSlot;

    fn poll_held(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        more: impl FnOnce(&S::Response) -> bool,
    ) -> Poll<Begun<S::Response, S::Error, HeldSlot>> {
        self.project().waiting.poll_held(cx, more)
    }
}
