//! A service that answers as its request says, with bodies that go through a script.

use std::{
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use portcullis::Error;
use tower::Service;

use crate::support::Fault;

/// One poll of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Pending,
    Data(&'static str),
    /// Trailers with this `grpc-status`.
    Trailers(&'static str),
    Error,
    Panic,
}
use Step::{Data, Panic, Trailers};

/// How the head comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Is(StatusCode),
    Fails,
    Hangs,
    Panics,
}

/// What a body says of its end before it is polled for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// Nothing: only a poll shows that it has ended.
    Nothing,
    /// That it has ended, when it has.
    End,
    /// How much data is to come.
    Length,
}

/// A request: what the answer is to be.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) head: Head,
    pub(crate) says: Says,
    pub(crate) body: Vec<Step>,
}

impl Ask {
    pub(crate) fn new(body: &[Step]) -> Self {
        Self { head: Head::Is(StatusCode::OK), says: Says::Nothing, body: body.to_vec() }
    }

    pub(crate) fn says(self, says: Says) -> Self {
        Self { says, ..self }
    }

    pub(crate) fn head(self, head: Head) -> Self {
        Self { head, ..self }
    }
}

/// A body that goes through its steps.
#[derive(Debug)]
pub(crate) struct Script {
    steps: VecDeque<Step>,
    says: Says,
    live: Arc<AtomicUsize>,
    ended: bool,
}

impl Default for Script {
    fn default() -> Self {
        let live = Arc::new(AtomicUsize::new(1));
        Self { steps: VecDeque::new(), says: Says::End, live, ended: false }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.live.fetch_sub(1, SeqCst);
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        assert!(!self.ended, "a body was polled after its end");
        match self.steps.pop_front() {
            Some(Step::Pending) => Poll::Pending,
            Some(Data(text)) => {
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
            }
            Some(Trailers(status)) => {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static(status));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Some(Step::Error) => {
                self.ended = true;
                Poll::Ready(Some(Err(Fault("reset"))))
            }
            Some(Panic) => panic!("{}", crate::support::ON_DEMAND),
            None => {
                self.ended = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.says == Says::End && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.says != Says::Length {
            return SizeHint::default();
        }
        let length = |step: &Step| if let Data(text) = step { text.len() as u64 } else { 0 };
        SizeHint::with_exact(self.steps.iter().map(length).sum())
    }
}

/// The service. It counts the bodies and calls that exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    pub(crate) live: Arc<AtomicUsize>,
}

impl Service<Ask> for Server {
    type Response = Response<Script>;
    type Error = Error<Fault>;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error<Fault>>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Answer {
        self.live.fetch_add(1, SeqCst);
        let body = Script {
            steps: ask.body.into(),
            says: ask.says,
            live: Arc::clone(&self.live),
            ended: false,
        };
        Answer { head: ask.head, body: Some(body) }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    head: Head,
    body: Option<Script>,
}

impl Future for Answer {
    type Output = Result<Response<Script>, Error<Fault>>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.head {
            Head::Is(status) => {
                let mut response = Response::new(self.body.take().expect("polled once"));
                *response.status_mut() = status;
                Poll::Ready(Ok(response))
            }
            Head::Fails => Poll::Ready(Err(Error::Inner(Fault("no head")))),
            Head::Hangs => Poll::Pending,
            Head::Panics => panic!("{}", crate::support::ON_DEMAND),
        }
    }
}

/// Polls once.
pub(crate) fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// What a poll of a body gives.
pub(crate) type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// Polls a body once.
pub(crate) fn frame<B: Body + Unpin>(body: &mut B) -> Polled<B> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// How a reader left a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// At its end, by whatever sign of it.
    Ended,
    Failed,
    Panicked,
    /// It has enough.
    Dropped,
}

/// Reads as a server does: until the end, or the sign of it, or after so many polls.
pub(crate) fn read<B>(mut body: B, polls: usize) -> Left
where
    B: Body + Unpin,
{
    for _ in 0..polls {
        if body.is_end_stream() {
            return Left::Ended;
        }
        match catch_unwind(AssertUnwindSafe(|| frame(&mut body))) {
            Err(_) => return Left::Panicked,
            Ok(Poll::Pending | Poll::Ready(Some(Ok(_)))) => {}
            Ok(Poll::Ready(Some(Err(_)))) => return Left::Failed,
            Ok(Poll::Ready(None)) => return Left::Ended,
        }
    }
    Left::Dropped
}
