//! What every handle, layer and service of one timeout shares.

use crate::{
    clock::Clock,
    error::{PolicyKind, Reason, Rejection},
    event::{Event, Observers},
    options::Options,
    policy::timeout::{Live, config::TimeoutConfig},
    sync::{self, reference::Ref},
};

/// Keeps a timeout alive for a handle or a call.
pub(super) type CoreRef = Ref<Core>;
/// Keeps it alive for a call of a layer.
pub(super) type CallRef = sync::reference::CallRef<Core>;
/// The handle, and references for calls.
pub(super) type References = sync::reference::References<super::TimeLimit, Core>;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) name: &'static str,
    pub(super) live: Live,
    pub(super) clock: Clock,
    observers: Observers,
}

impl Core {
    /// A timeout of a valid configuration.
    pub(super) fn new(config: TimeoutConfig, Options { clock, observers }: Options) -> Self {
        Self { name: config.name, live: Live::new(config), clock, observers }
    }

    /// A call may not start: the error in place of its answer, unless it may do so all the same.
    #[cold]
    pub(super) fn too_short(&self, shadow: bool) -> Option<Rejection> {
        self.give(Reason::DeadlineTooShort, shadow)
    }

    /// A call ran out of time: the error in place of its answer, unless it may go on.
    #[cold]
    pub(super) fn time_out(&self, shadow: bool) -> Option<Rejection> {
        self.live.count_timeout();
        self.give(Reason::Timeout, shadow)
    }

    /// Tells of a refusal, and gives it, unless it is only to be told.
    fn give(&self, reason: Reason, shadow: bool) -> Option<Rejection> {
        if shadow {
            let kind = PolicyKind::Timeout;
            self.observers.tell(|| Event::WouldReject { policy: self.name, kind, reason });
            return None;
        }
        let rejection = Rejection::new(reason, self.name);
        self.observers.tell(|| Event::Rejected(rejection));
        Some(rejection)
    }

    /// A call has its answer.
    #[inline]
    pub(super) fn in_time(&self) {
        self.observers
            .tell_of_call(|| Event::InTime { policy: self.name, kind: PolicyKind::Timeout });
    }
}
