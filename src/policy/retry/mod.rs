//! A retry, as a pure decision: whether a call has another attempt, and after how long.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use portcullis::{
//!     Backoff, Jitter, Outcome, RetryEnd,
//!     policy::retry::{Attempt, Progress, Rules, Verdict},
//! };
//!
//! # #[expect(clippy::disallowed_methods, reason = "any instant to begin with")]
//! let now = Instant::now();
//! let rules = Rules::new(2, Backoff::exponential(Duration::from_millis(50), 2.0).jitter(Jitter::None));
//! let mut call = Progress::new();
//! let failed = Attempt::new(Outcome::Failure, now);
//! assert_eq!(call.decide(&rules, failed, || true), Verdict::After(Duration::from_millis(50)));
//! assert_eq!(call.decide(&rules, failed, || true), Verdict::Stop(RetryEnd::AttemptsExhausted));
//! ```

mod end;
mod hints;
mod snapshot;

use std::time::{Duration, Instant};

pub use self::{
    end::RetryEnd,
    hints::{HintMode, Hints},
    snapshot::{Ends, Snapshot},
};
use super::backoff::Backoff;
use crate::outcome::{Hint, Outcome};

/// How often, and after how long.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rules {
    /// How many attempts a call may have, the first included; `u32::MAX` is as good as no limit.
    pub attempts: u32,
    /// The delays between them.
    pub backoff: Backoff,
    /// What a service may say about the delay.
    pub hints: Hints,
}

impl Rules {
    /// So many attempts with these delays; hints as by default.
    pub fn new(attempts: u32, backoff: Backoff) -> Self {
        Self { attempts, backoff, hints: Hints::default() }
    }

    /// Sets what a service may say about the delay.
    #[must_use]
    pub fn hints(mut self, hints: Hints) -> Self {
        self.hints = hints;
        self
    }
}

/// How an attempt ended, and under which circumstances another is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Attempt {
    /// What the result means: [`Outcome::Failure`] is worth another attempt.
    pub outcome: Outcome,
    /// What the service says about another attempt.
    pub hint: Option<Hint>,
    /// Why there can be no other, where something else than the rules says so.
    pub single: Option<RetryEnd>,
    /// When it ended.
    pub now: Instant,
    /// When an answer stops being useful.
    pub deadline: Option<Instant>,
    /// A number in `0.0..1.0` for jitter.
    pub random: f64,
}

impl Attempt {
    /// A result without hint, deadline or jitter.
    pub const fn new(outcome: Outcome, now: Instant) -> Self {
        Self { outcome, hint: None, single: None, now, deadline: None, random: 0.0 }
    }

    /// Sets what the service says.
    #[must_use]
    pub const fn hint(mut self, hint: Option<Hint>) -> Self {
        self.hint = hint;
        self
    }

    /// Sets the deadline.
    #[must_use]
    pub const fn deadline(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the random number.
    #[must_use]
    pub const fn random(mut self, random: f64) -> Self {
        self.random = random;
        self
    }

    /// Sets why there can be no other attempt.
    #[must_use]
    pub const fn single(mut self, why: Option<RetryEnd>) -> Self {
        self.single = why;
        self
    }
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "either there is another attempt or there is none")]
pub enum Verdict {
    /// Nothing: this was the last.
    Stop(RetryEnd),
    /// Another attempt, after this delay.
    After(Duration),
}

/// How far one call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    attempts: u32,
    /// The number of the next retry, as the back-off counts it.
    retry: u32,
    /// The back-off before this attempt.
    previous: Option<Duration>,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// The first attempt is being made.
    pub const fn new() -> Self {
        Self { attempts: 1, retry: 1, previous: None }
    }

    /// How many attempts were allowed, the first included.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What follows an attempt that ended like this. `pay` is asked last, and only where everything else
    /// allows another attempt; it says whether the budget pays for it.
    pub fn decide(&mut self, rules: &Rules, seen: Attempt, pay: impl FnOnce() -> bool) -> Verdict {
        match self.look(rules, seen) {
            Ok(_) if !pay() => Verdict::Stop(RetryEnd::BudgetExhausted),
            Ok((delay, next)) => {
                *self = next;
                Verdict::After(delay)
            }
            Err(end) => Verdict::Stop(end),
        }
    }

    /// Everything but the budget.
    fn look(&self, rules: &Rules, seen: Attempt) -> Result<(Duration, Self), RetryEnd> {
        match (seen.outcome, seen.hint) {
            (Outcome::Success, _) => return Err(RetryEnd::Success),
            (Outcome::Ignored, _) => return Err(RetryEnd::NotRetryable),
            (Outcome::Failure, Some(Hint::Stop)) => return Err(RetryEnd::ToldToStop),
            (Outcome::Failure, _) => {}
        }
        if self.attempts >= rules.attempts {
            return Err(RetryEnd::AttemptsExhausted);
        }
        if let Some(why) = seen.single {
            return Err(why);
        }
        let own = rules.backoff.delay(self.retry, seen.random, self.previous);
        let attempts = self.attempts + 1;
        let onwards = Self { attempts, retry: self.retry.saturating_add(1), previous: Some(own) };
        let (delay, next) = match seen.hint {
            Some(Hint::After(hint)) => {
                let delay = rules.hints.delay(hint, own, seen.random);
                let delay = delay.ok_or(RetryEnd::HintTooLong)?;
                let restarted = Self { attempts, ..Self::new() };
                (delay, if rules.hints.restart { restarted } else { onwards })
            }
            _ => (own, onwards),
        };
        match seen.deadline {
            // A time that cannot be told is after every deadline.
            Some(deadline) if seen.now.checked_add(delay).is_none_or(|end| end >= deadline) => {
                Err(RetryEnd::Deadline)
            }
            _ => Ok((delay, next)),
        }
    }
}
