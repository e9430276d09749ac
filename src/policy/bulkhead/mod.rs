//! The bulkhead as a pure decision: so many calls at once, and a bounded queue for the others.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use portcullis::{BulkheadConfig, policy::bulkhead::{Slots, Verdict}};
//!
//! # #[allow(clippy::disallowed_methods)]
//! let start = Instant::now();
//! let slots = Slots::new(BulkheadConfig::new("db", 1).queue(1))?;
//!
//! let (Verdict::Admitted(first), _) = slots.enter(start, None, "first") else { panic!("empty") };
//! let (Verdict::Queued(second), _) = slots.enter(start, None, "second") else { panic!("full") };
//! assert!(matches!(slots.enter(start, None, "third").0, Verdict::Rejected(_)));
//!
//! let later = start + Duration::from_millis(200);
//! let change = slots.leave(first, later);
//! assert_eq!(change.let_in.map(|next| next.kept), Some("second"));
//! let (Verdict::Admitted(_), _) = slots.ask(second, later) else { panic!("it was let in") };
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! # Cost
//!
//! One atomic word holds the calls in flight, the limit, and whether anybody waits. Coming in and leaving
//! are one read-modify-write each, without a lock and without the clock, while nobody waits. A call that
//! waits, and one that leaves while others do, take a short lock; what they do under it does not depend
//! on how many wait, but for the logarithm in a heap of times.
//!
//! # Semantics
//!
//! - A slot that is freed while somebody waits goes to the one whose turn it is, at once: a newcomer
//!   cannot take it, not even between the two.
//! - One that has waited for as long as it may is out when the time passed is `>=` that, as is one whose
//!   deadline has come. It is noticed by the next call that waits, asks, or leaves while others wait, or
//!   when its own [ticket](Ticket) is asked about; until then it counts as queued.
//! - One that was let in, and comes for its slot at or after its deadline, is refused, and the next one
//!   gets the slot. Having waited for as long as it may does not matter once it was let in.
//! - A lower limit takes nothing away; nobody gets in until fewer are in flight than it allows. A shorter
//!   queue sends nobody away; nobody joins it until it is shorter than that.

pub(crate) mod config;
mod line;
mod live;
mod show;
mod slots;
mod word;

use std::time::{Duration, Instant};

pub(crate) use self::slots::Owed;
pub use self::{
    config::{BulkheadConfig, QueueOrder},
    show::Snapshot,
    slots::Slots,
};
use crate::error::Reason;

/// How a call stands.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "an admitted call must leave, and a ticket must be asked about or cancelled"]
pub enum Verdict {
    /// It may be made.
    Admitted(Admission),
    /// It waits for its turn.
    Queued(Ticket),
    /// It may not be made.
    Rejected(Reason),
}

/// Leave for one call; [`Slots::leave`] takes it back.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "an admitted call must leave"]
pub enum Admission {
    /// It holds a slot.
    Slot,
    /// It holds nothing, since a command lets every call through.
    Pass {
        /// Why it would have been refused, in shadow: there nobody waits, so that it says `BulkheadFull`
        /// wherever no slot was free, queue or not. `None` where the bulkhead is disabled.
        would_reject: Option<Reason>,
    },
}

/// A place in the queue.
#[derive(Debug)]
#[must_use = "a ticket must be asked about or cancelled: its place is kept"]
pub struct Ticket {
    place: u32,
    generation: u32,
    until: Option<Instant>,
}

impl Ticket {
    /// When the wait ends at the latest: when it has taken too long, or at the deadline. `None` is never.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }
}

/// What an operation changed besides what it was asked for.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "whoever was let in wants to know"]
pub struct Change<T> {
    /// Whether a call has left its slot.
    pub freed: bool,
    /// Who was let in.
    pub let_in: Option<LetIn<T>>,
    /// How many have left the queue and were not let in.
    pub left: usize,
}

impl<T> Change<T> {
    pub(crate) const FREED: Self = Self { freed: true, let_in: None, left: 0 };
    const NOTHING: Self = Self { freed: false, let_in: None, left: 0 };
}

/// One that waited and was let in.
#[derive(Debug)]
#[non_exhaustive]
pub struct LetIn<T> {
    /// What its owner kept with its place.
    pub kept: T,
    /// How long it waited.
    pub waited: Duration,
    /// Whether it holds a slot; not if a command let it through.
    pub slot: bool,
}
