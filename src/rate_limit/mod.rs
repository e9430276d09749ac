//! Rate limiter: lets so many calls through per so long, and refuses or delays the rest.
//!
//! ```text
//!    so many tokens per so long
//!         │ ▲ what is above the burst is lost
//!         ▼ │
//!     ┌────────┐   takes what it costs        ┌─────────┐
//!     │ bucket │ ◀─────────────────── call ─▶ │ service │
//!     └────────┘                        │     └─────────┘
//!                                       └─▶ refused, with the time to come back; or waits in line
//! ```
//!
//! ```
//! use portcullis::{Error, ErrorLayer, RateLimitConfig, RateLimitLayer};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let limit = RateLimitLayer::new(RateLimitConfig::per_second("search", 100).burst(20))?;
//! let limiter = limit.limiter().clone();
//! let mut service = ServiceBuilder::new()
//!     .layer(limit)
//!     .layer(ErrorLayer::new())
//!     .service(service_fn(|_: ()| async { Ok::<_, std::io::Error>(()) }));
//!
//! for _ in 0..20 {
//!     service.ready().await.unwrap().call(()).await.unwrap();
//! }
//! let Err(Error::Rejected(refusal)) = service.ready().await.unwrap().call(()).await else {
//!     panic!("the burst is used up");
//! };
//! println!("{refusal}");     // search: the rate limit is used up; retry after 10ms
//! println!("{}", limiter.explain());
//! # Ok(())
//! # }
//! ```
//!
//! Requests that cost more than one token, and calls that wait for theirs for up to half a second:
//!
//! ```
//! use std::time::Duration;
//! use portcullis::{RateLimitConfig, WaitingRateLimitLayer, Waits};
//!
//! # struct Batch { rows: u64 }
//! let layer = WaitingRateLimitLayer::new(
//!     RateLimitConfig::new("import", 6_000, Duration::from_secs(60)).burst(500),
//!     Waits::up_to(Duration::from_millis(500)).queue(200),
//! )?
//! .cost(|batch: &Batch| batch.rows);
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! Use it three ways: as a layer that refuses ([`RateLimitLayer`]) or lets wait
//! ([`WaitingRateLimitLayer`]), by its handle without Tower ([`RateLimiter`]), or as a pure decision with the
//! time as an argument ([`policy::bucket`](crate::policy::bucket)). One limit per key is
//! [`KeyedRateLimitLayer`] and [`RateLimiters`], which refuse.
//!
//! # Defaults
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | [`permits`](RateLimitConfig::permits), [`per`](RateLimitConfig::per) | required | how many tokens come back in what time; zero permits never do |
//! | [`burst`](RateLimitConfig::burst) | one second's tokens, rounded up, at least 1 | how many there can be, and the most that one request may cost |
//! | cost of a request | 1 | [`cost`](RateLimitLayer::cost) says otherwise; zero always passes |
//! | what happens without tokens | refused at once | or a wait, under [`WaitingRateLimitLayer`] |
//! | [`max_wait`](Waits::max_wait) | 1 s | who would wait for longer is refused at once |
//! | [`max_queued`](Waits::max_queued) | 1 000 | who would be one more in line is refused at once |
//! | by key: [`most`](crate::Keys::most) keys | required | how many have a bucket of their own |
//! | by key: [`at_cap`](crate::Keys::at_cap) | further keys share one bucket | or are refused, or admitted |
//!
//! # Semantics, where limiters differ
//!
//! 1. **Token bucket**, equal to the generic cell rate algorithm (GCRA): tokens come back one by one, and
//!    not all at the end of a window. In any interval of length `t` there go at most `burst + rate × t`, in
//!    every mode, exactly.
//! 2. **Capacity is the burst**, to the token. The bucket begins full, and a pause of any length fills it no
//!    further.
//! 3. **All or none**: a request takes all of its tokens or is refused and takes nothing. One that costs more
//!    than the burst is refused for ever ([`OverBurst`](crate::Reason::OverBurst)).
//! 4. **`retry_after` is exact**: the time until the request's tokens are all there, if nobody else takes any,
//!    rounded up to a nanosecond. Asked again after it, they are.
//! 5. **A change of the rate** ([`reconfigure`](RateLimiter::reconfigure)) keeps tokens and debts as they
//!    are, and acts from then on.
//! 6. **Tokens are spent** when a call is let in, whatever becomes of it.
//!
//! # Waiting
//!
//! A call that waits takes its tokens ahead of time and so knows its turn. Whoever comes later, to wait or
//! not, by the same layer or by another of the same limiter, finds those tokens owed: nobody is overtaken,
//! and a small request does not pass a large one. It is refused at once, without any wait, when
//!
//! - its turn would come later than `max_wait`, or the line is full: [`RateLimited`](crate::Reason::RateLimited),
//!   with the time after which it would not have to wait;
//! - its turn would come at or after the ambient [`deadline`](crate::deadline):
//!   [`DeadlineTooShort`](crate::Reason::DeadlineTooShort).
//!
//! A waiting call is woken in its turn, by a timer of its own; when another leaves the line before its turn,
//! those behind it move up, and the first in line is woken if its turn comes earlier than it knew. It never
//! goes before its turn. One that asks late (tokio's timers run up to a millisecond late, and a task may have
//! other things to do) goes on the tokens of its turn, unless the bucket would have been full without it
//! meanwhile: then it takes anew what was lost, for the sake of the first rule, and where others' tokens are
//! taken by then, it stands behind them. A change of the rate in between makes no difference. So where a burst
//! is worth less than a few milliseconds, waiting calls get a little less than the rate.
//!
//! [`reserve`](RateLimiter::reserve) does the same by hand: tokens now, to be used after a wait that was told
//! and stays, through changes of the rate as well. Cancelled before its time, a reservation gives back what
//! later ones were not planned with, the rule of golang's `x/time/rate`, or lets those that wait behind it
//! move up; nobody moves up past a later reservation. It counts at the time that was told. After its time it
//! gives nothing back; after a change of the rate, what the bucket would not have been too full to hold.
//!
//! # Commands
//!
//! [`shadow`](RateLimiter::shadow) decides and reports what it would refuse
//! ([`Event::WouldReject`](crate::Event)), which takes nothing; it refuses nobody and lets nobody wait, but
//! takes the tokens of those who would have waited, so that the next verdict is what it would have been;
//! whoever waits goes on the tokens that it has taken.
//! [`disable`](RateLimiter::disable) lets everything through and counts nothing; whoever waits goes, and its
//! tokens are given back.
//! [`enable`](RateLimiter::enable) ends either. [`reset`](RateLimiter::reset) fills the bucket and serves
//! those in line from it. By key they act on the whole table, and nobody waits.
//!
//! # Where it stands
//!
//! Outermost, below a fallback and the overall timeout, where it protects this service: one request is one
//! call, however often it is tried. Innermost, below a retry, where it protects the one that is called:
//! each attempt counts. A waiting limiter belongs below whatever sets the [deadline](crate::deadline): see
//! [ordering](crate::docs::ordering).
//!
//! # Readiness
//!
//! `poll_ready` is the inner service's, and takes nothing: an idle service holds no token. Under
//! [`WaitingRateLimitLayer`] a call that may go at once goes on the instance that was readied; one that must
//! wait drops it and readies a clone in its turn, so that nothing of the inner service is held meanwhile: see
//! [readiness](crate::docs::readiness).
//!
//! # Cancellation and clones
//!
//! Dropping a call that waits gives its place and its tokens up at once, to those behind it. A call that was
//! let in has spent its tokens. A cost function that panics has taken nothing. Clones of a layer, and all
//! services made by them, share one limiter: see [sharing](crate::docs::sharing).
//!
//! # Events
//!
//! | event | when |
//! |---|---|
//! | [`Admitted`](crate::Event::Admitted) | a call is let in; `waited` is zero if, and only if, it did not wait in line |
//! | [`Queued`](crate::Event::Queued) | a call begins to wait |
//! | [`LeftQueue`](crate::Event::LeftQueue) | it goes without its turn: dropped, refused, or let through by a command |
//! | [`Rejected`](crate::Event::Rejected), [`WouldReject`](crate::Event::WouldReject) | a call is refused, or would be |
//! | [`Untracked`](crate::Event::Untracked) | by key: there is no room for a key, and its call is admitted |
//!
//! # Clock
//!
//! [`Options::clock`](crate::Options::clock) says how many tokens there are. Waits are tokio's timers; where
//! the two differ, a call asks again when its timer has run, and waits on if it came too early.
//!
//! # Memory and cost
//!
//! No allocation per call, admitted or refused; the line grows by what waits in it. Taking tokens is a read
//! of the clock and one exchange of a word, a refusal writes nothing but its count. Only calls that wait,
//! reservations, and operators take a lock. Giving a place up costs time in proportion to those behind it.
//!
//! | what | bytes |
//! |---|---:|
//! | a limiter | 640 |
//! | more, once it has let a call in; and once it has refused one | 1 024 each |
//! | a call that waits, besides its future | 80 |

mod core;
mod cost;
mod handle;
mod keyed;
mod layer;
mod reservation;
mod turn;
mod waiting;
mod waits;

#[cfg(doc)]
use crate::policy::bucket::config::RateLimitConfig;

pub use self::{
    cost::{Cost, OneToken},
    handle::{Acquire, RateLimiter},
    keyed::{
        KeyedRateLimit, KeyedRateLimitLayer, RateLimiters, ResponseFuture as KeyedResponseFuture,
    },
    layer::{RateLimit, RateLimitLayer, ResponseFuture},
    reservation::Reservation,
    waiting::{WaitingRateLimit, WaitingRateLimitLayer, WaitingResponseFuture},
    waits::Waits,
};
