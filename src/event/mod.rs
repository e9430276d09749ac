//! One vocabulary of events for all policies, and who is told of them.
//!
//! | event | when | told by | `tracing` |
//! |---|---|---|---|
//! | [`Transition`](Event::Transition) | a circuit changes state | circuit breaker | WARN to open and forced open, else INFO |
//! | [`Rejected`](Event::Rejected) | a call is refused, or cut | all but fallback | DEBUG; ERROR where the service panicked |
//! | [`WouldReject`](Event::WouldReject) | a policy in shadow admits what it would refuse | all but retry and fallback | DEBUG |
//! | [`Settled`](Event::Settled) | an admitted call has ended | circuit breaker | – |
//! | [`Abandoned`](Event::Abandoned) | an admitted call was dropped | circuit breaker | – |
//! | [`Untracked`](Event::Untracked) | a keyed policy is full and admits a call without a state of its own | circuit breaker, rate limit | DEBUG |
//! | [`Evicted`](Event::Evicted) | a keyed policy forgets an idle key to make room | circuit breaker, fallback | – |
//! | [`Queued`](Event::Queued) | a call begins to wait for its turn | rate limit, bulkhead | – |
//! | [`LeftQueue`](Event::LeftQueue) | a call that waited goes without its turn | rate limit, bulkhead | – |
//! | [`Admitted`](Event::Admitted) | a call is let in | rate limit, bulkhead | – |
//! | [`Released`](Event::Released) | a call has left | bulkhead | – |
//! | [`InTime`](Event::InTime) | a call, or a body, has ended before its limit | timeout, body timeout | – |
//! | [`Retrying`](Event::Retrying) | another attempt follows, after a delay | retry | DEBUG |
//! | [`RetryEnded`](Event::RetryEnded) | a call has its last answer | retry | DEBUG unless it is the first attempt's success |
//! | [`FellBack`](Event::FellBack) | a failure is answered | fallback | DEBUG |
//! | [`WouldFallBack`](Event::WouldFallBack) | a fallback in shadow passes on a failure that it would answer | fallback | DEBUG |
//! | [`Unanswered`](Event::Unanswered) | a failure that should be answered is passed on, there being no answer | fallback | DEBUG |
//!
//! An [`Observer`] is attached to one policy with [`Options::observer`](crate::Options::observer), or to
//! the whole process with [`observe`]. With feature `tracing` (on by default) events also go to
//! `tracing`, under a target per kind of policy (`portcullis::circuit_breaker`, `portcullis::rate_limit`, …).
//! With feature `metrics`, `MetricsObserver` records them with the crate of that name.
//! Observers run outside every lock: they may use the handle that told them. One that panics is ignored for
//! that event. When nobody listens, an event costs a predictable branch or two. Fields, gauges and stable names are
//! in [`docs::telemetry`](crate::docs::telemetry).

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod trace;
mod words;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::Duration,
};

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use self::metrics::MetricsObserver;
pub use self::words::AnswerSource;
pub use crate::policy::retry::RetryEnd;
use crate::{
    error::{PolicyKind, Reason, Rejection, Rounded},
    outcome::Outcome,
    policy::breaker::Transition,
};

