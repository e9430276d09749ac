//! The bulkhead: what it lets in, whom it lets wait, and what it gives back.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, reads the paused clock, and simulates work by sleeping on it"
)]

mod support;

#[path = "bulkhead/bench.rs"]
mod bench;
#[path = "bulkhead/config.rs"]
mod config;
#[path = "bulkhead/deadlines.rs"]
mod deadlines;
#[path = "bulkhead/drops.rs"]
mod drops;
#[path = "bulkhead/handle.rs"]
mod handle;
#[path = "bulkhead/model.rs"]
mod model;
#[path = "bulkhead/operators.rs"]
mod operators;
#[path = "bulkhead/queue.rs"]
mod queue;
#[path = "bulkhead/reference.rs"]
mod reference;
#[path = "bulkhead/threads.rs"]
mod threads;
