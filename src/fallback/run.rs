//! Calls under a fallback without Tower.

use std::{
    fmt,
    future::{Future, Ready},
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    source::Answer,
    steps::{Settled, Steps, settle},
};
use crate::{
    outcome::Classify,
    policy::{Mode, fallback::AnyError},
};

/// What is kept of a call that begins now.
fn kept_now<A: super::source::Source, K>(source: &A, kept: K) -> Option<K> {
    (source.policy().core.mode() != Mode::Disabled).then_some(kept)
}

/// Runs a closure under a source whose answers are there at once.
pub(super) fn call_under<A, K, T, E, R>(
    source: &A,
    classify: &impl Classify<T, E>,
    kept: K,
    run: impl FnOnce() -> Result<T, E>,
) -> Result<R, E>
where
    A: Answer<K, T, E, Response = R, Future = Ready<Result<R, E>>>,
{
    let kept = kept_now(source, kept);
    match settle(source, classify, kept, run()) {
        Settled::Passes(result) => result,
        Settled::Answers(answer, from) => {
            let answer = answer.into_inner();
            source.policy().core.answered(from, answer.is_ok());
            answer
        }
    }
}

pin_project! {
    /// A future under a fallback: what [`FallbackPolicy::run`](super::FallbackPolicy::run) and
    /// [`LastGood::run`](super::LastGood::run) return. Dropping it drops the future inside.
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<Fut, A, K, T, E, C = AnyError>
    where
        A: Answer<K, T, E>,
    {
        #[pin]
        steps: Steps<Fut, K, E, A::Future>,
        source: A,
        classify: C,
        result: PhantomData<fn() -> T>,
    }
}

impl<Fut, A: Answer<K, T, E>, K, T, E, C> Run<Fut, A, K, T, E, C> {
    pub(super) fn new(source: A, classify: C, kept: K, future: Fut) -> Self {
        let kept = kept_now(&source, kept);
        Self { steps: Steps::Calling { future, kept }, source, classify, result: PhantomData }
    }
}

impl<Fut, A: Answer<K, T, E>, K, T, E, C> fmt::Debug for Run<Fut, A, K, T, E, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}

impl<Fut, A, K, T, E, C> Future for Run<Fut, A, K, T, E, C>
where
    Fut: Future<Output = Result<T, E>>,
    A: Answer<K, T, E>,
    C: Classify<T, E>,
{
    type Output = Result<A::Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.steps.poll(&*this.source, &*this.classify, cx)
    }
}
