//! [`ReplayBody`]: a body that can be sent again.

use std::{
    error::Error as StdError,
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::shared::{At, Shared, read};
use crate::{error::BoxError, sync::Mutex};

/// How many bytes are kept where nothing else is said: 64 KiB.
pub(super) const CAP: usize = 64 * 1_024;

/// A request body that remembers what it sent, so that the attempt after it can send that again and go on
/// with the rest.
///
/// Made by [`ReplayBodyLayer`](super::ReplayBodyLayer), and asked for another by
/// [`ReplayRequest`](super::ReplayRequest); see [`http::replay`](super) for how they stand together. Without
/// them: [`replay`](Self::replay) before an attempt, [`take_over`](Self::take_over) after it has failed.
///
/// Its data is [`Bytes`], which for a body whose data is `Bytes` copies nothing. `B` must be `Unpin`: one
/// that is not goes into a `Box::pin`. It is `Send + Sync` if `B` is `Send`.
///
/// It is not `Clone`: whatever clones requests (a [`RetryLayer`](crate::RetryLayer) by default) would send
/// them twice, idempotent or not.
///
/// # Errors
/// Those of `B`, boxed, and [`ReplayBodyError`].
///
/// ```
/// use http_body_util::{BodyExt, Full};
/// use portcullis::http::ReplayBody;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let first = ReplayBody::new(Full::<bytes::Bytes>::from("once, and once more"));
/// let second = first.replay().expect("19 bytes are fewer than 64 KiB");
/// assert_eq!(first.collect().await.unwrap().to_bytes(), "once, and once more");
/// assert_eq!(second.collect().await.unwrap().to_bytes(), "once, and once more");
/// # }
/// ```
pub struct ReplayBody<B> {
    cap: usize,
    at: At,
    source: Mutex<Source<B>>,
}

#[derive(Debug)]
enum Source<B> {
    /// The body, as long as there is no other attempt.
    Own(B),
    /// Another attempt of a body that has nothing.
    Nothing,
    /// The body behind a lock. It is polled under it, so that its size can be told at any moment: other
    /// attempts that ask meanwhile are finished or about to be.
    Shared { attempt: u32, shared: Arc<Mutex<Shared<B>>> },
}

impl<B> ReplayBody<B> {
    /// A body of which 64 KiB are kept.
    pub fn new(body: B) -> Self
    where
        B: Body,
    {
        Self::with_cap(body, CAP)
    }

    /// A body of which so many bytes are kept. One that is longer is sent, but not a second time; with 0
    /// that is every body that is not empty.
    pub fn with_cap(body: B, cap: usize) -> Self
    where
        B: Body,
    {
        Self { cap, at: At::START, source: Mutex::new(Source::Own(body)) }
    }

    /// How many bytes are kept.
    pub const fn cap(&self) -> usize {
        self.cap
    }

    fn has_begun(&self) -> bool {
        self.at != At::START
    }
}

impl<B> ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// The body of the attempt after this one; to be asked for before this one is sent.
    ///
    /// `None` if it cannot be had: this body says that it is longer than the cap, or it was sent so far
    /// while no other attempt was there to keep it for.
    pub fn replay(&self) -> Option<Self> {
        let with = |source| Self { cap: self.cap, at: At::START, source: Mutex::new(source) };
        let mut source = self.source.lock();
        match &mut *source {
            Source::Nothing => Some(with(Source::Nothing)),
            Source::Shared { shared, .. } => {
                let attempt = shared.lock().enrol()?;
                Some(with(Source::Shared { attempt, shared: shared.clone() }))
            }
            Source::Own(_) if self.has_begun() => None,
            Source::Own(body) if body.is_end_stream() => Some(with(Source::Nothing)),
            Source::Own(body) if body.size_hint().lower() > self.cap as u64 => None,
            own => {
                let Source::Own(body) = mem::replace(own, Source::Nothing) else { return None };
                let mut shared = Shared::new(body, self.cap);
                let attempt = shared.enrol();
                let shared = Arc::new(Mutex::new(shared));
                *own = Source::Shared { attempt: 0, shared: shared.clone() };
                Some(with(Source::Shared { attempt: attempt?, shared }))
            }
        }
    }

    /// Makes this body, which has not been sent, the one that reads on. Whether it is: what the attempts
    /// before it have read is kept in full, and the body has not failed.
    ///
    /// One that still uploads gets an error at its next poll, to which it is woken. The first poll of this
    /// body does the same; until then an earlier attempt may go on and read more than can be kept.
    pub fn take_over(&self) -> bool {
        if self.has_begun() {
            return false;
        }
        let owned = match &*self.source.lock() {
            Source::Own(_) | Source::Nothing => return true,
            Source::Shared { attempt, shared } => shared.lock().own(*attempt),
        };
        match owned {
            Ok(displaced) => {
                displaced.into_iter().for_each(|waker| waker.wake());
                true
            }
            Err(_) => false,
        }
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.at == At::End {
            return Poll::Ready(None);
        }
        let (attempt, shared) = match this.source.get_mut() {
            Source::Nothing => return Poll::Ready(None),
            Source::Own(body) => {
                let polled = read(Pin::new(body), cx);
                let ended = match &polled {
                    Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
                    other => matches!(other, Poll::Ready(None)),
                };
                this.at = if ended { At::End } else { At::Body };
                return polled;
            }
            Source::Shared { attempt, shared } => (*attempt, shared),
        };
        // There is nobody left to keep anything for.
        let alone = Arc::strong_count(shared) == 1;
        let mut state = shared.lock();
        let displaced = match this.at {
            At::START => match state.own(attempt) {
                Ok(displaced) => displaced,
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            },
            _ => None,
        };
        let polled = state.poll_frame(attempt, &mut this.at, alone, cx);
        drop(state);
        displaced.into_iter().for_each(|waker| waker.wake());
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &*self.source.lock() {
            Source::Nothing => true,
            Source::Own(body) => self.at == At::End || body.is_end_stream(),
            Source::Shared { attempt, shared } => shared.lock().is_end_stream(*attempt, self.at),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.source.lock() {
            Source::Nothing => SizeHint::with_exact(0),
            Source::Own(_) if self.at == At::End => SizeHint::with_exact(0),
            Source::Own(body) => body.size_hint(),
            Source::Shared { attempt, shared } => shared.lock().size_hint(*attempt, self.at),
        }
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody").field("cap", &self.cap).field("at", &self.at).finish()
    }
}

/// Why a [`ReplayBody`] has nothing to send, though it has not ended. What it has sent is not the whole
/// body, and whoever sends it must not let that pass for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayBodyError {
    /// A later attempt has taken over.
    Detached,
    /// The body has failed in an earlier attempt, or what that has read was too long to be kept.
    NotKept,
}

impl fmt::Display for ReplayBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detached => "a later attempt has taken over this request body",
            Self::NotKept => {
                "what was sent of this request body is not kept: it cannot be replayed"
            }
        })
    }
}

impl StdError for ReplayBodyError {}
