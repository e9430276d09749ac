//! Coming in, waiting, and leaving.

use std::time::Instant;

use super::{
    Admission, BulkheadConfig, Change, LetIn, Ticket, Verdict,
    line::{Line, Stand},
    word::{self, WAITING, admits, has_slot, in_flight, needs_care},
};
use crate::{
    error::{ConfigError, Reason},
    policy::{Mode, Now, command::ModeSwitch, tally::Tally},
    sync::{AtomicU64, Mutex, Ordering},
};

/// The slots of one bulkhead and the queue for them. `T` is what a caller keeps with its place in the
/// queue, to be had back when it is let in: a name in a simulation, a way to wake it in a handle.
#[derive(Debug)]
pub struct Slots<T> {
    /// Calls in flight, whether anybody waits, and the limit: see [`word`].
    pub(super) word: AtomicU64,
    pub(super) mode: ModeSwitch,
    /// Refusals, those of shadow among them.
    pub(super) rejected: Tally,
    pub(super) locked: Mutex<Locked<T>>,
}

#[derive(Debug)]
pub(super) struct Locked<T> {
    pub(super) config: BulkheadConfig,
    pub(super) line: Line<T>,
    /// Refusals before the last reset.
    pub(super) rejected_before: u64,
}

/// The word under which a slot was given back, while somebody waits.
#[derive(Debug)]
pub(crate) struct Owed(u64);

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
    pub(super) fn expire(&self, locked: &mut Locked<T>, now: Instant) -> usize {
        let left = locked.line.expire(now);
        if left > 0 {
            self.lower(locked);
        }
        left
    }

    /// Lets the next one in, if there is a slot for it.
    pub(super) fn let_in(&self, locked: &mut Locked<T>, now: Instant) -> Option<LetIn<T>> {
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
    pub(super) fn lower(&self, locked: &Locked<T>) {
        if locked.line.is_empty() {
            self.word.fetch_and(!WAITING, Ordering::AcqRel);
        }
    }

    fn count(&self, reason: Reason) -> Reason {
        self.rejected.add_one();
        reason
    }
}
