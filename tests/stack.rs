//! The standard stacks, what a check says of any stack and that it is so, and what holds in whole stacks:
//! one error, one deadline, and nothing left behind.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, reads the paused clock, and sleeps on it"
)]

mod support;

#[path = "stack/amplification.rs"]
mod amplification;
#[path = "stack/backend.rs"]
mod backend;
#[path = "stack/cancellation.rs"]
mod cancellation;
#[path = "stack/deadlines.rs"]
mod deadlines;
#[path = "stack/errors.rs"]
mod errors;
#[path = "stack/errors_apart.rs"]
mod errors_apart;
#[path = "stack/facts.rs"]
mod facts;
#[path = "stack/full.rs"]
mod full;
#[path = "stack/responding.rs"]
mod responding;
#[path = "stack/rules.rs"]
mod rules;
#[path = "stack/rules_of_numbers.rs"]
mod rules_of_numbers;
#[path = "stack/rules_of_queues.rs"]
mod rules_of_queues;
#[path = "stack/rules_of_retries.rs"]
mod rules_of_retries;
#[path = "stack/standard.rs"]
mod standard;
