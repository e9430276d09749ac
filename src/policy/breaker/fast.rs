//! What may be decided and recorded without the lock.
//!
//! The truth is the [`Machine`](super::machine::Machine) under the breaker's mutex. Two words say how
//! much of it can be used from outside:
//!
//! - [`Word`]: the generation, the state, and what an admission needs.
//! - [`Credit`]: how many plain successes may be recorded before anything but the counts could
//!   change. Whoever takes the lock calls the credit in first, adds what was used to the window, and
//!   grants anew before unlocking. So the lock-free path only ever does what the machine said in
//!   advance would change no decision, and every other result goes through the machine.
//!
//! A success takes one credit by compare-and-swap, so a result is counted exactly once, either by a
//! grant that is in force or under the lock. `tests/loom.rs` checks every interleaving.

use crate::{
    policy::breaker::State,
    sync::{AtomicU64, Ordering},
};

/// The published word: `generation << 16 | flags | state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    /// Refuse while the time is before `until`.
    pub(super) const REFUSE: u64 = 1 << 3;
    /// Only the machine can decide.
    pub(super) const ASK: u64 = 1 << 4;
    /// Permits carry the time of their start.
    pub(super) const TIMED: u64 = 1 << 5;
    /// Refusals are only reported.
    pub(super) const SHADOW: u64 = 1 << 6;
    /// A drop is a failure.
    pub(super) const DROPS: u64 = 1 << 7;
    /// There are transitions to tell of.
    pub(super) const NEWS: u64 = 1 << 8;
    const STATE: u64 = 0b111;

    pub(super) fn new(generation: u64, state: State, flags: u64) -> Self {
        let state = match state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
            State::ForcedOpen => 3,
            State::Disabled => 4,
        };
        Self(generation << 16 | flags | state)
    }

    /// A closed circuit that admits without asking the machine.
    #[inline]
    pub(super) fn admits_plainly(self) -> bool {
        self.0 & (Self::STATE | Self::REFUSE | Self::ASK) == 0
    }

    #[inline]
    pub(super) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    #[inline]
    pub(super) fn generation(self) -> u64 {
        self.0 >> 16
    }

    #[inline]
    pub(super) fn state(self) -> State {
        match self.0 & Self::STATE {
            0 => State::Closed,
            1 => State::Open,
            2 => State::HalfOpen,
            3 => State::ForcedOpen,
            _ => State::Disabled,
        }
    }
}

/// What the machine lets successes do without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// Nothing.
    Nothing,
    /// A success changes nothing, so nothing need be written.
    Unchanging,
    /// So many successes (fewer than `u32::MAX`), as long as the time is before `end`.
    Successes { n: u32, end: u64 },
}

/// The credit: `grant's number << 32 | successes left`.
///
/// Each grant has a number of its own, so a success that read an older grant cannot take from a newer
/// one. The number wraps after 2³¹ grants, which a thread would have to sleep through between its load
/// and its exchange, to the grant exactly.
#[derive(Debug)]
pub(super) struct Credit {
    word: AtomicU64,
    end: AtomicU64,
}

const LEFT: u64 = u32::MAX as u64;

impl Credit {
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(0), end: AtomicU64::new(u64::MAX) }
    }

    /// Takes the credit for one plain success of generation `mine`. If it returns `true`, the success
    /// is recorded or changes nothing; else the machine must take it.
    #[inline(always)]
    pub(super) fn take(&self, mine: u64, published: &AtomicU64, now: impl FnMut() -> u64) -> bool {
        let seen = self.word.load(Ordering::Acquire);
        // Where a success changes nothing, this is all there is to it.
        seen & LEFT == LEFT || self.take_one(seen, mine, published, now)
    }

    #[inline]
    fn take_one(
        &self,
        mut seen: u64,
        mine: u64,
        published: &AtomicU64,
        mut now: impl FnMut() -> u64,
    ) -> bool {
        loop {
            match seen & LEFT {
                LEFT => return true,
                0 => return false,
                _ => {}
            }
            // After the load above: a grant of a later generation is published after its word, so
            // that who sees the grant sees the word, and who still sees its own generation here saw
            // a grant of its own. Loading these the other way round counts stale results.
            if Word(published.load(Ordering::Acquire)).generation() != mine {
                return true;
            }
            let end = self.end.load(Ordering::Relaxed);
            if end != u64::MAX && now() >= end {
                return false;
            }
            match self.word.compare_exchange_weak(
                seen,
                seen - 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(changed) => seen = changed,
            }
        }
    }

    /// Ends the grant in force and says how many of its `granted` successes were used. Under the lock.
    pub(super) fn call_in(&self, granted: Grant) -> u64 {
        let Grant::Successes { n, .. } = granted else {
            // Nobody writes to a word that grants nothing or everything.
            return 0;
        };
        // A swap, not a load and a store: a success may come in between.
        let before = self.word.load(Ordering::Relaxed);
        let last = self.word.swap(Self::next(before) << 32, Ordering::AcqRel);
        u64::from(n) - (last & LEFT)
    }

    /// Puts a grant in force, after [`call_in`](Self::call_in) of the one before. Under the lock.
    pub(super) fn grant(&self, grant: Grant) {
        let (left, end) = match grant {
            Grant::Nothing => (0, u64::MAX),
            Grant::Unchanging => (LEFT, u64::MAX),
            Grant::Successes { n, end } => (u64::from(n), end),
        };
        self.end.store(end, Ordering::Relaxed);
        let number = Self::next(self.word.load(Ordering::Relaxed));
        self.word.swap(number << 32 | left, Ordering::AcqRel);
    }

    fn next(word: u64) -> u64 {
        (word >> 32).wrapping_add(1) & LEFT
    }
}
