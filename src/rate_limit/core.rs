//! What every handle, layer and service of one limiter shares.

use std::{task::Waker, time::Duration};

use crate::{
    clock::{Clock, tokio_now},
    deadline,
    error::{ConfigError, PolicyKind, Reason, Rejection},
    event::{Event, Observers, guarded},
    options::Options,
    policy::{
        Cause, Command, Explanation, Mode, Now,
        bucket::{
            Bucket, RateLimitSnapshot, Refusal,
            config::RateLimitConfig,
            line::{Left, Line, Ticket, Turn},
        },
        command::ModeSwitch,
        tally::Tally,
    },
    sync::{Mutex, reference::Ref},
};

use super::{turn::Place, waits::Waits};

/// Keeps a limiter alive for a handle or a call that waits.
pub(super) type CoreRef = Ref<Core>;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) name: &'static str,
    pub(super) mode: ModeSwitch,
    pub(super) bucket: Bucket,
    pub(super) clock: Clock,
    pub(super) observers: Observers,
    pub(super) line: Mutex<Line<Waker>>,
    admitted: Tally,
    refused: Tally,
}

/// Whether a call goes now or in its turn.
#[derive(Debug)]
pub(super) enum Entry {
    Now,
    Later(Place),
}

impl Core {
    pub(super) fn new(
        config: RateLimitConfig,
        Options { clock, observers }: Options,
    ) -> Result<Self, ConfigError> {
        let (clock, now) = clock.start();
        Ok(Self {
            name: config.name,
            mode: ModeSwitch::new(Mode::Enforce),
            bucket: Bucket::new(config, now)?,
            clock,
            observers,
            line: Mutex::new(Line::new()),
            admitted: Tally::new(),
            refused: Tally::new(),
        })
    }

    /// Takes tokens for a call that does not wait.
    #[inline(always)]
    pub(super) fn admit(&self, tokens: u64) -> Result<(), Rejection> {
        if self.mode.get() != Mode::Enforce {
            self.admit_without_force(tokens);
            return Ok(());
        }
        match self.bucket.try_acquire(tokens, self.clock) {
            Ok(()) => {
                self.count(Duration::ZERO);
                Ok(())
            }
            Err(refusal) => Err(self.refuse(refusal)),
        }
    }

    /// In shadow, a call that would be refused takes nothing; disabled, none does.
    #[cold]
    fn admit_without_force(&self, tokens: u64) {
        if self.mode.get() != Mode::Disabled {
            if let Err(refusal) = self.bucket.try_acquire(tokens, self.clock) {
                self.would_refuse(refusal.reason);
            }
            self.count(Duration::ZERO);
        }
    }

    /// Takes tokens for a call that may wait for them.
    #[inline]
    pub(super) fn enter(core: &CoreRef, tokens: u64, waits: &Waits) -> Result<Entry, Rejection> {
        if core.mode.get() != Mode::Enforce {
            core.enter_without_force(tokens, waits);
            return Ok(Entry::Now);
        }
        match core.bucket.try_acquire(tokens, core.clock) {
            Ok(()) => {
                core.count(Duration::ZERO);
                Ok(Entry::Now)
            }
            Err(refusal) if refusal.retry_after.is_none() => Err(core.refuse(refusal)),
            Err(refusal) => Self::queue(core, tokens, waits, refusal),
        }
    }

