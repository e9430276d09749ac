//! What keeps a policy's shared state alive for its handles, layers and calls.

use std::{ops::Deref, sync::Arc};

use crossbeam_utils::CachePadded;

use super::thread_slot::{OWNED, thread_slot};

/// Keeps a `T` alive for a handle, or for a call that was made through one.
#[derive(Debug)]
pub(crate) enum Ref<T: 'static> {
    /// As long as there is one.
    Counted(Arc<T>),
    /// As long as the process: nothing is counted.
    Static(&'static T),
}

impl<T> Ref<T> {
    pub(crate) fn new(value: T) -> Self {
        Self::Counted(Arc::new(value))
    }

    /// The same value, kept for as long as the process lives.
    pub(crate) fn leak(&self) -> Self {
        match self {
            Self::Counted(value) => Self::Static(Box::leak(Box::new(value.clone()))),
            Self::Static(value) => Self::Static(value),
        }
    }
}

impl<T> Clone for Ref<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        match self {
            Self::Counted(value) => Self::Counted(value.clone()),
            Self::Static(value) => Self::Static(value),
        }
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        match self {
            Self::Counted(value) => value,
            Self::Static(value) => value,
        }
    }
}

/// What a layer and its services hold of a policy: its handle `H`, and references for calls. One counter
/// for all threads would be the one line of memory that all calls of a layer write to.
///
/// Handle and counters are behind one reference, since a retry clones the services below it with every call.
#[derive(Debug)]
pub(crate) enum References<H, T: 'static> {
    /// A counter per thread slot.
    Apart(Arc<Apart<H, T>>),
    /// None needed.
    Static(H, &'static T),
}

#[derive(Debug)]
pub(crate) struct Apart<H, T> {
    handle: H,
    counters: [Arc<CachePadded<Arc<T>>>; OWNED + 1],
}

impl<H, T> References<H, T> {
    /// Of a handle that keeps its policy by what `core` says.
    pub(crate) fn of(handle: H, core: impl FnOnce(&H) -> &Ref<T>) -> Self {
        let value = match core(&handle) {
            Ref::Counted(value) => value.clone(),
            Ref::Static(value) => {
                let value = *value;
                return Self::Static(handle, value);
            }
        };
        let counters = std::array::from_fn(|_| Arc::new(CachePadded::new(value.clone())));
        Self::Apart(Arc::new(Apart { handle, counters }))
    }

    #[inline(always)]
    pub(crate) fn handle(&self) -> &H {
        match self {
            Self::Apart(apart) => &apart.handle,
            Self::Static(handle, _) => handle,
        }
    }

    /// A reference for a call on this thread.
    #[inline(always)]
    pub(crate) fn get(&self) -> CallRef<T> {
        match self {
            Self::Apart(apart) => CallRef::Apart(apart.counters[thread_slot()].clone()),
            Self::Static(_, value) => CallRef::Static(value),
        }
    }
}

impl<H: Clone, T> Clone for References<H, T> {
    #[inline]
    fn clone(&self) -> Self {
        match self {
            Self::Apart(apart) => Self::Apart(apart.clone()),
            Self::Static(handle, value) => Self::Static(handle.clone(), value),
        }
    }
}

/// Keeps a `T` alive for a call of a layer. Not one more kind of [`Ref`]: each kind of counter makes
/// what a call drops larger, until it is no longer inlined.
#[derive(Debug)]
pub(crate) enum CallRef<T: 'static> {
    /// Counted apart from other threads' calls.
    Apart(Arc<CachePadded<Arc<T>>>),
    /// Not counted.
    Static(&'static T),
}

impl<T> Clone for CallRef<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        match self {
            Self::Apart(value) => Self::Apart(value.clone()),
            Self::Static(value) => Self::Static(value),
        }
    }
}

impl<T> Deref for CallRef<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        match self {
            Self::Apart(value) => value,
            Self::Static(value) => value,
        }
    }
}
