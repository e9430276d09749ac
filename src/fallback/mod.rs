//! Fallback: answers in place of a service that fails.
//!
//! ```text
//!              ┌───────── the service's own answer ─────────▶ caller
//!  request ─▶ service
//!              └─ error, refusal, not ready, bad response ─▶ qualifies? ─ no ─▶ caller gets that
//!                                                                │ yes
//!                      a value · a function · another service · the last good answer ─▶ caller
//! ```
//!
//! ```
//! use std::time::Duration;
//! use portcullis::{
//!     CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer, FallbackLayer, LastGoodConfig, Served,
//! };
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("prices"))?;
//! let circuit = breaker.circuit().clone();
//! let config = LastGoodConfig::new("prices", Duration::from_secs(300));
//! let mut prices = ServiceBuilder::new()
//!     .layer(FallbackLayer::last_good(config, |item: &&str| Some(item.to_string()))?)
//!     .layer(breaker)
//!     .layer(ErrorLayer::new())
//!     .service(service_fn(|_item: &str| async { Ok::<_, std::io::Error>(3) }));
//!
//! assert_eq!(prices.ready().await?.call("tea").await?, Served::Fresh(3));
//! circuit.force_open();
//! tokio::time::advance(Duration::from_secs(40)).await;
//! match prices.ready().await?.call("tea").await? {
//!     Served::Fresh(price) => println!("{price}"),
//!     Served::LastGood { value, age } => println!("{value}, as of {} s ago", age.as_secs()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Bad responses count as failures too, and only some errors are answered:
//!
//! ```
//! use portcullis::{Error, Failed, FallbackConfig, FallbackLayer, Outcome};
//! use std::io;
//!
//! # #[derive(Debug)] struct Response { status: u16 }
//! let layer = FallbackLayer::with_request(
//!     FallbackConfig::new("recommended"),
//!     |user: &u32| *user,
//!     |user, failed: Failed<Response, Error<io::Error>>| {
//!         println!("nothing for {user}: {failed:?}");
//!         Ok(Response { status: 204 })
//!     },
//! )?
//! .classify(|result: &Result<Response, Error<io::Error>>| match result {
//!     Ok(response) if response.status >= 500 => Outcome::Failure,
//!     Err(Error::Inner(error)) if error.kind() == io::ErrorKind::PermissionDenied => Outcome::Ignored,
//!     Ok(_) => Outcome::Success,
//!     Err(_) => Outcome::Failure,
//! });
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! | answer | made by | response type | `Clone` |
//! |---|---|---|---|
//! | a value | [`FallbackLayer::value`] | the service's | the response |
//! | a function of the failure | [`function`](FallbackLayer::function), [`async_function`](FallbackLayer::async_function) | the service's | – |
//! | a function of request and failure | [`with_request`](FallbackLayer::with_request), [`async_with_request`](FallbackLayer::async_with_request) | the service's | – |
//! | another service | [`service`](FallbackLayer::service) | the service's | that service |
//! | the last good answer | [`last_good`](FallbackLayer::last_good) | [`Served`](crate::Served) | the response |
//! | the same, marked | [`last_good`](FallbackLayer::last_good) and [`mark`](FallbackLayer::mark) | the service's | the response |
//! | the same, kept in part | [`last_good`](FallbackLayer::last_good) and [`keep`](FallbackLayer::keep) | the service's | – |
//!
//! Use it three ways: as a [layer](FallbackLayer), by its handle without Tower ([`FallbackPolicy`],
//! [`LastGood`]), or as a pure decision with the time as an argument
//! ([`policy::fallback`](crate::policy::fallback)).
//!
//! # Defaults
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | [`name`](FallbackConfig::name) | `"fallback"`; of last good answers required | in every event and metric |
//! | which failures | [every error](crate::AnyError) | or those of [`when`](FallbackLayer::when), or by a [classifier](FallbackLayer::classify), responses too |
//! | [`max_age`](LastGoodConfig::max_age) | required | an answer is given while `age < max_age` |
//! | [`max_keys`](LastGoodConfig::max_keys) | 1024 | the least recently used goes beyond that |
//! | the key of a request | required | `None`: its answers are neither kept nor given |
//! | how staleness is shown | in the type ([`Served`](crate::Served)) | or as `mark` or `keep` writes it: there is no form that hides it |
//!
//! # Semantics, where fallbacks differ
//!
//! 1. **Which failures**: by default every error, whoever it is from: the service's, a refusal by another
//!    policy, an error from `poll_ready`. A classifier's `Failure` is answered, its `Success` is good enough
//!    to be remembered, and what it calls `Ignored` passes without either.
//! 2. **What a function gets**: the [`Failed`](crate::Failed) result, by value: an error or a response. It
//!    has to say what becomes of each, so that a bad response is never taken for an answer to an error.
//! 3. **Its own failure**: what the function or the other service answers is the answer, also if it is an
//!    error. The first failure is gone by then; a function that wants it returns it
//!    ([`into_result`](crate::Failed::into_result)). Where no last good answer is young enough, the caller
//!    gets the failure itself.
//! 4. **Panics** are not answered: they go on to the caller.
//! 5. **Keys**: an answer is only ever given for the key that it was remembered for. There is no default key,
//!    and requests without one share nothing.
//! 6. **Age** is the time since the answer arrived here. Giving it again does not make it younger. The age of
//!    an answer that the service itself had from a cache is not known.
//! 7. **What is remembered**: the answer that arrived last and was good, also in shadow. A call that is
//!    dropped before it ends remembers nothing.
//! 8. **Too old** answers are not given, and stay until they are replaced or have to go: a longer
//!    [`max_age`](LastGood::reconfigure) brings them back.
//!
//! A key must hold everything that the answer depends on: user, language, version. Where callers choose
//! the keys, they can push out one another's answers, but not more than `max_keys` of them.
//!
//! # Commands
//!
//! `shadow`, `disable`, `enable` and `reset` act at once, also on calls in flight: see
//! [`Command`](crate::Command). In shadow failures pass, and
//! [`Event::WouldFallBack`](crate::Event::WouldFallBack) says which would have been answered; neither the
//! function nor the other service is tried for that. Disabled, nothing is judged, counted or remembered, and
//! a call that was made while it was is not answered later. `reset` forgets the answers that are kept.
//!
//! # Where it stands
//!
//! Outermost: above the timeout, the retry and the breaker, whose refusals it answers. A breaker above a
//! fallback sees what the fallback answers, and takes a failing service for a working one: see
//! [ordering](crate::docs::ordering). Ambient deadlines that are set below it do not reach the other service;
//! one that the caller has set does.
//!
//! # Readiness
//!
//! Ready when the service is. An error from its `poll_ready` that qualifies makes it ready too: the next
//! call is answered by the fallback, with that error, and the service is not called. It is asked again for
//! the call after that. Nothing is asked of the inner service but [`Service`](tower_service::Service), and
//! nothing at all of its error. The other service is readied in the response future, on a clone that nobody
//! else waits for, so that a slow one delays no other call.
//!
//! # Cancellation and clones
//!
//! Dropping the response future drops whichever call it is at, and everything that was captured. Neither
//! count nor event comes of it. The future of the service's call and a failed response are dropped before
//! the other service is called. Clones of a layer, and all services made by them, share one fallback: see
//! [sharing](crate::docs::sharing).
//!
//! # Events
//!
//! | event | when |
//! |---|---|
//! | [`FellBack`](crate::Event::FellBack) | a failure is answered, with where from, and the age of a last good answer |
//! | [`WouldFallBack`](crate::Event::WouldFallBack) | in shadow, a failure passes that would have been answered |
//! | [`Evicted`](crate::Event::Evicted) | a key's answer goes for another key's |
//!
//! A failure that was not answered is in the [snapshot](crate::policy::fallback::Snapshot), and with the caller.
//!
//! # Clock
//!
//! Only last good answers need the time: [`Options::clock`](crate::Options::clock) says how old they are.
//!
//! # Memory and cost
//!
//! No allocation per call, answered or not, beyond what your own functions and clones do. Remembering an
//! answer costs a clone of it, one reading of the clock and a short lock of one part of the table, on every
//! call that goes well; a key that is new takes memory. Nothing of an answer's own code runs under the lock.
//!
//! | what | bytes |
//! |---|---:|
//! | a kept answer, beside key and answer themselves | 60 to 120 |
//! | a layer value: a reference counter for each of several threads | 2 100 |
//! | more, for each kind of count once it is not zero | 1 024 |

mod backup;
mod core;
mod functions;
mod handle;
mod last_good;
mod layer;
mod remembered;
mod run;
mod service;
mod source;
mod steps;

#[cfg(doc)]
use crate::policy::fallback::config::{FallbackConfig, LastGoodConfig};

pub use self::{
    backup::{Backup, BackupFuture},
    functions::{
        AsyncOfFailure, AsyncOfRequest, Call, Capture, Function, Nothing, OfFailure, OfRequest,
    },
    handle::FallbackPolicy,
    last_good::{LastGood, RunLastGood},
    layer::FallbackLayer,
    remembered::{AsServed, Marked, Remembered, Restored, Serve},
    run::Run,
    service::{Fallback, ResponseFuture},
    source::{Answer, Keep, Source, Value, WithTheCall},
};
