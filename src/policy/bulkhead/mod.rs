//! The bulkhead as a pure decision: so many calls at once, and a bounded queue for the others.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use portcullis::{BulkheadConfig, policy::bulkhead::{Slots, Verdict}};
//!
//! # #[allow(clippy::disallowed_methods)]
//! let start = Instant::now();
//! let slots = Slots::new(BulkheadConfig::new("db", 1).queue(1))?;
//!
//! let (Verdict::Admitted(first), _) = slots.enter(start, None, "first") else { panic!("empty") };
//! let (Verdict::Queued(second), _) = slots.enter(start, None, "second") else { panic!("full") };
//! assert!(matches!(slots.enter(start, None, "third").0, Verdict::Rejected(_)));
//!
//! let later = start + Duration::from_millis(200);
//! let change = slots.leave(first, later);
//! assert_eq!(change.let_in.map(|next| next.kept), Some("second"));
//! let (Verdict::Admitted(_), _) = slots.ask(second, later) else { panic!("it was let in") };
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! # Cost
//!
//! One atomic word holds the calls in flight, the limit, and whether anybody waits. Coming in and leaving
//! are one read-modify-write each, without a lock and without the clock, while nobody waits. A call that
//! waits, and one that leaves while others do, take a short lock; what they do under it does not depend
//! on how many wait, but for the logarithm in a heap of times.
//!
//! # Semantics
//!
//! - A slot that is freed while somebody waits goes to the one whose turn it is, at once: a newcomer
//!   cannot take it, not even between the two.
//! - One that has waited for as long as it may is out when the time passed is `>=` that, as is one whose
//!   deadline has come. It is noticed by the next call that waits, asks, or leaves while others wait, or
//!   when its own [ticket](Ticket) is asked about; until then it counts as queued.
//! - One that was let in, and comes for its slot at or after its deadline, is refused, and the next one
//!   gets the slot. Having waited for as long as it may does not matter once it was let in.
//! - A lower limit takes nothing away; nobody gets in until fewer are in flight than it allows. A shorter
//!   queue sends nobody away; nobody joins it until it is shorter than that.

pub(crate) mod config;
mod line;
mod show;
mod word;

use std::time::Instant;

pub use self::{
    config::{BulkheadConfig, QueueOrder},
    show::Snapshot,
};
use self::{
    line::{Line, Stand},
    word::{WAITING, admits, has_slot, in_flight, needs_care},
};
use super::{Command, Mode, Now, command::ModeSwitch, tally::Tally};
use crate::{
    error::{ConfigError, PolicyKind, Reason},
    sync::{AtomicU64, Mutex, MutexGuard, Ordering},
};

/// The slots of one bulkhead and the queue for them. `T` is what a caller keeps with its place in the
/// queue, to be had back when it is let in: a name in a simulation, a way to wake it in a handle.
#[derive(Debug)]
pub struct Slots<T> {
    /// Calls in flight, whether anybody waits, and the limit: see [`word`].
    word: AtomicU64,
    mode: ModeSwitch,
    /// Refusals, those of shadow among them.
    rejected: Tally,
    locked: Mutex<Locked<T>>,
}

#[derive(Debug)]
struct Locked<T> {
    config: BulkheadConfig,
    line: Line<T>,
    /// Refusals before the last reset.
    rejected_before: u64,
}

/// How a call stands.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "an admitted call must leave, and a ticket must be asked about or cancelled"]
pub enum Verdict {
    /// It may be made.
    Admitted(Admission),
    /// It waits for its turn.
    Queued(Ticket),
    /// It may not be made.
    Rejected(Reason),
}

/// Leave for one call; [`Slots::leave`] takes it back.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "an admitted call must leave"]
pub enum Admission {
    /// It holds a slot.
    Slot,
    /// It holds nothing, since a command lets every call through.
    Pass {
        /// Why it would have been refused, in shadow: there nobody waits, so that it says `BulkheadFull`
        /// wherever no slot was free, queue or not. `None` where the bulkhead is disabled.
        would_reject: Option<Reason>,
    },
}

/// A place in the queue.
#[derive(Debug)]
#[must_use = "a ticket must be asked about or cancelled: its place is kept"]
pub struct Ticket {
    place: u32,
    generation: u32,
    until: Option<Instant>,
}

impl Ticket {
    /// When the wait ends at the latest: when it has taken too long, or at the deadline. `None` is never.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }
}

