//! The Tower layer of a retry.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    RetryConfig, RetryPolicy,
    core::{CallRef, Manner, References},
    driver::{Again, Driver, attended},
    held::Held,
};
use crate::{
    error::{CarryRejection, ConfigError},
    options::Options,
    outcome::{Classify, DefaultClassifier, Outcome},
    plan,
};

/// Makes a request once more, for the attempt after this one.
///
/// Any `Fn(&Req) -> Option<Req>` is one; `None` says that it cannot be, and the call has this attempt only.
/// A named type can also say so [later](Self::take_over), when the attempt has used the request up, as
/// `http::ReplayRequest` (with feature `http`) does for bodies.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot make a `{Req}` once more",
    note = "by default a retry clones the request: for one that is not `Clone` say how with `.replay(|request: &Request| …)`, which gives `None` for a request that must not be sent twice"
)]
pub trait Replay<Req> {
    /// The request once more, or `None`.
    fn replay(&self, request: &Req) -> Option<Req>;

    /// An attempt has failed, and `next`, which [`replay`](Self::replay) made of its request before it began,
    /// is to be sent in its place: whether it still can be. By default it can.
    ///
    /// For requests that share something with the one they were made of, such as a body that is still being
    /// uploaded. It is asked after everything else has allowed another attempt, and before the wait:
    /// `true` is followed by that attempt, unless the call is dropped or runs out of time, and the
    /// failed one is no longer of interest. After `false` the call ends as
    /// [not replayable](crate::RetryEnd::NotReplayable), with what the attempt gave.
    fn take_over(&self, next: &Req) -> bool {
        let _ = next;
        true
    }
}

/// Replays a request by its `Clone`. The default.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit that users name as a value")]
pub struct ByClone;

impl<Req: Clone> Replay<Req> for ByClone {
    #[inline]
    fn replay(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}

impl<F, Req> Replay<Req> for F
where
    F: Fn(&Req) -> Option<Req>,
{
    fn replay(&self, request: &Req) -> Option<Req> {
        self(request)
    }
}

/// Tries a failed call again.
///
/// One layer value is one policy with one budget: its clones and every service it makes share it, across
/// routes and connections. Classifier and replay hook are cloned with every call: one that is more than a
/// function or a few words belongs in an `Arc`.
#[derive(Clone)]
#[must_use]
pub struct RetryLayer<C = DefaultClassifier, R = ByClone> {
    shared: Shared<C, R>,
}

/// A policy with what one layer has of its own.
#[derive(Clone)]
struct Shared<C, R> {
    references: References,
    classify: C,
    replay: R,
}

impl RetryLayer {
    /// A layer with a policy of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: RetryConfig) -> Result<Self, ConfigError> {
        RetryPolicy::new(config).map(Self::of)
    }

    /// A layer with a clock or an observer of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: RetryConfig, options: Options) -> Result<Self, ConfigError> {
        RetryPolicy::with(config, options).map(Self::of)
    }

    pub(super) fn of(policy: RetryPolicy) -> Self {
        let references = References::of(policy, |policy| &policy.core);
        let (classify, replay) = (DefaultClassifier, ByClone);
        Self { shared: Shared { references, classify, replay } }
    }
}

impl<C, R> RetryLayer<C, R> {
    /// The policy, to inspect or command it.
    pub fn policy(&self) -> &RetryPolicy {
        self.shared.references.handle()
    }

    /// Judges results by a closure: [`Outcome::Failure`] means "try again". The policy stays the same.
    pub fn classify<F, Res, Err>(self, classify: F) -> RetryLayer<F, R>
    where
        F: Fn(&Result<Res, Err>) -> Outcome,
    {
        self.classify_with(classify)
    }

    /// Judges results by a named classifier, which can also give hints. The policy stays the same.
    pub fn classify_with<D>(self, classify: D) -> RetryLayer<D, R> {
        let Shared { references, replay, .. } = self.shared;
        RetryLayer { shared: Shared { references, classify, replay } }
    }

    /// Says how a request is made once more; `None` for one that must not be sent twice: such a call
    /// has one attempt.
    pub fn replay<F, Req>(self, replay: F) -> RetryLayer<C, F>
    where
        F: Fn(&Req) -> Option<Req>,
    {
        self.replay_with(replay)
    }

    /// Says by a named value how a request is made once more.
    pub fn replay_with<Q>(self, replay: Q) -> RetryLayer<C, Q> {
        let Shared { references, classify, .. } = self.shared;
        RetryLayer { shared: Shared { references, classify, replay } }
    }
}

impl<C, R> fmt::Debug for RetryLayer<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer").field("policy", self.policy()).finish()
    }
}

impl<S, C: Clone, R: Clone> Layer<S> for RetryLayer<C, R> {
    type Service = Retry<S, C, R>;

    fn layer(&self, inner: S) -> Self::Service {
        plan::note(|| self.policy().facts());
        Retry { inner, shared: self.shared.clone() }
    }
}

/// The service made by [`RetryLayer`].
///
/// It is as ready as the service inside: the first attempt goes on the instance that was readied, later
/// ones ready a clone in the future.
#[derive(Clone)]
pub struct Retry<S, C = DefaultClassifier, R = ByClone> {
    inner: S,
    shared: Shared<C, R>,
}

