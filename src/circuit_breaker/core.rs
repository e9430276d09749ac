//! What every handle, layer and service of one circuit shares.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::watch::StateWatch;
use crate::{
    clock::Clock,
    deadline,
    error::{PolicyKind, Rejection},
    event::{Event, Observers},
    guard::Parking,
    options::Options,
    outcome::Outcome,
    plan::Part,
    policy::breaker::{Breaker, Permit, Plain, Refusal, State, config::CircuitBreakerConfig},
    sync::{self, reference::Ref},
};

/// Keeps a circuit alive for a handle, or for a call that was made through one.
pub(super) type CoreRef = Ref<Core>;
/// Keeps a circuit alive for a call of a layer.
pub(super) type CallRef = sync::reference::CallRef<Core>;
/// The handle, and references for calls.
pub(super) type References = sync::reference::References<super::Circuit, Core>;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) name: &'static str,
    /// Whether others share the name.
    keyed: bool,
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
        let (clock, now) = clock.start();
        Self {
            name: config.name,
            keyed: false,
            breaker: Breaker::from_valid(config, now),
            clock,
            observers,
            parking: Parking::default(),
            watch: OnceLock::new(),
        }
    }

    /// One of many by key.
    pub(super) fn of_key(config: Arc<CircuitBreakerConfig>, options: Options) -> Self {
        Self { keyed: true, ..Self::new(config, options) }
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
        match self.refuse_at_once() {
            Some(rejection) => Err(rejection),
            None => self.ask_breaker(deadline),
        }
    }

    /// The refusal of a call that the breaker need not be asked about: what a flood of calls to a
    /// broken service meets.
    #[inline]
    pub(super) fn refuse_at_once(&self) -> Option<Rejection> {
        let refusal = self.breaker.refuses(self.clock)?;
        Some(self.refuse(self.rejection(refusal)))
    }

    /// The refusal that every call would surely get now.
    #[inline(never)]
    pub(super) fn surely_refuses(&self) -> Option<Rejection> {
        self.breaker.refuses(self.clock).map(|refusal| self.rejection(refusal))
    }

    /// Counts a refusal and tells of it.
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
                if permit.is_probe() {
                    // It may have been the last one: no transition, but the circuit refuses now.
                    self.wake_parked();
                }
                if let Some(reason) = permit.shadowed() {
                    self.observers.tell(|| Event::WouldReject {
                        policy: self.name,
                        kind: PolicyKind::CircuitBreaker,
                        reason,
                    });
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
        } else if !self.breaker.settles_plainly(&permit, outcome, &self.clock) {
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

    /// Takes the beginning of an answer that is not whole yet.
    #[cfg(feature = "http")]
    pub(super) fn answered(&self, permit: Permit) -> Permit {
        let permit = self.breaker.answered(permit, self.clock);
        self.after();
        permit
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

    /// First whoever waits for a state, then the observers, one of whom may take its time.
    #[cold]
    fn tell_news(&self) {
        self.show_period();
        self.breaker.deliver(|transition| {
            // Also for those whose transition is told here, and who find no news any more.
            self.show_period();
            self.observers.tell(|| Event::Transition {
                policy: self.name,
                keyed: self.keyed,
                transition,
            });
        });
    }

    /// Shows the newest period to those who wait for it.
    fn show_period(&self) {
        if let Some(watch) = self.watch.get() {
            send_newer(watch, self.breaker.period());
        }
        self.wake_parked();
    }

    /// Wakes callers that wait for the service to become ready, if they would be refused now.
    pub(super) fn wake_parked(&self) {
        if self.breaker.refuses(self.clock).is_some() {
            self.parking.wake_all();
        }
    }

    /// What a circuit says of itself to whoever checks a stack.
    pub(super) fn part(&self) -> Part {
        part(&self.breaker.config())
    }

    pub(super) fn watch(&self) -> StateWatch {
        let watch = self.watch.get_or_init(|| watch::Sender::new(self.breaker.period()));
        let receiver = watch.subscribe();
        // A transition in between may have found no watch to tell. It is seen here: whoever made it has
        // given the lock back before looking for the watch.
        send_newer(watch, self.breaker.period_in_order());
        StateWatch(receiver)
    }
}

pub(super) fn part(config: &CircuitBreakerConfig) -> Part {
    let judged = config.slow_call_rate.is_some() || config.hung.is_some();
    Part::CircuitBreaker {
        name: config.name,
        slow_after: config.slow_call_after.filter(|_| judged),
        lease: config.probe_lease,
    }
}

fn send_newer(watch: &watch::Sender<(u64, State)>, newest: (u64, State)) {
    watch.send_if_modified(|told| {
        let newer = newest.0 > told.0;
        if newer {
            *told = newest;
        }
        newer
    });
}
