//! Retry: tries a failed call again, later, within a budget.
//!
//! ```text
//!                                         ┌──────────── wait ◀────────────┐
//!                                         ▼                               │ yes
//!  call ──▶ the budget earns ──▶ attempt ──▶ failed? ──yes──▶ attempts left? time left? a token?
//!                                              │ no                       │ no
//!                                              ▼                          ▼
//!                                          the answer            the last real answer
//! ```
//!
//! ```
//! use portcullis::{ErrorLayer, RetryConfig, RetryLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let retry = RetryLayer::new(RetryConfig::new("payments"))?;
//! let policy = retry.policy().clone();
//! let mut service = ServiceBuilder::new()
//!     .layer(retry)
//!     .layer(ErrorLayer::new())
//!     .service(service_fn(|cents: u64| async move {
//!         match portcullis::retry::attempt() {
//!             Some(1) => Err(std::io::ErrorKind::ConnectionReset),
//!             _ => Ok(cents),
//!         }
//!     }));
//!
//! assert_eq!(service.ready().await.unwrap().call(500).await, Ok(500));
//! println!("{:?}", policy.snapshot());
//! println!("{}", policy.explain());   // payments is enforcing and admits calls: 3 attempts a call, 99 tokens in the budget
//! # Ok(())
//! # }
//! ```
//!
//! Judging responses as well, obeying `Retry-After`, never sending a payment twice, and sharing a budget:
//!
//! ```
//! use std::time::Duration;
//! use portcullis::{
//!     Backoff, BudgetConfig, Classify, DefaultClassifier, Error, Hint, Hints, Outcome, RetryBudget,
//!     RetryConfig, RetryLayer,
//! };
//!
//! struct Request { is_read: bool }
//! struct Response { status: u16, retry_after: Option<Duration> }
//! # type Failed = Error<std::io::Error>;
//!
//! #[derive(Clone)]
//! struct ByStatus;
//! impl Classify<Response, Failed> for ByStatus {
//!     fn classify(&self, result: &Result<Response, Failed>) -> Outcome {
//!         match result {
//!             Ok(response) if matches!(response.status, 429 | 502..=504) => Outcome::Failure,
//!             other => DefaultClassifier.classify(other),
//!         }
//!     }
//!     fn hint(&self, result: &Result<Response, Failed>) -> Option<Hint> {
//!         result.as_ref().ok()?.retry_after.map(Hint::After)
//!     }
//! }
//!
//! let budget = RetryBudget::new(BudgetConfig::new(0.1))?;
//! let retry = RetryLayer::new(
//!     RetryConfig::new("search")
//!         .attempts(4)
//!         .backoff(Backoff::exponential(Duration::from_millis(100), 2.0).max(Duration::from_secs(2)))
//!         .hints(Hints::http())
//!         .budget(&budget),
//! )?
//! .classify_with(ByStatus)
//! .replay(|request: &Request| request.is_read.then(|| Request { is_read: true }));
//! # let _ = retry;
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! Use it three ways: as a [layer](RetryLayer), by its handle without Tower ([`RetryPolicy::run`]), or as
//! pure decisions with the time as an argument ([`policy::retry`](crate::policy::retry),
//! [`policy::budget`](crate::policy::budget), [`policy::backoff`](crate::policy::backoff)).
//!
//! # Defaults
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | [`name`](RetryConfig::name) | `"retry"` | in every rejection, event and metric |
//! | [`attempts`](RetryConfig::attempts) | 3 | the first included; `u32::MAX` is as good as no limit |
//! | [`backoff`](RetryConfig::backoff) | exponential: 50 ms, ×2, up to 20 s, full jitter | also constant and linear, and other [jitter](crate::Jitter) |
//! | [`budget`](RetryConfig::budget) | 20 % of calls plus 10 a second, over 10 s, of the policy's own | or one that is [shared](RetryBudget), or none |
//! | [`hints`](RetryConfig::hints) | replace the back-off, up to 60 s | see [`Hints`](crate::Hints); a hint to stop is always obeyed |
//! | [`retry_refusals`](RetryConfig::retry_refusals) | off | whether refusals of policies below are retried |
//! | [`nested`](RetryConfig::nested) | off | whether to retry inside another retry's attempt |
//! | [`seed`](RetryConfig::seed) | drawn once | repeats jitter |
//! | [`classify`](RetryLayer::classify) | [`DefaultClassifier`](crate::DefaultClassifier) | [`Outcome::Failure`](crate::Outcome) means "try again": by default any error but a refusal |
//! | [`replay`](RetryLayer::replay) | `Clone` of the request | or a function that says `None` for what must not be sent twice; for HTTP, `http::ReplayRequest` with feature `http` |
//!
//! # Semantics, where retries differ
//!
//! 1. **Budget**: a call earns its share when it begins, whatever becomes of it; earning per success would
//!    refill it while calls fail once each. A retry pays before its wait. Several layers may share one, and
//!    stay within it together.
//! 2. **Jitter**: the delay is capped first and spread after, so proportional jitter may exceed the cap by
//!    its share.
//! 3. **Deadline**: no wait is begun that would end at or after the ambient [deadline](crate::deadline). The
//!    answer is then the attempt's own, an error or a failed response. A wait that turns out too long ends
//!    at the poll that finds the deadline passed (a timeout polls once more then): with the last error, or,
//!    where only responses failed, a refusal for [`DeadlineTooShort`](crate::Reason::DeadlineTooShort). A
//!    later attempt that still runs then, or that a timeout below cuts there, gives way to the last error as
//!    well.
//! 4. **What is kept**: an error is kept during the wait; a failed response is dropped before it, since
//!    it may pin a connection.
//! 5. **Refusals** of policies below that never reached the service are not retried unless asked for: an
//!    open breaker costs no token. One that meets a later attempt gives way to the last real error; where
//!    there is none, it is passed on as [attempted](crate::Rejection::attempted). Those retried wait for as
//!    long as they say, and those that can never pass are not.
//! 6. **Hints** count on failures only. Above the cap the call ends, as it does where a hint ends at or after
//!    the deadline.
//! 7. **Nesting**: inside another retry's attempt there is one attempt, and the budget earns nothing. A retry
//!    that makes one attempt anyway (by its configuration, or because the request cannot be replayed)
//!    is no such outer one.
//! 8. **Readiness**: an attempt for which the service fails to become ready has failed, and is paid for; the
//!    next one goes on a fresh clone.
//! 9. **A delay of zero** lets other tasks run before the next attempt.
//!
//! # Why it stopped
//!
//! [`RetryEnd`](crate::RetryEnd) says so, in the event [`RetryEnded`](crate::Event::RetryEnded) of each
//! call and in the [snapshot](crate::RetrySnapshot)'s counts. [`attempt`] tells the service which attempt runs.
//!
//! # Commands
//!
//! [`shadow`](RetryPolicy::shadow) makes one attempt and says by
//! [`RetryEnd::Shadow`](crate::RetryEnd) where there would have been another; it clones nothing and pays
//! for nothing, so that it cannot know which requests are not replayable. [`disable`](RetryPolicy::disable) makes
//! one attempt and counts nothing. [`reset`](RetryPolicy::reset) empties a budget of the policy's own.
//!
//! # Where it stands
//!
//! Below the timeout of the whole call, which sets the deadline; above a circuit breaker, so that each attempt
//! counts there; above a timeout for each attempt: see [ordering](crate::docs::ordering). A client below that
//! retries by itself multiplies the attempts: switch that off.
//!
//! # Readiness
//!
//! `poll_ready` is the inner service's: the first attempt goes on the instance that was readied, and one clone,
//! made with the first call where there may be a second, is readied for each later attempt. A request is
//! cloned at most once fewer than there may be attempts, and not for the last.
//!
//! # Cancellation and clones
//!
//! Dropping the response future at any point gives everything back: what was paid for an attempt that
//! has not begun is refunded. A panic of the service goes on and ends the call. Clones of a layer, and all
//! services made by them, share one policy and its budget: see [sharing](crate::docs::sharing).
//!
//! # Events
//!
//! | event | when |
//! |---|---|
//! | [`Retrying`](crate::Event::Retrying) | another attempt follows, with its number and the delay before it |
//! | [`RetryEnded`](crate::Event::RetryEnded) | a call has its last answer, with the number of attempts and why there are no more |
//! | [`Rejected`](crate::Event::Rejected) | a call is at its deadline, and no error of the service's is left to answer with |
//!
//! # Clock
//!
//! Delays and deadlines are tokio's. [`Options::clock`](crate::Options::clock) is that of a budget of the
//! policy's own; one that is shared has [its own](RetryBudget::with).
//!
//! # Memory and cost
//!
//! No allocation per call. A success is two counts in memory of the thread's own and no clock; the budget
//! reads the clock once per batch of calls: see [`policy::budget`](crate::policy::budget#cost).
//!
//! | what | bytes |
//! |---|---:|
//! | a policy with its budget | 3 700 |
//! | a layer value: a reference counter for each of several threads | 2 100 |
//! | more, for each kind of [end](crate::RetryEnd) that has occurred | 1 024 |

mod attempt;
mod budget;
mod config;
mod core;
mod driver;
mod handle;
mod held;
mod layer;

pub use self::{
    attempt::attempt,
    budget::RetryBudget,
    config::{BudgetUse, RetryConfig},
    handle::{RetryPolicy, Run},
    layer::{ByClone, Replay, ResponseFuture, Retry, RetryLayer},
};
