//! Slots that give themselves back.

use std::{fmt, ops::Deref};

use super::core::{Core, CoreRef};
use crate::guard::Settle;

/// A slot in the hands of one call, or nothing where a command lets every call through. Dropping it gives
/// the slot back.
pub(super) struct Held<R: Deref<Target = Core> = CoreRef>(Option<R>);

impl<R: Deref<Target = Core>> Held<R> {
    #[inline(always)]
    pub(super) fn slot(core: R) -> Self {
        Self(Some(core))
    }

    pub(super) const fn nothing() -> Self {
        Self(None)
    }

    #[cfg(feature = "http")]
    pub(super) const fn is_slot(&self) -> bool {
        self.0.is_some()
    }
}

impl<R: Deref<Target = Core>> Drop for Held<R> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(core) = &self.0 {
            core.leave();
        }
    }
}

// However a call ends, it leaves.
impl<R: Deref<Target = Core>, T, E> Settle<T, E> for Held<R> {
    #[inline(always)]
    fn settle(&mut self, _: &Result<T, E>) {}

    #[cold]
    fn panicked(&mut self) {}
}

impl<R: Deref<Target = Core>> fmt::Debug for Held<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("policy", &self.0.as_ref().map(|core| core.name)).finish()
    }
}

/// A slot for one call, made by hand: see [`Bulkhead::try_acquire`](super::Bulkhead::try_acquire) and
/// [`Bulkhead::acquire`](super::Bulkhead::acquire). Dropping it gives the slot back.
///
/// ```
/// use portcullis::{Bulkhead, BulkheadConfig};
///
/// let bulkhead = Bulkhead::new(BulkheadConfig::new("db", 1))?;
/// let permit = bulkhead.try_acquire().expect("nobody else is in");
/// assert!(bulkhead.try_acquire().is_err());
/// drop(permit);
/// assert!(bulkhead.try_acquire().is_ok());
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a permit gives its slot back"]
pub struct BulkheadPermit(#[expect(dead_code, reason = "kept to be dropped")] pub(super) Held);
