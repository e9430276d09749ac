//! A refusal as gRPC tells it: `grpc-status` in the head, and no body.
//!
//! ```text
//! Server::builder()
//!     .layer(ServiceBuilder::new().layer(RespondLayer::grpc()).layer(limiter).layer(ErrorLayer::new()))
//!     .add_service(service)
//! ```
//!
//! Without it, a refusal is an error of the server's own, which resets the stream: its client sees
//! `Internal`, and no reason. The rest of [`RespondLayer`] is the same in both shapes: see
//! [`http::respond`](crate::http::respond).
//!
//! # Defaults
//!
//! | reason | `grpc-status` |
//! |---|---|
//! | `RateLimited`, `OverBurst`, `KeysFull`, `BulkheadFull`, `QueueTimeout` | 8 `RESOURCE_EXHAUSTED` |
//! | `CircuitOpen`, `ForcedOpen`, `ProbeLimit`, `Recovering` | 14 `UNAVAILABLE` |
//! | `DeadlineTooShort`, `Timeout` | 4 `DEADLINE_EXCEEDED` |
//! | `Panicked` | 13 `INTERNAL` |
//!
//! A full bulkhead is not `UNAVAILABLE`, which most clients send again at once, to a server that has
//! too much to do.
//!
//! | field | what it says |
//! |---|---|
//! | `grpc-message` | the refusal as a sentence, percent-encoded; it begins with the policy's name, which clients then see |
//! | `grpc-retry-pushback-ms` | how long to wait, in milliseconds rounded up and never 0, where that is known; `-1`, never, for a refusal that is [permanent](Reason::is_permanent) |
//!
//! The HTTP status is 200, as gRPC wants it.

use std::{fmt, time::Duration};

use http::{HeaderName, HeaderValue, Response, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{Code, code::STATUS, pushback};
use crate::{
    error::{Reason, Rejection},
    http::{RespondLayer, Shape, respond::Hook},
};

const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What may not stand in `grpc-message` as it is; nothing beyond ASCII may.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The number of the status code that a refusal is answered with unless it is said otherwise: that of
/// [`Code::of_refusal`].
pub const fn code(rejection: &Rejection) -> i32 {
    Code::of_refusal(rejection).as_i32()
}

/// `grpc-status`, `grpc-message`, and `grpc-retry-pushback-ms` where a time is known, all in the head.
///
/// | setting | default |
/// |---|---|
/// | [`code`](Self::code), [`code_of`](Self::code_of) | [as the reason says](code()) |
/// | [`retry_after`](Self::retry_after) | as the [rejection](Rejection::retry_after) says |
#[derive(Clone)]
#[must_use]
pub struct Grpc {
    code: Hook<i32>,
    retry_after: Hook<Option<Duration>>,
}

impl Grpc {
    /// The defaults.
    pub const fn new() -> Self {
        Self { code: Hook::new(code), retry_after: Hook::new(Rejection::retry_after) }
    }

    /// Says the code of every refusal, whatever was said before: a number, or what is one, such as
    /// `tonic::Code`.
    pub fn code<C: Into<i32>>(
        mut self,
        of: impl Fn(&Rejection) -> C + Send + Sync + 'static,
    ) -> Self {
        self.code.set(move |rejection| of(rejection).into());
        self
    }

    /// Says the code of refusals for one reason.
    pub fn code_of(mut self, reason: Reason, code: impl Into<i32>) -> Self {
        self.code.set_where(move |rejection| rejection.reason() == reason, code.into());
        self
    }

    /// Says how long to wait, as `grpc-retry-pushback-ms` will tell in milliseconds; `None` for nothing. Of a
    /// refusal that can never pass nobody is asked.
    pub fn retry_after(
        mut self,
        of: impl Fn(&Rejection) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.retry_after.set(of);
        self
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Grpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grpc").finish_non_exhaustive()
    }
}

impl<B: Default> Shape<B> for Grpc {
    fn response(&self, rejection: &Rejection) -> Response<B> {
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(STATUS, HeaderValue::from(self.code.of(rejection)));
        let sentence = rejection.to_string();
        let message = utf8_percent_encode(&sentence, ESCAPED).to_string();
        // It holds nothing but printable ASCII by now.
        if let Ok(message) = HeaderValue::try_from(message) {
            headers.insert(MESSAGE, message);
        }
        if let Some(pushback) = pushback::told(rejection, |refusal| self.retry_after.of(refusal)) {
            headers.insert(pushback::NAME, pushback);
        }
        response
    }
}

impl RespondLayer<Grpc> {
    /// Answers as gRPC servers do: see [`grpc::respond`](crate::grpc::respond).
    pub const fn grpc() -> Self {
        Self::with(Grpc::new())
    }
}

/// As those of [`Grpc`].
impl<Q> RespondLayer<Grpc, Q> {
    /// Says the code of every refusal, whatever was said before: see [`Grpc::code`].
    pub fn code<C: Into<i32>>(self, of: impl Fn(&Rejection) -> C + Send + Sync + 'static) -> Self {
        self.map_shape(|grpc| grpc.code(of))
    }

    /// Says the code of refusals for one reason.
    pub fn code_of(self, reason: Reason, code: impl Into<i32>) -> Self {
        self.map_shape(|grpc| grpc.code_of(reason, code))
    }

    /// Says how long to wait, as `grpc-retry-pushback-ms` will tell: see [`Grpc::retry_after`].
    pub fn retry_after(
        self,
        of: impl Fn(&Rejection) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.map_shape(|grpc| grpc.retry_after(of))
    }
}
