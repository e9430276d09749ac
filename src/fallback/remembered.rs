//! The last good answer as a source, and how its age is shown.

use std::{
    fmt,
    future::{Ready, ready},
    hash::Hash,
    time::Duration,
};

use super::{
    FallbackPolicy, LastGood,
    source::{Answer, Keep, Source, sealed::Sealed},
};
use crate::{
    event::AnswerSource,
    policy::fallback::{Failed, Served},
};

/// The source of [`FallbackLayer::last_good`](super::FallbackLayer::last_good): `F` gives the key of a
/// request, `W` makes the response of what was kept.
pub struct Remembered<K, V, F, W> {
    pub(super) last_good: LastGood<K, V>,
    pub(super) key: F,
    pub(super) serve: W,
}

impl<K, V, F, W> Sealed for Remembered<K, V, F, W> {}

impl<K, V, F, W> Source for Remembered<K, V, F, W> {
    type Handle = LastGood<K, V>;

    fn handle(&self) -> &LastGood<K, V> {
        &self.last_good
    }

    fn policy(&self) -> &FallbackPolicy {
        self.last_good.policy()
    }
}

impl<K, V, F, W> fmt::Debug for Remembered<K, V, F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").field("policy", self.policy()).finish_non_exhaustive()
    }
}

impl<K, V, F, W, Req> Keep<Req> for Remembered<K, V, F, W>
where
    F: Fn(&Req) -> Option<K>,
{
    type Kept = Option<K>;

    fn keep(&self, request: &Req) -> Option<K> {
        (self.key)(request)
    }
}

impl<K, V, F, W, T, E> Answer<Option<K>, T, E> for Remembered<K, V, F, W>
where
    K: Hash + Eq,
    W: Serve<T, Kept = V>,
{
    type Response = W::Response;
    type Future = Ready<Result<W::Response, E>>;

    fn own(&self, response: T) -> W::Response {
        self.serve.own(response)
    }

    fn good(&self, key: Option<K>, response: &T) {
        if let Some(key) = key {
            self.last_good.put(key, self.serve.keep(response));
        }
    }

    fn would_answer(&self, key: Option<&Option<K>>) -> Option<AnswerSource> {
        let age = self.last_good.young(key?.as_ref()?)?;
        Some(AnswerSource::LastGood { age })
    }

    fn answer(
        &self,
        key: Option<K>,
        failed: Failed<T, E>,
    ) -> Result<(Self::Future, AnswerSource), Failed<T, E>> {
        match key.and_then(|key| self.last_good.recall(&key)) {
            Some((kept, age)) => {
                drop(failed);
                Ok((ready(Ok(self.serve.old(&kept, age))), AnswerSource::LastGood { age }))
            }
            None => Err(failed),
        }
    }
}

/// How an answer is kept and given again. Not to be implemented elsewhere.
pub trait Serve<T>: Sealed {
    /// What is kept of an answer.
    type Kept;
    /// What callers get.
    type Response;

    #[doc(hidden)]
    fn keep(&self, response: &T) -> Self::Kept;

    #[doc(hidden)]
    fn own(&self, response: T) -> Self::Response;

    #[doc(hidden)]
    fn old(&self, kept: &Self::Kept, age: Duration) -> Self::Response;
}

/// Answers are cloned, and callers get [`Served`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AsServed;

impl Sealed for AsServed {}

impl<T: Clone> Serve<T> for AsServed {
    type Kept = T;
    type Response = Served<T>;

    fn keep(&self, response: &T) -> T {
        response.clone()
    }

    fn own(&self, response: T) -> Served<T> {
        Served::Fresh(response)
    }

    fn old(&self, kept: &T, age: Duration) -> Served<T> {
        Served::LastGood { value: kept.clone(), age }
    }
}

/// Answers are cloned, and a function writes the age into one that is given again: see
/// [`mark`](super::FallbackLayer::mark).
#[derive(Clone, Copy, Debug)]
pub struct Marked<M>(pub(super) M);

impl<M> Sealed for Marked<M> {}

impl<M, T> Serve<T> for Marked<M>
where
    T: Clone,
    M: Fn(T, Duration) -> T,
{
    type Kept = T;
    type Response = T;

    fn keep(&self, response: &T) -> T {
        response.clone()
    }

    fn own(&self, response: T) -> T {
        response
    }

    fn old(&self, kept: &T, age: Duration) -> T {
        (self.0)(kept.clone(), age)
    }
}

/// Two functions say what is kept of an answer, and what is made of that and its age: see
/// [`keep`](super::FallbackLayer::keep).
#[derive(Clone, Copy, Debug)]
pub struct Restored<P, R> {
    pub(super) keep: P,
    pub(super) restore: R,
}

impl<P, R> Sealed for Restored<P, R> {}

impl<P, R, T, V> Serve<T> for Restored<P, R>
where
    P: Fn(&T) -> V,
    R: Fn(&V, Duration) -> T,
{
    type Kept = V;
    type Response = T;

    fn keep(&self, response: &T) -> V {
        (self.keep)(response)
    }

    fn own(&self, response: T) -> T {
        response
    }

    fn old(&self, kept: &V, age: Duration) -> T {
        (self.restore)(kept, age)
    }
}
