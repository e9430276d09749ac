//! Circuit breaker: stops calling a service that does not work, and finds out when it works again.
//!
//! ```text
//!            a rule trips                the wait is over, at the next call
//!  ┌────────┐ ─────────────▶ ┌──────┐ ─────────────────────────▶ ┌───────────┐
//!  │ closed │                │ open │                            │ half-open │
//!  └────────┘ ◀─┐            └──────┘ ◀───────────────────────── └───────────┘
//!               │               a probe failed, its lease ended,        │
//!               │               or the service was not ready            │
//!               └───────────────────────────────────────────────────────┘
//!                                the probes succeeded
//! ```
//!
//! ```
//! use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("payments"))?;
//! let circuit = breaker.circuit().clone();
//! let mut service = ServiceBuilder::new()
//!     .layer(breaker)
//!     .layer(ErrorLayer::new())
//!     .service(service_fn(|_: ()| async { Err::<(), _>(std::io::ErrorKind::TimedOut) }));
//!
//! for _ in 0..20 {
//!     let _ = service.ready().await.unwrap().call(()).await;
//! }
//! let Err(Error::Rejected(refusal)) = service.ready().await.unwrap().call(()).await else {
//!     panic!("twenty failures of twenty open the circuit");
//! };
//! println!("{refusal}");     // payments: the circuit is open; retry after 5.4s
//! println!("{}", circuit.explain());
//! # Ok(())
//! # }
//! ```
//!
//! Judging responses as well as errors, for a faster and stricter circuit:
//!
//! ```
//! use std::time::Duration;
//! use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, Error, HalfOpen, Outcome, Sleep, Window};
//!
//! # struct Response { status: u16 }
//! let layer = CircuitBreakerLayer::new(
//!     CircuitBreakerConfig::new("search")
//!         .window(Window::count(50))
//!         .failure_rate(0.3)
//!         .slow_calls(Duration::from_millis(800), 0.5)
//!         .consecutive_failures(10)
//!         .sleep(Sleep::growing(Duration::from_secs(1), 2.0, Duration::from_secs(30)))
//!         .half_open(HalfOpen::rate(10, 0.2).concurrent(2)),
//! )?
//! .classify(|result: &Result<Response, Error<std::io::Error>>| match result {
//!     Ok(response) if response.status >= 500 => Outcome::Failure,
//!     Ok(_) => Outcome::Success,
//!     Err(error) if error.is_rejected() => Outcome::Ignored,
//!     Err(_) => Outcome::Failure,
//! });
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! Use it three ways: as a [layer](CircuitBreakerLayer), by its handle without Tower ([`Circuit`]), or
//! as a pure decision with the time as an argument ([`policy::breaker`](crate::policy::breaker)). One
//! circuit per key is [`KeyedCircuitBreakerLayer`] and [`Circuits`].
//!
//! # Defaults
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | [`name`](CircuitBreakerConfig::name) | `"circuit"` | in every rejection, event and metric |
//! | [`window`](CircuitBreakerConfig::window) | the last 10 s in 10 buckets | or the last N results |
//! | [`failure_rate`](CircuitBreakerConfig::failure_rate) | 0.5 | opens at this share of failures |
//! | [`minimum_calls`](CircuitBreakerConfig::minimum_calls) | 20 | below it no rate opens; a count window of N is judged at min(minimum, N) |
//! | [`slow_call_after`](CircuitBreakerConfig::slow_call_after), [`slow_call_rate`](CircuitBreakerConfig::slow_call_rate) | off | what slow means, and the share that opens |
//! | [`consecutive_failures`](CircuitBreakerConfig::consecutive_failures) | off | opens after so many in a row |
//! | [`failures`](CircuitBreakerConfig::failures) | off | opens at so many in the window, whatever the volume or [from so many calls on](CircuitBreakerConfig::failures_of) |
//! | [`hung`](CircuitBreakerConfig::hung) | off; when on, 10 calls and half of all in flight | opens while calls hang, before any has answered |
//! | [`sleep`](CircuitBreakerConfig::sleep) | 5 s, ×2 per consecutive opening up to 60 s, plus 0..20 % | how long the circuit stays open |
//! | [`sleep.hints`](Sleep::hints) | on | a service that asks to be left alone for longer is, up to 60 s |
//! | [`half_open`](CircuitBreakerConfig::half_open) | 3 probes in total, all must succeed | or N results and a rate; at most so many at once |
//! | [`probe_lease`](CircuitBreakerConfig::probe_lease) | 30 s | an unanswered probe reopens the circuit |
//! | [`recovery_ramp`](CircuitBreakerConfig::recovery_ramp) | off | after closing, a share of calls that rises from 10 to 100 % |
//! | [`drops_are_failures`](CircuitBreakerConfig::drops_are_failures) | off | see [cancellation](crate::docs::cancellation) |
//! | [`seed`](CircuitBreakerConfig::seed) | drawn once | repeats jitter and ramp |
//!
//! Any of the rules that are on opens the circuit. A call is judged by
//! [`DefaultClassifier`](crate::DefaultClassifier) until told otherwise. By key there is one number more,
//! `max_keys`, which is required.
//!
//! # Semantics, where breakers differ
//!
//! 1. **The end of open**: when the time passed is `>=` the wait, seen at the next call. Nothing runs in
//!    the background, and reading moves nothing.
//! 2. **Comparison**: a rate trips when it is `>=` its limit. A call is slow when it takes strictly
//!    longer than the limit.
//! 3. **Successes may trip**: one that completes the minimum volume is judged like any other result.
//! 4. **Stale results**: a result counts only in the period that admitted it; of another one, it changes
//!    nothing. Every change of state and every command begins a period.
//! 5. **Cancelled calls**: neutral, and a probe's slot is free again; but a failure at or after the
//!    ambient deadline seen at admission, and slow past the slow limit.
//! 6. **Probe limit**: in total per half-open period; [`HalfOpen::only_concurrent`] bounds those at once
//!    instead. Ignored and dropped probes do not count towards it.
//! 7. **Window**: buckets are aligned to multiples of `length / buckets` since the circuit was made, and
//!    one expires when `now - start >= length`. In sequence all counts are exact; among concurrent calls
//!    each result counts once, in its own period, with neighbours seen early or late.
//!
//! And further: the k-th opening without a closing in between waits `base × multiplier^(k-1)`, at most
//! `max`, then jitter is added. A lease ends as if a timer had fired: the wait begins at its end, also
//! when that is noticed later. A slow success fails a probe where a slow-call rate is on. An error from
//! the service's `poll_ready` is recorded, and reopens a half-open circuit.
//!
//! # Commands
//!
//! [`open`](Circuit::open), [`open_for`](Circuit::open_for), [`half_open`](Circuit::half_open),
//! [`close`](Circuit::close), [`force_open`](Circuit::force_open), [`disable`](Circuit::disable),
//! [`shadow`](Circuit::shadow), [`enable`](Circuit::enable) and [`reset`](Circuit::reset) are legal in
//! every state, act at once and hold until another command: see [`Command`](crate::Command). In shadow
//! the machine runs and reports what it would refuse ([`Event::WouldReject`](crate::Event)), and admits
//! those calls unrecorded.
//!
//! # Where it stands
//!
//! Above a timeout for each attempt, so that a timeout is a failure it sees; below a retry, so that each
//! attempt counts and an open circuit ends them: see [ordering](crate::docs::ordering). A hint to come back
//! later, such as `Retry-After`, comes from a classifier's [`hint`](crate::Classify::hint).
//!
//! # Readiness
//!
//! `poll_ready` is the inner service's. While the circuit surely refuses, it is ready at once without asking
//! the inner service, so that a refusal never waits. By key it is always ready: see
//! [readiness](crate::docs::readiness).
//!
//! # Cancellation and clones
//!
//! Dropping the response future at any point gives everything back. A panic counts, as a failure, if it
//! left the inner service's own `call` or `poll`: see [cancellation](crate::docs::cancellation). Clones of a
//! layer, and all services made by them, share one circuit: see [sharing](crate::docs::sharing).
//!
//! # Events
//!
//! | event | when |
//! |---|---|
//! | [`Transition`](crate::Event::Transition) | the circuit changes state |
//! | [`Rejected`](crate::Event::Rejected), [`WouldReject`](crate::Event::WouldReject) | a call is refused, or would be |
//! | [`Settled`](crate::Event::Settled), [`Abandoned`](crate::Event::Abandoned) | an admitted call has ended, or was dropped |
//! | [`Untracked`](crate::Event::Untracked), [`Evicted`](crate::Event::Evicted) | by key: there is no room, or an idle key makes some |
//!
//! # Clock
//!
//! [`Options::clock`](crate::Options::clock) is read where a decision needs the time: a call that succeeds
//! under a count window, without a rule on slow calls, needs none. There are no timers.
//!
//! # Memory and cost
//!
//! No allocation per call, admitted or refused, and no work that grows with the calls in the window. A
//! call for a key that is new makes its circuit.
//!
//! | what | bytes |
//! |---|---:|
//! | a circuit with the default window | 1 120 |
//! | a key of [`Circuits`] with the default window and a number for a key | 900 |
//! | a result in a count window | ¼ |
//! | a layer value: a reference counter for each of several threads | 2 100 |
//! | more, once a circuit has refused a call | 1 024 |
//! | more, once several threads at a time record into a time window | 896 |
//!
//! What takes the short lock is told in [`policy::breaker`](crate::policy::breaker#cost).

mod core;
mod handle;
#[cfg(feature = "http")]
mod held;
mod keyed;
mod layer;
mod permit;
mod watch;

#[cfg(doc)]
use crate::policy::breaker::config::{CircuitBreakerConfig, HalfOpen, Sleep};

#[cfg(feature = "http")]
pub(crate) use self::held::Unended;
pub use self::{
    handle::{Circuit, Run},
    keyed::{
        Circuits, KeyedCircuitBreaker, KeyedCircuitBreakerLayer,
        ResponseFuture as KeyedResponseFuture,
    },
    layer::{CircuitBreaker, CircuitBreakerLayer, ResponseFuture},
    permit::Permit,
    watch::StateWatch,
};
