//! Respond: a refusal becomes a response, and a server that must not fail does not.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use portcullis::{ErrorLayer, RateLimitConfig, RateLimitLayer, Reason, http::{self as wire, RespondLayer}};
//! use std::{convert::Infallible, time::Duration};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let one_an_hour = RateLimitConfig::new("reports", 1, Duration::from_secs(3_600)).burst(1);
//! let mut reports = ServiceBuilder::new()
//!     .layer(RespondLayer::new())                     // outermost: what is refused below is answered
//!     .layer(RateLimitLayer::new(one_an_hour)?)
//!     .layer(ErrorLayer::new())
//!     .service(service_fn(|_: Request<()>| async {
//!         Ok::<_, Infallible>(Response::new(String::from("a report")))
//!     }));
//!
//! // The error is the service's own again: `Infallible`, which is all that axum takes.
//! let Ok(first) = reports.ready().await.unwrap().call(Request::new(())).await;
//! assert_eq!(first.status(), StatusCode::OK);
//! let Ok(second) = reports.ready().await.unwrap().call(Request::new(())).await;
//! assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(second.headers()["retry-after"], "3600");
//! assert_eq!(wire::rejection_of(&second).unwrap().reason(), Reason::RateLimited);
//! # Ok(())
//! # }
//! ```
//!
//! In an axum Router nothing else is needed, nor a `HandleErrorLayer`:
//!
//! ```text
//! Router::new().route(…).layer(
//!     ServiceBuilder::new().layer(RespondLayer::new()).layer(limiter).layer(ErrorLayer::new()),
//! )
//! ```
//!
//! and in a tonic server it is
//! [`RespondLayer::grpc()`](RespondLayer::grpc): see [`grpc::respond`](crate::grpc::respond). A
//! [standard server](crate::stack::server) has a place for it: `stack::server("api").build()?.http()`.
//!
//! # Where it stands
//!
//! Outermost. Below it a refusal is an error that every layer of ours can tell from the service's own: a breaker does not
//! count it, a retry does not repeat it, a fallback answers for it. Above it, a refusal is an answer like any other. A layer in
//! the middle of a stack that answered by itself would so hide its refusals, and those below it, from every layer above;
//! and what layers above refuse would have nobody to answer for it. [`stack::check`](crate::stack::check) finds that.
//!
//! Where another stack does stand above, in a gateway for example, it can still tell: the [`Rejection`] rides in the
//! response's extensions, which never leave the process, and [`rejection_of`] finds it.
//!
//! # Defaults
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | [`status`](RespondLayer::status), [`status_of`](RespondLayer::status_of), [`timeout_status`](RespondLayer::timeout_status) | [as the reason says](status()): 429, 503, 504, 500 | the status of a refusal |
//! | [`retry_after`](RespondLayer::retry_after) | what the refusal knows | `Retry-After`, in whole seconds rounded up, never 0; none where no time is known |
//! | [`problem_json`](RespondLayer::problem_json) | off: an empty body | a body of [`application/problem+json`](crate::http::problem) |
//! | [`rate_limit_fields`](RespondLayer::rate_limit_fields) | off | [what is left of a quota](crate::http::rate_limit_fields), with every response |
//! | [`with`](RespondLayer::with) | – | any other [`Shape`] |
//!
//! Of the body, an empty one asks for `B: Default`, a problem for `B: From<String>`.
//!
//! # Without the layer
//!
//! [`response`] is the same as a function, for a handler or an error type of one's own:
//!
//! ```
//! use http::{Response, StatusCode};
//! use portcullis::{Error, Reason, Rejection, http::{Http, respond}};
//!
//! fn answer(error: Error<std::io::Error>) -> Response<String> {
//!     match error {
//!         Error::Rejected(refusal) => respond::response(&refusal, &Http::new().problem_json()),
//!         Error::Inner(error) => {
//!             let mut response = Response::new(error.to_string());
//!             *response.status_mut() = StatusCode::BAD_GATEWAY;
//!             response
//!         }
//!     }
//! }
//! let answered = answer(Error::Rejected(Rejection::new(Reason::Timeout, "search")));
//! assert_eq!(answered.status(), StatusCode::GATEWAY_TIMEOUT);
//! ```
//!
//! # Readiness
//!
//! `poll_ready` is the service's own. Where that ends with a refusal, it is ready all the same, and the next call gets
//! that refusal as its answer; the service inside is not called then. Clones begin anew.
//!
//! # Cancellation, clones, events
//!
//! Dropping the response future drops the one inside. There is no state: clones differ in nothing, and there are no
//! events, since the layer that refuses has told of it.
//!
//! # Memory and cost
//!
//! A call that is not refused allocates nothing and is not looked into, unless quotas are told of. A refusal takes the
//! allocations of its response: its fields, its extensions, and its body if there is one.

mod hook;
mod layer;
mod peel;
mod shape;

use http::Response;

pub(crate) use self::hook::Hook;
pub use self::{
    layer::{Respond, RespondLayer, ResponseFuture},
    peel::Peel,
    shape::{Empty, Http, ProblemJson, Shape, status},
};
use crate::error::Rejection;

/// The response that tells of a refusal, with the refusal in its extensions.
pub fn response<B>(rejection: &Rejection, shape: &impl Shape<B>) -> Response<B> {
    let mut response = shape.response(rejection);
    response.extensions_mut().insert(*rejection);
    response
}

/// The refusal that this response tells of, if a [`RespondLayer`] or [`response`] of this process made it.
///
/// For layers above: a refusal was not the service's failure.
///
/// ```
/// use http::Response;
/// use portcullis::{Outcome, http::rejection_of};
///
/// let by_status = |result: &Result<Response<String>, ()>| match result {
///     Ok(response) if rejection_of(response).is_some() => Outcome::Ignored,
///     Ok(response) if response.status().is_server_error() => Outcome::Failure,
///     Ok(_) => Outcome::Success,
///     Err(()) => Outcome::Failure,
/// };
/// # let _ = by_status;
/// ```
pub fn rejection_of<B>(response: &Response<B>) -> Option<&Rejection> {
    response.extensions().get()
}
