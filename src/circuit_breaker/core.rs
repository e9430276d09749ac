//! What every handle, layer and service of one circuit shares.

use std::sync::OnceLock;

use tokio::sync::watch;

use super::watch::StateWatch;
use crate::{
    clock::Clock,
    deadline,
    error::Rejection,
    event::{Event, Observers},
    guard::Parking,
    options::Options,
    policy::{
        Now,
        breaker::{Breaker, Permit, Refusal, State, config::CircuitBreakerConfig},
    },
};

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
        config: std::sync::Arc<CircuitBreakerConfig>,
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

    #[inline]
    pub(super) fn admit(&self) -> Result<Permit, Rejection> {
        match self.breaker.admit(self.clock) {
            Ok(permit) => {
                if let Some(reason) = permit.shadowed() {
                    self.observers.tell(|| Event::WouldReject { policy: self.name, reason });
                }
                self.after();
                Ok(permit.with_deadline(deadline::current()))
            }
            Err(refusal) => {
                let rejection = self.rejection(refusal);
                self.observers.tell(|| Event::Rejected(rejection));
                self.after();
                Err(rejection)
            }
        }
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
