//! How long a call may take: a limit, the deadline that holds already, and the least time that is worth
//! starting with make a deadline or a refusal.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use portcullis::policy::timeout::{Verdict, decide};
//!
//! let now = Instant::now();
//! let [short, limit, long] = [1, 2, 9].map(Duration::from_secs);
//!
//! // The limit makes a deadline; an earlier one that holds already stays in force.
//! let alone = decide(Some(limit), None, Duration::ZERO, now);
//! assert_eq!(alone, Verdict::Start { deadline: Some(now + limit) });
//! let nested = decide(Some(limit), Some(now + short), Duration::ZERO, now);
//! assert_eq!(nested, Verdict::Start { deadline: Some(now + short) });
//!
//! // Too little is left to be worth a call.
//! assert!(matches!(decide(Some(long), Some(now + short), limit, now), Verdict::Refuse { .. }));
//! ```

pub mod config;
mod live;

use std::time::{Duration, Instant};

pub(crate) use self::live::{Live, TooShort};
use super::{Mode, Now};
use crate::error::Reason;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It may start.
    Start {
        /// When its time is over: never later than the deadline that held already. `None` without
        /// either, and for a limit so long that it ends after every instant there is.
        deadline: Option<Instant>,
    },
    /// It may not.
    Refuse {
        /// Always [`Reason::DeadlineTooShort`].
        reason: Reason,
        /// The time that was left; zero once the deadline has passed.
        remaining: Duration,
    },
}

/// Decides over a call that is made at `now`.
///
/// `limit` is how long it may take; `outer` is the deadline that holds already, which stays in force where
/// it is earlier. With no time left, or less than `min_remaining`, the call is refused. The time is read
/// only if there is anything to compare it with.
#[inline]
pub fn decide(
    limit: Option<Duration>,
    outer: Option<Instant>,
    min_remaining: Duration,
    now: impl Now,
) -> Verdict {
    if limit.is_none() && outer.is_none() {
        return Verdict::Start { deadline: None };
    }
    let now = now.now();
    let own = limit.and_then(|limit| now.checked_add(limit));
    let deadline = match (own, outer) {
        (Some(own), Some(outer)) => own.min(outer),
        (None, None) => return Verdict::Start { deadline: None },
        (Some(only), None) | (None, Some(only)) => only,
    };
    // The difference is worked out only where it matters.
    if deadline <= now || (!min_remaining.is_zero() && deadline - now < min_remaining) {
        return refuse(deadline, now);
    }
    Verdict::Start { deadline: Some(deadline) }
}

#[cold]
fn refuse(deadline: Instant, now: Instant) -> Verdict {
    let remaining = deadline.saturating_duration_since(now);
    Verdict::Refuse { reason: Reason::DeadlineTooShort, remaining }
}

/// A timeout at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Whether it acts on what it decides.
    pub mode: Mode,
    /// How long a call may take, where its request does not say so itself.
    pub limit: Option<Duration>,
    /// The least time left that a call is started with.
    pub min_remaining: Duration,
    /// Calls that ran out of time, since the timeout was made or reset; those that it only reported in
    /// shadow among them.
    pub timed_out: u64,
    /// Calls that were refused because too little time was left, counted likewise.
    pub refused: u64,
}
