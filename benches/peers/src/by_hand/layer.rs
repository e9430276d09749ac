//! A layer around one policy's work.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::work::Work;
use crate::service::Fault;

/// Does a policy's work around the calls of a service.
pub(super) struct ByHand<S, W> {
    inner: S,
    work: Arc<W>,
}

impl<S: Clone, W> Clone for ByHand<S, W> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), work: self.work.clone() }
    }
}

impl<S, W: Work> ByHand<S, W> {
    pub(super) fn over(inner: S) -> Self {
        Self { inner, work: Arc::default() }
    }
}

impl<S, W, Req> Service<Req> for ByHand<S, W>
where
    S: Service<Req, Error = Fault>,
    W: Work,
{
    type Response = S::Response;
    type Error = Fault;
    type Future = Working<S::Future, W>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        if !self.work.before() {
            return Working::Refused;
        }
        let work = W::KEPT.then(|| self.work.clone());
        Working::Calling { future: self.inner.call(request), work }
    }
}

pin_project! {
    #[project = Projection]
    pub(super) enum Working<F, W> {
        Refused,
        Calling { #[pin] future: F, work: Option<Arc<W>> },
    }
}

impl<F, W, Res> Future for Working<F, W>
where
    F: Future<Output = Result<Res, Fault>>,
    W: Work,
{
    type Output = Result<Res, Fault>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projection::Refused => Poll::Ready(Err(Fault::Open)),
            Projection::Calling { future, work } => {
                let answer = future.poll(cx);
                if let (Poll::Ready(Ok(_)), Some(kept)) = (&answer, &*work) {
                    kept.after();
                    *work = None;
                }
                answer
            }
        }
    }
}
