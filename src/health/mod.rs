//! Liveness, readiness and draining.
//!
//! ```
//! use portcullis::{
//!     Circuit, CircuitBreakerConfig,
//!     health::{Check, HealthRegistry, HealthService, PolicyCheck},
//! };
//!
//! # async fn ping() -> Result<(), std::io::Error> { Ok(()) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let payments = Circuit::new(CircuitBreakerConfig::new("payments"))?;
//!
//! let health = HealthRegistry::new();
//! health.add(Check::new("database", ping))?;
//! health.add_policy(PolicyCheck::of(&payments))?;
//!
//! // Answers /livez, /readyz, /startupz and /health, in axum, hyper or anything else that takes a service.
//! let service = HealthService::new(&health);
//! # use tower::ServiceExt;
//! let request = http::Request::get("/readyz?verbose").body(())?;
//! let response = service.clone().oneshot(request).await?;
//! assert_eq!(response.body(), "[+]database ok\n[+]payments:circuit_breaker ok\nreadyz check passed\n");
//!
//! // The process is told to end: from this moment it is not ready, though still alive.
//! health.drain().begin();
//! let request = http::Request::get("/readyz").body(())?;
//! assert_eq!(service.oneshot(request).await?.status(), 503);
//! # Ok(())
//! # }
//! ```
//!
//! How it stands in a server, what Kubernetes is to be told, and the order of a shutdown:
//! [`docs::health`](crate::docs::health).
//!
//! # Parts
//!
//! | part | does |
//! |---|---|
//! | [`HealthRegistry`] | holds what there is to ask |
//! | [`Check`] | asks something that this process needs |
//! | [`PolicyCheck`] | shows how a policy stands |
//! | [`Startup`] | is not ready until told |
//! | [`Drain`] | is not ready from when it is told; counts what is in flight, and waits for it |
//! | [`Report`], [`render`] | what was found, and how it is written |
//! | [`HealthService`] | answers probes |
//!
//! # Semantics
//!
//! 1. **One run of a check at a time.** Probes that come while it goes on share it, and its answer serves
//!    those that come within its [`ttl`](Check::ttl). There is no task: a check runs when it is asked for, and
//!    those who wait drive it. A probe that goes away takes nothing from the others; when all are gone, the
//!    run is dropped, and the next probe begins another.
//! 2. **No answer takes longer than the longest [`timeout`](Check::timeout)** of the checks that are asked,
//!    even if one of them blocks its thread. An answer that is ready at the timeout still counts. A run that
//!    was given up is dropped; what it says later changes nothing.
//! 3. **A panic is a failure** of that check, in its closure, its future or its answer.
//! 4. **Only what is [critical](Check::critical) fails the whole**; anything else that is not well warns, and
//!    is ready.
//! 5. **Liveness depends on nothing** but the checks that were made for it: a process whose database is away
//!    is not mended by a restart.
//! 6. **An open circuit warns.** It fails readiness where [told to](PolicyCheck::fail_readiness_when_open),
//!    and then only until it would send probes: a process that got no calls could never find out that its
//!    dependency is back.
//! 7. **Draining wins over everything**: readiness fails from the very moment, without a check being asked
//!    and whatever was found before. There is no way back.
//! 8. **Checks see a [deadline](crate::deadline) of their own**, never that of one of the probes that share
//!    them.
//!
//! # Who sees what
//!
//! What a check says may name hosts, users or queries. A probe without `?verbose` shows one word. With it, a
//! [`HealthService`] shows names and whether each is well, and words only where
//! [`reveal`](HealthService::reveal) allows them.
//!
//! # Memory and cost
//!
//! One allocation for each check when it is added, none for a run. A probe allocates a few lists and its
//! text. A request through a [`DrainLayer`] costs two atomic operations on one word and a reference, and allocates
//! nothing.

mod check;
mod drain;
mod drain_layer;
mod flight;
mod negotiate;
mod policy;
mod query;
mod registry;
mod render;
mod report;
mod reporting;
mod route;
mod run;
mod service;
mod startup;

pub use self::{
    check::{Check, Found},
    drain::{Drain, Finished, InFlight},
    drain_layer::{DrainLayer, Drained, ResponseFuture, TrackedBody},
    policy::PolicyCheck,
    query::{Probe, Query},
    registry::HealthRegistry,
    render::{Detail, Format, render},
    report::{Item, OutOfService, Report, Status},
    reporting::Reporting,
    service::{HealthService, ProbeFuture},
    startup::Startup,
};

/// Names of parts that no check can have.
const DRAIN: &str = "drain";
const STARTUP: &str = "startup";
const RESERVED: [&str; 2] = [DRAIN, STARTUP];
