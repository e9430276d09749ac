//! Guides: each a page on one question, and every example in them is tested.

#[doc = include_str!("errors.md")]
pub mod errors {}

#[doc = include_str!("sharing.md")]
pub mod sharing {}

#[doc = include_str!("choosing.md")]
pub mod choosing {}

#[doc = include_str!("ordering.md")]
pub mod ordering {}

#[doc = include_str!("cancellation.md")]
pub mod cancellation {}

#[doc = include_str!("readiness.md")]
pub mod readiness {}

#[doc = include_str!("testing.md")]
pub mod testing {}

// Its examples need axum and reqwest: they are tested where those are, in `tests/stacks`.
#[cfg_attr(not(doctest), doc = include_str!("frameworks.md"))]
pub mod frameworks {}
