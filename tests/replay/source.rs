//! A body that does as it is told, notes what is asked of it, and may be asked for each frame only once.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use portcullis::{
    BoxError,
    http::{ReplayBody, replay::ReplayBodyError},
};

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Once pending; it is for the test to wake.
    Wait,
    Fail,
    Panic,
    /// A body without it waits for more.
    End,
}

pub(crate) fn data(text: &'static str) -> Step {
    Step::Data(Bytes::from_static(text.as_bytes()))
}

pub(crate) fn trailers(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("x-checksum"),
        HeaderValue::from_static(value),
    )])
}

#[derive(Debug, Default)]
struct Script {
    steps: VecDeque<Step>,
    hint: SizeHint,
    waker: Option<Waker>,
    /// How many frames it has given.
    frames: usize,
    polls: usize,
    ended: bool,
    says_end: bool,
    dropped: bool,
}

/// The body.
#[derive(Debug)]
pub(crate) struct Source(Arc<Mutex<Script>>);

/// The test's hand on it.
#[derive(Clone, Debug)]
pub(crate) struct Hand(Arc<Mutex<Script>>);

/// A body that does these steps, and ends.
pub(crate) fn whole(steps: impl IntoIterator<Item = Step>) -> (Source, Hand) {
    open(steps.into_iter().chain([Step::End]))
}

/// A body that does these steps, and then waits for more.
pub(crate) fn open(steps: impl IntoIterator<Item = Step>) -> (Source, Hand) {
    let script = Script { steps: steps.into_iter().collect(), ..Script::default() };
    let script = Arc::new(Mutex::new(script));
    (Source(script.clone()), Hand(script))
}

impl Source {
    pub(crate) fn hinting(self, lower: u64, upper: Option<u64>) -> Self {
        let mut hint = SizeHint::new();
        hint.set_lower(lower);
        if let Some(upper) = upper {
            hint.set_upper(upper);
        }
        self.0.lock().unwrap().hint = hint;
        self
    }

    /// Says that it has ended as soon as that is the next step, as bodies of a known size do.
    pub(crate) fn saying_end(self) -> Self {
        self.0.lock().unwrap().says_end = true;
        self
    }
}

impl Hand {
    /// More to come; whoever waits is woken.
    pub(crate) fn push(&self, step: Step) {
        let mut script = self.0.lock().unwrap();
        script.steps.push_back(step);
        let waker = script.waker.take();
        drop(script);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn frames(&self) -> usize {
        self.0.lock().unwrap().frames
    }

    pub(crate) fn polls(&self) -> usize {
        self.0.lock().unwrap().polls
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.0.lock().unwrap().dropped
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).dropped = true;
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut script = self.0.lock().unwrap();
        script.polls += 1;
        assert!(!script.ended, "asked for more after its end");
        let step = script.steps.pop_front();
        let frame = match step {
            None => {
                script.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Step::Wait) => {
                script.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Step::Panic) => {
                drop(script);
                panic!("the body panics");
            }
            Some(Step::Fail) => {
                script.ended = true;
                return Poll::Ready(Some(Err("the body fails".into())));
            }
            Some(Step::End) => {
                script.ended = true;
                return Poll::Ready(None);
            }
            Some(Step::Data(data)) => {
                let len = data.len() as u64;
                let mut rest = SizeHint::new();
                rest.set_lower(script.hint.lower().saturating_sub(len));
                if let Some(upper) = script.hint.upper() {
                    rest.set_upper(upper.saturating_sub(len));
                }
                script.hint = rest;
                Frame::data(data)
            }
            Some(Step::Trailers(trailers)) => Frame::trailers(trailers),
        };
        script.frames += 1;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let script = self.0.lock().unwrap();
        script.ended || (script.says_end && matches!(script.steps.front(), Some(Step::End)))
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap().hint
    }
}

/// What a body gives at a poll.
type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// What an attempt got.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sent {
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) ended: bool,
}

pub(crate) fn text(text: &str) -> Sent {
    Sent { data: text.as_bytes().to_vec(), trailers: None, ended: true }
}

/// One poll of a body, with a task that nobody wakes.
pub(crate) fn poll<B: Body + Unpin>(body: &mut B) -> Polled<B> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// The next frame's data.
#[track_caller]
pub(crate) fn next(body: &mut ReplayBody<Source>) -> Bytes {
    match poll(body) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().expect("data"),
        other => panic!("no data but {other:?}"),
    }
}

/// Everything up to the end, or to where it stays pending.
#[track_caller]
pub(crate) fn drain(body: &mut ReplayBody<Source>) -> Sent {
    let mut sent = Sent::default();
    loop {
        match poll(body) {
            Poll::Pending => return sent,
            Poll::Ready(None) => {
                sent.ended = true;
                assert!(body.is_end_stream());
                assert_eq!(body.size_hint().exact(), Some(0));
                return sent;
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    assert!(sent.trailers.is_none(), "data after trailers");
                    sent.data.extend_from_slice(&data);
                }
                Err(frame) => sent.trailers = Some(frame.into_trailers().unwrap()),
            },
            Poll::Ready(Some(Err(error))) => panic!("{error}"),
        }
    }
}

/// The error of a body that has one to give, now and at every later poll.
#[track_caller]
pub(crate) fn refusal(body: &mut ReplayBody<Source>) -> ReplayBodyError {
    let mut error = || match poll(body) {
        Poll::Ready(Some(Err(error))) => *error.downcast::<ReplayBodyError>().unwrap(),
        other => panic!("no error but {other:?}"),
    };
    let first = error();
    assert_eq!(error(), first);
    assert!(!body.is_end_stream(), "what was cut short must not pass for the whole");
    first
}
