//! Timeout: a call that takes longer than its answer is useful is cut.
//!
//! ```text
//!   call                   first poll                    limit, or an earlier deadline
//!    │─ the deadline holds ────│──────────────────────────────│
//!    ▼                         ▼                              ▼
//!  refused if too little    answers at once: no timer     polled once more, then dropped:
//!  time is left             was ever made                 `Reason::Timeout`
//! ```
//!
//! ```
//! use std::time::Duration;
//! use portcullis::{Error, ErrorLayer, Reason, TimeoutConfig, TimeoutLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let mut service = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(TimeoutConfig::new("payments", Duration::from_secs(2)))?)
//!     .layer(ErrorLayer::new())
//!     .service(service_fn(|_: ()| std::future::pending::<Result<(), std::io::Error>>()));
//!
//! let Err(Error::Rejected(cut)) = service.ready().await.unwrap().call(()).await else {
//!     panic!("it never answers");
//! };
//! assert_eq!(cut.reason(), Reason::Timeout);
//! println!("{cut}");     // payments: the service did not answer in time
//! # Ok(())
//! # }
//! ```
//!
//! A limit from each request, and no call that has less than 50 ms to live:
//!
//! ```
//! use std::time::Duration;
//! use portcullis::{TimeoutConfig, TimeoutLayer};
//!
//! # struct Query { patience: Option<Duration> }
//! let layer = TimeoutLayer::new(
//!     TimeoutConfig::new("search", Duration::from_secs(2))
//!         .min_remaining(Duration::from_millis(50)),
//! )?
//! .limit_from(|query: &Query| query.patience);
//! # let _ = layer;
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! Use it three ways: as a [layer](TimeoutLayer), by its handle around any future ([`TimeLimit::run`]), or
//! as a pure decision with the time as an argument ([`policy::timeout`](crate::policy::timeout)).
//!
//! # Defaults
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | [`limit`](TimeoutConfig::limit) | none: it is required, or [`per_request`](TimeoutConfig::per_request) says that there is none | how long a call may take |
//! | [`min_remaining`](TimeoutConfig::min_remaining) | zero | a call that would start with less time left is refused |
//! | [`limit_from`](TimeoutLayer::limit_from) | off | the limit that a request sets, in place of the configured one |
//!
//! # Semantics, where timeouts differ
//!
//! 1. **The limit is measured from `call`**, not from the first poll: a response future that lies about
//!    uses up its time. By the handle it is measured from [`run`](TimeLimit::run).
//! 2. **The deadline is ambient.** While the service's `call` runs, and each poll of its future, it is the
//!    [deadline](crate::deadline) that every policy below sees: a breaker takes a call that is cut for a
//!    failure, a queue or a retry starts no wait that would reach it. A deadline that holds already and is
//!    earlier stays in force; a later one is put back afterwards.
//! 3. **An earlier deadline is enforced, too.** Whoever set it may have no timer of its own
//!    ([`deadline::within`](crate::deadline::within) has none), so the call is cut there. Under nested
//!    timeouts the innermost is polled first: it acts, its name is in the error, and it counts. A
//!    configuration without a limit enforces the ambient deadline alone.
//! 4. **A response that is ready at the deadline wins.** When the time is over, the service's future is
//!    polled once more, with the deadline passed, before it is dropped: what is ready is the answer, and a
//!    retry below can hand out its last real error.
//! 5. **Too little time refuses at once**, in `call`, and the service is not called:
//!    [`Reason::DeadlineTooShort`](crate::Reason::DeadlineTooShort) where the lesser of limit and ambient
//!    deadline leaves less than `min_remaining`, or none. Exactly `min_remaining` is enough.
//! 6. **Dropped, then told.** The service's future is gone before the error is returned and before any
//!    observer hears of it.
//! 7. **A panic is a panic.** One that leaves the service goes on, at whatever time, and is never told as a
//!    timeout.
//! 8. **Extremes.** A configured limit of zero is a [`ConfigError`](crate::ConfigError); a request's own of
//!    zero is refused. A limit that ends after every instant there is, such as
//!    [`Duration::MAX`](std::time::Duration::MAX), is none. tokio's timers tell milliseconds apart and are
//!    never early.
//!
//! A call is over when its response future resolves: a body that stalls later is not seen. With feature `http`,
//! `http::BodyTimeoutLayer` cuts those.
//!
//! # Readiness
//!
//! `poll_ready` is the service's own, and **no part of the limit**: before `call` there is no call, and a
//! readied service that lies idle uses up nothing. So a service that is never ready waits for ever. Where
//! that can be, put the wait under the limit as well, by the handle:
//!
//! ```
//! # use std::time::Duration;
//! # use portcullis::{Error, TimeLimit, TimeoutConfig};
//! # use std::task::{Context, Poll};
//! # use tower::{Service, ServiceExt};
//! # #[derive(Clone)] struct NeverReady;
//! # impl Service<()> for NeverReady {
//! #     type Response = ();
//! #     type Error = Error<()>;
//! #     type Future = std::future::Ready<Result<(), Error<()>>>;
//! #     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error<()>>> { Poll::Pending }
//! #     fn call(&mut self, _: ()) -> Self::Future { unreachable!("it was never ready") }
//! # }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! # let client = NeverReady;
//! let limit = TimeLimit::new(TimeoutConfig::new("payments", Duration::from_secs(2)))?;
//! let cut = limit.run(client.clone().oneshot(())).await;
//! assert!(cut.unwrap_err().is_rejected());
//! # Ok(())
//! # }
//! ```
//!
//! A refusal in `call` leaves what the service had reserved with that clone: see
//! [readiness](crate::docs::readiness).
//!
//! # Where it stands
//!
//! Twice in a client: over everything but the fallback for the whole call, whose deadline bounds every wait
//! below, and right above the service for each attempt. Nothing that may wait belongs over the outer one: see
//! [ordering](crate::docs::ordering).
//!
//! # Commands
//!
//! [`shadow`](TimeLimit::shadow) reports a call that runs out of time, once, and lets it go on; it reports
//! and admits what it would refuse, and looks after that call no more. It sets no ambient deadline, since
//! that alone would change what the policies below do. [`disable`](TimeLimit::disable) leaves calls alone,
//! [`enable`](TimeLimit::enable) is back to work, [`reset`](TimeLimit::reset) counts from zero.
//! [`reconfigure`](TimeLimit::reconfigure) changes the numbers live. A call ends under the mode and the
//! deadline that it began with.
//!
//! # Events
//!
//! | event | when |
//! |---|---|
//! | [`Rejected`](crate::Event::Rejected), [`WouldReject`](crate::Event::WouldReject) | a call is cut or refused, or would be |
//! | [`InTime`](crate::Event::InTime) | a call ends otherwise, by an answer or an error of the service's |
//!
//! A call that its caller drops is none of them.
//!
//! # Cancellation and clones
//!
//! Dropping the response future drops the service's future and the timer; nothing else is held. Clones of a
//! layer, and all services made by them, share one timeout: see [sharing](crate::docs::sharing).
//!
//! # Clock
//!
//! A call that waits needs a tokio runtime with timers; one that answers at once does not.
//! [`Options::clock`](crate::Options::clock) says when a call begins; the deadline that follows is waited
//! for on tokio's clock, so the two should run together. Of a call that answers at once the reading of the
//! clock is most of the cost.
//!
//! # Memory and cost
//!
//! No allocation per call, whether it answers, is cut, or is refused. One reading of the clock, in `call`,
//! where a limit or a deadline holds. A timer is made only for a call that is still waiting after its first
//! poll; one that is polled more often while it waits reads the clock again each time, so that a service
//! that uses up its task's budget, without which tokio's timers do not fire, is cut as well.
//!
//! | what | bytes |
//! |---|---:|
//! | a timeout | 152 |
//! | a layer value: a reference counter for each of several threads | 2 100 |
//! | a response future, besides the service's own: tokio's timer for the most part | 150 |

mod core;
mod future;
mod handle;
mod layer;

#[cfg(doc)]
use crate::policy::timeout::config::TimeoutConfig;

pub use self::{
    handle::{Run, TimeLimit},
    layer::{FixedLimit, RequestLimit, ResponseFuture, Timeout, TimeoutLayer},
};
