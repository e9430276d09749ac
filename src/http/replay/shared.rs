//! What the bodies of one request's attempts share.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{ReplayBodyError, kept::Kept};
use crate::error::BoxError;

/// How far one attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// It reads what has been kept, and this frame is the next.
    Kept(usize),
    /// It reads the body itself.
    Body,
    /// It has had everything.
    End,
}

impl At {
    pub(super) const START: Self = Self::Kept(0);
}

/// The body itself, and what has been read of it.
///
/// Attempts have numbers, in the order in which they were made. The one that reads is the owner; one with
/// a greater number that begins to read takes its place.
#[derive(Debug)]
pub(super) struct Shared<B> {
    /// None once it has ended or failed.
    body: Option<B>,
    kept: Kept,
    cap: usize,
    trailers: Option<HeaderMap>,
    /// Whether the body knew its size from the beginning.
    sized: bool,
    /// Whether what has been read is all kept.
    whole: bool,
    /// Whether the body has failed, or has panicked: true for as long as it is polled.
    broken: bool,
    owner: u32,
    latest: u32,
    /// Of the owner, while it waits for the body.
    waker: Option<Waker>,
}

impl<B> Shared<B> {
    /// A body that nothing has been read of, and that belongs to attempt 0.
    pub(super) fn new(body: B, cap: usize) -> Self
    where
        B: Body,
    {
        Self {
            sized: body.size_hint().exact().is_some(),
            body: Some(body),
            kept: Kept::default(),
            cap,
            trailers: None,
            whole: true,
            broken: false,
            owner: 0,
            latest: 0,
            waker: None,
        }
    }

    /// The number of a new attempt, if one could be made.
    pub(super) fn enrol(&mut self) -> Option<u32> {
        if !self.may_begin(self.latest) {
            return None;
        }
        self.latest = self.latest.checked_add(1)?;
        Some(self.latest)
    }

    /// Whether this attempt could begin now.
    fn may_begin(&self, attempt: u32) -> bool {
        self.whole && !self.broken && attempt >= self.owner
    }

    /// Makes this attempt, which has not begun, the owner. Gives what to wake: the attempt before it must
    /// find out.
    pub(super) fn own(&mut self, attempt: u32) -> Result<Option<Waker>, ReplayBodyError> {
        if attempt < self.owner {
            return Err(ReplayBodyError::Detached);
        }
        if !self.may_begin(attempt) {
            return Err(ReplayBodyError::NotKept);
        }
        if attempt == self.owner {
            return Ok(None);
        }
        self.owner = attempt;
        self.kept.seal();
        Ok(self.waker.take())
    }

    /// Whether this attempt, wherever it is, can go on.
    fn check(&self, attempt: u32, at: At) -> Result<(), ReplayBodyError> {
        if attempt < self.owner {
            Err(ReplayBodyError::Detached)
        } else if self.broken || (attempt > self.owner && !self.whole) {
            // An owner that began while everything was kept needs no more than it has.
            Err(ReplayBodyError::NotKept)
        } else {
            debug_assert!(attempt == self.owner || at == At::START);
            Ok(())
        }
    }

    /// Keeps nothing from now on, and gives up what was kept.
    fn forget(&mut self) {
        self.whole = false;
        self.kept = Kept::default();
    }
}

impl<B> Shared<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// The next frame for an attempt. One that is `alone` leaves nothing for others.
    pub(super) fn poll_frame(
        &mut self,
        attempt: u32,
        at: &mut At,
        alone: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Err(error) = self.check(attempt, *at) {
            return Poll::Ready(Some(Err(error.into())));
        }
        if let At::Kept(next) = at {
            let data = if alone {
                self.whole = false;
                self.kept.take(*next)
            } else {
                self.kept.get(*next).cloned()
            };
            if let Some(data) = data {
                *next += 1;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            *at = At::Body;
        }
        if alone && self.whole {
            self.forget();
        }
        let Some(body) = &mut self.body else {
            *at = At::End;
            return Poll::Ready(
                self.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))),
            );
        };
        // Should it panic, nobody asks it again.
        self.broken = true;
        let polled = read(Pin::new(body), cx);
        match &polled {
            Poll::Pending => {
                self.broken = false;
                if !alone {
                    self.wait(cx);
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.broken = false;
                self.keep(frame, at);
            }
            Poll::Ready(Some(Err(_))) => {
                self.forget();
                self.end();
            }
            Poll::Ready(None) => {
                self.broken = false;
                *at = At::End;
                self.end();
            }
        }
        polled
    }

    /// There is no more to read.
    fn end(&mut self) {
        self.body = None;
        self.waker = None;
    }

    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    /// Keeps a frame if it can be.
    fn keep(&mut self, frame: &Frame<Bytes>, at: &mut At) {
        if let Some(data) = frame.data_ref() {
            if self.whole && !self.kept.push(data, self.cap) {
                self.forget();
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            // Nothing follows them.
            *at = At::End;
            self.end();
            if self.whole {
                self.trailers = Some(trailers.clone());
            }
        } else {
            self.forget();
        }
    }

    pub(super) fn is_end_stream(&self, attempt: u32, at: At) -> bool {
        let next = match at {
            At::End => return true,
            // It is to get an error.
            _ if self.check(attempt, at).is_err() => return false,
            At::Kept(next) => self.kept.len_from(next),
            At::Body => 0,
        };
        let ended = self.body.as_ref().map_or(self.trailers.is_none(), Body::is_end_stream);
        next == 0 && ended
    }

    pub(super) fn size_hint(&self, attempt: u32, at: At) -> SizeHint {
        let kept = match at {
            At::End => return SizeHint::with_exact(0),
            _ if self.check(attempt, at).is_err() => return SizeHint::default(),
            At::Kept(next) => self.kept.len_from(next),
            At::Body => 0,
        };
        let rest = self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(kept));
        // With `content-length`, which an exact size leads to, HTTP/1 has no place for trailers.
        let tells = self.trailers.is_none() || self.sized;
        let upper = rest.upper().filter(|_| tells);
        if let Some(upper) = upper.and_then(|upper| upper.checked_add(kept)) {
            hint.set_upper(upper);
        }
        hint
    }
}

/// The next frame of a body, with its data as `Bytes`, which costs nothing where that is what it is.
pub(super) fn read<B>(
    body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    body.poll_frame(cx).map(|next| {
        next.map(|frame| {
            let frame = frame.map_err(Into::into)?;
            Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
        })
    })
}
