//! The standard stack, and a check that explains what is wrong with any stack.

mod amplification;
mod check;
mod client;
mod numbers;
mod order;
mod report;
mod server;
mod slots;

pub use self::{
    amplification::Amplification,
    check::check,
    client::{Client, ClientConfig, StandardClient, client},
    report::{Finding, Report, Rule, Severity},
    server::{Server, ServerConfig, StandardServer, server},
};
