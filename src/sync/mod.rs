//! Atomics and locks: the real ones, or loom's under `--cfg portcullis_loom`.
//!
//! The library uses no other primitive, so that the whole of it can be model-checked.

#[cfg(not(portcullis_loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(portcullis_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

/// A mutex that cannot be poisoned: a panic under the lock leaves a value that is still whole,
/// because no user code runs while it is held. (Except one: a replayed body is polled under its lock, which
/// marks it as broken for as long.)
#[cfg(not(portcullis_loom))]
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

#[cfg(not(portcullis_loom))]
pub(crate) type MutexGuard<'a, T> = parking_lot::MutexGuard<'a, T>;

#[cfg(not(portcullis_loom))]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    #[cfg(feature = "http")]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

#[cfg(portcullis_loom)]
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(portcullis_loom)]
pub(crate) type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

#[cfg(portcullis_loom)]
impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

#[cfg(portcullis_loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("loom mutexes are not poisoned in a model that does not panic")
    }

    #[cfg(feature = "http")]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect("loom mutexes are not poisoned in a model that does not panic")
    }
}

pub(crate) mod reference;
pub(crate) mod thread_slot;
