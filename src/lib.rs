//! Resilience layers for Tower: keep a service standing when what it depends on
//! does not.
//!
//! | layer | what for | without Tower | as a pure decision |
//! |---|---|---|---|
//! | [`CircuitBreakerLayer`] | a dependency that fails, hangs or is slow: stop calling it, find out when it works again | [`Circuit`] | [`policy::breaker`] |
//! | [`KeyedCircuitBreakerLayer`] | the same for each host, shard or tenant | [`Circuits`] | |
//! | [`RateLimitLayer`] | so many calls per so long: refuse the rest, with the time to come back | [`RateLimiter`] | [`policy::bucket`] |
//! | [`WaitingRateLimitLayer`] | the same, but let them wait in turn, within bounds | [`RateLimiter::acquire`] | |
//! | [`KeyedRateLimitLayer`] | a rate limit for each client, tenant or address, in a bounded table | [`RateLimiters`] | [`policy::bucket::Buckets`] |
//! | [`ErrorLayer`] | lifts the service's error once, so that it can carry a refusal | [`Error::Inner`] | |
//!
//! Bulkhead, timeout, retry, fallback and a standard stack of them are to come, on the same
//! foundation.
//!
//! ```
//! use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("payments"))?;
//! let circuit = breaker.circuit().clone();
//!
//! let client = ServiceBuilder::new()
//!     .layer(breaker)
//!     .layer(ErrorLayer::new())
//!     .service(service_fn(|cents: u64| async move { Ok::<_, std::io::Error>(cents) }));
//!
//! match client.oneshot(500).await {
//!     Ok(paid) => println!("paid {paid}"),
//!     Err(Error::Inner(error)) => println!("the provider failed: {error}"),
//!     Err(Error::Rejected(refusal)) => println!("{refusal}"),
//! }
//! println!("{}", circuit.explain());
//! # Ok(())
//! # }
//! ```
//!
//! # What holds everywhere
//!
//! - **One error type through a whole stack.** Every layer keeps the error type of the service below it;
//!   a [`Rejection`] in it says who refused, why, and when to come back: see [`docs::errors`].
//! - **One layer value is one state**, shared by its clones and every service it makes, across routes and
//!   connections: see [`docs::sharing`].
//! - **Dropping a future gives everything back**: see [`docs::cancellation`].
//! - **A refusal never waits**, even over a service that is never ready: see [`docs::readiness`].
//! - **tokio's paused clock drives everything**: see [`docs::testing`].
//! - **No call allocates**, admitted or refused, beyond what your own key function does; no future is boxed.
//! - **No input panics.** A number either works or is a [`ConfigError`] that names field and value.
//!   Two documented exceptions: polling a future after it has finished, and waiting outside a runtime that
//!   has timers.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `tracing` | on | transitions, refusals and keys without room go to `tracing` as well: see [`event`] |
//! | `quanta` | off | `clock::quanta_now`, a faster clock that can be chosen in code |
//!
//! Features add API and never change behaviour. The minimum supported Rust version is 1.85.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod ambient;
pub mod circuit_breaker;
pub mod clock;
pub mod deadline;
mod error;
mod error_layer;
pub mod event;
mod guard;
mod options;
mod outcome;
mod plan;
pub mod policy;
pub mod rate_limit;
mod registry;
mod sync;

#[cfg(any(doc, doctest))]
pub mod docs;

/// The README's examples, tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[doc(inline)]
pub use self::{
    circuit_breaker::{
        Circuit, CircuitBreaker, CircuitBreakerLayer, Circuits, KeyedCircuitBreaker,
        KeyedCircuitBreakerLayer, StateWatch,
    },
    event::{Event, Observer},
    policy::{
        Cause, Command, Explanation, Mode, PolicySnapshot,
        breaker::{
            Snapshot, State, Transition,
            config::{CircuitBreakerConfig, Decide, HalfOpen, Hung, Sleep},
        },
        bucket::{
            RateLimitSnapshot,
            config::RateLimitConfig,
            keyed::{AtCap, Keys},
        },
        window::Window,
    },
    rate_limit::{
        KeyedRateLimit, KeyedRateLimitLayer, RateLimit, RateLimitLayer, RateLimiter, RateLimiters,
        WaitingRateLimit, WaitingRateLimitLayer, Waits,
    },
};
pub use self::{
    error::{BoxError, CarryRejection, ConfigError, Error, PolicyKind, Reason, Rejection, intern},
    error_layer::{ErrorLayer, LiftError},
    options::Options,
    outcome::{Classify, DefaultClassifier, Hint, Outcome},
    registry::{Managed, Registry},
};
