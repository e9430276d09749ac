//! Bodies that are sent again: every attempt sees the same bytes, and the body itself is read once.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

#[path = "replay/allocations.rs"]
mod allocations;
#[path = "replay/body.rs"]
mod body;
#[path = "replay/drops.rs"]
mod drops;
#[path = "replay/model.rs"]
mod model;
#[path = "replay/requests.rs"]
mod requests;
#[path = "replay/retry.rs"]
mod retry;
#[path = "replay/source.rs"]
mod source;
#[path = "replay/threads.rs"]
mod threads;
