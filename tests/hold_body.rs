//! Permits and outcomes that are held to the end of a response's body: every way in which a body can end, over
//! every layer that holds, and what of them a breaker makes in each of its states.
#![cfg(feature = "http")]

mod support;

#[path = "hold_body/allocations.rs"]
mod allocations;
#[path = "hold_body/breaker.rs"]
mod breaker;
#[path = "hold_body/endings.rs"]
mod endings;
#[path = "hold_body/model.rs"]
mod model;
#[path = "hold_body/script.rs"]
mod script;
#[path = "hold_body/stack.rs"]
mod stack;
#[path = "hold_body/types.rs"]
mod types;
