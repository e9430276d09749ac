//! Retry: tries a failed call again, later, within a budget.

mod attempt;
mod budget;
mod config;
mod core;
mod driver;
mod handle;
mod layer;

pub use self::{
    attempt::attempt,
    budget::RetryBudget,
    config::{BudgetUse, RetryConfig},
    handle::{RetryPolicy, Run},
    layer::{ByClone, Replay, ResponseFuture, Retry, RetryLayer},
};