/// Something that happened in a policy. Only names and enums: never a key, so that metrics made from
/// events are bounded.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A circuit changed its state.
    Transition {
        /// The policy's name.
        policy: &'static str,
        /// Whether the circuit is one of many by key, which share that name.
        keyed: bool,
        /// From where to where, and why.
        transition: Transition,
    },
    /// A call was refused.
    Rejected(Rejection),
    /// A call was admitted that would have been refused, had the policy not been in shadow.
    WouldReject {
        /// The policy's name.
        policy: &'static str,
        /// What kind of policy it is.
        kind: PolicyKind,
        /// Why it would have been refused.
        reason: Reason,
    },
    /// An admitted call has ended.
    Settled {
        /// The policy's name.
        policy: &'static str,
        /// What its result said about the service; a panic is a failure.
        outcome: Outcome,
        /// Whether it took longer than the slow limit.
        slow: bool,
    },
    /// An admitted call was dropped before it ended.
    Abandoned {
        /// The policy's name.
        policy: &'static str,
        /// Whether the drop counts, as a failure, or not.
        outcome: Outcome,
        /// Whether it had taken longer than the slow limit.
        slow: bool,
    },
    /// A keyed policy holds as many keys as it may, none of which can go, and admitted a call for a
    /// further key without a state of its own.
    Untracked {
        /// The policy's name.
        policy: &'static str,
        /// What kind of policy it is.
        kind: PolicyKind,
    },
    /// A keyed policy forgot an idle key to make room for another.
    Evicted {
        /// The policy's name.
        policy: &'static str,
        /// What kind of policy it is.
        kind: PolicyKind,
    },
    /// A call begins to wait for its turn.
    Queued {
        /// The policy's name.
        policy: &'static str,
        /// What kind of policy it is.
        kind: PolicyKind,
    },
    /// A call that waited goes without its turn: it was dropped, refused, or let through by a command.
    LeftQueue {
        /// The policy's name.
        policy: &'static str,
        /// What kind of policy it is.
        kind: PolicyKind,
    },
    /// A rate limiter or a bulkhead let a call in.
    Admitted {
        /// The policy's name.
        policy: &'static str,
        /// What kind of policy it is.
        kind: PolicyKind,
        /// How long it waited in line; zero if, and only if, it did not.
        waited: Duration,
    },
    /// A call has left a bulkhead, by its answer, by being dropped, or by a panic.
    Released {
        /// The policy's name.
        policy: &'static str,
        /// What kind of policy it is.
        kind: PolicyKind,
    },
    /// A call under a timeout has ended before its limit, or a body under one of its own.
    InTime {
        /// The policy's name.
        policy: &'static str,
        /// What kind of policy it is.
        kind: PolicyKind,
    },
    /// A retry will call again.
    Retrying {
        /// The policy's name.
        policy: &'static str,
        /// The number of the attempt to come; the first call was 1.
        attempt: u32,
        /// How long it waits before that.
        delay: Duration,
    },
    /// A call under a retry has its last answer.
    RetryEnded {
        /// The policy's name.
        policy: &'static str,
        /// How many attempts were made.
        attempts: u32,
        /// Why there are no more.
        end: RetryEnd,
    },
    /// A fallback answered in place of a failure.
    FellBack {
        /// The policy's name.
        policy: &'static str,
        /// Where the answer came from.
        source: AnswerSource,
    },
    /// A fallback passed on a failure that it would have answered, had it not been in shadow.
    WouldFallBack {
        /// The policy's name.
        policy: &'static str,
        /// Where the answer would have come from.
        source: AnswerSource,
    },
    /// A fallback had no answer for a failure that it should have answered, or what was to give one
    /// failed as well.
    Unanswered {
        /// The policy's name.
        policy: &'static str,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transition { policy, transition: t, .. } => {
                write!(f, "{policy}: {} -> {}: {}", t.from, t.to, t.cause)?;
                if let Some(sleep) = t.sleep {
                    write!(f, "; for {}", Rounded(sleep))?;
                }
                f.write_str(if t.shadow { " (shadow)" } else { "" })
            }
            Self::Rejected(rejection) => write!(f, "refused: {rejection}"),
            Self::WouldReject { policy, reason, .. } => {
                write!(f, "{policy}: would refuse: {reason}")
            }
            Self::Settled { policy, outcome, slow } => {
                write!(f, "{policy}: call ended: {outcome:?}{}", slow_mark(*slow))
            }
            Self::Abandoned { policy, outcome, slow } => {
                write!(f, "{policy}: call dropped: {outcome:?}{}", slow_mark(*slow))
            }
            Self::Untracked { policy, .. } => {
                write!(f, "{policy}: no room for another key; the call goes untracked")
            }
            Self::Evicted { policy, .. } => write!(f, "{policy}: an idle key was forgotten"),
            Self::Queued { policy, .. } => write!(f, "{policy}: a call waits for its turn"),
            Self::LeftQueue { policy, .. } => write!(f, "{policy}: a call gave up waiting"),
            Self::Admitted { policy, waited: Duration::ZERO, .. } => {
                write!(f, "{policy}: a call was let in")
            }
            Self::Admitted { policy, waited, .. } => {
                write!(f, "{policy}: a call was let in after {}", Rounded(*waited))
            }
            Self::Released { policy, .. } => write!(f, "{policy}: a call has left"),
            Self::InTime { policy, kind: PolicyKind::BodyTimeout } => {
                write!(f, "{policy}: a body ended in time")
            }
            Self::InTime { policy, .. } => write!(f, "{policy}: a call ended in time"),
            Self::Retrying { policy, attempt, delay } => {
                write!(f, "{policy}: attempt {attempt} follows in {}", Rounded(*delay))
            }
            Self::RetryEnded { policy, attempts: 1, end } => {
                write!(f, "{policy}: ended after 1 attempt: {end}")
            }
            Self::RetryEnded { policy, attempts, end } => {
                write!(f, "{policy}: ended after {attempts} attempts: {end}")
            }
            Self::FellBack { policy, source } => write!(f, "{policy}: fell back on {source}"),
            Self::WouldFallBack { policy, source } => {
                write!(f, "{policy}: would fall back on {source}")
            }
            Self::Unanswered { policy } => write!(f, "{policy}: there was nothing to fall back on"),
        }
    }
}