    #[cold]
    fn queue(
        core: &CoreRef,
        tokens: u64,
        waits: &Waits,
        refusal: Refusal,
    ) -> Result<Entry, Rejection> {
        let max_wait = waits.max_wait.min(until_deadline());
        let nanos = core.bucket.nanos(core.clock);
        let mut line = core.line.lock();
        let joined = if line.len() < waits.max_queued {
            line.join(&core.bucket, tokens, max_wait, nanos)
        } else {
            Err(refusal)
        };
        drop(line);
        match joined {
            // They came back since the bucket was asked.
            Ok((_, Duration::ZERO)) => {
                core.count(Duration::ZERO);
                Ok(Entry::Now)
            }
            Ok((ticket, _)) => {
                // First the place, so that it is given up if an observer's panic were to get through.
                let place = Place::new(core.clone(), ticket, nanos, waits.max_wait);
                core.observers.tell_of_call(|| Event::Queued {
                    policy: core.name,
                    kind: PolicyKind::RateLimit,
                });
                Ok(Entry::Later(place))
            }
            Err(mut refusal) => {
                let in_time = refusal.retry_after.is_some_and(|after| after <= waits.max_wait);
                if in_time && refusal.retry_after.is_some_and(|after| after > max_wait) {
                    refusal.reason = Reason::DeadlineTooShort;
                }
                Err(core.refuse(refusal))
            }
        }
    }

    /// In shadow nobody waits, but what a call would have waited for is taken ahead of time all the same, so
    /// that the next one's verdict is the one it would have got.
    #[cold]
    fn enter_without_force(&self, tokens: u64, waits: &Waits) {
        if self.mode.get() == Mode::Disabled {
            return;
        }
        let max_wait = waits.max_wait.min(until_deadline());
        if let Err(refusal) = self.bucket.reserve(tokens, Some(max_wait), self.clock) {
            let in_time = refusal.retry_after.is_some_and(|after| after <= waits.max_wait);
            let reason = if in_time { Reason::DeadlineTooShort } else { refusal.reason };
            self.would_refuse(reason);
        }
        self.count(Duration::ZERO);
    }

    /// Whether the turn of a waiting call has come.
    pub(super) fn ask(
        &self,
        ticket: Ticket,
        entered: u64,
        max_wait: Duration,
        waker: &Waker,
    ) -> Turn {
        let nanos = self.bucket.nanos(self.clock);
        let waited = Duration::from_nanos(nanos.saturating_sub(entered));
        let until_deadline = until_deadline();
        let asleep = waker.clone();
        let mut line = self.line.lock();
        let mode = self.mode.get();
        let (turn, left) = match mode {
            Mode::Enforce => {
                line.ask(&self.bucket, ticket, nanos, asleep, |wait, told_anew| {
                    // The deadline may be another than the one that held when the call came.
                    if wait > until_deadline {
                        Some(Reason::DeadlineTooShort)
                    } else {
                        let in_all = waited.saturating_add(wait);
                        (told_anew && in_all > max_wait).then_some(Reason::RateLimited)
                    }
                })
            }
            // It goes at once and has spent its tokens, as one that comes now would.
            Mode::Shadow => (Turn::Now, line.go(ticket)),
            Mode::Disabled => (Turn::Now, line.leave(&self.bucket, ticket, nanos)),
        };
        drop(line);
        wake(left);
        match turn {
            Turn::Now if mode == Mode::Disabled => self.left_queue(),
            // A wait of no time is told as one of the least time, so that a gauge made from events knows
            // who comes out of the line.
            Turn::Now => self.count(waited.max(Duration::from_nanos(1))),
            _ => {}
        }
        turn
    }

    /// A waiting call has gone.
    pub(super) fn leave(&self, ticket: Ticket) {
        let nanos = self.bucket.nanos(self.clock);
        let left = self.line.lock().leave(&self.bucket, ticket, nanos);
        wake(left);
        self.left_queue();
    }

    pub(super) fn left_queue(&self) {
        self.observers
            .tell_of_call(|| Event::LeftQueue { policy: self.name, kind: PolicyKind::RateLimit });
    }

    #[inline(always)]
    pub(super) fn count(&self, waited: Duration) {
        self.admitted.add_one();
        self.observers.tell_of_call(|| Event::Admitted {
            policy: self.name,
            kind: PolicyKind::RateLimit,
            waited,
        });
    }

