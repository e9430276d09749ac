//! Events as `tracing` events.

use tracing::{Level, level_filters::LevelFilter};

use super::{Event, RetryEnd};
use crate::{
    error::{PolicyKind, Reason},
    policy::breaker::State,
};

/// Whether any subscriber may want the gravest of our levels. One load and a compare;
/// the macros below ask precisely.
#[inline]
pub(super) fn listens() -> bool {
    LevelFilter::current() >= Level::ERROR
}

/// A `tracing` event's level and target are part of its static metadata: one place in the code for each
/// kind of policy.
macro_rules! debug_of {
    ($kind:expr, $($fields:tt)*) => {
        match $kind {
            PolicyKind::CircuitBreaker => {
                tracing::debug!(target: "portcullis::circuit_breaker", $($fields)*)
            }
            PolicyKind::RateLimit => tracing::debug!(target: "portcullis::rate_limit", $($fields)*),
            PolicyKind::Bulkhead => tracing::debug!(target: "portcullis::bulkhead", $($fields)*),
            PolicyKind::Timeout => tracing::debug!(target: "portcullis::timeout", $($fields)*),
            PolicyKind::BodyTimeout => {
                tracing::debug!(target: "portcullis::body_timeout", $($fields)*)
            }
            PolicyKind::Retry => tracing::debug!(target: "portcullis::retry", $($fields)*),
            PolicyKind::Fallback => tracing::debug!(target: "portcullis::fallback", $($fields)*),
            PolicyKind::CatchPanic => {
                tracing::debug!(target: "portcullis::catch_panic", $($fields)*)
            }
        }
    };
}

/// A flood of refusals stays at DEBUG, so that it does not become a flood of log lines.
pub(super) fn emit(event: &Event) {
    match *event {
        Event::Transition { policy, transition: t, .. } => {
            macro_rules! emit {
                ($level:ident) => {
                    tracing::$level!(
                        target: "portcullis::circuit_breaker",
                        {
                            "portcullis.policy" = policy,
                            "portcullis.from" = t.from.as_str(),
                            "portcullis.to" = t.to.as_str(),
                            "portcullis.generation" = t.generation,
                            "portcullis.shadow" = t.shadow,
                        },
                        "{event}"
                    )
                };
            }
            match t.to {
                State::Open | State::ForcedOpen => emit!(warn),
                _ => emit!(info),
            }
        }
        // The service's own fault, and a bug: it must not go unseen among refusals.
        Event::Rejected(rejection) if rejection.reason() == Reason::Panicked => tracing::error!(
            target: "portcullis::catch_panic",
            {
                "portcullis.policy" = rejection.policy(),
                "error.type" = rejection.reason().as_str(),
            },
            "{event}"
        ),
        Event::Rejected(rejection) => debug_of!(
            rejection.kind(),
            {
                "portcullis.policy" = rejection.policy(),
                "error.type" = rejection.reason().as_str(),
            },
            "{event}"
        ),
        Event::WouldReject { policy, kind, reason } => debug_of!(
            kind,
            {
                "portcullis.policy" = policy,
                "error.type" = reason.as_str(),
                "portcullis.shadow" = true,
            },
            "{event}"
        ),
        Event::Untracked { policy, kind } => {
            debug_of!(kind, { "portcullis.policy" = policy }, "{event}");
        }
        Event::Retrying { policy, attempt, .. } => tracing::debug!(
            target: "portcullis::retry",
            { "portcullis.policy" = policy, "retry.attempt" = attempt },
            "{event}"
        ),
        // A first try that succeeds is every call.
        Event::RetryEnded { attempts: 1, end: RetryEnd::Success, .. } => {}
        Event::RetryEnded { policy, attempts, end } => tracing::debug!(
            target: "portcullis::retry",
            {
                "portcullis.policy" = policy,
                "retry.attempt" = attempts,
                "portcullis.end" = end.as_str(),
            },
            "{event}"
        ),
        Event::FellBack { policy, source } => tracing::debug!(
            target: "portcullis::fallback",
            { "portcullis.policy" = policy, "portcullis.source" = source.as_str() },
            "{event}"
        ),
        Event::WouldFallBack { policy, source } => tracing::debug!(
            target: "portcullis::fallback",
            {
                "portcullis.policy" = policy,
                "portcullis.source" = source.as_str(),
                "portcullis.shadow" = true,
            },
            "{event}"
        ),
        Event::Unanswered { policy } => tracing::debug!(
            target: "portcullis::fallback",
            { "portcullis.policy" = policy },
            "{event}"
        ),
        // One per call or more: those are for metrics.
        Event::Settled { .. }
        | Event::Abandoned { .. }
        | Event::Evicted { .. }
        | Event::Queued { .. }
        | Event::LeftQueue { .. }
        | Event::Admitted { .. }
        | Event::Released { .. }
        | Event::InTime { .. } => {}
    }
}
