//! The bulkhead: what it lets in, whom it lets wait, and what it gives back.
#![allow(clippy::unwrap_used, reason = "a test may panic, and picks any instant to begin with")]

mod support;

#[path = "bulkhead/model.rs"]
mod model;
