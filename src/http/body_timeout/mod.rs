//! A timeout for bodies: one that stalls is cut.
//!
//! A [`TimeoutLayer`](crate::TimeoutLayer) covers the head of a response. A body that stops in the middle keeps
//! its connection, its slot of a bulkhead, and whoever reads it, for as long as nobody gives up.
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//! use bytes::Bytes;
//! use futures_util::stream;
//! use http_body::Frame;
//! use http_body_util::{BodyExt, StreamBody};
//! use portcullis::{Reason, http::{BodyError, BodyTimeoutConfig, BodyTimeoutLayer}};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let config = BodyTimeoutConfig::new("downloads", Duration::from_secs(15));
//! let service = ServiceBuilder::new()
//!     .layer(BodyTimeoutLayer::new(config)?)
//!     .service(service_fn(|_: http::Request<()>| async {
//!         let stalls = stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
//!         Ok::<_, Infallible>(http::Response::new(StreamBody::new(stalls)))
//!     }));
//!
//! let response = service.oneshot(http::Request::new(())).await.unwrap();
//! let Err(BodyError::Rejected(cut)) = response.into_body().collect().await else {
//!     panic!("it never ends");
//! };
//! assert_eq!(cut.reason(), Reason::Timeout);
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | [`idle`](BodyTimeoutConfig::idle) | none: it is required, or one of the others | how long the next frame may take |
//! | [`total`](BodyTimeoutConfig::total) | none | how long all of a body may take, from the head |
//! | [`until_deadline`](BodyTimeoutConfig::until_deadline) | off | whether the deadline that holds when the call is made is the body's, too |
//!
//! # Semantics, where timeouts differ
//!
//! 1. **Idle is the service's time, not the reader's**: it begins with the poll that finds the body waiting, and
//!    ends with the next frame. A reader that takes its time between two frames uses up nothing. So one that
//!    never reads is never cut: a server's own write timeout is for that.
//! 2. **A frame that is ready is delivered**, at whatever time, within `idle`. After `total` or the deadline, the
//!    end of the body is still taken if it is ready, and more data is not: an endless one has no other end.
//! 3. **Dropped, then told.** The body inside is gone before the error is returned and before any observer hears
//!    of it. After the error there are no more frames.
//! 4. **The error** is [`BodyError`]: the refusal ([`Reason::Timeout`](crate::Reason::Timeout), attempted), or
//!    the body's own error. It turns into a boxed error, as servers and frameworks ask, in which
//!    [`Rejection::find`](crate::Rejection::find) finds the refusal.
//! 5. **Extremes.** A limit of zero is a [`ConfigError`](crate::ConfigError); one that ends after every instant
//!    there is, is none. tokio's timers tell milliseconds apart and are never early.
//!
//! # Where it stands
//!
//! Below what [holds](super::hold) to the end of the body: to a breaker there a body that is cut is a failure,
//! and a bulkhead gets its slot back. It never refuses a call, and keeps the service's error type.
//!
//! # Commands, events
//!
//! In [`shadow`](BodyTimeLimit::shadow) a body that runs out of time is reported, once, and goes on;
//! [`disable`](BodyTimeLimit::disable) leaves bodies alone. A body ends under the mode and the limits that it
//! began with. [`Rejected`](crate::Event::Rejected) or [`WouldReject`](crate::Event::WouldReject) tells of a body
//! that is cut, or would be; [`InTime`](crate::Event::InTime) of one that ends otherwise, by its end or by an
//! error of its own. One that is dropped is none of them.
//!
//! # Cancellation, cost
//!
//! Dropping the body drops the one inside and the timer; nothing else is held. No allocation per body. The clock
//! is read when a body is first found waiting for a frame, and with every frame where there is a limit for all
//! of it; the timer is made when it is first needed, and set anew after that. Bodies that wait need a tokio
//! runtime with timers. [`Options::clock`](crate::Options::clock) changes nothing here.

mod body;
mod core;
mod error;
mod handle;
mod layer;

pub use self::{
    body::TimedBody,
    error::BodyError,
    handle::BodyTimeLimit,
    layer::{BodyTimeout, BodyTimeoutLayer, ResponseFuture},
};
pub use crate::policy::body_timeout::config::BodyTimeoutConfig;
