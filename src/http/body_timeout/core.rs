//! What every handle, layer, service and body of one timeout shares.

use std::time::Instant;

use crate::{
    clock::Clock,
    error::{PolicyKind, Reason, Rejection},
    event::{Event, Observers},
    options::Options,
    policy::{
        Mode,
        body_timeout::{Limits, Live, config::BodyTimeoutConfig},
    },
    sync::{self, reference::Ref},
};

/// Keeps a timeout alive for a handle.
pub(super) type CoreRef = Ref<Core>;
/// Keeps it alive for a body.
pub(super) type BodyRef = sync::reference::CallRef<Core>;
/// The handle, and references for bodies.
pub(super) type References = sync::reference::References<super::BodyTimeLimit, Core>;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) name: &'static str,
    pub(super) live: Live,
    observers: Observers,
}

impl Core {
    /// A timeout of a valid configuration.
    pub(super) fn new(config: BodyTimeoutConfig, Options { observers, .. }: Options) -> Self {
        Self { name: config.name, live: Live::new(config), observers }
    }

    /// The limits of a body whose head is there now, and whether they are only looked at; none while nobody
    /// looks after bodies.
    pub(super) fn begin(&self, deadline: Option<Instant>) -> Option<(Limits, bool)> {
        let mode = self.live.mode();
        // Timers and deadlines are tokio's, and there is no other use for the time.
        let limits = || self.live.limits(deadline, Clock::Tokio);
        (mode != Mode::Disabled).then(|| (limits(), mode == Mode::Shadow))
    }

    /// A body ran out of time: the error in place of its next frame, unless it may go on.
    #[cold]
    pub(super) fn time_out(&self, shadow: bool) -> Option<Rejection> {
        self.live.count_timeout();
        let (reason, kind) = (Reason::Timeout, PolicyKind::BodyTimeout);
        if shadow {
            self.observers.tell(|| Event::WouldReject { policy: self.name, kind, reason });
            return None;
        }
        let rejection = Rejection::new(reason, self.name).with_kind(kind);
        self.observers.tell(|| Event::Rejected(rejection));
        Some(rejection)
    }

    /// A body has ended.
    pub(super) fn in_time(&self) {
        self.observers
            .tell_of_call(|| Event::InTime { policy: self.name, kind: PolicyKind::BodyTimeout });
    }
}
