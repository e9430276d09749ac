//! A service that answers by a script and notes what it was asked, and when.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use portcullis::{
    CarryRejection, Classify, DefaultClassifier, Error, Hint, Outcome, Rejection, retry,
};
use tokio::time::{Instant, Sleep};
use tower::Service;

use crate::support::Told;

/// A service's own error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Down(pub(crate) &'static str);

pub(crate) type Failed = Error<Down>;

/// What one attempt gives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) result: Result<u16, Failed>,
    pub(crate) took: Duration,
    pub(crate) hint: Option<Hint>,
}

pub(crate) fn ok(status: u16) -> Answer {
    Answer { result: Ok(status), took: Duration::ZERO, hint: None }
}

pub(crate) fn down(why: &'static str) -> Answer {
    Answer { result: Err(Error::Inner(Down(why))), took: Duration::ZERO, hint: None }
}

pub(crate) fn refused(rejection: Rejection) -> Answer {
    Answer { result: Err(Error::Rejected(rejection)), took: Duration::ZERO, hint: None }
}

impl Answer {
    pub(crate) fn took(self, took: Duration) -> Self {
        Self { took, ..self }
    }

    pub(crate) fn hinting(self, hint: Hint) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

/// What the service saw of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) attempt: Option<u32>,
    pub(crate) at: Duration,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    script: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Seen>>,
    hints: Mutex<Option<Hint>>,
    /// Wakers of those that wait for readiness, while the service is not ready.
    blocked: Mutex<Option<Vec<Waker>>>,
    unready: Mutex<VecDeque<&'static str>>,
    clones: Mutex<u32>,
}

/// Answers by a script whose last line repeats.
#[derive(Debug)]
pub(crate) struct Scripted {
    shared: Arc<Shared>,
    ready: bool,
}

impl Clone for Scripted {
    fn clone(&self) -> Self {
        *self.shared.clones.lock().unwrap() += 1;
        Self { shared: self.shared.clone(), ready: false }
    }
}

impl Scripted {
    pub(crate) fn new(script: impl IntoIterator<Item = Answer>) -> Self {
        let shared = Shared {
            start: Instant::now(),
            script: Mutex::new(script.into_iter().collect()),
            seen: Mutex::default(),
            hints: Mutex::default(),
            blocked: Mutex::default(),
            unready: Mutex::default(),
            clones: Mutex::default(),
        };
        Self { shared: Arc::new(shared), ready: false }
    }

    /// Another look at the same service, which is no clone of it.
    pub(crate) fn probe(&self) -> Self {
        Self { shared: self.shared.clone(), ready: false }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen().len()
    }

    /// How often it was cloned.
    pub(crate) fn clones(&self) -> u32 {
        *self.shared.clones.lock().unwrap()
    }

    /// Never ready from now on, until [`unblock`](Self::unblock).
    pub(crate) fn block(&self) {
        self.shared.blocked.lock().unwrap().get_or_insert_default();
    }

    pub(crate) fn unblock(&self) {
        let parked = self.shared.blocked.lock().unwrap().take();
        parked.into_iter().flatten().for_each(Waker::wake);
    }

    /// Becoming ready fails once.
    pub(crate) fn fail_readiness(&self, why: &'static str) {
        self.shared.unready.lock().unwrap().push_back(why);
    }

    /// A classifier by which 5xx and errors fail, with the hints of the script.
    pub(crate) fn classifier(&self) -> ByScript {
        ByScript(self.shared.clone())
    }
}

impl Service<Ask> for Scripted {
    type Response = u16;
    type Error = Failed;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if let Some(parked) = &mut *self.shared.blocked.lock().unwrap() {
            parked.push(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(why) = self.shared.unready.lock().unwrap().pop_front() {
            return Poll::Ready(Err(Error::Inner(Down(why))));
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Ask) -> Answering {
        assert!(std::mem::take(&mut self.ready), "called without having been readied");
        let at = self.shared.start.elapsed();
        self.shared.seen.lock().unwrap().push(Seen { attempt: retry::attempt(), at });
        let mut script = self.shared.script.lock().unwrap();
        let answer = match script.len() {
            0 => panic!("a script has at least one line"),
            1 => script[0].clone(),
            _ => script.pop_front().unwrap(),
        };
        Answering {
            sleep: (!answer.took.is_zero()).then(|| Box::pin(tokio::time::sleep(answer.took))),
            attempt: retry::attempt(),
            shared: self.shared.clone(),
            answer,
        }
    }
}

/// The script's answer, when its time has come.
#[derive(Debug)]
pub(crate) struct Answering {
    sleep: Option<Pin<Box<Sleep>>>,
    attempt: Option<u32>,
    shared: Arc<Shared>,
    answer: Answer,
}

impl Future for Answering {
    type Output = Result<u16, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert_eq!(retry::attempt(), self.attempt, "the number holds in call and poll alike");
        if let Some(sleep) = &mut self.sleep {
            std::task::ready!(sleep.as_mut().poll(cx));
        }
        *self.shared.hints.lock().unwrap() = self.answer.hint;
        Poll::Ready(self.answer.result.clone())
    }
}

/// Judges 5xx as failures, too, and gives the script's hints.
#[derive(Clone, Debug)]
pub(crate) struct ByScript(Arc<Shared>);

impl Classify<u16, Failed> for ByScript {
    fn classify(&self, result: &Result<u16, Failed>) -> Outcome {
        match result {
            Ok(500..) => Outcome::Failure,
            Ok(400..) => Outcome::Ignored,
            other => DefaultClassifier.classify(other),
        }
    }

    fn hint(&self, _: &Result<u16, Failed>) -> Option<Hint> {
        *self.0.hints.lock().unwrap()
    }
}

/// A request that counts its clones.
#[derive(Debug, Default)]
pub(crate) struct Ask(Arc<Mutex<u32>>);

impl Ask {
    /// A counter of clones, which is not counted itself.
    pub(crate) fn counted() -> (Self, Arc<Mutex<u32>>) {
        let counter = Arc::<Mutex<u32>>::default();
        (Self(counter.clone()), counter)
    }
}

impl Clone for Ask {
    fn clone(&self) -> Self {
        *self.0.lock().unwrap() += 1;
        Self(self.0.clone())
    }
}

/// Readies and calls once, to the end.
pub(crate) async fn ask<S: Service<Ask>>(service: &mut S) -> Result<S::Response, S::Error> {
    use tower::ServiceExt as _;
    service.ready().await?.call(Ask::default()).await
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The times at which a service saw attempts, in milliseconds.
pub(crate) fn times(service: &Scripted) -> Vec<u128> {
    service.seen().iter().map(|seen| seen.at.as_millis()).collect()
}

/// Whether an error is a refusal of our own, and which.
pub(crate) fn rejection<E: CarryRejection>(error: &E) -> Option<Rejection> {
    error.rejection().copied()
}

/// The ends that an observer was told of, with the number of attempts.
pub(crate) fn ends(told: &Told) -> Vec<(u32, portcullis::RetryEnd)> {
    let ends = told.take().into_iter().filter_map(|event| match event {
        portcullis::Event::RetryEnded { attempts, end, .. } => Some((attempts, end)),
        _ => None,
    });
    ends.collect()
}
