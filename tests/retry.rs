//! The retry: what it decides, what it costs the service, and what it gives back.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and picks any instant to begin with"
)]

mod support;

#[path = "retry/backoff.rs"]
mod backoff;
#[path = "retry/behaviour.rs"]
mod behaviour;
#[path = "retry/budget.rs"]
mod budget;
#[path = "retry/budget_model.rs"]
mod budget_model;
#[path = "retry/cancellation.rs"]
mod cancellation;
#[path = "retry/config.rs"]
mod config;
#[path = "retry/deadlines.rs"]
mod deadlines;
#[path = "retry/decision.rs"]
mod decision;
#[path = "retry/histories.rs"]
mod histories;
#[path = "retry/nesting.rs"]
mod nesting;
#[path = "retry/operators.rs"]
mod operators;
#[path = "retry/refusals.rs"]
mod refusals;
#[path = "retry/rivals.rs"]
mod rivals;
#[path = "retry/script.rs"]
mod script;
#[path = "retry/storms.rs"]
mod storms;
#[path = "retry/threads.rs"]
mod threads;
