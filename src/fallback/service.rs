//! The service with a fallback.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    source::{Answer, Keep},
    steps::Steps,
};
use crate::{
    outcome::Classify,
    policy::{
        Mode,
        fallback::{AnyError, Verdict},
    },
    sync::reference::{CallRef, Ref, References},
};

/// The service made by [`FallbackLayer`](super::FallbackLayer).
///
/// It is ready when the inner service is. Where that fails to become ready and the error qualifies, it is
/// ready too, and the next call is answered by the fallback without calling the inner service.
pub struct Fallback<S, A: 'static, E, C = AnyError> {
    inner: S,
    pub(super) judged: Judged<A, C>,
    /// The error with which the inner service was not ready, until a call is answered in its place.
    not_ready: Option<E>,
}

/// A source of answers with the classifier of one layer.
pub(super) struct Judged<A: 'static, C> {
    pub(super) references: References<Ref<A>, A>,
    pub(super) classify: C,
}

impl<A, C> Judged<A, C> {
    pub(super) fn source(&self) -> &A {
        self.references.handle()
    }
}

impl<A, C: Clone> Clone for Judged<A, C> {
    fn clone(&self) -> Self {
        Self { references: self.references.clone(), classify: self.classify.clone() }
    }
}

impl<S, A, E, C> Fallback<S, A, E, C> {
    pub(super) fn new(inner: S, judged: Judged<A, C>) -> Self {
        Self { inner, judged, not_ready: None }
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside; calling it goes around the fallback.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the fallback.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, A: super::source::Source, E, C> Fallback<S, A, E, C> {
    /// The handle, to inspect or command the fallback.
    pub fn handle(&self) -> &A::Handle {
        self.judged.source().handle()
    }
}

impl<S: Clone, A, E, C: Clone> Clone for Fallback<S, A, E, C> {
    fn clone(&self) -> Self {
        // Readiness is not cloned, nor is the lack of it.
        Self::new(self.inner.clone(), self.judged.clone())
    }
}

impl<S: fmt::Debug, A: super::source::Source, E, C> fmt::Debug for Fallback<S, A, E, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("inner", &self.inner)
            .field("policy", self.judged.source().policy())
            .finish_non_exhaustive()
    }
}

impl<S, A, E, C, Req> Service<Req> for Fallback<S, A, E, C>
where
    S: Service<Req, Error = E>,
    A: Keep<Req> + Answer<<A as Keep<Req>>::Kept, S::Response, E>,
    C: Classify<S::Response, E> + Clone,
{
    type Response = A::Response;
    type Error = E;
    type Future = ResponseFuture<S, Req, A, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        if self.not_ready.is_some() {
            // Ready stays ready, until the call that is owed an answer.
            return Poll::Ready(Ok(()));
        }
        match ready!(self.inner.poll_ready(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(self.take_not_ready(error)),
        }
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        // All of the user's own code first: if it panics, nothing has been called.
        let classify = self.judged.classify.clone();
        let source = self.judged.references.get();
        let disabled = source.policy().core.mode() == Mode::Disabled;
        let kept = if disabled { None } else { Some(source.keep(&request)) };
        let steps = match self.not_ready.take() {
            None => Steps::Calling { future: self.inner.call(request), kept },
            Some(error) => Steps::NotReady { error: Some(error), kept },
        };
        ResponseFuture { steps, source, classify }
    }
}

impl<S, A, E, C> Fallback<S, A, E, C> {
    /// Keeps an error that the fallback is to answer, passes on any other.
    #[cold]
    fn take_not_ready<Req, T>(&mut self, error: E) -> Result<(), E>
    where
        S: Service<Req, Response = T, Error = E>,
        A: Keep<Req> + Answer<<A as Keep<Req>>::Kept, T, E>,
        C: Classify<T, E>,
    {
        let Judged { references, classify } = &self.judged;
        let source = references.handle();
        let core = &source.policy().core;
        if core.mode() == Mode::Disabled {
            return Err(error);
        }
        let result = Err(error);
        let verdict = core.verdict(classify.classify(&result));
        match (verdict, result) {
            (Verdict::FallBack, Err(error)) => {
                self.not_ready = Some(error);
                Ok(())
            }
            (verdict, result) => {
                if verdict == Verdict::Report {
                    if let Some(source) = source.would_answer(None) {
                        core.would_answer(source);
                    }
                }
                result.map(|_: T| ())
            }
        }
    }
}

pin_project! {
    /// The response future of [`Fallback`]. Dropping it drops what works for it: the service's call, or the
    /// fallback's.
    pub struct ResponseFuture<S, Req, A, C = AnyError>
    where
        S: Service<Req>,
        A: Keep<Req>,
        A: Answer<<A as Keep<Req>>::Kept, S::Response, S::Error>,
        A: 'static,
    {
        #[pin]
        steps: Steps<S::Future, <A as Keep<Req>>::Kept, S::Error, A::Future>,
        source: CallRef<A>,
        classify: C,
    }
}

impl<S, Req, A, C> fmt::Debug for ResponseFuture<S, Req, A, C>
where
    S: Service<Req>,
    A: Keep<Req> + Answer<<A as Keep<Req>>::Kept, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<S, Req, A, C> Future for ResponseFuture<S, Req, A, C>
where
    S: Service<Req>,
    A: Keep<Req> + Answer<<A as Keep<Req>>::Kept, S::Response, S::Error>,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<A::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.steps.poll(&**this.source, &*this.classify, cx)
    }
}
