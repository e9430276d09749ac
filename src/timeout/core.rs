//! What every handle, layer and service of one timeout shares.

use std::time::{Duration, Instant};

use crate::{
    clock::Clock,
    deadline,
    error::{PolicyKind, Reason, Rejection},
    event::{Event, Observers},
    options::Options,
    policy::timeout::{Asked, Live, config::TimeoutConfig},
    sync::{self, reference::Ref},
};

/// Keeps a timeout alive for a handle or a call.
pub(super) type CoreRef = Ref<Core>;
/// Gives those to calls.
pub(super) type References = sync::reference::References<Core>;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) name: &'static str,
    pub(super) live: Live,
    pub(super) clock: Clock,
    observers: Observers,
}

/// How a call begins.
#[derive(Debug)]
pub(super) enum Begun {
    /// Looked after.
    Watched(Limits),
    /// Left alone: the timeout is disabled, or has said already, in shadow, that it would refuse.
    Unwatched,
    /// Not at all.
    Refused(Rejection),
}

/// What holds for one call from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// When its time is over.
    pub(super) deadline: Option<Instant>,
    /// Whether that is only looked at, and reported.
    pub(super) shadow: bool,
}

impl Limits {
    /// The deadline that the service below is to see.
    #[inline]
    pub(super) fn ambient(self) -> Option<Instant> {
        if self.shadow { None } else { self.deadline }
    }
}

/// Runs a part of the inner service under the call's deadline, if it has one.
#[inline]
pub(super) fn under<R>(deadline: Option<Instant>, run: impl FnOnce() -> R) -> R {
    match deadline {
        Some(deadline) => deadline::enter(deadline, run),
        None => run(),
    }
}

impl Core {
    /// A timeout of a valid configuration.
    pub(super) fn new(config: TimeoutConfig, Options { clock, observers }: Options) -> Self {
        Self { name: config.name, live: Live::new(config), clock, observers }
    }

    /// Begins a call under the ambient deadline. `own` is the limit that its request sets.
    #[inline]
    pub(super) fn begin(&self, own: impl FnOnce() -> Option<Duration>) -> Begun {
        match self.live.ask(own, deadline::current(), self.clock) {
            Asked::Start { deadline, shadow } => Begun::Watched(Limits { deadline, shadow }),
            Asked::Disabled => Begun::Unwatched,
            Asked::TooShort { shadow } => self.too_short(shadow),
        }
    }

    #[cold]
    fn too_short(&self, shadow: bool) -> Begun {
        match self.give(Reason::DeadlineTooShort, shadow) {
            Some(rejection) => Begun::Refused(rejection),
            None => Begun::Unwatched,
        }
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
        self.observers.tell_of_call(|| Event::InTime { policy: self.name });
    }
}
