//! What one call holds of its retry.

use std::{
    fmt,
    ops::Deref,
    time::{Duration, Instant},
};

use super::{
    RetryBudget,
    core::{Core, Manner},
};
use crate::{
    clock, deadline,
    error::{PolicyKind, Reason, Rejection},
    event::Event,
    outcome::{Hint, Outcome},
    policy::{
        budget::Withdrawal,
        retry::{Attempt, Progress, RetryEnd, Verdict},
    },
};

/// A wait that no clock can tell the end of ends after thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// A call under way. Dropping it says that the caller went away, and refunds what was paid for an attempt
/// that has not begun.
pub(super) struct Held<H: Deref<Target = Core>> {
    /// There until the call has ended; none from the beginning where nobody looks.
    core: Option<H>,
    manner: Manner,
    /// There once a second attempt was allowed: the usual call has none of it.
    retrying: Option<Retrying>,
}

/// How far a call has come that is being retried.
struct Retrying {
    progress: Progress,
    /// How many attempts have begun.
    begun: u32,
    /// What the attempt that runs, or is to come, has cost.
    paid: Option<Withdrawal>,
}

/// A wait before another attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) delay: Duration,
    pub(super) until: Instant,
}

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub(super) hint: Option<Hint>,
    /// Whether a policy below refused it, so that it says nothing about the service.
    pub(super) refused: bool,
    /// Whether the request can be sent once more.
    pub(super) replayable: bool,
}

impl<H: Deref<Target = Core>> Held<H> {
    #[inline]
    pub(super) fn new(core: H, manner: Manner) -> Self {
        let core = if manner == Manner::Unwatched { None } else { Some(core) };
        Self { core, manner, retrying: None }
    }

    /// Whether the call has ended, or nobody looks.
    pub(super) fn is_closed(&self) -> bool {
        self.core.is_none()
    }

    /// The number of the attempt that runs, or is to come.
    #[inline]
    pub(super) fn attempt(&self) -> u32 {
        self.retrying.as_ref().map_or(1, |retrying| retrying.progress.attempts())
    }

    /// The attempt that was paid for begins; whether it is the last one allowed.
    pub(super) fn begin(&mut self) -> bool {
        if let Some(retrying) = &mut self.retrying {
            retrying.begun = retrying.progress.attempts();
        }
        let allowed = self.core.as_ref().map_or(0, |core| core.quick().attempts());
        self.attempt() >= allowed
    }

    /// A policy below refused the attempt: the service has not seen it, and nothing is paid for it.
    /// Whether there may be another one.
    pub(super) fn repeats(&mut self, refusal: &Rejection) -> bool {
        self.refund();
        let retries = self.core.as_ref().is_some_and(|core| core.quick().retries_refusals());
        retries && !refusal.reason().is_permanent()
    }

    fn refund(&mut self) {
        let budget = self.core.as_ref().and_then(|core| core.budget.as_ref());
        let paid = self.retrying.as_mut().and_then(|retrying| retrying.paid.take());
        if let (Some(budget), Some(paid)) = (budget, paid) {
            budget.refund(paid);
        }
    }

    /// What follows a failed attempt: a wait before another one, or the end. `take_over` is asked last of
    /// all, and only where another attempt follows if it agrees.
    #[cold]
    pub(super) fn failed(
        &mut self,
        failed: Failed,
        take_over: impl FnOnce() -> bool,
    ) -> Result<Wait, RetryEnd> {
        let Some(core) = &self.core else { return Err(RetryEnd::NotRetryable) };
        let mut progress = self.retrying.as_ref().map_or(Progress::new(), |now| now.progress);
        let now = clock::tokio_now();
        let seen = Attempt::new(Outcome::Failure, now)
            .hint(failed.hint)
            .single(self.single(failed.replayable))
            .deadline(deadline::current())
            .random(core.rng.lock().share());
        let rules = *core.rules.lock();
        let budget = core.budget.as_ref();
        // Of every failure that could be retried, whether it will be or not.
        let allowed = failed.refused || budget.is_none_or(RetryBudget::record_failure);
        let shadow = self.manner == Manner::Shadow;
        let mut paid = None;
        let pay = || match budget {
            None => true,
            Some(_) if !allowed => false,
            // Asked, but not taken.
            Some(budget) if shadow => budget.has_token(),
            Some(budget) => {
                paid = budget.try_withdraw();
                paid.is_some()
            }
        };
        match progress.decide(&rules, seen, pay) {
            Verdict::Stop(end) => Err(end),
            Verdict::After(_) if shadow => Err(RetryEnd::Shadow),
            Verdict::After(_) if !take_over() => {
                if let (Some(budget), Some(paid)) = (budget, paid) {
                    budget.refund(paid);
                }
                Err(RetryEnd::NotReplayable)
            }
            Verdict::After(delay) => {
                let (policy, attempt) = (core.name, progress.attempts());
                core.observers.tell(|| Event::Retrying { policy, attempt, delay });
                let begun = self.attempt();
                self.retrying = Some(Retrying { progress, begun, paid });
                Ok(Wait { delay, until: now.checked_add(delay).unwrap_or_else(|| now + FAR) })
            }
        }
    }

    /// Why there can be no other attempt, rules and budget aside.
    fn single(&self, replayable: bool) -> Option<RetryEnd> {
        match self.manner {
            Manner::Nested => Some(RetryEnd::Nested),
            Manner::Shadow => None,
            _ if replayable => None,
            _ => Some(RetryEnd::NotReplayable),
        }
    }

    /// The deadline has passed while another attempt waited, and no error is at hand to answer with.
    pub(super) fn too_late(&self) -> Rejection {
        let name = self.core.as_ref().map_or("", |core| core.name);
        let rejection = Rejection::new(Reason::DeadlineTooShort, name)
            .with_kind(PolicyKind::Retry)
            .with_attempted();
        if let Some(core) = &self.core {
            core.observers.tell(|| Event::Rejected(rejection));
        }
        rejection
    }

    /// The call has succeeded.
    #[inline]
    pub(super) fn succeed(&mut self) {
        if self.retrying.is_some() {
            self.end(RetryEnd::Success);
        } else if let Some(core) = self.core.take() {
            core.first_success();
        }
    }

    /// The call has its last answer; nothing happens if it had it already.
    #[cold]
    pub(super) fn end(&mut self, end: RetryEnd) {
        let mut begun = 1;
        if let Some(retrying) = &self.retrying {
            begun = retrying.begun;
            if begun != retrying.progress.attempts() {
                self.refund();
            }
        }
        if let Some(core) = self.core.take() {
            Core::end(&core, begun, end);
        }
    }
}

impl<H: Deref<Target = Core>> Drop for Held<H> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_closed() {
            self.end(RetryEnd::Abandoned);
        }
    }
}

impl<H: Deref<Target = Core>> fmt::Debug for Held<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("attempt", &self.attempt()).finish_non_exhaustive()
    }
}
