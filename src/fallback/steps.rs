//! A call under a fallback: the service's result, the verdict on it, and the answer in its place.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::source::Answer;
use crate::{
    event::AnswerSource,
    outcome::Classify,
    policy::fallback::{Failed, Verdict},
};

pin_project! {
    /// `kept` is `None` if the policy was disabled when the call was made: then its result passes.
    #[project = StepsProjection]
    pub(super) enum Steps<F, K, E, B> {
        /// The service works.
        Calling { #[pin] future: F, kept: Option<K> },
        /// The service was not ready, and was not called.
        NotReady { error: Option<E>, kept: Option<K> },
        /// The fallback works.
        Answering { #[pin] future: B, source: AnswerSource },
        Over,
    }
}

/// What becomes of a result.
pub(super) enum Settled<R, E, B> {
    /// It is the answer.
    Passes(Result<R, E>),
    /// Another is to come, from there.
    Answers(B, AnswerSource),
}

/// Judges a result, remembers a good one, and finds an answer in place of a failure.
#[inline]
pub(super) fn settle<A, K, T, E>(
    source: &A,
    classify: &impl Classify<T, E>,
    kept: Option<K>,
    result: Result<T, E>,
) -> Settled<A::Response, E, A::Future>
where
    A: Answer<K, T, E>,
{
    let pass = |result: Result<T, E>| Settled::Passes(result.map(|own| source.own(own)));
    let Some(kept) = kept else {
        return pass(result);
    };
    let core = &source.policy().core;
    match core.verdict(classify.classify(&result)) {
        Verdict::Pass => pass(result),
        Verdict::Good => {
            if let Ok(response) = &result {
                source.good(kept, response);
            }
            pass(result)
        }
        Verdict::Report => {
            if let Some(source) = source.would_answer(Some(&kept)) {
                core.would_answer(source);
            }
            pass(result)
        }
        Verdict::FallBack => match source.answer(kept, Failed::from(result)) {
            Ok((future, source)) => Settled::Answers(future, source),
            Err(failed) => {
                core.unanswered();
                pass(failed.into_result())
            }
        },
    }
}

impl<F, K, E, B> Steps<F, K, E, B> {
    #[inline]
    pub(super) fn poll<A, T>(
        mut self: Pin<&mut Self>,
        source: &A,
        classify: &impl Classify<T, E>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<A::Response, E>>
    where
        F: Future<Output = Result<T, E>>,
        A: Answer<K, T, E, Future = B>,
        B: Future<Output = Result<A::Response, E>>,
    {
        loop {
            let (kept, result) = match self.as_mut().project() {
                StepsProjection::Calling { future, kept } => {
                    let result = ready!(future.poll(cx));
                    (kept.take(), result)
                }
                StepsProjection::NotReady { error: error @ Some(_), kept } => {
                    (kept.take(), Err(error.take().expect("matched above")))
                }
                StepsProjection::Answering { future, source: from } => {
                    let answer = ready!(future.poll(cx));
                    source.policy().core.answered(*from, answer.is_ok());
                    self.set(Self::Over);
                    return Poll::Ready(answer);
                }
                _ => panic!("a response future was polled after it had finished"),
            };
            // What the service's future holds is free before the fallback works.
            self.set(Self::Over);
            match settle(source, classify, kept, result) {
                Settled::Passes(result) => return Poll::Ready(result),
                Settled::Answers(future, source) => self.set(Self::Answering { future, source }),
            }
        }
    }
}
