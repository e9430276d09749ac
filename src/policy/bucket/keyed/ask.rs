//! Keys as callers have them: lent, to be copied if they are new, or given away.

use std::{borrow::Borrow, hash::Hash};

/// A key that is looked up, and made if it is new.
pub(super) trait Asked<K> {
    type Form: Hash + Eq + ?Sized;

    fn form(&self) -> &Self::Form;
    fn make(self) -> K;
}

pub(super) struct Lent<'a, Q: ?Sized>(pub(super) &'a Q);

impl<K: Borrow<Q>, Q: Hash + Eq + ToOwned<Owned = K> + ?Sized> Asked<K> for Lent<'_, Q> {
    type Form = Q;

    fn form(&self) -> &Q {
        self.0
    }

    fn make(self) -> K {
        self.0.to_owned()
    }
}

pub(super) struct Given<K>(pub(super) K);

impl<K: Hash + Eq> Asked<K> for Given<K> {
    type Form = K;

    fn form(&self) -> &K {
        &self.0
    }

    fn make(self) -> K {
        self.0
    }
}
