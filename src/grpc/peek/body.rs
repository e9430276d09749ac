//! [`Peeked`]: a body of which one frame was taken already.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response that [`PeekTrailersLayer`](super::PeekTrailersLayer) has looked into: it gives
    /// the frame back that was taken, and goes on from there.
    pub struct Peeked<B: Body> {
        first: Option<Result<Frame<B::Data>, B::Error>>,
        // Whether the body has ended, and is not to be polled any more.
        ended: bool,
        #[pin]
        inner: B,
    }
}

impl<B: Body> Peeked<B> {
    /// A body of which nothing was taken.
    pub(super) fn untouched(inner: B) -> Self {
        Self { first: None, ended: false, inner }
    }

    /// A body of which this was taken.
    pub(super) fn after(first: Result<Frame<B::Data>, B::Error>, inner: B) -> Self {
        Self { first: Some(first), ended: false, inner }
    }

    /// A body that has ended.
    pub(super) fn ended(inner: B) -> Self {
        Self { first: None, ended: true, inner }
    }
}

impl<B: Body> fmt::Debug for Peeked<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holds = self.first.is_some();
        f.debug_struct("Peeked").field("holds", &holds).finish_non_exhaustive()
    }
}

impl<B: Body> Body for Peeked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        match this.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None if *this.ended => Poll::Ready(None),
            None => this.inner.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && (self.ended || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.ended {
            return SizeHint::with_exact(0);
        }
        let rest = self.inner.size_hint();
        let frame = self.first.as_ref().and_then(|first| first.as_ref().ok()?.data_ref());
        let Some(data) = frame.map(|data| data.remaining() as u64) else { return rest };
        let mut hint = SizeHint::new();
        // The upper bound first: it may not be below the lower one.
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(data)) {
            hint.set_upper(upper);
        }
        let lower = rest.lower().saturating_add(data);
        hint.set_lower(hint.upper().map_or(lower, |upper| lower.min(upper)));
        hint
    }
}
