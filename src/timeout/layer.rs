//! The Tower layer of one timeout.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    TimeLimit,
    core::{CallRef, References},
    future::Timed,
};
use crate::{
    error::{CarryRejection, ConfigError},
    options::Options,
    plan::{self, Part},
    policy::timeout::config::TimeoutConfig,
};

/// How long one request may take. Any `Fn(&Request) -> Option<Duration>` is one; `None` leaves it to the
/// timeout's own limit.
#[diagnostic::on_unimplemented(
    message = "`{Self}` gives no limit for a `{Req}`",
    note = "it is any `Fn(&Request) -> Option<Duration>`, where `None` leaves the limit to the timeout"
)]
pub trait RequestLimit<Req> {
    /// The limit that this request sets, which takes the place of the configured one, shorter or longer.
    fn limit(&self, request: &Req) -> Option<Duration>;
}

impl<F, Req> RequestLimit<Req> for F
where
    F: Fn(&Req) -> Option<Duration>,
{
    fn limit(&self, request: &Req) -> Option<Duration> {
        self(request)
    }
}

/// Requests say nothing about their limit: the timeout's own holds for all.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit that users name as a value")]
pub struct FixedLimit;

impl<Req> RequestLimit<Req> for FixedLimit {
    #[inline]
    fn limit(&self, _: &Req) -> Option<Duration> {
        None
    }
}

/// Puts a timeout in front of a service.
///
/// One layer value is one timeout: its clones and every service it makes share its mode, its numbers and
/// its counts.
#[derive(Clone)]
#[must_use]
pub struct TimeoutLayer<L = FixedLimit> {
    shared: Shared<L>,
    /// Whether requests say their limit themselves.
    per_request: bool,
}

/// A timeout with the way in which one layer finds the limit of a request.
#[derive(Clone)]
struct Shared<L> {
    references: References,
    from: L,
}

impl TimeoutLayer {
    /// A layer with a timeout of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: TimeoutConfig) -> Result<Self, ConfigError> {
        TimeLimit::new(config).map(Self::of)
    }

    /// A layer with a clock or an observer of its own: see [`TimeLimit::with`].
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: TimeoutConfig, options: Options) -> Result<Self, ConfigError> {
        TimeLimit::with(config, options).map(Self::of)
    }

    pub(super) fn of(limit: TimeLimit) -> Self {
        let references = References::of(limit, |limit| &limit.core);
        Self { shared: Shared { references, from: FixedLimit }, per_request: false }
    }
}

impl<L> TimeoutLayer<L> {
    /// The timeout, to inspect or command it.
    pub fn time_limit(&self) -> &TimeLimit {
        self.shared.references.handle()
    }

    /// Takes the limit from each request. What it says takes the place of the configured limit, shorter or
    /// longer; `None` leaves it at that one. Zero refuses the request. The timeout stays the same.
    ///
    /// ```
    /// use std::time::Duration;
    /// use portcullis::{TimeoutConfig, TimeoutLayer};
    ///
    /// struct Query { patience: Option<Duration> }
    ///
    /// const LONGEST: Duration = Duration::from_secs(30);
    /// let layer = TimeoutLayer::new(TimeoutConfig::new("search", Duration::from_secs(2)))?
    ///     .limit_from(|query: &Query| query.patience.map(|limit| limit.min(LONGEST)));
    /// # let _ = layer;
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn limit_from<F, Req>(self, limit: F) -> TimeoutLayer<F>
    where
        F: Fn(&Req) -> Option<Duration>,
    {
        self.limit_from_with(limit)
    }

    /// [`limit_from`](Self::limit_from) a value with a name, whose type can be written down.
    pub fn limit_from_with<M>(self, from: M) -> TimeoutLayer<M> {
        let Shared { references, .. } = self.shared;
        TimeoutLayer { shared: Shared { references, from }, per_request: true }
    }
}

impl<L> fmt::Debug for TimeoutLayer<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer").field("time_limit", self.time_limit()).finish()
    }
}

impl<S, L: Clone> Layer<S> for TimeoutLayer<L> {
    type Service = Timeout<S, L>;

    fn layer(&self, inner: S) -> Self::Service {
        plan::note(|| {
            let TimeoutConfig { name, limit, min_remaining } = self.time_limit().config();
            Part::Timeout { name, limit: limit.filter(|_| !self.per_request), min_remaining }
        });
        Timeout { inner, shared: self.shared.clone() }
    }
}

/// The service made by [`TimeoutLayer`].
///
/// Its readiness is the inner service's, and no part of the limit: see
/// [`timeout`](crate::timeout#readiness).
#[derive(Clone)]
pub struct Timeout<S, L = FixedLimit> {
    inner: S,
    shared: Shared<L>,
}

impl<S: fmt::Debug, L> fmt::Debug for Timeout<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("inner", &self.inner)
            .field("time_limit", self.time_limit())
            .finish()
    }
}

impl<S, L> Timeout<S, L> {
    /// The timeout, to inspect or command it.
    pub fn time_limit(&self) -> &TimeLimit {
        self.shared.references.handle()
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside; calling it goes around the timeout.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the timeout.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, L, Req> Service<Req> for Timeout<S, L>
where
    S: Service<Req>,
    S::Error: CarryRejection,
    L: RequestLimit<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let Shared { references, from } = &self.shared;
        let timed = Timed::begin(
            &references.handle().core,
            request,
            |request| from.limit(request),
            || references.get(),
            |request| self.inner.call(request),
        );
        ResponseFuture { timed }
    }
}

pin_project! {
    /// The response future of [`Timeout`]. Dropping it drops the inner future, and nothing else is held.
    pub struct ResponseFuture<F> {
        #[pin]
        timed: Timed<F, CallRef>,
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, Res, Err> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, Err>>,
    Err: CarryRejection,
{
    type Output = Result<Res, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().timed.poll(cx)
    }
}
