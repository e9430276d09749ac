//! Where an answer in place of a failure comes from.

use std::future::{Future, Ready, ready};

use super::FallbackPolicy;
use crate::{event::AnswerSource, policy::fallback::Failed};

pub(super) mod sealed {
    /// The sources are those of this crate: their methods may change.
    pub trait Sealed {}
}

/// A source of answers, with the handle of its fallback. Not to be implemented elsewhere.
pub trait Source: sealed::Sealed {
    /// What there is to inspect and command.
    type Handle;

    /// The handle of its fallback.
    fn handle(&self) -> &Self::Handle;

    #[doc(hidden)]
    fn policy(&self) -> &FallbackPolicy;
}

/// What a source needs of a request of type `Req`, captured before the call: so the request itself need not
/// be `Clone`. Not to be implemented elsewhere.
pub trait Keep<Req>: Source {
    /// What is captured.
    type Kept;

    #[doc(hidden)]
    fn keep(&self, request: &Req) -> Self::Kept;
}

/// Answers in place of a failed `Result<T, E>`, with what was captured of the request. Not to be implemented
/// elsewhere.
pub trait Answer<K, T, E>: Source {
    /// What callers get: the service's response, or one that says where it came from.
    type Response;
    /// The answer to come.
    type Future: Future<Output = Result<Self::Response, E>>;

    /// The service's own answer.
    #[doc(hidden)]
    fn own(&self, response: T) -> Self::Response;

    /// The service's own answer was good.
    #[doc(hidden)]
    fn good(&self, kept: K, response: &T) {
        let _ = (kept, response);
    }

    /// Where an answer would come from; `kept` is `None` if there is no request yet.
    #[doc(hidden)]
    fn would_answer(&self, kept: Option<&K>) -> Option<AnswerSource>;

    /// An answer to come and where it comes from, or the failure back if there is none.
    #[doc(hidden)]
    fn answer(
        &self,
        kept: K,
        failed: Failed<T, E>,
    ) -> Result<(Self::Future, AnswerSource), Failed<T, E>>;
}

/// What most sources are: a handle that keeps nothing, the service's response type, always an answer.
macro_rules! stateless {
    ($name:ident $(<$($parameter:ident),*>)?) => {
        impl $(<$($parameter),*>)? $crate::fallback::source::sealed::Sealed for $name $(<$($parameter),*>)? {}

        impl $(<$($parameter),*>)? $crate::fallback::source::Source for $name $(<$($parameter),*>)? {
            type Handle = $crate::fallback::FallbackPolicy;

            fn handle(&self) -> &Self::Handle {
                &self.policy
            }

            fn policy(&self) -> &$crate::fallback::FallbackPolicy {
                &self.policy
            }
        }

        impl $(<$($parameter),*>)? ::std::fmt::Debug for $name $(<$($parameter),*>)? {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($name)).field("policy", &self.policy).finish_non_exhaustive()
            }
        }
    };
}
pub(super) use stateless;

/// The source of [`FallbackLayer::value`](super::FallbackLayer::value).
pub struct Value<T> {
    pub(super) policy: FallbackPolicy,
    pub(super) value: T,
}

stateless!(Value<T>);

impl<T, Req> Keep<Req> for Value<T> {
    type Kept = ();

    fn keep(&self, _: &Req) {}
}

impl<T: Clone, E> Answer<(), T, E> for Value<T> {
    type Response = T;
    type Future = Ready<Result<T, E>>;

    fn own(&self, response: T) -> T {
        response
    }

    fn would_answer(&self, _: Option<&()>) -> Option<AnswerSource> {
        Some(AnswerSource::Value)
    }

    fn answer(
        &self,
        (): (),
        failed: Failed<T, E>,
    ) -> Result<(Self::Future, AnswerSource), Failed<T, E>> {
        drop(failed);
        Ok((ready(Ok(self.value.clone())), AnswerSource::Value))
    }
}

/// The source of [`FallbackPolicy::run`](super::FallbackPolicy::run): a function that comes with the call.
pub struct WithTheCall {
    pub(super) policy: FallbackPolicy,
}

stateless!(WithTheCall);

impl<F, T, E> Answer<F, T, E> for WithTheCall
where
    F: FnOnce(Failed<T, E>) -> Result<T, E>,
{
    type Response = T;
    type Future = Ready<Result<T, E>>;

    fn own(&self, response: T) -> T {
        response
    }

    fn would_answer(&self, _: Option<&F>) -> Option<AnswerSource> {
        Some(AnswerSource::Function)
    }

    fn answer(
        &self,
        answer: F,
        failed: Failed<T, E>,
    ) -> Result<(Self::Future, AnswerSource), Failed<T, E>> {
        Ok((ready(answer(failed)), AnswerSource::Function))
    }
}
