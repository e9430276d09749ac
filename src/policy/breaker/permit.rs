//! Leave for one call, as plain data.

use std::num::NonZeroU64;

use super::fast::Word;
use crate::error::Reason;

/// A time that does not come.
pub(super) const NEVER: u64 = u64::MAX;

/// Leave for one call. Plain data: give it back with [`settle`](super::Breaker::settle) or
/// [`abandon`](super::Breaker::abandon). The handles and layers wrap it in a value that does so when
/// it is dropped; a probe's permit that is lost is given back by its lease.
// Four whole words, so that a permit travels in registers: it is moved several times with every call.
#[derive(Debug)]
#[must_use = "a permit must be settled or abandoned"]
pub struct Permit {
    /// The breaker's word at the admission; it is never zero, since generations begin at one.
    word: NonZeroU64,
    /// The start in nanoseconds since the breaker was made, or [`NEVER`] where nothing depends on how
    /// long the call takes.
    pub(super) started: u64,
    /// From when on a drop is a failure, or [`NEVER`].
    pub(super) deadline: u64,
    /// `slot << 8 | kind`.
    place: u64,
}

/// A permit of a call that is neither timed nor dropped: one word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain(pub(super) Word);

impl From<Plain> for Permit {
    fn from(plain: Plain) -> Self {
        Self::new(plain.0, (Kind::Call, 0), NEVER, NEVER)
    }
}

/// What a permit stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A call of a closed circuit.
    Call = 0,
    /// A call of a closed circuit that stands in the list of calls in flight.
    Listed = 1,
    /// A probe; it stands in the list as well.
    Probe = 2,
    /// Recorded nowhere.
    Untracked = 3,
}

impl Permit {
    #[inline(always)]
    pub(super) fn new(word: Word, (kind, slot): (Kind, u32), started: u64, deadline: u64) -> Self {
        let word = NonZeroU64::new(word.0).unwrap_or(NonZeroU64::MIN);
        Self { word, started, deadline, place: u64::from(slot) << 8 | kind as u64 }
    }

    /// A permit that holds and records nothing. In shadow it says why it would have been a refusal.
    pub(super) fn untracked(shadowed: Option<Reason>) -> Self {
        let slot = match shadowed {
            None => 0,
            Some(Reason::ProbeLimit) => 1,
            Some(Reason::Recovering) => 2,
            Some(_) => 3,
        };
        Self::new(Word(1), (Kind::Untracked, slot), NEVER, NEVER)
    }

    #[inline(always)]
    pub(super) fn generation(&self) -> u64 {
        Word(self.word.get()).generation()
    }

    #[inline(always)]
    pub(super) fn kind(&self) -> Kind {
        match self.place & 0xff {
            0 => Kind::Call,
            1 => Kind::Listed,
            2 => Kind::Probe,
            _ => Kind::Untracked,
        }
    }

    pub(super) fn slot(&self) -> u32 {
        (self.place >> 8) as u32
    }

    pub(super) fn drop_is_failure(&self) -> bool {
        Word(self.word.get()).has(Word::DROPS)
    }

    /// For a call that was slow, or not, when its answer began. A probe stays one.
    pub(super) fn answered(self, slow: bool) -> Self {
        let (kind, slot) = match self.kind() {
            Kind::Listed => (Kind::Call, 0),
            other => (other, self.slot()),
        };
        // A call that was slow then is slow ever after.
        let started = if slow { self.started } else { NEVER };
        Self::new(Word(self.word.get()), (kind, slot), started, NEVER)
    }

    /// Whether the call's outcome is recorded: not while disabled, nor where shadow has let it in.
    pub fn is_recorded(&self) -> bool {
        self.kind() != Kind::Untracked
    }

    /// Whether this call is a probe.
    pub fn is_probe(&self) -> bool {
        self.kind() == Kind::Probe
    }

    /// Why the call would have been refused, if the circuit were not in shadow.
    pub fn shadowed(&self) -> Option<Reason> {
        match (self.kind(), self.slot()) {
            (Kind::Untracked, 1) => Some(Reason::ProbeLimit),
            (Kind::Untracked, 2) => Some(Reason::Recovering),
            (Kind::Untracked, 3) => Some(Reason::CircuitOpen),
            _ => None,
        }
    }
}
