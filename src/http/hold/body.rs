//! The body that holds.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    kept::{Held, Kept},
    trailers::{ClassifyTrailers, HeadDecides},
};
use crate::guard::{attended, settle};

pin_project! {
    /// A body that holds what its call was admitted with until it ends, fails or is dropped.
    ///
    /// Frames, [`size_hint`](Body::size_hint) and [`is_end_stream`](Body::is_end_stream) are those of the body
    /// inside. One made by `Default` or `From` holds nothing, for whoever answers in the service's place.
    pub struct HeldBody<B, T = HeadDecides> {
        #[pin]
        body: B,
        held: Option<Held<T>>,
    }
}

impl<B, T> HeldBody<B, T> {
    /// A body that holds nothing.
    pub fn new(body: B) -> Self {
        Self { body, held: None }
    }

    /// Whether it holds anything still. It does not once it has ended, nor where nothing was to be waited for.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The body inside.
    pub fn get_ref(&self) -> &B {
        &self.body
    }

    /// The body inside. What is read from it directly does not end the call.
    pub fn get_mut(&mut self) -> &mut B {
        &mut self.body
    }
}

impl<B: Body, T> HeldBody<B, T> {
    /// The body of a call that is not over.
    pub(super) fn holding(body: B, kept: Kept, trailers: T) -> Self {
        let mut held = Held::new(kept, trailers);
        if announces_nothing(&body) {
            held.complete();
        }
        Self { body, held: Some(held) }
    }
}

/// Whether all the data that a body says it has is there. Trailers may follow; but who knows the length, as
/// HTTP/1 does, may never ask for them.
fn announces_nothing(body: &impl Body) -> bool {
    body.size_hint().exact() == Some(0)
}

impl<B: Body, T: ClassifyTrailers> Body for HeldBody<B, T> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        if this.held.is_none() {
            return this.body.poll_frame(cx);
        }
        let polled = attended(this.held, || {
            let polled = this.body.as_mut().poll_frame(cx);
            // Whoever is told so does not ask for another frame.
            let last = matches!(polled, Poll::Ready(Some(Ok(_)))) && this.body.is_end_stream();
            polled.map(|frame| (frame, last))
        });
        let (frame, last) = ready!(polled);
        match &frame {
            Some(Ok(frame)) => match frame.trailers_ref() {
                Some(trailers) => {
                    if let Some(held) = this.held.take() {
                        held.judge(trailers);
                    }
                }
                None if last => settle(this.held, &Ok(())),
                None => {
                    if let Some(held) =
                        this.held.as_mut().filter(|_| announces_nothing(&*this.body))
                    {
                        held.complete();
                    }
                }
            },
            None => settle(this.held, &Ok(())),
            Some(Err(_)) => settle(this.held, &Err(())),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Default, T> Default for HeldBody<B, T> {
    fn default() -> Self {
        Self::new(B::default())
    }
}

impl<B: From<String>, T> From<String> for HeldBody<B, T> {
    fn from(text: String) -> Self {
        Self::new(text.into())
    }
}

impl<B: From<bytes::Bytes>, T> From<bytes::Bytes> for HeldBody<B, T> {
    fn from(bytes: bytes::Bytes) -> Self {
        Self::new(bytes.into())
    }
}

impl<B: fmt::Debug, T> fmt::Debug for HeldBody<B, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldBody").field("body", &self.body).field("held", &self.held).finish()
    }
}
