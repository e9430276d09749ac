//! [`ReplayRequest`]: which requests are sent again, and how they are made.

use http::{HeaderName, Request};
use http_body::Body;

use super::body::ReplayBody;
use crate::{
    error::BoxError,
    http::idempotent::{IDEMPOTENCY_KEY, RequestHead, has_idempotent_method, has_key},
    retry::Replay,
};

/// Sends HTTP requests again that may be sent twice: for
/// [`RetryLayer::replay_with`](crate::RetryLayer::replay_with).
///
/// | request | made once more by |
/// |---|---|
/// | `http::Request<ReplayBody<B>>` | a body that replays, where [it can](ReplayBody::replay) |
/// | `http::Request<B>` with `B: Clone`, such as `Full<Bytes>` | its `Clone` |
/// | `reqwest::Request`, with feature `reqwest` | its `try_clone`: any but one with a stream for its body |
///
/// Method, URI, version, headers and extensions are cloned, and only if the request may be sent again.
/// A request that may not has one attempt, and the retry ends as
/// [`NotReplayable`](crate::RetryEnd::NotReplayable) if that fails.
///
/// | which may be | by |
/// |---|---|
/// | idempotent ones, by method or `Idempotency-Key` (see [`is_idempotent`](crate::http::is_idempotent)) | [`new`](Self::new), the default |
/// | the same with a header of another name, or of none | [`key_header`](Self::key_header), [`no_key_header`](Self::no_key_header) |
/// | all | [`any_method`](Self::any_method) |
/// | all, and the server is told how often | [`grpc`](Self::grpc) |
/// | those that a function chooses | [`when`](Self::when) |
///
/// ```
/// use http_body_util::Full;
/// use bytes::Bytes;
/// use portcullis::{RetryConfig, RetryLayer, http::ReplayRequest};
///
/// type Request = http::Request<Full<Bytes>>;
///
/// let retry = RetryLayer::new(RetryConfig::new("orders"))?.replay_with(ReplayRequest::new());
/// let retry = retry.replay_with(ReplayRequest::new().when(|request: &Request| {
///     portcullis::http::is_idempotent(request) || request.uri().path() == "/search"
/// }));
/// # let _ = retry;
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ReplayRequest<M = ByMethod> {
    may: M,
}

impl ReplayRequest {
    /// Replays idempotent requests.
    pub const fn new() -> Self {
        Self { may: ByMethod { any: false, key: Some(IDEMPOTENCY_KEY) } }
    }

    /// For gRPC, where every call is a `POST` and the status code says whether to try again: replays any
    /// method. [`AttemptLayer`](crate::grpc::AttemptLayer) tells the server how many attempts came before.
    pub const fn grpc() -> Self {
        Self { may: ByMethod { any: true, key: None } }
    }

    /// Replays a request of another method, too, if it has this header and its value is not empty, instead
    /// of `Idempotency-Key`.
    pub fn key_header(mut self, name: HeaderName) -> Self {
        self.may.key = Some(name);
        self
    }

    /// Lets the method alone decide.
    pub fn no_key_header(mut self) -> Self {
        self.may.key = None;
        self
    }

    /// Replays any method. Only where the classifier tells apart what the server has not done: a `POST` whose
    /// answer was lost may have been.
    pub fn any_method(mut self) -> Self {
        self.may.any = true;
        self
    }
}

impl Default for ReplayRequest {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> ReplayRequest<M> {
    /// Replays the requests for which a function says so, or a [named value](MayReplay), instead of asking
    /// for their method.
    pub fn when<N, Req>(self, may: N) -> ReplayRequest<N>
    where
        N: MayReplay<Req>,
    {
        ReplayRequest { may }
    }
}

/// The head once more.
fn again<B, C>(request: &Request<B>, body: C) -> Request<C> {
    let mut again = Request::new(body);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    *again.headers_mut() = request.headers().clone();
    *again.extensions_mut() = request.extensions().clone();
    again
}

/// Whether a request may be sent twice. Any `Fn(&Req) -> bool` is one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say whether a `{Req}` may be sent twice",
    note = "the function is asked with the request as the retry sees it, such as `|request: &http::Request<ReplayBody<_>>| …` below a `ReplayBodyLayer`"
)]
pub trait MayReplay<Req> {
    /// Whether this one may.
    fn may_replay(&self, request: &Req) -> bool;
}

impl<F, Req> MayReplay<Req> for F
where
    F: Fn(&Req) -> bool,
{
    fn may_replay(&self, request: &Req) -> bool {
        self(request)
    }
}

/// Chooses requests by method and header, as [`ReplayRequest`] is told to.
#[derive(Clone, Debug)]
pub struct ByMethod {
    any: bool,
    key: Option<HeaderName>,
}

impl<Req: RequestHead> MayReplay<Req> for ByMethod {
    fn may_replay(&self, request: &Req) -> bool {
        self.any
            || has_idempotent_method(request)
            || self.key.as_ref().is_some_and(|key| has_key(request, key))
    }
}

// No `ReplayBody` is `Clone`, so that these two do not overlap.
impl<M, B> Replay<Request<B>> for ReplayRequest<M>
where
    M: MayReplay<Request<B>>,
    B: Clone,
{
    fn replay(&self, request: &Request<B>) -> Option<Request<B>> {
        self.may.may_replay(request).then(|| again(request, request.body().clone()))
    }
}

impl<M, B> Replay<Request<ReplayBody<B>>> for ReplayRequest<M>
where
    M: MayReplay<Request<ReplayBody<B>>>,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    fn replay(&self, request: &Request<ReplayBody<B>>) -> Option<Request<ReplayBody<B>>> {
        if !self.may.may_replay(request) {
            return None;
        }
        let body = request.body().replay()?;
        Some(again(request, body))
    }

    fn take_over(&self, next: &Request<ReplayBody<B>>) -> bool {
        next.body().take_over()
    }
}

#[cfg(feature = "reqwest")]
impl<M: MayReplay<reqwest::Request>> Replay<reqwest::Request> for ReplayRequest<M> {
    fn replay(&self, request: &reqwest::Request) -> Option<reqwest::Request> {
        if self.may.may_replay(request) { request.try_clone() } else { None }
    }
}
