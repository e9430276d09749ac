//! The Tower layer that answers for refusals.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Http, Peel, ProblemJson, Shape, response};
use crate::{
    error::{Reason, Rejection},
    http::{
        inner,
        rate_limit_fields::{And, Fields, NoQuotas, OfKey, OfLimiter, OfRefusals, Quotas, Ticket},
    },
    plan::{self, Part},
    rate_limit::{RateLimiter, RateLimiters},
};

/// Answers for refusals: the service that it makes fails with `E` where the one below fails with
/// [`Error<E>`](crate::Error), and with nothing at all where `E` is `Infallible`.
///
/// It belongs outermost. See [the module](crate::http::respond) for what it answers.
#[derive(Clone)]
#[must_use]
pub struct RespondLayer<S = Http, Q = NoQuotas> {
    shape: S,
    quotas: Q,
}

impl RespondLayer {
    /// Answers as HTTP servers do, with an empty body: see [`Http`].
    pub const fn new() -> Self {
        Self { shape: Http::new(), quotas: NoQuotas::new() }
    }
}

impl Default for RespondLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> RespondLayer<S> {
    /// Answers in a shape of one's own.
    pub const fn with(shape: S) -> Self {
        Self { shape, quotas: NoQuotas::new() }
    }
}

/// As those of [`Http`].
impl<C, Q> RespondLayer<Http<C>, Q> {
    /// Says the status of every refusal, whatever was said before.
    pub fn status(self, of: impl Fn(&Rejection) -> StatusCode + Send + Sync + 'static) -> Self {
        self.map_shape(|http| http.status(of))
    }

    /// Says the status of refusals for one reason.
    pub fn status_of(self, reason: Reason, status: StatusCode) -> Self {
        self.map_shape(|http| http.status_of(reason, status))
    }

    /// Says the status of timeouts: see [`Http::timeout_status`].
    pub fn timeout_status(self, status: StatusCode) -> Self {
        self.map_shape(|http| http.timeout_status(status))
    }

    /// Says how long to wait, as `Retry-After` will tell: see [`Http::retry_after`].
    pub fn retry_after(
        self,
        of: impl Fn(&Rejection) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.map_shape(|http| http.retry_after(of))
    }
}

impl<Q> RespondLayer<Http, Q> {
    /// Tells of refusals in a body of `application/problem+json`: see [`problem`](crate::http::problem). The service's
    /// body must be `From<String>` then.
    pub fn problem_json(self) -> RespondLayer<Http<ProblemJson>, Q> {
        self.map_shape(Http::problem_json)
    }
}

impl<S, Q> RespondLayer<S, Q> {
    /// Changes how refusals look.
    pub fn map_shape<T>(self, change: impl FnOnce(S) -> T) -> RespondLayer<T, Q> {
        RespondLayer { shape: change(self.shape), quotas: self.quotas }
    }

    /// Tells with each response what is left of a limiter's tokens: see
    /// [`rate_limit_fields`](crate::http::rate_limit_fields). Several limiters are told one after the other.
    pub fn rate_limit_fields(
        self,
        fields: Fields,
        limiter: &RateLimiter,
    ) -> RespondLayer<S, And<Q, OfLimiter>> {
        self.and(OfLimiter::new(fields, limiter.clone()))
    }

    /// Tells with each response what is left of the tokens of the key that its request belongs to.
    ///
    /// ```
    /// use http::Request;
    /// use portcullis::{KeyedRateLimitLayer, RateLimitConfig, http::{RespondLayer, rate_limit_fields::Fields}};
    ///
    /// # type Body = String;
    /// fn tenant(request: &Request<Body>) -> u64 {
    ///     request.extensions().get().copied().unwrap_or(0)
    /// }
    ///
    /// let limit = KeyedRateLimitLayer::new(RateLimitConfig::per_second("tenants", 50), 10_000, tenant)?;
    /// let respond = RespondLayer::new().rate_limit_fields_by(Fields::Draft10, limit.limiters(), tenant);
    /// # let _ = respond;
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn rate_limit_fields_by<K, F, Req>(
        self,
        fields: Fields,
        limiters: &RateLimiters<K>,
        key: F,
    ) -> RespondLayer<S, And<Q, OfKey<K, F>>>
    where
        K: Hash + Eq,
        F: Fn(&Req) -> K,
    {
        self.and(OfKey::new(fields, limiters.clone(), key))
    }

