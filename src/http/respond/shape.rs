//! How a refusal looks: [`Shape`], and the shapes of HTTP.

use std::{fmt, marker::PhantomData, time::Duration};

use http::{HeaderValue, Response, StatusCode, header};

use super::hook::Hook;
use crate::{
    error::{Reason, Rejection},
    http::{problem, retry_after},
};

/// How a refusal looks as a response. Any `Fn(&Rejection) -> Response<B>` is a shape:
///
/// ```
/// use http::{Response, StatusCode};
/// use portcullis::{Rejection, http::{RespondLayer, respond}};
///
/// let layer = RespondLayer::with(|refusal: &Rejection| {
///     let mut response = Response::new(format!("{refusal}\n"));
///     *response.status_mut() = respond::status(refusal);
///     response
/// });
/// # let _ = layer;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not make a response with a body `{B}`",
    note = "an empty answer needs a body that is `Default`, `problem_json` one that is `From<String>`; any `Fn(&Rejection) -> Response<Body>` is a shape: `RespondLayer::with(…)`"
)]
pub trait Shape<B> {
    /// The response that tells of this refusal.
    fn response(&self, rejection: &Rejection) -> Response<B>;
}

impl<F, B> Shape<B> for F
where
    F: Fn(&Rejection) -> Response<B>,
{
    fn response(&self, rejection: &Rejection) -> Response<B> {
        self(rejection)
    }
}

/// The status that a refusal is answered with unless it is said otherwise.
///
/// | reason | status |
/// |---|---|
/// | `RateLimited`, `OverBurst`, `KeysFull` | 429 Too Many Requests |
/// | `CircuitOpen`, `ForcedOpen`, `ProbeLimit`, `Recovering` | 503 Service Unavailable |
/// | `BulkheadFull`, `QueueTimeout` | 503 Service Unavailable |
/// | `DeadlineTooShort`, `Timeout` | 504 Gateway Timeout |
/// | `Panicked` | 500 Internal Server Error |
///
/// 429 and 503 say that nothing was done and that the same request is welcome later. A timeout is neither: the
/// work may have been done, so it is no 503; and it is never a 408, which says that the *client* was too
/// slow, and which browsers send again by themselves.
///
/// `OverBurst` can never pass. It is a 429 all the same, since it is the rate limit that refuses and what a
/// request costs need not be the length of its content; that it comes without `Retry-After` says that there is
/// no time to wait for. Where the cost is the content's length, 413 says more:
/// `.status_of(Reason::OverBurst, StatusCode::PAYLOAD_TOO_LARGE)`.
pub const fn status(rejection: &Rejection) -> StatusCode {
    match rejection.reason() {
        Reason::RateLimited | Reason::OverBurst | Reason::KeysFull => StatusCode::TOO_MANY_REQUESTS,
        Reason::CircuitOpen
        | Reason::ForcedOpen
        | Reason::ProbeLimit
        | Reason::Recovering
        | Reason::BulkheadFull
        | Reason::QueueTimeout => StatusCode::SERVICE_UNAVAILABLE,
        Reason::DeadlineTooShort | Reason::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Reason::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A status, `Retry-After` where a time is known, and a body that is empty or says what the
/// [problem](problem) is.
///
/// | setting | default |
/// |---|---|
/// | [`status`](Self::status), [`status_of`](Self::status_of), [`timeout_status`](Self::timeout_status) | [as the reason says](status) |
/// | [`retry_after`](Self::retry_after) | as the [rejection](Rejection::retry_after) says |
/// | [`problem_json`](Self::problem_json) | no: the body is empty |
#[must_use]
pub struct Http<C = Empty> {
    status: Hook<StatusCode>,
    retry_after: Hook<Option<Duration>>,
    content: PhantomData<fn() -> C>,
}

/// Of [`Http`]: the body is empty.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Empty;

/// Of [`Http`]: the body is `application/problem+json`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ProblemJson;

impl Http {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            status: Hook::new(status),
            retry_after: Hook::new(Rejection::retry_after),
            content: PhantomData,
        }
    }

    /// Tells of the refusal in a body of `application/problem+json`: see [`problem`].
    pub fn problem_json(self) -> Http<ProblemJson> {
        let Self { status, retry_after, .. } = self;
        Http { status, retry_after, content: PhantomData }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> Http<C> {
    /// Says the status of every refusal, whatever was said before.
    pub fn status(mut self, of: impl Fn(&Rejection) -> StatusCode + Send + Sync + 'static) -> Self {
        self.status.set(of);
        self
    }

    /// Says the status of refusals for one reason.
    pub fn status_of(mut self, reason: Reason, status: StatusCode) -> Self {
        self.status.set_where(move |rejection| rejection.reason() == reason, status);
        self
    }

    /// Says the status of [`Timeout`](Reason::Timeout) and [`DeadlineTooShort`](Reason::DeadlineTooShort): 503,
    /// for example, where what stands in front takes a 504 for its own.
    pub fn timeout_status(self, status: StatusCode) -> Self {
        self.status_of(Reason::Timeout, status).status_of(Reason::DeadlineTooShort, status)
    }

    /// Says how long to wait, as `Retry-After` will tell in whole seconds, rounded up; `None` for none.
    ///
    /// By default it is told wherever the refusal knows it. A full bulkhead, for example, does not:
    ///
    /// ```
    /// use std::time::Duration;
    /// use portcullis::{Reason, Rejection, http::RespondLayer};
    ///
    /// let layer = RespondLayer::new().retry_after(|refusal: &Rejection| match refusal.reason() {
    ///     Reason::BulkheadFull => Some(Duration::from_secs(1)),
    ///     _ => refusal.retry_after(),
    /// });
    /// # let _ = layer;
    /// ```
    pub fn retry_after(
        mut self,
        of: impl Fn(&Rejection) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.retry_after.set(of);
        self
    }

    fn head<B>(&self, rejection: &Rejection, status: StatusCode, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        if let Some(after) = self.retry_after.of(rejection) {
            let seconds = HeaderValue::from(retry_after::seconds(after));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl<B: Default> Shape<B> for Http {
    fn response(&self, rejection: &Rejection) -> Response<B> {
        self.head(rejection, self.status.of(rejection), B::default())
    }
}

impl<B: From<String>> Shape<B> for Http<ProblemJson> {
    fn response(&self, rejection: &Rejection) -> Response<B> {
        let status = self.status.of(rejection);
        let body = problem::json(rejection, status);
        let mut response = self.head(rejection, status, B::from(body));
        let problem = HeaderValue::from_static(problem::CONTENT_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        response
    }
}

impl<C> Clone for Http<C> {
    fn clone(&self) -> Self {
        let Self { status, retry_after, content } = self;
        Self { status: status.clone(), retry_after: retry_after.clone(), content: *content }
    }
}

impl<C> fmt::Debug for Http<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}
