//! What every handle, layer and service of one circuit shares.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::watch::StateWatch;
use crate::{
    clock::Clock,
    deadline,
    error::Rejection,
    event::{Event, Observers},
    guard::Parking,
    options::Options,
    outcome::Outcome,
    policy::{
        Now,
        breaker::{Breaker, Permit, Plain, Refusal, State, config::CircuitBreakerConfig},
    },
};

/// What keeps a circuit alive for a handle, a service or a call.
#[derive(Clone, Debug)]
pub(super) enum CoreRef {
    /// As long as there is one.
    Counted(Arc<Core>),
    /// As long as the process: nothing is counted.
    Static(&'static Core),
}

impl CoreRef {
    /// The same circuit, kept for as long as the process lives.
    pub(super) fn leak(&self) -> Self {
        match self {
            Self::Counted(core) => Self::Static(Box::leak(Box::new(core.clone()))),
            Self::Static(core) => Self::Static(core),
        }
    }
}

impl Deref for CoreRef {
    type Target = Core;

    #[inline(always)]
    fn deref(&self) -> &Core {
        match self {
            Self::Counted(core) => core,
            Self::Static(core) => core,
        }
    }
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) name: &'static str,
    pub(super) breaker: Breaker,
    pub(super) clock: Clock,
    pub(super) observers: Observers,
    pub(super) parking: Parking,
    /// Made when somebody first subscribes.
    watch: OnceLock<watch::Sender<(u64, State)>>,
}

impl Core {
    /// A circuit of a valid configuration.
    pub(super) fn new(
        config: Arc<CircuitBreakerConfig>,
        Options { clock, observers }: Options,
    ) -> Self {
        Self {
            name: config.name,
            breaker: Breaker::from_valid(config, clock.now()),
            clock,
            observers,
            parking: Parking::default(),
            watch: OnceLock::new(),
        }
    }

    /// Leave for a call that cannot be dropped, while nobody listens and nothing needs a thought.
    #[inline(always)]
    pub(super) fn admit_simply(&self) -> Option<Plain> {
        if self.observers.listen_to_calls() { None } else { self.breaker.admit_simply() }
    }

    /// Leave for a call under the ambient deadline.
    #[inline(always)]
    pub(super) fn admit(&self) -> Result<Permit, Rejection> {
        self.admit_until(deadline::current())
    }

    /// Leave for a call whose drop at or after `deadline` is a failure.
    #[inline(always)]
    pub(super) fn admit_until(&self, deadline: Option<Instant>) -> Result<Permit, Rejection> {
        match self.breaker.admit_plainly(deadline, self.clock) {
            Some(permit) => Ok(permit),
            None => self.admit_specially(deadline),
        }
    }

    #[inline(never)]
    fn admit_specially(&self, deadline: Option<Instant>) -> Result<Permit, Rejection> {
        // First what a flood of calls to a broken service meets.
        match self.breaker.refuses(self.clock) {
            Some(refusal) => Err(self.refuse(self.rejection(refusal))),
            None => self.ask_breaker(deadline),
        }
    }

    /// The refusal that every call would surely get now.
    #[inline(never)]
    pub(super) fn surely_refuses(&self) -> Option<Rejection> {
        self.breaker.refuses(self.clock).map(|refusal| self.rejection(refusal))
    }

    /// Counts a refusal that the breaker did not have to be asked for, and tells of it.
    #[inline]
    pub(super) fn refuse(&self, rejection: Rejection) -> Rejection {
        self.breaker.count_refusal();
        self.observers.tell(|| Event::Rejected(rejection));
        rejection
    }

    #[cold]
    fn ask_breaker(&self, deadline: Option<Instant>) -> Result<Permit, Rejection> {
        let admission = self.breaker.admit_specially(deadline, self.clock);
        self.after();
        match admission {
            Ok(permit) => {
                if let Some(reason) = permit.shadowed() {
                    self.observers.tell(|| Event::WouldReject { policy: self.name, reason });
                }
                Ok(permit)
            }
            Err(refusal) => {
                let rejection = self.rejection(refusal);
                self.observers.tell(|| Event::Rejected(rejection));
                Err(rejection)
            }
        }
    }

    /// Takes the outcome of a call. The rare ways take the permit by value, so that it need not be in
    /// memory for the usual one.
    #[inline(always)]
    pub(super) fn settle(&self, permit: Permit, outcome: Outcome, hint: Option<Duration>) {
        if self.observers.listen_to_calls() {
            self.settle_specially(permit, outcome, hint, true);
        } else if !self.breaker.settles_plainly(&permit, outcome, self.clock) {
            self.settle_specially(permit, outcome, hint, false);
        }
    }

    #[inline(never)]
    pub(super) fn settle_specially(
        &self,
        permit: Permit,
        outcome: Outcome,
        hint: Option<Duration>,
        tell: bool,
    ) {
        let slow = self.breaker.settle(permit, outcome, hint, self.clock).slow;
        if tell {
            self.observers.tell_of_call(|| Event::Settled { policy: self.name, outcome, slow });
        }
        self.after();
    }

    /// Takes the drop of a call.
    pub(super) fn abandon(&self, permit: Permit) {
        let recorded = self.breaker.abandon(permit, self.clock);
        self.observers.tell_of_call(|| Event::Abandoned {
            policy: self.name,
            outcome: recorded.outcome,
            slow: recorded.slow,
        });
        self.after();
    }

    #[inline]
    pub(super) fn rejection(&self, Refusal { reason, retry_after, .. }: Refusal) -> Rejection {
        let rejection = Rejection::new(reason, self.name);
        match retry_after {
            Some(after) => rejection.with_retry_after(after),
            None => rejection,
        }
    }

    /// Tells of what the last decision changed, if it changed anything.
    #[inline]
    pub(super) fn after(&self) {
        if self.breaker.has_news() {
            self.tell_news();
        }
    }

    #[cold]
    fn tell_news(&self) {
        self.breaker.deliver(|transition| {
            if let Some(watch) = self.watch.get() {
                watch.send_if_modified(|(generation, state)| {
                    let newer = transition.generation > *generation;
                    if newer {
                        (*generation, *state) = (transition.generation, transition.to);
                    }
                    newer
                });
            }
            if self.breaker.refuses(self.clock).is_some() {
                self.parking.wake_all();
            }
            self.observers.tell(|| Event::Transition { policy: self.name, transition });
        });
    }

    pub(super) fn watch(&self) -> StateWatch {
        let watch = self.watch.get_or_init(|| {
            // A transition that is told in between has a greater generation, or is this one.
            watch::Sender::new((self.breaker.generation(), self.breaker.state()))
        });
        StateWatch(watch.subscribe())
    }
}
