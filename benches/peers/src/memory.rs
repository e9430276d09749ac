//! How many bytes a keyed policy holds for each of its keys. The program that counts them is
//! `src/bin/allocations.rs`.

use std::any::Any;

use crate::panel::Group;

/// A policy with one kind of keys.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Store {
    /// What the report and the targets call it.
    pub name: &'static str,
    /// The crate it comes from, and its keys.
    pub what: &'static str,
    /// Builds it with so many keys, each of which it has seen once.
    pub fill: fn(u32) -> Box<dyn Any>,
}

impl Store {
    /// A store.
    pub const fn new(
        name: &'static str,
        what: &'static str,
        fill: fn(u32) -> Box<dyn Any>,
    ) -> Self {
        Self { name, what, fill }
    }
}

/// The numbers of keys.
pub const SIZES: [u32; 2] = [100_000, 1_000_000];

/// Every store, or every one of a group.
pub fn stores(only: Option<Group>) -> Vec<Store> {
    if only.is_some_and(|group| group != Group::Keyed) {
        return Vec::new();
    }
    let mut all = crate::ours::stores();
    all.extend(crate::rivals::stores());
    all
}
