//! Values that hold for whatever runs inside a call or a poll, one thread-local each.

use std::{cell::Cell, thread::LocalKey};

/// A thread's value of one kind.
pub(crate) type Slot<T> = LocalKey<Cell<T>>;

/// What holds here, or `none` during a thread's teardown.
#[inline]
pub(crate) fn current<T: Copy>(slot: &'static Slot<T>, none: T) -> T {
    slot.try_with(Cell::get).unwrap_or(none)
}

/// Lets `value` hold until the result is dropped, by return or by panic.
#[inline]
pub(crate) fn set<T: Copy>(slot: &'static Slot<T>, value: T) -> Restore<T> {
    Restore { slot, outer: slot.try_with(|cell| cell.replace(value)).ok() }
}

/// Puts the outer value back.
#[derive(Debug)]
pub(crate) struct Restore<T: Copy + 'static> {
    slot: &'static Slot<T>,
    outer: Option<T>,
}

impl<T: Copy> Drop for Restore<T> {
    #[inline]
    fn drop(&mut self) {
        // During a thread's teardown there is no cell left, and nothing to restore.
        if let Some(outer) = self.outer {
            let _ = self.slot.try_with(|cell| cell.set(outer));
        }
    }
}
