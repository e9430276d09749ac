//! The circuit breaker's decisions, with the time as an argument.
//!
//! [`Breaker`] is a whole breaker: share it by reference, ask it with [`admit`](Breaker::admit), and
//! give every permit back with [`settle`](Breaker::settle) or [`abandon`](Breaker::abandon).
//! Semantics and defaults are those of [`circuit_breaker`](crate::circuit_breaker).
//!
//! ```
//! use std::time::{Duration, Instant};
//! use portcullis::{CircuitBreakerConfig, Outcome, State, policy::breaker::Breaker};
//!
//! # fn main() -> Result<(), portcullis::ConfigError> {
//! let start = Instant::now();
//! let breaker = Breaker::new(CircuitBreakerConfig::new("db").consecutive_failures(2), start)?;
//! for _ in 0..2 {
//!     let permit = breaker.admit(start).unwrap();
//!     breaker.settle(permit, Outcome::Failure, None, start);
//! }
//! assert_eq!(breaker.state(), State::Open);
//! assert!(breaker.admit(start + Duration::from_secs(1)).is_err());
//! assert!(breaker.admit(start + Duration::from_secs(6)).unwrap().is_probe());
//! # Ok(())
//! # }
//! ```
//!
//! # Cost
//! Admitting while closed is one atomic load. Recording a success is one load where it changes
//! nothing (a full count window of successes), else one compare-and-swap, and the clock for a time
//! window. Refusing is three loads and the clock. A short lock is taken by failures and slow calls, once
//! per bucket of a time window, once per window (or 4096 successes) of a count window that is not all
//! successes, by probes, and while a recovery ramp or the in-flight rule is on.
//!
//! What changed is told by [`deliver`](Breaker::deliver), which a caller without handle or layer calls
//! when [`has_news`](Breaker::has_news) says so.

mod answered;
pub(crate) mod config;
mod fast;
mod foresee;
mod locked;
mod machine;
mod permit;
mod published;
mod rules;
mod settle;
mod show;
mod state;
mod validate;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::permit::Permit;
pub(crate) use self::permit::Plain;
pub use self::state::{Recorded, Refusal, Snapshot, State, Transition};
use self::{
    config::CircuitBreakerConfig,
    fast::{Credit, Word},
    machine::Machine,
    permit::{Kind, NEVER},
};
pub use crate::policy::Command;
use crate::{
    error::{ConfigError, Reason},
    policy::{Now, tally::Tally},
    sync::{AtomicU64, Mutex, Ordering},
};

/// How many transitions are kept for [`Breaker::deliver`].
const UNTOLD: usize = 256;

/// A circuit breaker without clock, runtime or Tower.
#[derive(Debug)]
pub struct Breaker {
    origin: Instant,
    /// What the lock-free side knows of the machine: see [`fast`].
    word: AtomicU64,
    until: AtomicU64,
    slow_after: AtomicU64,
    credit: Credit,
    rejected: Tally,
    /// Refusals up to the last change of state that set their count to zero.
    rejected_before: AtomicU64,
    machine: Mutex<Machine>,
}

