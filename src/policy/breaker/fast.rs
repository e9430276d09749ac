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

use std::sync::{OnceLock, atomic::AtomicBool};

use crossbeam_utils::CachePadded;

use crate::{
    policy::breaker::State,
    sync::{
        AtomicU64, Ordering,
        thread_slot::{OWNED, thread_slot},
    },
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

/// The credit: `grant's number << 32 | successes left`, in one word, or in one per thread once threads
/// have met on it.
///
/// Each grant has a number of its own, so a success that read an older grant cannot take from a newer
/// one. The number wraps after 2³¹ grants, which a thread would have to sleep through between its load
/// and its exchange, to the grant exactly.
#[derive(Debug)]
pub(super) struct Credit {
    word: AtomicU64,
    end: AtomicU64,
    /// Set by whoever finds that another thread was quicker; never unset. A hint, so no part of models.
    contended: AtomicBool,
    /// Whether the grant in force is spread over `others` as well.
    spread: AtomicU64,
    /// The words of threads that own a slot (7 × 128 bytes), made under the lock when they are needed.
    others: OnceLock<Box<[CachePadded<AtomicU64>]>>,
}

/// A word that has credit left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left(u64);

const LEFT: u64 = u32::MAX as u64;

/// Grants of fewer successes are not worth spreading.
const SPREAD_FROM: u32 = 1 << 20;
const WORDS: u32 = OWNED as u32 + 1;

impl Credit {
    pub(super) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            end: AtomicU64::new(u64::MAX),
            // Models begin as if threads had met: they would need more of them to find out.
            contended: AtomicBool::new(cfg!(portcullis_loom)),
            spread: AtomicU64::new(0),
            others: OnceLock::new(),
        }
    }

    /// Takes the credit for one plain success of generation `mine`. If it returns `true`, the success
    /// is recorded or changes nothing; else the machine must take it.
    #[inline]
    pub(super) fn take(
        &self,
        mine: u64,
        published: &AtomicU64,
        mut now: impl FnMut() -> u64,
    ) -> bool {
        let mut word = &self.word;
        let mut seen = word.load(Ordering::Acquire);
        // Where a success changes nothing, this is all there is to it.
        if seen & LEFT == LEFT {
            return true;
        }
        if self.spread.load(Ordering::Relaxed) != 0 {
            word = self.own();
            seen = word.load(Ordering::Acquire);
        }
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
            match word.compare_exchange_weak(seen, seen - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(changed) => {
                    if !self.contended.load(Ordering::Relaxed) {
                        self.contended.store(true, Ordering::Relaxed);
                    }
                    seen = changed;
                }
            }
        }
    }

    /// Whether a success changes nothing.
    #[inline(always)]
    pub(super) fn is_unchanging(&self) -> bool {
        self.word.load(Ordering::Acquire) & LEFT == LEFT
    }

    /// The first half of [`take`](Self::take), where threads have not met: what is left, and until when. Ask
    /// whether it [is unchanging](Self::is_unchanging) before.
    #[inline(always)]
    pub(super) fn look(&self, mine: u64, published: &AtomicU64) -> Option<(Left, u64)> {
        let seen = self.word.load(Ordering::Acquire);
        // In the order that `take` explains.
        let good = seen & LEFT != 0
            && seen & LEFT != LEFT
            && self.spread.load(Ordering::Relaxed) == 0
            && Word(published.load(Ordering::Acquire)).generation() == mine;
        good.then(|| (Left(seen), self.end.load(Ordering::Relaxed)))
    }

    /// The second half, before that time: takes the credit, unless another thread was quicker.
    #[inline(always)]
    pub(super) fn spend(&self, Left(seen): Left) -> bool {
        self.word.compare_exchange(seen, seen - 1, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The word of this thread.
    #[inline]
    fn own(&self) -> &AtomicU64 {
        match self.others.get().and_then(|others| others.get(thread_slot())) {
            Some(own) => own,
            None => &self.word,
        }
    }

    /// The words that the grant in force is in.
    fn words(&self) -> impl Iterator<Item = &AtomicU64> {
        let spread = self.spread.load(Ordering::Relaxed) != 0;
        let others = self.others.get().filter(|_| spread).into_iter().flatten();
        std::iter::once(&self.word).chain(others.map(|word| &**word))
    }

    /// Ends the grant in force and says how many of its `granted` successes were used. Under the lock.
    pub(super) fn call_in(&self, granted: Grant) -> u64 {
        let Grant::Successes { n, .. } = granted else {
            // Nobody writes to a word that grants nothing or everything.
            return 0;
        };
        let share = self.share(n);
        self.words()
            .map(|word| {
                // A swap, not a load and a store: a success may come in between.
                let last = word.swap(next(word) << 32, Ordering::AcqRel);
                share - (last & LEFT)
            })
            .sum()
    }

    /// Puts a grant in force, after [`call_in`](Self::call_in) of the one before. Under the lock.
    pub(super) fn grant(&self, grant: Grant) {
        let (n, end) = match grant {
            Grant::Nothing => (0, u64::MAX),
            Grant::Unchanging => (u32::MAX, u64::MAX),
            Grant::Successes { n, end } => (n, end),
        };
        self.end.store(end, Ordering::Relaxed);
        let large = n >= SPREAD_FROM && grant != Grant::Unchanging;
        let spread = large && self.contended.load(Ordering::Relaxed);
        if spread {
            self.others
                .get_or_init(|| (0..OWNED).map(|_| CachePadded::new(AtomicU64::new(0))).collect());
        }
        self.spread.store(spread.into(), Ordering::Relaxed);
        let share = self.share(n);
        for word in self.words() {
            word.swap(next(word) << 32 | share, Ordering::AcqRel);
        }
    }

    /// What each word gets of `n`.
    fn share(&self, n: u32) -> u64 {
        let spread = self.spread.load(Ordering::Relaxed) != 0;
        u64::from(if spread { n / WORDS } else { n })
    }
}

/// The number of a word's next grant.
fn next(word: &AtomicU64) -> u64 {
    ((word.load(Ordering::Relaxed) >> 32) + 1) & LEFT
}
