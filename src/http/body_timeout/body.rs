//! The body under a timeout.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{core::BodyRef, error::BodyError};
use crate::{
    clock::{self, Timer},
    policy::body_timeout::{Limits, cut_at},
};

pin_project! {
    /// A body that is cut when its next frame, or all of it, takes too long.
    ///
    /// Frames, [`size_hint`](Body::size_hint) and [`is_end_stream`](Body::is_end_stream) are those of the body
    /// inside, until it is cut. It is not `Unpin`, since tokio's timer is part of it. One made by `Default` or `From` is never cut, for whoever answers in the
    /// service's place.
    pub struct TimedBody<B> {
        // Gone when it is cut.
        #[pin]
        body: Option<B>,
        // Made when the body is first found waiting.
        #[pin]
        timer: Timer,
        // There while somebody looks after it.
        watch: Option<Watch>,
    }
}

/// What a poll of a timed body gives.
type Next<B> = Option<Result<Frame<<B as Body>::Data>, BodyError<<B as Body>::Error>>>;

struct Watch {
    core: BodyRef,
    limits: Limits,
    /// Whether they are only looked at, and reported.
    shadow: bool,
    /// When the frame that is waited for is too late.
    cut_at: Option<Instant>,
}

impl<B> TimedBody<B> {
    /// A body that is never cut.
    pub fn new(body: B) -> Self {
        Self { body: Some(body), timer: Timer::default(), watch: None }
    }

    /// The body inside; none once it is cut.
    pub fn get_ref(&self) -> Option<&B> {
        self.body.as_ref()
    }

    /// The body inside; none once it is cut. What is read from it directly is not looked at.
    pub fn get_mut(&mut self) -> Option<&mut B> {
        self.body.as_mut()
    }
}

impl<B: Body> TimedBody<B> {
    /// The body of a response whose call was made under `deadline`.
    pub(super) fn under(core: BodyRef, deadline: Option<Instant>, body: B) -> Self {
        let mut timed = Self::new(body);
        let ended = timed.is_end_stream();
        if let Some((limits, shadow)) = core.begin(deadline) {
            if ended {
                core.in_time();
            } else {
                timed.watch = Some(Watch { core, limits, shadow, cut_at: None });
            }
        }
        timed
    }

    /// The body has a frame, or has ended by one of its errors.
    fn moved(mut self: Pin<&mut Self>, frame: Option<Result<Frame<B::Data>, B::Error>>) -> Next<B> {
        let more = match &frame {
            Some(Ok(frame)) => frame.is_data() && !self.is_end_stream(),
            Some(Err(_)) | None => false,
        };
        let watch = self.as_mut().project().watch;
        if !more {
            if let Some(watch) = watch.take() {
                watch.core.in_time();
            }
        } else if let Some(watch) = watch {
            watch.cut_at = None;
            // Something that is always ready has no other end.
            if watch.limits.end.is_some_and(|end| clock::tokio_now() >= end) {
                if let Some(cut) = self.run_out() {
                    drop(frame);
                    return Some(Err(cut));
                }
            }
        }
        frame.map(|frame| frame.map_err(BodyError::Inner))
    }

    /// The body waits: so does the timer, and one of the two wakes the task.
    fn wait(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next<B>> {
        let this = self.as_mut().project();
        let Some(watch) = this.watch else { return Poll::Pending };
        if watch.cut_at.is_none() {
            watch.cut_at = cut_at(watch.limits.idle, watch.limits.end, clock::tokio_now());
        }
        let Some(at) = watch.cut_at else { return Poll::Pending };
        ready!(this.timer.poll_until_beside(at, cx));
        match self.run_out() {
            Some(cut) => Poll::Ready(Some(Err(cut))),
            None => Poll::Pending,
        }
    }

    /// Its time is over. Nothing of a body that is cut is in use any more when its reader learns of it.
    #[cold]
    fn run_out(mut self: Pin<&mut Self>) -> Option<BodyError<B::Error>> {
        let mut this = self.as_mut().project();
        let Watch { core, shadow, .. } = this.watch.take()?;
        this.timer.set(Timer::default());
        if !shadow {
            this.body.set(None);
        }
        core.time_out(shadow).map(BodyError::Rejected)
    }
}

impl<B: Body> Body for TimedBody<B> {
    type Data = B::Data;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        let Some(body) = self.as_mut().project().body.as_pin_mut() else {
            return Poll::Ready(None);
        };
        match body.poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(self.moved(frame)),
            Poll::Pending => self.wait(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Default> Default for TimedBody<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}

impl<B: From<String>> From<String> for TimedBody<B> {
    fn from(text: String) -> Self {
        Self::new(text.into())
    }
}

impl<B: From<bytes::Bytes>> From<bytes::Bytes> for TimedBody<B> {
    fn from(bytes: bytes::Bytes) -> Self {
        Self::new(bytes.into())
    }
}

impl<B: fmt::Debug> fmt::Debug for TimedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.watch.as_ref().map(|watch| watch.core.name);
        f.debug_struct("TimedBody").field("body", &self.body).field("policy", &policy).finish()
    }
}