    /// Tells with refusals of limiters, and only with those, what the refusal knows: that nothing is left, and when there
    /// will be. For limiters that are not told of otherwise.
    pub fn rate_limit_fields_of_refusals(
        self,
        fields: Fields,
    ) -> RespondLayer<S, And<Q, OfRefusals>> {
        self.and(OfRefusals::new(fields))
    }

    fn and<R>(self, then: R) -> RespondLayer<S, And<Q, R>> {
        RespondLayer { shape: self.shape, quotas: And::new(self.quotas, then) }
    }
}

impl<S, Q> fmt::Debug for RespondLayer<S, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RespondLayer").finish_non_exhaustive()
    }
}

impl<I, S: Clone, Q: Clone> Layer<I> for RespondLayer<S, Q> {
    type Service = Respond<I, S, Q>;

    fn layer(&self, inner: I) -> Self::Service {
        plan::note(|| Part::Respond);
        Respond { inner, shape: self.shape.clone(), quotas: self.quotas.clone(), kept: None }
    }
}

/// The service made by [`RespondLayer`].
pub struct Respond<I, S = Http, Q = NoQuotas> {
    inner: I,
    shape: S,
    quotas: Q,
    /// The refusal that `poll_ready` of the service inside ended with.
    kept: Option<Rejection>,
}

impl<I: Clone, S: Clone, Q: Clone> Clone for Respond<I, S, Q> {
    fn clone(&self) -> Self {
        // Readiness is not cloned: neither the inner service's nor a kept refusal.
        Self {
            inner: self.inner.clone(),
            shape: self.shape.clone(),
            quotas: self.quotas.clone(),
            kept: None,
        }
    }
}

impl<I: fmt::Debug, S, Q> fmt::Debug for Respond<I, S, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Respond").field("inner", &self.inner).finish_non_exhaustive()
    }
}

inner!(Respond<I, S, Q>, "nobody answers for its refusals", "whose refusals are errors again");

impl<I, S, Q, Req, B> Service<Req> for Respond<I, S, Q>
where
    I: Service<Req, Response = Response<B>>,
    I::Error: Peel,
    S: Shape<B> + Clone,
    Q: Quotas<Req>,
{
    type Response = Response<B>;
    type Error = <I::Error as Peel>::Error;
    type Future = ResponseFuture<I::Future, S, Q::Ticket>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.kept.is_some() {
            return Poll::Ready(Ok(()));
        }
        let Err(error) = ready!(self.inner.poll_ready(cx)) else {
            return Poll::Ready(Ok(()));
        };
        // There is no request to answer yet: the next one gets the refusal, and the service inside, which is not
        // ready, no call.
        Poll::Ready(error.peel().map(|rejection| self.kept = Some(rejection)))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let ticket = Some(self.quotas.ticket(&request));
        let answer = match self.kept.take() {
            None => Answer::Awaited { future: self.inner.call(request) },
            Some(rejection) => Answer::Known { rejection },
        };
        ResponseFuture { answer, shape: self.shape.clone(), ticket }
    }
}

pin_project! {
    /// The response future of [`Respond`]. Dropping it drops the inner future.
    ///
    /// Polling it again after it has finished panics.
    pub struct ResponseFuture<F, S, T> {
        #[pin]
        answer: Answer<F>,
        shape: S,
        // Taken with the answer.
        ticket: Option<T>,
    }
}

pin_project! {
    #[project = AnswerProjection]
    enum Answer<F> {
        Awaited { #[pin] future: F },
        Known { rejection: Rejection },
    }
}

impl<F, S, T> fmt::Debug for ResponseFuture<F, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, S, T, B, E> Future for ResponseFuture<F, S, T>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Peel,
    S: Shape<B>,
    T: Ticket,
{
    type Output = Result<Response<B>, E::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let refusal = match this.answer.project() {
            AnswerProjection::Known { rejection } => *rejection,
            AnswerProjection::Awaited { future } => match ready!(future.poll(cx)) {
                Ok(mut response) => {
                    spent(this.ticket).write(None, response.headers_mut());
                    return Poll::Ready(Ok(response));
                }
                Err(error) => match error.peel() {
                    Ok(rejection) => rejection,
                    Err(error) => return Poll::Ready(Err(error)),
                },
            },
        };
        let mut response = response(&refusal, this.shape);
        spent(this.ticket).write(Some(&refusal), response.headers_mut());
        Poll::Ready(Ok(response))
    }
}

/// The ticket of a call that ends.
fn spent<T>(ticket: &mut Option<T>) -> T {
    ticket.take().expect("a response future was polled after it had finished")
}
