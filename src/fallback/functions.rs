//! Functions as sources: of the failure, or of what was captured of the request and the failure; at once or
//! by a future.

use std::future::{Future, Ready, ready};

use super::{
    FallbackPolicy,
    source::{Answer, Keep, sealed::Sealed, stateless},
};
use crate::{event::AnswerSource, policy::fallback::Failed};

/// The source of every layer that answers by a function: `G` captures what it needs of the request, `F` is
/// the function.
pub struct Function<G, F> {
    pub(super) policy: FallbackPolicy,
    pub(super) keep: G,
    pub(super) answer: F,
}

stateless!(Function<G, F>);

/// Captures something of a request: a closure, or [`Nothing`]. Not to be implemented elsewhere.
pub trait Capture<Req> {
    /// What is captured.
    type Kept;

    #[doc(hidden)]
    fn capture(&self, request: &Req) -> Self::Kept;
}

/// Captures nothing of the request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Nothing;

impl<Req> Capture<Req> for Nothing {
    type Kept = ();

    fn capture(&self, _: &Req) {}
}

impl<G, Req, K> Capture<Req> for G
where
    G: Fn(&Req) -> K,
{
    type Kept = K;

    fn capture(&self, request: &Req) -> K {
        self(request)
    }
}

impl<G: Capture<Req>, F, Req> Keep<Req> for Function<G, F> {
    type Kept = G::Kept;

    fn keep(&self, request: &Req) -> G::Kept {
        self.keep.capture(request)
    }
}

/// A function of one of the four shapes. Not to be implemented elsewhere.
pub trait Call<K, T, E>: Sealed {
    /// The answer to come.
    type Future: Future<Output = Result<T, E>>;

    #[doc(hidden)]
    fn call(&self, kept: K, failed: Failed<T, E>) -> Self::Future;
}

/// A function of the failure.
#[derive(Clone, Copy, Debug)]
pub struct OfFailure<F>(pub(super) F);

/// A function of what was captured of the request, and the failure.
#[derive(Clone, Copy, Debug)]
pub struct OfRequest<F>(pub(super) F);

/// A function of the failure that gives a future.
#[derive(Clone, Copy, Debug)]
pub struct AsyncOfFailure<F>(pub(super) F);

/// A function of what was captured of the request, and the failure, that gives a future.
#[derive(Clone, Copy, Debug)]
pub struct AsyncOfRequest<F>(pub(super) F);

impl<F> Sealed for OfFailure<F> {}
impl<F> Sealed for OfRequest<F> {}
impl<F> Sealed for AsyncOfFailure<F> {}
impl<F> Sealed for AsyncOfRequest<F> {}

impl<F, T, E> Call<(), T, E> for OfFailure<F>
where
    F: Fn(Failed<T, E>) -> Result<T, E>,
{
    type Future = Ready<Result<T, E>>;

    fn call(&self, (): (), failed: Failed<T, E>) -> Self::Future {
        ready((self.0)(failed))
    }
}

impl<F, K, T, E> Call<K, T, E> for OfRequest<F>
where
    F: Fn(K, Failed<T, E>) -> Result<T, E>,
{
    type Future = Ready<Result<T, E>>;

    fn call(&self, kept: K, failed: Failed<T, E>) -> Self::Future {
        ready((self.0)(kept, failed))
    }
}

impl<F, Fut, T, E> Call<(), T, E> for AsyncOfFailure<F>
where
    F: Fn(Failed<T, E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Future = Fut;

    fn call(&self, (): (), failed: Failed<T, E>) -> Fut {
        (self.0)(failed)
    }
}

impl<F, Fut, K, T, E> Call<K, T, E> for AsyncOfRequest<F>
where
    F: Fn(K, Failed<T, E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Future = Fut;

    fn call(&self, kept: K, failed: Failed<T, E>) -> Fut {
        (self.0)(kept, failed)
    }
}

impl<G, F, K, T, E> Answer<K, T, E> for Function<G, F>
where
    F: Call<K, T, E>,
{
    type Response = T;
    type Future = F::Future;

    fn own(&self, response: T) -> T {
        response
    }

    fn would_answer(&self, _: Option<&K>) -> Option<AnswerSource> {
        Some(AnswerSource::Function)
    }

    fn answer(
        &self,
        kept: K,
        failed: Failed<T, E>,
    ) -> Result<(Self::Future, AnswerSource), Failed<T, E>> {
        Ok((self.answer.call(kept, failed), AnswerSource::Function))
    }
}
