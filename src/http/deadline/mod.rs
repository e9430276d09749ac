//! Deadlines on the wire: a server learns how long its answer is waited for, and tells the services that it
//! asks in turn.
//!
//! ```text
//!  client ──── x-timeout-ms: 2000 ───▶ DeadlineLayer ─▶ TimeoutLayer ─▶ handler
//!                                        sets the         enforces it      │ 300 ms later
//!                                        ambient one                       ▼
//!  next ◀──── x-timeout-ms: 1695 ────────────── ForwardDeadlineLayer ◀─ client stack
//! ```
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//! use portcullis::{
//!     Error, ErrorLayer, TimeoutConfig, TimeoutLayer, deadline,
//!     http::deadline::{DeadlineConfig, DeadlineLayer},
//! };
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let config = DeadlineConfig::new("api").millis("x-timeout-ms").max(Duration::from_secs(30));
//! let server = ServiceBuilder::new()
//!     .layer(DeadlineLayer::new(config)?.trust_all())
//!     .layer(TimeoutLayer::new(TimeoutConfig::per_request("api"))?)
//!     .layer(ErrorLayer::new())
//!     .service(service_fn(|_: http::Request<()>| async {
//!         Ok::<_, Infallible>(deadline::remaining())
//!     }));
//! let request = http::Request::builder().header("x-timeout-ms", "250").body(()).unwrap();
//! assert_eq!(server.oneshot(request).await.unwrap(), Some(Duration::from_millis(250)));
//! # Ok(())
//! # }
//! ```
//!
//! # Inbound: [`DeadlineLayer`]
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | [`headers`](DeadlineConfig::headers) | none: one is required, or `max` | what is read, in this order: the first that says a time counts |
//! | [`trust_all`](DeadlineLayer::trust_all), [`trust`](DeadlineLayer::trust), [`trust_with`](DeadlineLayer::trust_with) | nobody | whose headers are believed |
//! | [`max`](DeadlineConfig::max) | none | the longest that any request gets, whether it says something or not |
//! | [`margin`](DeadlineConfig::margin) | zero | how much earlier the answer has to be ready, to reach whoever waits in time |
//! | [`min_remaining`](DeadlineConfig::min_remaining) | zero | a request with less time left is refused |
//!
//! 1. **It only shrinks.** The deadline is the earliest of what the header says less the margin, `max`,
//!    the [ambient](crate::deadline) deadline that holds already, and the [`Deadline`] that the request
//!    carries.
//! 2. **It cuts nothing.** It sets the ambient deadline for the service's `call` and each poll of its
//!    future. Put a [`TimeoutLayer`](crate::TimeoutLayer) below it, which enforces it; every other layer of
//!    ours sees it, too.
//! 3. **It crosses tasks** as an extension of the request: a [`Deadline`] for whoever spawns.
//! 4. **Too little time refuses at once**, in `call`:
//!    [`Reason::DeadlineTooShort`](crate::Reason::DeadlineTooShort). A header that says zero is too little.
//! 5. **Garbage says nothing**: the next header is looked at, and at last `max`. So do numbers with a sign or
//!    a fraction. Of several lines of a header the shortest time counts.
//! 6. **Strangers say nothing**, as if they had sent no header: it is taken out of the request, so that a proxy which
//!    passes that on does not tell the next service either.
//!
//! # Outbound: [`ForwardDeadlineLayer`]
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | [`headers`](ForwardDeadlineConfig::headers) | none: one is required | what is written, all of them |
//! | [`margin`](ForwardDeadlineConfig::margin) | 5 ms | how much less is told than is left, for the way there and back |
//!
//! 1. **It tells what is left now**, of the ambient deadline or the one that the request carries, the
//!    earlier. Below a retry each attempt tells less. Without a deadline it leaves the request alone.
//! 2. **It only shrinks.** A header that says less already stays; one that says more, or garbage, is replaced.
//! 3. **Nothing left, nothing sent.** Where the margin leaves nothing, or less than one unit of a header, or
//!    where a header says zero already, the call is refused at once.
//!
//! It works on `http::Request`, and with the feature `reqwest` on its requests.
//!
//! # With tonic
//!
//! tonic's own server and client look at `grpc-timeout` as well, above any layer, and answer `CANCELLED`
//! at the very moment that it says. Give the inbound layer a `margin`, and the timeout below it answers
//! before that, with `DEADLINE_EXCEEDED`.
//!
//! # Readiness, cancellation and cost
//!
//! `poll_ready` is the inner service's. Dropping the response future drops the inner one; nothing else is
//! held. A request with a deadline costs one reading of the clock, and the allocations of an extension
//! (inbound) or of a header's value (outbound).
//!
//! # Events
//!
//! [`Rejected`](crate::Event::Rejected) for a request that is refused.

mod carried;
mod config;
mod forward;
mod future;
mod layer;
mod trust;
mod wire;

pub use self::{
    carried::Deadline,
    config::{DeadlineConfig, ForwardDeadlineConfig},
    forward::{ForwardDeadline, ForwardDeadlineLayer, Outgoing},
    future::ResponseFuture,
    layer::{DeadlineLayer, SetDeadline},
    trust::{Everybody, Nobody, Trust, TrustedPeers},
    wire::DeadlineHeader,
};
