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

/// Gives references to calls: one counter for all threads would be the one line of memory that all
/// calls of a layer write to.
#[derive(Debug)]
pub(crate) enum References<T: 'static> {
    /// A counter per thread slot.
    Apart(Arc<[Arc<CachePadded<Arc<T>>>]>),
    /// None needed.
    Static(&'static T),
}

impl<T> References<T> {
    pub(crate) fn to(value: &Ref<T>) -> Self {
        let value = match value {
            Ref::Counted(value) => value,
            Ref::Static(value) => return Self::Static(value),
        };
        let counter = |_| Arc::new(CachePadded::new(value.clone()));
        Self::Apart((0..OWNED + 1).map(counter).collect())
    }

    /// A reference for a call on this thread.
    #[inline(always)]
    pub(crate) fn get(&self) -> CallRef<T> {
        match self {
            Self::Apart(counters) => CallRef::Apart(counters[thread_slot()].clone()),
            Self::Static(value) => CallRef::Static(value),
        }
    }
}

impl<T> Clone for References<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Apart(counters) => Self::Apart(counters.clone()),
            Self::Static(value) => Self::Static(value),
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