impl<S: fmt::Debug, C, R> fmt::Debug for Retry<S, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.policy();
        f.debug_struct("Retry").field("policy", policy).field("inner", &self.inner).finish()
    }
}

impl<S, C, R> Retry<S, C, R> {
    /// The policy, to inspect or command it.
    pub fn policy(&self) -> &RetryPolicy {
        self.shared.references.handle()
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside; calling it goes around the policy.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the policy.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, C, R, Req> Service<Req> for Retry<S, C, R>
where
    S: Service<Req> + Clone,
    S::Error: CarryRejection,
    C: Classify<S::Response, S::Error> + Clone,
    R: Replay<Req> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, C, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let Shared { references, classify, replay, .. } = &self.shared;
        let classify = classify.clone();
        let core = references.get();
        let manner = core.begin();
        let mut held = Held::new(core, manner);
        let again = match manner {
            Manner::Again => replay.replay(&request).map(|spare| Resend {
                service: self.inner.clone(),
                spare: Some(spare),
                replay: replay.clone(),
            }),
            _ => None,
        };
        let future = attended(&mut held, again.is_some(), || self.inner.call(request));
        ResponseFuture { driver: Driver::new(future, again, classify, held) }
    }
}

/// What further attempts are made of.
struct Resend<S, Req, R> {
    service: S,
    /// There while there may be another attempt.
    spare: Option<Req>,
    replay: R,
}

impl<S, Req, R> Again for Resend<S, Req, R>
where
    S: Service<Req> + Clone,
    R: Replay<Req>,
{
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let ready = self.service.poll_ready(cx);
        if let Poll::Ready(Err(_)) = ready {
            // An instance that failed is not to be asked again.
            self.service = self.service.clone();
        }
        ready
    }

    fn begin(&mut self, is_last: bool) -> S::Future {
        let request = self.spare.take().expect("an attempt follows only while there is a spare");
        if !is_last {
            self.spare = self.replay.replay(&request);
        }
        self.service.call(request)
    }

    fn is_replayable(&self) -> bool {
        self.spare.is_some()
    }

    fn take_over(&self) -> bool {
        self.spare.as_ref().is_some_and(|next| self.replay.take_over(next))
    }
}

pin_project! {
    /// The response future of [`Retry`]. Dropping it abandons the call at any point: what the budget paid
    /// for an attempt that has not begun goes back.
    pub struct ResponseFuture<S, Req, C = DefaultClassifier, R = ByClone>
    where
        S: Service<Req>,
    {
        #[pin]
        driver: Driver<Resend<S, Req, R>, S::Future, S::Error, C, CallRef>,
    }
}

impl<S: Service<Req>, Req, C, R> fmt::Debug for ResponseFuture<S, Req, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<S, Req, C, R> Future for ResponseFuture<S, Req, C, R>
where
    S: Service<Req> + Clone,
    S::Error: CarryRejection,
    C: Classify<S::Response, S::Error>,
    R: Replay<Req>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().driver.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        plan::{BudgetFacts, Part},
        policy::budget::config::BudgetConfig,
        retry::RetryBudget,
    };

    #[test]
    fn a_stack_that_is_checked_hears_of_the_numbers() {
        let parts = |config: RetryConfig| {
            let layer = RetryLayer::new(config).expect("a valid config");
            plan::record(|| drop(layer.layer(()))).1
        };
        let [part] = parts(RetryConfig::new("db"))[..] else { panic!("one part") };
        let Part::Retry { budget: Some(BudgetFacts { id, .. }), .. } = part else {
            panic!("there is a budget");
        };
        let expected = Part::Retry {
            name: "db",
            attempts: 3,
            budget: Some(BudgetFacts { id, ratio: 0.2, per_second: 10.0 }),
            longest_delays: Duration::from_millis(150),
            longest_hint: Some(Duration::from_secs(60)),
            retries_refusals: false,
            nested: false,
        };
        assert_eq!(part, expected);
        let [Part::Retry { budget: None, .. }] = parts(RetryConfig::new("db").no_budget())[..]
        else {
            panic!("there is no budget");
        };
        let grpc = RetryConfig::new("db").budget(BudgetConfig::grpc(10, 0.5)).retry_refusals(true);
        let [Part::Retry { budget: Some(facts), retries_refusals: true, .. }] = parts(grpc)[..]
        else {
            panic!("there is a budget");
        };
        // What it allows while every call fails is nothing.
        assert_eq!((facts.ratio, facts.per_second), (0.0, 0.0));

        // One budget in two retries is told to be one.
        let shared = RetryBudget::new(BudgetConfig::default()).expect("a valid config");
        let id = |config: RetryConfig| match parts(config)[..] {
            [Part::Retry { budget: Some(facts), .. }] => facts.id,
            _ => panic!("there is a budget"),
        };
        let of = |name| RetryConfig::new(name).budget(&shared);
        assert_eq!(id(of("db")), id(of("other")));
        let other = RetryBudget::new(BudgetConfig::default()).expect("a valid config");
        assert_ne!(id(of("db")), id(RetryConfig::new("db").budget(&other)));
    }
}
