//! How many keys there may be, and what becomes of further ones.

#[cfg(doc)]
use crate::error::Reason;
use crate::policy::check::{Check, ensure};

/// The most keys that can be asked for.
const MOST: usize = 1 << 24;

/// What becomes of a call for a further key while as many keys as there may be have a bucket in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AtCap {
    /// All further keys share one bucket of the same rate and burst. The default: a flood of keys gets no
    /// more than one client does.
    #[default]
    ShareOverflow,
    /// It is refused, with [`Reason::KeysFull`].
    Refuse,
    /// It is admitted.
    Admit,
}

/// How many keys have a bucket at the most, and what becomes of calls for further ones.
///
/// A number is one, with the default for further keys:
///
/// ```
/// use portcullis::{AtCap, Keys};
///
/// assert_eq!(Keys::from(10_000), Keys::at_most(10_000).or(AtCap::ShareOverflow));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Keys {
    /// How many keys have a bucket at the most, in `1..=16_777_216`.
    pub most: usize,
    /// What becomes of a call for a further key. Default [`AtCap::ShareOverflow`].
    pub at_cap: AtCap,
}

impl Keys {
    /// At most so many keys; further ones share one bucket.
    pub const fn at_most(most: usize) -> Self {
        Self { most, at_cap: AtCap::ShareOverflow }
    }

    /// Sets what becomes of calls for further keys.
    pub const fn or(mut self, at_cap: AtCap) -> Self {
        self.at_cap = at_cap;
        self
    }

    pub(crate) fn check(self) -> Check {
        let why = "must be in 1..=16777216";
        ensure((1..=MOST).contains(&self.most), "max_keys", self.most, why)
    }
}

impl From<usize> for Keys {
    fn from(most: usize) -> Self {
        Self::at_most(most)
    }
}
