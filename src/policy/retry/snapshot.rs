//! A retry at one moment.

use std::fmt;

use super::RetryEnd;
use crate::policy::{budget::BudgetSnapshot, command::Mode};

/// A retry at one moment. Counts are of calls that have ended since the policy was made, and only ever
/// grow.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Whether it acts on its verdicts.
    pub mode: Mode,
    /// How many attempts a call may have, the first included.
    pub max_attempts: u32,
    /// Calls that have ended, dropped ones among them.
    pub calls: u64,
    /// The attempts that these calls made, refused ones among them.
    pub attempts: u64,
    /// Calls that succeeded at the first attempt.
    pub first_try_successes: u64,
    /// Calls that succeeded at a later one.
    pub retried_successes: u64,
    /// Why calls had no further attempt.
    pub ends: Ends,
    /// The budget, if there is one.
    pub budget: Option<BudgetSnapshot>,
}

/// How many calls ended for each reason.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends([u64; RetryEnd::ALL.len()]);

impl Ends {
    pub(crate) fn new(count: impl Fn(RetryEnd) -> u64) -> Self {
        Self(RetryEnd::ALL.map(count))
    }

    /// How many ended for this reason.
    pub fn of(&self, end: RetryEnd) -> u64 {
        self.0[end as usize]
    }

    /// How many ended in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every reason with its number.
    pub fn iter(&self) -> impl Iterator<Item = (RetryEnd, u64)> + use<> {
        let ends = *self;
        RetryEnd::ALL.into_iter().map(move |end| (end, ends.of(end)))
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().filter(|(_, calls)| *calls > 0)).finish()
    }
}
