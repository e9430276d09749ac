//! A rate limiter at one moment.

use std::time::Duration;

use crate::policy::Mode;

/// A rate limiter at one moment, computed for that moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RateLimitSnapshot {
    /// What it does with its verdicts.
    pub mode: Mode,
    /// How many tokens there can be.
    pub burst: u64,
    /// How many whole tokens there are.
    pub available: u64,
    /// The same with parts of a token; negative while reservations and waiting calls have taken some ahead
    /// of time.
    pub tokens: f64,
    /// The time until it is full, if nobody takes any more; `None` if it never will be.
    pub reset_after: Option<Duration>,
    /// How many calls wait for their turn.
    pub queued: usize,
    /// How many calls were let in since it was made, those in shadow among them.
    pub admitted: u64,
    /// How many calls were refused since it was made; those that shadow let in are not.
    pub refused: u64,
}
