//! Resilience layers for Tower: keep a service standing when what it depends on
//! does not.
//!
//! | layer | what for | without Tower | as a pure decision |
//! |---|---|---|---|
//! | [`CircuitBreakerLayer`] | a dependency that fails, hangs or is slow: stop calling it, find out when it works again | [`Circuit`] | [`policy::breaker`] |
//! | [`KeyedCircuitBreakerLayer`] | the same for each host, shard or tenant, in a bounded table | [`Circuits`] | |
//! | [`RateLimitLayer`] | so many calls per so long: refuse the rest, with the time to come back | [`RateLimiter`] | [`policy::bucket`] |
//! | [`WaitingRateLimitLayer`] | the same, but let them wait in turn, within bounds | [`RateLimiter::acquire`] | |
//! | [`KeyedRateLimitLayer`] | a rate limit for each client, tenant or address, in a bounded table | [`RateLimiters`] | [`policy::bucket::Buckets`] |
//! | [`BulkheadLayer`] | so many calls at once: refuse the rest | [`Bulkhead`] | [`policy::bulkhead`] |
//! | [`QueuedBulkheadLayer`] | the same, but let them wait in a bounded queue | [`Bulkhead::acquire`] | |
//! | [`TimeoutLayer`] | a call takes longer than its answer is useful: cut it, and let every layer below know the deadline | [`TimeLimit`] | [`policy::timeout`] |
//! | [`RetryLayer`] | failures that pass: try again, later, within a budget | [`RetryPolicy`], [`RetryBudget`] | [`policy::retry`], [`policy::budget`], [`policy::backoff`] |
//! | [`FallbackLayer`] | answer in place of a service that fails: a value, a function, another service, the last good answer | [`FallbackPolicy`], [`LastGood`] | [`policy::fallback`] |
//! | [`CatchPanicLayer`] | a service that panics: an error in place of the panic | [`PanicGuard`] | |
//! | [`ErrorLayer`] | lifts the service's error once, so that it can carry a refusal | [`Error::Inner`] | |
//! | [`stack::client`], [`stack::server`] | the layers of a client or a server in their right order, as one | | [`stack::check`] explains what is wrong with any stack |
//!
//! With feature `http`, servers also have `http::RespondLayer`, which turns refusals into responses,
//! `http::deadline::DeadlineLayer` and keys of clients in `http::key`; clients have `http::ReplayBodyLayer`,
//! `http::HttpClassifier` and `grpc::GrpcClassifier`; both have `http::BodyTimeoutLayer` and `hold_body()`. `health` has
//! probes and draining.
//!
//! [`docs::choosing`] says which one is for which pain, [`docs::ordering`] in which order they stand and why.
//!
//! The whole stack of a client, with sane numbers, in front of any service:
//!
//! ```
//! use std::time::Duration;
//! use portcullis::{Error, stack};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let payments = stack::client("payments")
//!     .total_timeout(Duration::from_secs(10))
//!     .attempt_timeout(Duration::from_secs(3))
//!     .build()?;
//! let client = ServiceBuilder::new()
//!     .layer(payments)
//!     .service(service_fn(|cents: u64| async move { Ok::<_, std::io::Error>(cents) }));
//!
//! match client.oneshot(500).await {
//!     Ok(paid) => println!("paid {paid}"),
//!     Err(Error::Inner(error)) => println!("the provider failed: {error}"),
//!     Err(Error::Rejected(refusal)) => println!("{refusal}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! One layer by itself is no different: put it into a `ServiceBuilder`, with [`ErrorLayer`] last.
//!
//! ```
//! use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, ErrorLayer};
//! use tower::{ServiceBuilder, service_fn};
//!
//! let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("payments"))?;
//! let circuit = breaker.circuit().clone();
//! let client = ServiceBuilder::new()
//!     .layer(breaker)
//!     .layer(ErrorLayer::new())
//!     .service(service_fn(|cents: u64| async move { Ok::<_, std::io::Error>(cents) }));
//! # let _ = client;
//! println!("{}", circuit.explain());
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! # What holds everywhere
//!
//! - **One error type through a whole stack.** Every layer keeps the error type of the service below it;
//!   a [`Rejection`] in it says who refused, why, and when to come back: see [`docs::errors`].
//! - **One layer value is one state**, shared by its clones and every service it makes, across routes and
//!   connections: see [`docs::sharing`].
//! - **Dropping a future gives everything back**: see [`docs::cancellation`].
//! - **An idle service holds nothing**, and an open circuit refuses at once, even over a service that is
//!   never ready: see [`docs::readiness`].
//! - **One deadline for the whole stack**, which every policy sees: no wait lasts beyond it, and one that is
//!   known to is not begun. See [`deadline`].
//! - **Every policy has a handle** that shows ([`snapshot`](Managed::snapshot)), explains
//!   ([`explain`](Managed::explain)) and commands it, by name in a [`Registry`] too. In shadow mode it decides
//!   and reports, and refuses nobody. Its numbers change live, and its state stays.
//! - **One vocabulary of events**, free when nobody listens: see [`docs::telemetry`].
//! - **tokio's paused clock drives everything**: see [`docs::testing`].
//! - **No call allocates**, admitted or refused, beyond what your own functions and clones do; no future is
//!   boxed. New keys and growing queues take memory, within their bounds.
//! - **No input panics.** A number either works or is a [`ConfigError`] that names field and value.
//!   Two documented exceptions: polling a future after it has finished, and waiting outside a runtime that
//!   has timers.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `tracing` | on | what happens rarely goes to `tracing` as well: see [`docs::telemetry`] |
//! | `http` | off | modules `http`, `grpc` and `health`: see [`docs::frameworks`] and [`docs::clients`] |
//! | `reqwest` | off | `http`, for reqwest's own requests and responses |
//! | `tonic` | off | `http`, and a `tonic::Status` that carries refusals; needs Rust 1.88 |
//! | `metrics` | off | `event::MetricsObserver`: every event as counters, gauges and histograms of the crate `metrics` |
//! | `serde` | off | every configuration can be read from a file, and written to one: see [`docs::configuration`] |
//! | `quanta` | off | `clock::quanta_now`, a faster clock that can be chosen in code |
//!
//! Features add API and never change behaviour. The minimum supported Rust version is 1.85.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod ambient;
pub mod bulkhead;
pub mod catch_panic;
pub mod circuit_breaker;
pub mod clock;
#[cfg(feature = "serde")]
mod config;
pub mod deadline;
mod error;
mod error_layer;
pub mod event;
pub mod fallback;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod grpc;
mod guard;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod health;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
mod options;
mod outcome;
mod plan;
pub mod policy;
pub mod rate_limit;
mod registry;
pub mod retry;
pub mod stack;
mod sync;
pub mod timeout;

