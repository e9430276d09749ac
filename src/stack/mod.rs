//! Standard stacks, and a check that explains what is wrong with any stack.
//!
//! ```text
//! client: fallback > total timeout > rate limit > bulkhead > retry > circuit breaker > attempt timeout > error layer > service
//! server:                  respond > rate limit > bulkhead > timeout > catch panic > error layer > service
//! ```
//!
//! A stack is one layer, which is no more than its layers one upon the other. [`ordering`](crate::docs::ordering)
//! has the reason for every edge.
//!
//! ```
//! use portcullis::{Error, stack};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let client = ServiceBuilder::new()
//!     .layer(stack::client("payments").build()?)
//!     .service(service_fn(|cents: u64| async move { Ok::<_, std::io::Error>(cents) }));
//! assert_eq!(client.oneshot(500).await.unwrap(), 500);
//! # Ok(())
//! # }
//! ```
//!
//! With numbers of one's own, a rate, a fallback, and without a bulkhead, checked where the program starts:
//!
//! ```
//! use std::time::Duration;
//! use portcullis::{CircuitBreakerConfig, FallbackConfig, FallbackLayer, RetryConfig, Window, stack};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let search = stack::client("search")
//!     .total_timeout(Duration::from_secs(2))
//!     .retry(RetryConfig::default().attempts(2))
//!     .circuit_breaker(CircuitBreakerConfig::default().window(Window::count(100)))
//!     .build()?
//!     .with_rate(500, Duration::from_secs(1))?
//!     .with_fallback(FallbackLayer::value(FallbackConfig::new("search"), Vec::<u32>::new())?)
//!     .without_bulkhead();
//! let (client, report) = stack::check(|| {
//!     ServiceBuilder::new()
//!         .layer(search)
//!         .service(service_fn(|_: String| async { Ok::<_, std::io::Error>(vec![1, 2, 3]) }))
//! });
//! assert!(report.is_sound(), "{report}");
//! let hits = client.oneshot("tower".to_owned()).await?;
//! # assert_eq!(hits, [1, 2, 3]);
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//!
//! | place | of a client | of a server |
//! |---|---|---|
//! | fallback | empty | – |
//! | respond | – | empty; with feature `http`, `http()` and `grpc()` fill it |
//! | total timeout, timeout | 30 s | 10 s |
//! | rate limit | empty | empty |
//! | bulkhead | 256 calls, no queue | 256 requests, no queue |
//! | retry | the [default](crate::retry#defaults): 3 attempts, back-off, a budget of 20 % | – |
//! | circuit breaker | the [default](crate::circuit_breaker#defaults) | – |
//! | attempt timeout | three tenths of the total: 9 s, under the name `name.attempt` | – |
//! | catch panic | – | on |
//! | error layer | on | on |
//!
//! `map_…` changes the layer in a place and keeps its state, `with_…` fills the place with another layer, also
//! of another crate, and `without_…` empties it. Numbers are set before [`build`](ClientConfig::build), which makes one state for each policy; clones of what it made,
//! and all services made by it, share them: see [sharing](crate::docs::sharing).
//!
//! # The check
//!
//! [`check`] knows of each layer of this crate where it stands and what it is told, and passes over others. It
//! finds orders that break a promise, such as a retry inside a breaker; numbers that fight, such as a timeout
//! for one attempt that is longer than that for all; and how many calls one call may become. Each
//! [`Finding`] is a [`Rule`] and a sentence; [`ordering`](crate::docs::ordering) lists every rule.
//!
//! # Readiness, cancellation, events, cost
//!
//! All are those of the layers: a stack adds nothing. Through a whole one, too, an admitted call allocates
//! nothing, a refusal reaches the caller as it was made, and a response that is dropped gives everything back.

mod amplification;
mod check;
mod client;
#[cfg(feature = "http")]
mod held;
mod numbers;
mod operated;
mod order;
#[cfg(feature = "http")]
mod protocols;
mod report;
#[cfg(feature = "http")]
mod respond;
mod server;
mod slots;
mod words;

use crate::error::ConfigError;

pub use self::{
    amplification::Amplification,
    check::check,
    client::{Client, ClientConfig, StandardClient, client},
    operated::Operated,
    report::{Finding, Report, Rule, Severity},
    server::{Server, ServerConfig, StandardServer, server},
};
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub use self::{
    held::ToBodyEnd,
    protocols::{GrpcClient, GrpcEdge, HttpClient},
};

/// What a timeout calls `limit` has another name in a stack's configuration.
fn limit_is(field: &'static str) -> impl FnOnce(ConfigError) -> ConfigError {
    move |error| if error.field() == "limit" { error.about(field) } else { error }
}
