//! Another service as a source.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    FallbackPolicy,
    functions::Capture,
    source::{Answer, Keep, stateless},
};
use crate::{event::AnswerSource, policy::fallback::Failed};

/// The source of [`FallbackLayer::service`](super::FallbackLayer::service): `G` captures the request for the
/// other service `B`.
pub struct Backup<B, G> {
    pub(super) policy: FallbackPolicy,
    pub(super) service: B,
    pub(super) keep: G,
}

stateless!(Backup<B, G>);

impl<B, G: Capture<Req>, Req> Keep<Req> for Backup<B, G> {
    type Kept = G::Kept;

    fn keep(&self, request: &Req) -> G::Kept {
        self.keep.capture(request)
    }
}

impl<B, G, K, T, E> Answer<K, T, E> for Backup<B, G>
where
    B: Service<K, Response = T> + Clone,
    B::Error: Into<E>,
{
    type Response = T;
    type Future = BackupFuture<B, K, B::Future, E>;

    fn own(&self, response: T) -> T {
        response
    }

    fn would_answer(&self, _: Option<&K>) -> Option<AnswerSource> {
        Some(AnswerSource::Service)
    }

    fn answer(
        &self,
        request: K,
        failed: Failed<T, E>,
    ) -> Result<(Self::Future, AnswerSource), Failed<T, E>> {
        // A failed response may pin a connection that the other service needs.
        drop(failed);
        let future = BackupFuture {
            call: Call::Readying { call: Some((self.service.clone(), request)) },
            error: PhantomData,
        };
        Ok((future, AnswerSource::Service))
    }
}

pin_project! {
    /// A call of the other service, which is readied here, on a clone that nobody else waits for.
    pub struct BackupFuture<B, Req, F, E> {
        #[pin]
        call: Call<B, Req, F>,
        error: PhantomData<fn() -> E>,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<B, Req, F> {
        Readying { call: Option<(B, Req)> },
        Calling { #[pin] future: F },
    }
}

impl<B, Req, F, E> fmt::Debug for BackupFuture<B, Req, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupFuture").finish_non_exhaustive()
    }
}

impl<B, Req, E> Future for BackupFuture<B, Req, B::Future, E>
where
    B: Service<Req>,
    B::Error: Into<E>,
{
    type Output = Result<B::Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().call;
        loop {
            let call = match state.as_mut().project() {
                CallProjection::Calling { future } => return future.poll(cx).map_err(Into::into),
                CallProjection::Readying { call } => call,
            };
            let Some((service, _)) = call else {
                panic!("a response future was polled after it had finished");
            };
            let readied = ready!(service.poll_ready(cx));
            let Some((mut service, request)) = call.take() else { continue };
            match readied {
                Ok(()) => {
                    let future = service.call(request);
                    state.set(Call::Calling { future });
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}