#[cfg(any(doc, doctest))]
pub mod docs;

/// The README's examples, tested where everything that they name is there.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[doc(inline)]
pub use self::policy::{
    Cause, Command, Explanation, Mode, PolicySnapshot,
    backoff::{Backoff, Growth, Jitter},
    breaker::{
        Snapshot, State, Transition,
        config::{CircuitBreakerConfig, Decide, HalfOpen, Hung, Sleep},
    },
    bucket::{
        RateLimitSnapshot,
        config::RateLimitConfig,
        keyed::{AtCap, Keys},
    },
    budget::{BudgetSnapshot, config::BudgetConfig},
    bulkhead::{BulkheadConfig, QueueOrder},
    catch_panic::CatchPanicConfig,
    fallback::{
        AnyError, ErrorsWhere, Failed, Served,
        config::{FallbackConfig, LastGoodConfig},
    },
    retry::{HintMode, Hints, RetryEnd, Snapshot as RetrySnapshot},
    timeout::config::TimeoutConfig,
    window::Window,
};
#[doc(inline)]
pub use self::{
    bulkhead::{
        Bulkhead, BulkheadLayer, BulkheadPermit, Bulkheaded, QueuedBulkhead, QueuedBulkheadLayer,
    },
    catch_panic::{CatchPanic, CatchPanicLayer, PanicGuard},
    circuit_breaker::{
        Circuit, CircuitBreaker, CircuitBreakerLayer, Circuits, KeyedCircuitBreaker,
        KeyedCircuitBreakerLayer, StateWatch,
    },
    event::{Event, Observer},
    fallback::{Fallback, FallbackLayer, FallbackPolicy, LastGood},
    rate_limit::{
        KeyedRateLimit, KeyedRateLimitLayer, RateLimit, RateLimitLayer, RateLimiter, RateLimiters,
        WaitingRateLimit, WaitingRateLimitLayer, Waits,
    },
    retry::{BudgetUse, Retry, RetryBudget, RetryConfig, RetryLayer, RetryPolicy},
    timeout::{TimeLimit, Timeout, TimeoutLayer},
};
pub use self::{
    error::{BoxError, CarryRejection, ConfigError, Error, PolicyKind, Reason, Rejection, intern},
    error_layer::{ErrorLayer, LiftError},
    options::Options,
    outcome::{Classify, DefaultClassifier, Hint, Outcome},
    registry::{Managed, Registry},
};
