//! Bulkhead: lets so many calls at once into a service, so that one slow dependency cannot take everything
//! down with it.
//!
//! ```text
//!           a slot is free                            the answer, a drop, a panic
//!  call ─────────────────────────▶ ┌───────────────┐ ─────────────────────────────▶
//!   │                              │ in flight     │
//!   │ all are taken                │ at most N     │ ──┐ a slot is freed
//!   ▼                              └───────────────┘   │
//!  ┌───────────────┐                       ▲           │
//!  │ queue         │ ──────────────────────┴───────────┘
//!  │ at most Q     │   whose turn it is
//!  └───────────────┘ ──▶ refused: the queue is full, the wait too long, the deadline there
//! ```
//!
//! It sheds by itself: a call that finds no room is refused, at once or after a bounded wait, and no
//! `LoadShed` is needed around it.
//!
//! ```
//! use portcullis::{BulkheadConfig, BulkheadLayer, Error, ErrorLayer, Reason};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let layer = BulkheadLayer::new(BulkheadConfig::new("reports", 2))?;
//! let bulkhead = layer.bulkhead().clone();
//! let mut service = ServiceBuilder::new()
//!     .layer(layer)
//!     .layer(ErrorLayer::new())
//!     .service(service_fn(|_: ()| std::future::pending::<Result<(), std::io::Error>>()));
//!
//! let first = service.ready().await.unwrap().call(());
//! let second = service.ready().await.unwrap().call(());
//! let Err(Error::Rejected(refusal)) = service.ready().await.unwrap().call(()).await else {
//!     panic!("there is room for two");
//! };
//! assert_eq!(refusal.reason(), Reason::BulkheadFull);
//! println!("{}", bulkhead.explain());
//! // reports is enforcing and refuses calls: 2 of 2 calls in flight, 0 waiting
//! drop((first, second));
//! assert_eq!(bulkhead.in_flight(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! With a queue, for bursts that a moment's patience takes care of:
//!
//! ```
//! use std::time::Duration;
//! use portcullis::{BulkheadConfig, QueuedBulkheadLayer};
//!
//! let layer = QueuedBulkheadLayer::new(
//!     BulkheadConfig::new("db", 20).queue(50).max_wait(Duration::from_millis(250)),
//! )?;
//! # let _ = layer;
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! Use it three ways: as a layer, [one that refuses at once](BulkheadLayer) over any service or
//! [one that lets calls wait](QueuedBulkheadLayer) over a service that is `Clone`; by its handle without
//! Tower ([`Bulkhead`]); or as a pure decision with the time as an argument
//! ([`policy::bulkhead`](crate::policy::bulkhead)).
//!
//! # Defaults
//!
//! | setting | default | meaning |
//! |---|---|---|
//! | [`max_in_flight`](BulkheadConfig::max_in_flight) | required, at least 1 | calls at once; `usize::MAX` is no limit to speak of |
//! | [`queue`](BulkheadConfig::queue) | 0 | calls that may wait |
//! | [`max_wait`](BulkheadConfig::max_wait) | 1 s | how long one may wait; means nothing without a queue |
//! | [`order`](BulkheadConfig::order) | the one that has waited longest | or the newest: [`lifo`](BulkheadConfig::lifo) |
//!
//! # Semantics, where bulkheads differ
//!
//! 1. **Whose slot**: one that is freed while calls wait goes to the one whose turn it is, in the same
//!    step. A newcomer waits behind those who wait, and [`try_acquire`](Bulkhead::try_acquire) is refused
//!    while anybody does.
//! 2. **A full queue** refuses the newcomer at once, in either order. Nobody who waits is sent away for it.
//! 3. **The end of a wait**: when the time passed is `>=` [`max_wait`](BulkheadConfig::max_wait), refused with
//!    [`QueueTimeout`](crate::Reason::QueueTimeout). The wait is measured from `call`, not from the first
//!    poll. Who was let in in time has its slot, however late it is polled.
//! 4. **The deadline**: no wait lasts beyond the ambient [deadline](crate::deadline). If that comes no later
//!    than the end of the wait, the call is refused with
//!    [`DeadlineTooShort`](crate::Reason::DeadlineTooShort), at the deadline at the latest; one whose deadline
//!    has passed is refused at once instead of waiting, and one that comes for its slot at or after its
//!    deadline is refused and the slot goes on. A call that need not wait is not asked for its deadline.
//! 5. **A lower limit** takes nothing away; nobody gets in until fewer are in flight. **A shorter queue** sends
//!    nobody away; nobody joins it until it is shorter. **A higher limit** lets in those who wait, at once.
//!    Another `max_wait` holds for those who come from then on.
//! 6. **When a slot is free again**: when the response future resolves, with an answer or an error, when it
//!    is dropped, or when a panic leaves the service. The body of a response is covered with feature `http`, by
//!    `hold_body()` of either layer.
//! 7. **No `retry_after`**: nobody knows when a call will leave.
//!
//! # Commands
//!
//! [`shadow`](Bulkhead::shadow), [`disable`](Bulkhead::disable), [`enable`](Bulkhead::enable) and
//! [`reset`](Bulkhead::reset), see [`Command`](crate::Command). In shadow a call that finds no free slot is
//! reported ([`Event::WouldReject`](crate::Event::WouldReject)) and let through: it holds nothing, is not
//! counted as in flight, and nobody waits, so that it is reported also where there is a queue in which it
//! might have found its turn. Disabled, calls pass and nothing is counted. Both let those through who wait.
//! After [`enable`](Bulkhead::enable) calls that were let through meanwhile still hold nothing, so that for
//! a while more may be running than the limit. [`reset`](Bulkhead::reset) forgets the count of refusals;
//! slots belong to calls that are still there.
//!
//! # Where it stands
//!
//! Above retry and breaker, so that a call keeps its slot over all of its attempts; below a rate limit and
//! the overall timeout, whose deadline bounds its waits: see [ordering](crate::docs::ordering). Around a client
//! it protects the callers' own resources; around a server, the server.
//!
//! # Readiness
//!
//! `poll_ready` is the service's, and no slot is reserved there: idle services hold none. Calls are decided
//! in `call`. One that waits gives the readied instance up and, once it has its slot, readies a clone under
//! it; nothing of the service is held while it waits. See [readiness](crate::docs::readiness).
//!
//! # Cancellation and clones
//!
//! Dropping a response future, an [`Acquire`] or a [`Run`] at any point gives back the slot, or the place in
//! the queue; a slot that was handed to a call that goes away before it has been polled goes to the next
//! one. A task that waits is woken once, when it was let in or its time is over. Clones of a layer, and all
//! services made by them, share one bulkhead: see [sharing](crate::docs::sharing).
//!
//! # Events
//!
//! | event | when |
//! |---|---|
//! | [`Admitted`](crate::Event::Admitted) | a call takes a slot; `waited` is zero if, and only if, it did not wait |
//! | [`Released`](crate::Event::Released) | it leaves it |
//! | [`Queued`](crate::Event::Queued) | a call begins to wait |
//! | [`LeftQueue`](crate::Event::LeftQueue) | it goes without a slot: given up, too late, or let through by a command |
//! | [`Rejected`](crate::Event::Rejected) | a call is refused |
//! | [`WouldReject`](crate::Event::WouldReject) | a call is let through in shadow |
//!
//! Whoever frees a slot tells of the one that gets it. So gauges need nothing but events: `in_flight` is
//! `Admitted` less `Released`; `queued` is `Queued` less `LeftQueue` and less `Admitted` with a wait. At any
//! moment at which no call is just coming or going they are what [`snapshot`](Bulkhead::snapshot) shows,
//! cancellation included. Events of one call that several threads have a hand in may arrive in another order.
//!
//! # Clock
//!
//! Only waits need the time, and it is tokio's: [`Options::clock`](crate::Options::clock) changes nothing here.
//!
//! # Memory and cost
//!
//! No allocation per call, admitted or refused, and none per wait once as many have waited. A call that
//! finds a slot costs two atomic operations on one word, and two on a counter of its thread's own that keeps
//! the bulkhead alive, which [`leak`](Bulkhead::leak) saves; it reads no clock. The lock is for calls that
//! wait, and those that leave while others do.
//!
//! | what | bytes |
//! |---|---:|
//! | a bulkhead | 220 |
//! | a place in the queue, kept for the next one | 150 |
//! | a layer value: a reference counter for each of several threads | 2 100 |
//! | more, once it has refused a call | 1 024 |

mod core;
mod handle;
#[cfg(feature = "http")]
mod held;
mod layer;
mod permit;
mod queued;
mod wait;

#[cfg(doc)]
use crate::policy::bulkhead::BulkheadConfig;

#[cfg(feature = "http")]
pub(crate) use self::held::HeldSlot;
pub use self::{
    handle::Bulkhead,
    layer::{BulkheadLayer, Bulkheaded, ResponseFuture},
    permit::BulkheadPermit,
    queued::{QueuedBulkhead, QueuedBulkheadLayer, QueuedResponseFuture},
    wait::{Acquire, Run},
};
