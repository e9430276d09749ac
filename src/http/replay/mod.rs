//! Retrying requests that have a body: what was sent is kept, and sent again.
//!
//! ```text
//!  Request<B> ──▶ ReplayBodyLayer ──▶ RetryLayer ──▶ … ──▶ the client
//!                     │                   │ replay_with(ReplayRequest)
//!                     ▼                   ▼
//!              Request<ReplayBody<B>>   one for each attempt
//!
//!   attempt 1   ██████            the server answers 503 while the body still comes in
//!   attempt 2   ██████▒▒▒▒▒▒▒▒    what attempt 1 had sent, then the rest from the body itself
//! ```
//!
//! A hyper client, which takes any body:
//!
//! ```
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::combinators::BoxBody;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use portcullis::{
//!     BoxError, DefaultClassifier, ErrorLayer, Outcome, Classify, RetryConfig, RetryLayer,
//!     http::{ReplayBodyLayer, ReplayRequest},
//! };
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! type Body = BoxBody<Bytes, BoxError>;
//! type Answer<E> = Result<http::Response<hyper::body::Incoming>, E>;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let retry = RetryLayer::new(RetryConfig::new("orders"))?
//!     .replay_with(ReplayRequest::new())
//!     .classify(|answer: &Answer<portcullis::Error<_>>| match answer {
//!         Ok(response) if response.status().is_server_error() => Outcome::Failure,
//!         other => DefaultClassifier.classify(other),
//!     });
//! let client = ServiceBuilder::new()
//!     .layer(ReplayBodyLayer::new())
//!     .layer(retry)
//!     .layer(ErrorLayer::new())
//!     .service(Client::builder(TokioExecutor::new()).build_http())
//!     .boxed_clone();
//! # fn takes(_: impl tower::Service<Request<Body>>) {}
//! # takes(client);
//! # Ok(())
//! # }
//! ```
//!
//! A service that takes one type of body gets it below the retry, from `ReplayBody<B>`:
//!
//! | service | below the retry |
//! |---|---|
//! | tonic's `Channel` | `.map_request(\|r: Request<ReplayBody<_>>\| r.map(tonic::body::Body::new))` |
//! | an axum `Router` or `Route` | `.map_request(\|r: Request<ReplayBody<_>>\| r.map(axum::body::Body::new))` |
//! | `reqwest::Client`, given a stream as body | `r.map(reqwest::Body::wrap)`, then `reqwest::Request::try_from` |
//! | `reqwest::Client`, given bytes | nothing of this: [`ReplayRequest`] alone clones its request |
//!
//! In the [standard stack](crate::stack::client): [`ReplayBodyLayer`] above it, and
//! `.map_retry(|retry| retry.replay_with(ReplayRequest::new()))`.
//!
//! # Defaults
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | [`cap`](ReplayBodyLayer::cap) | 64 KiB | how many bytes of one body are kept, at most; trailers are not counted |
//! | [which requests](ReplayRequest) | idempotent ones | by method, or with an `Idempotency-Key` |
//!
//! # Semantics
//!
//! 1. **Lazy**: nothing is kept before it is sent, nor after there can be no other attempt. The body
//!    itself is read once, frame by frame, when an attempt asks for it.
//! 2. **Over the cap**: what was kept is dropped, and the request goes on. Should that attempt fail, the
//!    call ends with its answer as [`NotReplayable`](crate::RetryEnd::NotReplayable). It is never an error.
//!    A body whose size hint says so from the beginning is not kept at all, and its head is not cloned.
//! 3. **One attempt reads at a time.** The moment a retry decides on another attempt it
//!    [takes the body over](ReplayBody::take_over). An earlier one that still uploads, since the server
//!    has answered early or a timeout has cut it, is woken and gets
//!    [`Detached`](ReplayBodyError::Detached): its connection ends, and no byte goes missing or is read
//!    twice. Where the retry decides against another attempt, the upload goes on.
//! 4. **A body that fails** is not replayed: the client's own input is at fault.
//! 5. **The same bytes, not the same frames**: short frames (under 1 KiB) may come together in one, and empty
//!    ones are left out. Trailers are kept and come last.
//! 6. **Size**: each attempt tells what is left for it, so `content-length` is right in each. A body that does not
//!    know its size may know it at a later attempt, when all of it is kept; one with trailers does not
//!    tell then, since with a `content-length` HTTP/1 sends none.
//!
//! # Cancellation
//!
//! Attempts can be dropped at any point and in any order: the body lives until the last that could read it
//! is gone.
//!
//! # Memory and cost
//!
//! | request | allocations for the body |
//! |---|---|
//! | without a second attempt to keep for, or without a body | none |
//! | with one frame | one, made with the first attempt: what the attempts share |
//! | with more | the list of frames; the room for those under 1 KiB |
//!
//! Frames are kept as `Bytes`, which share what they were read from: a frame of 1 KiB that is a part of a larger
//! buffer keeps all of that. The head is cloned once fewer than there may be attempts, and not for the last:
//! a map of headers, and of extensions if there are any.

mod body;
mod kept;
mod layer;
mod request;
mod shared;

pub use self::{
    body::{ReplayBody, ReplayBodyError},
    layer::{ReplayBodyLayer, WithReplayBody},
    request::{ByMethod, MayReplay, ReplayRequest},
};
