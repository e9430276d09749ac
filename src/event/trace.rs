//! Events as `tracing` events.

use tracing::{Level, level_filters::LevelFilter};

use super::Event;
use crate::policy::breaker::State;

/// Whether any subscriber may want the least of our levels or one above it. One load and a compare;
/// the macros below ask precisely.
#[inline]
pub(super) fn listens() -> bool {
    LevelFilter::current() >= Level::WARN
}

/// A flood of refusals stays at DEBUG, so that it does not become a flood of log lines.
pub(super) fn emit(event: &Event) {
    const TARGET: &str = "portcullis::circuit_breaker";
    match *event {
        Event::Transition { policy, transition: t } => {
            // The level of a `tracing` event is part of its static metadata.
            macro_rules! emit {
                ($level:ident) => {
                    tracing::$level!(
                        target: TARGET,
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
        Event::Rejected(rejection) => tracing::debug!(
            target: TARGET,
            {
                "portcullis.policy" = rejection.policy(),
                "error.type" = rejection.reason().as_str(),
            },
            "{event}"
        ),
        Event::WouldReject { policy, reason } => tracing::debug!(
            target: TARGET,
            {
                "portcullis.policy" = policy,
                "error.type" = reason.as_str(),
                "portcullis.shadow" = true,
            },
            "{event}"
        ),
        Event::Untracked { policy } => {
            tracing::debug!(target: TARGET, { "portcullis.policy" = policy }, "{event}");
        }
        // One per call: those are for metrics.
        Event::Settled { .. } | Event::Abandoned { .. } | Event::Evicted { .. } => {}
    }
}