/// What an operation changed besides what it was asked for.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "whoever was let in wants to know"]
pub struct Change<T> {
    /// Whether a call has left its slot.
    pub freed: bool,
    /// Who was let in.
    pub let_in: Option<LetIn<T>>,
    /// How many have left the queue and were not let in.
    pub left: usize,
}

/// The word under which a slot was given back, while somebody waits.
#[derive(Debug)]
pub(crate) struct Owed(u64);

impl<T> Change<T> {
    pub(crate) const FREED: Self = Self { freed: true, let_in: None, left: 0 };
    const NOTHING: Self = Self { freed: false, let_in: None, left: 0 };
}

/// One that waited and was let in.
#[derive(Debug)]
#[non_exhaustive]
pub struct LetIn<T> {
    /// What its owner kept with its place.
    pub kept: T,
    /// How long it waited.
    pub waited: std::time::Duration,
    /// Whether it holds a slot; not if a command let it through.
    pub slot: bool,
}

impl<T> Slots<T> {
    /// A bulkhead with all slots free.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: BulkheadConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            word: AtomicU64::new(word::idle(config.max_in_flight)),
            mode: ModeSwitch::new(Mode::Enforce),
            rejected: Tally::new(),
            locked: Mutex::new(Locked { config, line: Line::new(), rejected_before: 0 }),
        })
    }

    /// Takes a free slot that nobody waits for.
    #[inline(always)]
    fn take(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while admits(word) {
            match self.word.compare_exchange_weak(
                word,
                word + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(changed) => word = changed,
            }
        }
        false
    }

    /// Takes a slot, where that needs no further thought.
    #[inline(always)]
    pub(crate) fn enter_plainly(&self) -> bool {
        self.mode.get() != Mode::Disabled && self.take()
    }

    /// Asks for leave to make one call now.
    ///
    /// # Errors
    /// [`Reason::BulkheadFull`], when there is no free slot, or others wait for it.
    #[inline]
    pub fn try_enter(&self) -> Result<Admission, Reason> {
        if self.enter_plainly() { Ok(Admission::Slot) } else { self.enter_specially() }
    }

    #[inline(never)]
    fn enter_specially(&self) -> Result<Admission, Reason> {
        let mode = self.mode.get();
        if mode == Mode::Disabled {
            return Ok(Admission::Pass { would_reject: None });
        }
        if self.take() {
            // Given back since it was asked for.
            return Ok(Admission::Slot);
        }
        let reason = self.count(Reason::BulkheadFull);
        match mode {
            Mode::Shadow => Ok(Admission::Pass { would_reject: Some(reason) }),
            _ => Err(reason),
        }
    }

    /// Asks for leave to make one call, now or when its turn comes. A call that would have to wait past
    /// `deadline` goes at `deadline`, and does not begin to wait at or after it.
    #[inline]
    pub fn enter(&self, now: impl Now, deadline: Option<Instant>, kept: T) -> (Verdict, Change<T>) {
        if self.enter_plainly() {
            return (Verdict::Admitted(Admission::Slot), Change::NOTHING);
        }
        self.join(now.now(), deadline, kept)
    }

    #[inline(never)]
    fn join(&self, now: Instant, deadline: Option<Instant>, kept: T) -> (Verdict, Change<T>) {
        let mut locked = self.locked.lock();
        if self.mode.get() != Mode::Enforce {
            // Asked under the lock, under which the mode changes: nobody joins a queue that is let through.
            let verdict = self.enter_specially().map_or_else(Verdict::Rejected, Verdict::Admitted);
            return (verdict, Change::NOTHING);
        }
        let change = Change { left: self.expire(&mut locked, now), ..Change::NOTHING };
        let Locked { config, line, .. } = &mut *locked;
        let refusal = if deadline.is_some_and(|deadline| deadline <= now) {
            Some(Reason::DeadlineTooShort)
        } else {
            let full = line.len() >= config.queue || line.is_out_of_numbers();
            full.then_some(Reason::BulkheadFull)
        };
        // In one step with the look for a slot: a call that leaves before it left the slot for us to
        // see, and one that leaves after it sees that somebody waits.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let next = match (admits(word), refusal) {
                (true, _) => word + 1,
                (false, Some(reason)) => return (Verdict::Rejected(self.count(reason)), change),
                (false, None) => word | WAITING,
            };
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if admits(word) => return (Verdict::Admitted(Admission::Slot), change),
                Ok(_) => break,
                Err(changed) => word = changed,
            }
        }
        let wait_ends = now.checked_add(config.max_wait);
        (Verdict::Queued(line.push(now, wait_ends, deadline, kept)), change)
    }

    /// How one that waits stands now.
    pub fn ask(&self, ticket: Ticket, now: impl Now) -> (Verdict, Change<T>) {
        self.ask_under(ticket, now.now(), None, None)
    }

    /// [`ask`](Self::ask) for a call whose deadline is now `deadline`, if that is earlier than the one
    /// known. While it waits, what is kept with its place is exchanged for `kept`.
    pub(crate) fn ask_again(
        &self,
        ticket: Ticket,
        now: impl Now,
        deadline: Option<Instant>,
        kept: &mut T,
    ) -> (Verdict, Change<T>) {
        self.ask_under(ticket, now.now(), deadline, Some(kept))
    }

    fn ask_under(
        &self,
        mut ticket: Ticket,
        now: Instant,
        deadline: Option<Instant>,
        kept: Option<&mut T>,
    ) -> (Verdict, Change<T>) {
        // What was kept may run code when it goes: declared first, dropped after the lock.
        let _gone;
        let mut locked = self.locked.lock();
        locked.line.renew(&mut ticket, deadline, kept);
        let mut change = Change { left: self.expire(&mut locked, now), ..Change::NOTHING };
        let too_late = match locked.line.find(&ticket) {
            Some(place) if place.stand == Stand::Waiting => {
                return (Verdict::Queued(ticket), change);
            }
            Some(place) => place.deadline.is_some_and(|deadline| deadline <= now),
            None => false,
        };
        let too_late = too_late && self.mode.get() == Mode::Enforce;
        let (stand, kept) = locked.line.end(&ticket);
        _gone = kept;
        let verdict = match stand {
            Stand::In if too_late => {
                self.word.fetch_sub(1, Ordering::AcqRel);
                change.freed = true;
                change.let_in = self.let_in(&mut locked, now);
                Verdict::Rejected(self.count(Reason::DeadlineTooShort))
            }
            Stand::In => Verdict::Admitted(Admission::Slot),
            Stand::Passed => Verdict::Admitted(Admission::Pass { would_reject: None }),
            Stand::Out(reason) => Verdict::Rejected(self.count(reason)),
            // A ticket of another bulkhead is out of this one's queue.
            Stand::Free | Stand::Waiting => Verdict::Rejected(Reason::QueueTimeout),
        };
        (verdict, change)
    }

    /// One that waited goes away. If it was let in meanwhile, its slot goes to the next one.
    pub fn cancel(&self, ticket: Ticket, now: impl Now) -> Change<T> {
        let _gone;
        let mut locked = self.locked.lock();
        let (stand, kept) = locked.line.end(&ticket);
        _gone = kept;
        match stand {
            Stand::Waiting => {
                self.lower(&locked);
                Change { left: 1, ..Change::NOTHING }
            }
            Stand::In => {
                self.word.fetch_sub(1, Ordering::AcqRel);
                let now = now.now();
                let left = self.expire(&mut locked, now);
                Change { freed: true, let_in: self.let_in(&mut locked, now), left }
            }
            Stand::Free | Stand::Passed | Stand::Out(_) => Change::NOTHING,
        }
    }

    /// A call has ended or was dropped. Its slot goes to the one whose turn it is, if anybody waits.
    #[inline]
    pub fn leave(&self, admission: Admission, now: impl Now) -> Change<T> {
        match admission {
            Admission::Slot => self.free(now),
            Admission::Pass { .. } => Change::NOTHING,
        }
    }

    /// Gives a slot back.
    #[inline]
    fn free(&self, now: impl Now) -> Change<T> {
        match self.free_plainly() {
            Ok(()) => Change::FREED,
            Err(owed) => self.free_with_care(owed, now),
        }
    }

    /// Gives a slot back; what is still to be done about it, if that is anything.
    #[inline(always)]
    pub(crate) fn free_plainly(&self) -> Result<(), Owed> {
        // Release: whoever takes the slot sees what was done in it.
        let word = self.word.fetch_sub(1, Ordering::Release);
        if needs_care(word) { Err(Owed(word)) } else { Ok(()) }
    }

    /// Hands the slot on that was given back.
    #[inline(never)]
    pub(crate) fn free_with_care(&self, Owed(word): Owed, now: impl Now) -> Change<T> {
        if in_flight(word) == 0 {
            // An admission of another bulkhead: nothing of ours to give back.
            self.word.fetch_add(1, Ordering::Relaxed);
            return Change::NOTHING;
        }
        let now = now.now();
        let mut locked = self.locked.lock();
        let left = self.expire(&mut locked, now);
        // One slot was freed, so at most one is let in: whoever freed another comes for the next.
        Change { freed: true, let_in: self.let_in(&mut locked, now), left }
    }

    /// Takes everybody out of the queue whose time is over.
    fn expire(&self, locked: &mut Locked<T>, now: Instant) -> usize {
        let left = locked.line.expire(now);
        if left > 0 {
            self.lower(locked);
        }
        left
    }

    /// Lets the next one in, if there is a slot for it.
    fn let_in(&self, locked: &mut Locked<T>, now: Instant) -> Option<LetIn<T>> {
        if locked.line.is_empty() {
            return None;
        }
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if !has_slot(word) {
                return None;
            }
            match self.word.compare_exchange_weak(
                word,
                word + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(changed) => word = changed,
            }
        }
        let next = locked.line.next(locked.config.order, now);
        self.lower(locked);
        next
    }

    /// Says in the word that nobody waits, when that has become so.
    fn lower(&self, locked: &Locked<T>) {
        if locked.line.is_empty() {
            self.word.fetch_and(!WAITING, Ordering::AcqRel);
        }
    }

    fn count(&self, reason: Reason) -> Reason {
        self.rejected.add_one();
        reason
    }

    /// Changes how many may be in flight, live. Those that wait are let in as far as there is room; see
    /// [`reconfigure`](Self::reconfigure).
    ///
    /// # Errors
    /// [`ConfigError`] when it is zero. Nothing has changed then.
    pub fn resize(
        &self,
        max_in_flight: usize,
        now: impl Now,
    ) -> Result<Vec<Change<T>>, ConfigError> {
        let mut locked = self.locked.lock();
        let config = locked.config.clone().max_in_flight(max_in_flight);
        self.apply(&mut locked, config, now.now())
    }

    /// Changes the configuration live. Nobody in flight and nobody in the queue loses a place; those in
    /// it wait for as long as they could when they came, in the new order. A change for each one let in.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work. Nothing has changed then.
    pub fn reconfigure(
        &self,
        config: BulkheadConfig,
        now: impl Now,
    ) -> Result<Vec<Change<T>>, ConfigError> {
        self.apply(&mut self.locked.lock(), config, now.now())
    }

    fn apply(
        &self,
        locked: &mut MutexGuard<'_, Locked<T>>,
        config: BulkheadConfig,
        now: Instant,
    ) -> Result<Vec<Change<T>>, ConfigError> {
        config.validate()?;
        let mut old = self.word.load(Ordering::Relaxed);
        while let Err(changed) = self.word.compare_exchange_weak(
            old,
            word::under(old, config.max_in_flight),
            Ordering::AcqRel,
            Ordering::Relaxed,
        ) {
            old = changed;
        }
        locked.config = config;
        let left = self.expire(locked, now);
        let mut changes = vec![Change { left, ..Change::NOTHING }];
        while let Some(next) = self.let_in(locked, now) {
            changes.push(Change { let_in: Some(next), ..Change::NOTHING });
        }
        Ok(changes)
    }

    /// Does what an operator says: `Shadow`, `Disable`, `Enable` and `Reset`. In the first two nobody
    /// waits: those who do are let through without a slot, a change for each. `Reset` forgets the count
    /// of refusals; slots belong to calls that are still there.
    ///
    /// # Errors
    /// [`ConfigError`] for any other command. Nothing has changed then.
    pub fn command(&self, command: Command, now: impl Now) -> Result<Vec<Change<T>>, ConfigError> {
        let mut locked = self.locked.lock();
        self.mode.command(PolicyKind::Bulkhead, command)?;
        if command == Command::Reset {
            locked.rejected_before = self.rejected.sum();
        }
        let mut changes = Vec::new();
        if self.mode.get() != Mode::Enforce && !locked.line.is_empty() {
            let now = now.now();
            changes.push(Change { left: self.expire(&mut locked, now), ..Change::NOTHING });
            while let Some(next) = locked.line.pass(now) {
                changes.push(Change { let_in: Some(next), ..Change::NOTHING });
            }
            self.lower(&locked);
        }
        Ok(changes)
    }

    /// The configuration in force.
    pub fn config(&self) -> BulkheadConfig {
        self.locked.lock().config.clone()
    }
}
