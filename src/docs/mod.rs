//! Guides: each a page on one question, and every example in them is tested.
//!
//! | page | question |
//! |---|---|
//! | [choosing] | which layer is for which pain? |
//! | [ordering] | in which order do layers stand, and why? |
//! | [errors] | what does a refusal say, and what does the compiler mean? |
//! | [sharing] | which calls share a circuit, a limit, a budget? |
//! | [cancellation] | what becomes of a call that is dropped? |
//! | [readiness] | what does `poll_ready` promise, and where are calls refused? |
//! | [telemetry] | what can be seen of a policy, which metrics are there, and what does it cost? |
//! | [testing] | how is a stack tested without waiting? |
//! | [frameworks] | what does it look like in front of axum, hyper and tonic? |
//! | [clients] | what is a failure of HTTP or gRPC, and when may it be tried again? |
//! | [configuration] | how does a file set all of this? |
//! | [pains] | what goes wrong elsewhere, and which test shows that it does not here? |
#![cfg_attr(
    feature = "http",
    doc = "| [health] | when is a process alive, when is it ready, and how does it end? |"
)]

#[doc = include_str!("choosing.md")]
pub mod choosing {}

#[doc = include_str!("ordering.md")]
pub mod ordering {}

#[doc = include_str!("errors.md")]
pub mod errors {}

#[doc = include_str!("sharing.md")]
pub mod sharing {}

#[doc = include_str!("cancellation.md")]
pub mod cancellation {}

#[doc = include_str!("readiness.md")]
pub mod readiness {}

#[doc = include_str!("telemetry.md")]
#[doc = include_str!("metrics.md")]
pub mod telemetry {}

#[doc = include_str!("testing.md")]
pub mod testing {}

#[doc = include_str!("pains.md")]
pub mod pains {}

// Its examples need feature `serde` and TOML: they are tested where those are, in `tests/wire`.
#[cfg_attr(not(doctest), doc = include_str!("configuration.md"))]
pub mod configuration {}

// The examples of these need axum, reqwest and tonic: they are tested where those are, in `tests/wire`. What they
// link to needs feature `http`.
#[cfg_attr(all(feature = "http", not(doctest)), doc = include_str!("frameworks.md"))]
#[cfg_attr(not(feature = "http"), doc = "This page is of feature `http`.")]
pub mod frameworks {}

#[cfg_attr(all(feature = "http", not(doctest)), doc = include_str!("clients.md"))]
#[cfg_attr(not(feature = "http"), doc = "This page is of feature `http`.")]
pub mod clients {}

// Its examples need axum: they are tested where that is, in `tests/wire`.
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
#[cfg_attr(not(doctest), doc = include_str!("health.md"))]
pub mod health {}