fn slow_mark(slow: bool) -> &'static str {
    if slow { " (slow)" } else { "" }
}

/// Is told of events. Any `Fn(&Event)` is one.
///
/// It is called on the task whose call caused the event, so it should be quick; a transition is told by
/// whoever finds nobody telling, in order.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync + 'static> Observer for F {
    fn on_event(&self, event: &Event) {
        self(event);
    }
}

static PROCESS: OnceLock<Arc<dyn Observer>> = OnceLock::new();

/// Tells `observer` of every event of every policy in this process.
///
/// # Errors
/// When there is one already, which stays: there is one per process, set where the program starts.
pub fn observe<O: Observer>(observer: O) -> Result<(), AlreadyObserved> {
    PROCESS.set(Arc::new(observer)).map_err(|_| AlreadyObserved(()))
}

/// The process has an observer already.
#[derive(Debug)]
pub struct AlreadyObserved(());

impl fmt::Display for AlreadyObserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process has an observer already")
    }
}

impl std::error::Error for AlreadyObserved {}

/// Who is told of one policy's events.
#[derive(Clone, Default)]
pub(crate) struct Observers {
    pub(crate) own: Option<Arc<dyn Observer>>,
}

impl Observers {
    /// Whether anybody but `tracing` listens.
    #[inline]
    pub(crate) fn listen_to_calls(&self) -> bool {
        self.own.is_some() || PROCESS.get().is_some()
    }

    /// Whether anybody listens.
    #[inline]
    pub(crate) fn listen(&self) -> bool {
        #[cfg(feature = "tracing")]
        if trace::listens() {
            return true;
        }
        self.listen_to_calls()
    }

    /// Tells everybody of something that happens with every call, if anybody but `tracing` listens.
    #[inline]
    pub(crate) fn tell_of_call(&self, event: impl FnOnce() -> Event) {
        if self.listen_to_calls() {
            self.tell_observers(&event());
        }
    }

    /// Tells everybody.
    #[inline]
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        #[cfg(feature = "tracing")]
        if trace::listens() {
            let event = event();
            guarded(|| trace::emit(&event));
            self.tell_observers(&event);
            return;
        }
        self.tell_of_call(event);
    }

    #[cold]
    fn tell_observers(&self, event: &Event) {
        for observer in [self.own.as_ref(), PROCESS.get()].into_iter().flatten() {
            guarded(|| observer.on_event(event));
        }
    }
}

/// Runs somebody else's code. It may run with a permit in hand, or while a dropped future unwinds: its
/// panic must neither lose the one nor abort the other.
pub(crate) fn guarded(run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        // What was thrown may throw again when it is dropped.
        std::mem::forget(payload);
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers").field("own", &self.own.is_some()).finish()
    }
}