impl Breaker {
    /// A closed breaker; the buckets of a time window are aligned to `now`.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: CircuitBreakerConfig, now: Instant) -> Result<Self, ConfigError> {
        config.validate()?;
        let breaker = Self::from_valid(Arc::new(config), now);
        // Nobody may ever ask for them.
        breaker.lock().untold = UNTOLD;
        Ok(breaker)
    }

    /// A breaker of a shell, which tells every transition.
    pub(crate) fn from_valid(config: Arc<CircuitBreakerConfig>, now: Instant) -> Self {
        let breaker = Self {
            origin: now,
            word: AtomicU64::new(0),
            until: AtomicU64::new(0),
            slow_after: AtomicU64::new(u64::MAX),
            credit: Credit::new(),
            rejected: Tally::new(),
            rejected_before: AtomicU64::new(0),
            machine: Mutex::new(Machine::new(config)),
        };
        drop(breaker.lock());
        breaker
    }

    /// Asks for leave to make one call.
    ///
    /// # Errors
    /// A [`Refusal`] with its reason and, where it is known, the time until probes are sent again.
    /// In shadow nothing is refused: see [`Permit::shadowed`].
    #[inline]
    pub fn admit(&self, now: impl Now) -> Result<Permit, Refusal> {
        self.admit_until(None, now)
    }

    /// [`admit`](Self::admit) for a call whose drop at or after `deadline` is a failure.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    #[inline]
    pub fn admit_until(&self, deadline: Option<Instant>, now: impl Now) -> Result<Permit, Refusal> {
        match self.admit_plainly(deadline, now) {
            Some(permit) => Ok(permit),
            None => self.admit_specially(deadline, now),
        }
    }

    /// Leave for a call that is neither timed nor dropped, while the circuit is closed and needs no
    /// further thought.
    #[inline(always)]
    pub(crate) fn admit_simply(&self) -> Option<Plain> {
        let word = Word(self.word.load(Ordering::Acquire));
        (word.admits_plainly() && !word.has(Word::TIMED)).then_some(Plain(word))
    }

    /// Records the success of such a call, if that takes neither the clock nor a second try.
    #[inline(always)]
    pub(crate) fn succeeds_at_once(&self, plain: Plain) -> bool {
        self.credit.is_unchanging()
            || match self.credit.look(plain.0.generation(), &self.word) {
                Some((left, permit::NEVER)) => self.credit.spend(left),
                _ => false,
            }
    }

    /// Records the success of such a call, unless the machine must take it.
    #[inline(always)]
    pub(crate) fn succeeds_plainly(&self, plain: Plain, now: impl Now) -> bool {
        self.credit.take(plain.0.generation(), &self.word, || self.since(now))
    }

    /// Leave for a call while the circuit is closed and needs no further thought.
    #[inline(always)]
    pub(crate) fn admit_plainly(&self, deadline: Option<Instant>, now: impl Now) -> Option<Permit> {
        let word = Word(self.word.load(Ordering::Acquire));
        if !word.admits_plainly() {
            return None;
        }
        let started = if word.has(Word::TIMED) { self.since(now) } else { NEVER };
        Some(self.permit(word, (Kind::Call, 0), started, deadline))
    }

    #[inline(always)]
    fn permit(
        &self,
        word: Word,
        place: (Kind, u32),
        started: u64,
        deadline: Option<Instant>,
    ) -> Permit {
        let deadline = deadline.map_or(NEVER, |deadline| self.since(deadline));
        Permit::new(word, place, started, deadline)
    }

    /// Everything else that may come of an admission.
    pub(crate) fn admit_specially(
        &self,
        deadline: Option<Instant>,
        now: impl Now,
    ) -> Result<Permit, Refusal> {
        let word = Word(self.word.load(Ordering::Acquire));
        if word.state() == State::Disabled {
            return Ok(Permit::untracked(None));
        }
        match self.refusal(word, now) {
            Ok(refusal) => self.refuse(word, refusal),
            Err(now) => self.ask_machine(deadline, now),
        }
    }

    /// What a word that refuses says, or the time at which the machine must be asked.
    #[inline]
    fn refusal(&self, word: Word, now: impl Now) -> Result<Refusal, u64> {
        if word.state() == State::ForcedOpen {
            return Ok(Refusal { reason: Reason::ForcedOpen, retry_after: None });
        }
        let now = self.since(now);
        if !word.has(Word::REFUSE) {
            return Err(now);
        }
        let until = self.until.load(Ordering::Acquire);
        // The word is published after the time: if it is still the same, the time is its own.
        if self.word.load(Ordering::Acquire) != word.0 {
            return Err(now);
        }
        match until.checked_sub(now).filter(|left| *left > 0) {
            Some(left) if word.state() == State::Open => Ok(Refusal {
                reason: Reason::CircuitOpen,
                retry_after: Some(Duration::from_nanos(left)),
            }),
            Some(_) => Ok(Refusal { reason: Reason::ProbeLimit, retry_after: None }),
            None => Err(now),
        }
    }

    #[inline]
    fn refuse(&self, word: Word, refusal: Refusal) -> Result<Permit, Refusal> {
        self.rejected.add_one();
        if word.has(Word::SHADOW) {
            return Ok(Permit::untracked(Some(refusal.reason)));
        }
        Err(refusal)
    }

    #[cold]
    fn ask_machine(&self, deadline: Option<Instant>, now: u64) -> Result<Permit, Refusal> {
        let mut machine = self.lock();
        let admission = machine.admit(now);
        let word = machine.word();
        drop(machine);
        match admission {
            Ok((Kind::Untracked, _)) => Ok(Permit::untracked(None)),
            Ok(place) => {
                let started = if word.has(Word::TIMED) { now } else { NEVER };
                Ok(self.permit(word, place, started, deadline))
            }
            Err(refusal) => self.refuse(word, refusal),
        }
    }

    /// Whether the circuit is closed and needs no further thought.
    #[inline(always)]
    pub(crate) fn admits_plainly(&self) -> bool {
        Word(self.word.load(Ordering::Acquire)).admits_plainly()
    }

    /// Whether a call made now would surely be refused, and why. Reading moves nothing.
    #[inline(always)]
    pub fn refuses(&self, now: impl Now) -> Option<Refusal> {
        let word = Word(self.word.load(Ordering::Acquire));
        if word.admits_plainly() { None } else { self.surely_refuses(word, now) }
    }

    #[inline]
    fn surely_refuses(&self, word: Word, now: impl Now) -> Option<Refusal> {
        if word.has(Word::SHADOW) || word.state() == State::Disabled {
            return None;
        }
        self.refusal(word, now).ok()
    }

    /// Does what an operator says.
    pub fn command(&self, command: Command, now: impl Now) {
        let now = self.since(now);
        self.lock().command(command, now);
    }

    /// Changes the configuration and keeps state, generation and results. Numbers act at the next
    /// decision. A count window keeps its newest results, a time window the buckets that are still
    /// live; a window of another kind starts empty.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work; nothing has changed then.
    pub fn reconfigure(
        &self,
        config: CircuitBreakerConfig,
        now: impl Now,
    ) -> Result<(), ConfigError> {
        config.validate()?;
        self.reconfigure_valid(Arc::new(config), now);
        Ok(())
    }

    pub(crate) fn reconfigure_valid(&self, config: Arc<CircuitBreakerConfig>, now: impl Now) {
        let now = self.since(now);
        self.lock().reconfigure(config, now);
    }

    /// The state, by one atomic load. Reading moves nothing: an open circuit whose wait is over stays
    /// open until a call arrives.
    #[inline]
    pub fn state(&self) -> State {
        Word(self.word.load(Ordering::Acquire)).state()
    }

    /// The number of the present period.
    #[inline]
    pub fn generation(&self) -> u64 {
        Word(self.word.load(Ordering::Acquire)).generation()
    }

    /// Whether there are transitions for [`deliver`](Self::deliver); one atomic load.
    #[inline]
    pub fn has_news(&self) -> bool {
        Word(self.word.load(Ordering::Acquire)).has(Word::NEWS)
    }

    /// Counts a refusal that was given without asking, as [`refuses`](Self::refuses) allows.
    #[inline]
    pub(crate) fn count_refusal(&self) {
        self.rejected.add_one();
    }

    /// Nanoseconds since the breaker was made; zero for times before that.
    #[inline]
    fn since(&self, now: impl Now) -> u64 {
        now.nanos_since(self.origin)
    }
}
