//! The standard stacks, and a check that explains what is wrong with any stack.
//!
//! ```
//! use std::time::Duration;
//! use portcullis::{Error, stack};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! # async fn charge(cents: u64) -> Result<u64, std::io::Error> { Ok(cents) }
//! let client = stack::client("payments").total_timeout(Duration::from_secs(10)).build()?;
//! let (mut payments, report) =
//!     stack::check(|| ServiceBuilder::new().layer(client).service(service_fn(charge)));
//! assert!(report.is_sound(), "{report}");
//!
//! match payments.ready().await.unwrap().call(500).await {
//!     Ok(paid) => println!("paid {paid}"),
//!     Err(Error::Inner(error)) => println!("the provider failed: {error}"),
//!     Err(Error::Rejected(refusal)) => println!("{refusal}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | | |
//! |---|---|
//! | [`client`] | fallback > total timeout > rate limit > bulkhead > retry > circuit breaker > attempt timeout > error layer |
//! | [`server`] | rate limit > bulkhead > timeout > catch panic > error layer |
//! | [`check`] | looks at any stack: its order, its numbers, and how many calls one call may become |
//!
//! Why each layer stands where it does, and every rule of the check, is in
//! [`docs::ordering`](crate::docs::ordering). The defaults stand at [`ClientConfig`] and [`ServerConfig`].

mod amplification;
mod check;
mod client;
mod numbers;
mod operated;
mod order;
mod report;
mod server;
mod slots;

pub use self::{
    amplification::Amplification,
    check::check,
    client::{Client, ClientConfig, StandardClient, client},
    operated::Operated,
    report::{Finding, Report, Rule, Severity},
    server::{Server, ServerConfig, StandardServer, server},
};
