//! The standard stack, and a check that explains what is wrong with any stack.

mod amplification;
mod check;
mod numbers;
mod order;
mod report;

pub use self::{
    amplification::Amplification,
    check::check,
    report::{Finding, Report, Rule, Severity},
};