    /// Counts a refusal and tells of it.
    #[inline(always)]
    pub(super) fn refuse(&self, refusal: Refusal) -> Rejection {
        self.refused.add_one();
        let mut rejection =
            Rejection::new(refusal.reason, self.name).with_kind(PolicyKind::RateLimit);
        if let Some(after) = refusal.retry_after {
            rejection = rejection.with_retry_after(after);
        }
        if self.observers.listen() {
            self.tell_refused(rejection);
        }
        rejection
    }

    /// Apart, so that nobody listening costs nothing but the question.
    #[cold]
    fn tell_refused(&self, rejection: Rejection) {
        self.observers.tell(|| Event::Rejected(rejection));
    }

    #[cold]
    pub(super) fn would_refuse(&self, reason: Reason) {
        self.observers.tell(|| Event::WouldReject {
            policy: self.name,
            kind: PolicyKind::RateLimit,
            reason,
        });
    }

    pub(super) fn snapshot(&self) -> RateLimitSnapshot {
        let now = self.clock.now();
        let queued = self.line.lock().len();
        RateLimitSnapshot {
            mode: self.mode.get(),
            burst: self.bucket.burst(),
            available: self.bucket.remaining(now),
            tokens: self.bucket.tokens(now),
            reset_after: self.bucket.reset_after(now),
            queued,
            admitted: self.admitted.sum(),
            refused: self.refused.sum(),
        }
    }

    pub(super) fn explain(&self) -> Explanation {
        let (mode, now) = (self.mode.get(), self.clock.now());
        let refusal = match mode {
            Mode::Disabled => None,
            _ => self.bucket.foretell(1, now).err(),
        };
        Explanation {
            policy: self.name,
            state: mode.as_str(),
            shadow: mode == Mode::Shadow,
            admits: mode != Mode::Enforce || refusal.is_none(),
            would_admit: refusal.is_none(),
            cause: match mode {
                Mode::Disabled => Cause::Command(Command::Disable),
                _ => {
                    let available = self.bucket.remaining(now);
                    Cause::Tokens { available, burst: self.bucket.burst() }
                }
            },
            until: refusal.and_then(|refusal| refusal.retry_after),
            opened_by: None,
        }
    }

    pub(super) fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.mode.command(PolicyKind::RateLimit, command)?;
        let mut line = self.line.lock();
        let asleep = match command {
            Command::Reset => line.reset(&self.bucket, self.bucket.nanos(self.clock)),
            // Nobody waits in shadow, nor while it is disabled.
            Command::Shadow | Command::Disable => line.everybody(),
            _ => Vec::new(),
        };
        drop(line);
        wake_all(asleep);
        Ok(())
    }

    pub(super) fn reconfigure(&self, config: RateLimitConfig) -> Result<(), ConfigError> {
        if config.name != self.name {
            let why = format!("a rate limiter keeps its name, which is `{}`", self.name);
            return Err(ConfigError::new("name", config.name, why));
        }
        let mut line = self.line.lock();
        let nanos = self.bucket.nanos(self.clock);
        let asleep = line.reconfigure(&self.bucket, config, nanos)?;
        drop(line);
        wake_all(asleep);
        Ok(())
    }
}

/// The longest wait that ends before the ambient deadline.
fn until_deadline() -> Duration {
    let left = |deadline: std::time::Instant| deadline.saturating_duration_since(tokio_now());
    let before = |left: Duration| left.saturating_sub(Duration::from_nanos(1));
    deadline::current().map_or(Duration::MAX, |deadline| before(left(deadline)))
}

/// Wakes and drops wakers: not under the lock.
pub(super) fn wake(Left { wake, gone }: Left<Waker>) {
    if let Some(gone) = gone {
        guarded(|| drop(gone));
    }
    wake_all(wake);
}

/// Somebody else's code: it may run while a dropped call unwinds, or before others are woken.
fn wake_all(asleep: impl IntoIterator<Item = Waker>) {
    asleep.into_iter().for_each(|waker| guarded(|| waker.wake()));
}
