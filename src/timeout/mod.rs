//! Timeout.
mod core;
mod future;
mod handle;
mod layer;

#[cfg(doc)]
use crate::policy::timeout::config::TimeoutConfig;

pub use self::{
    handle::{Run, TimeLimit},
    layer::{FixedLimit, RequestLimit, ResponseFuture, Timeout, TimeoutLayer},
};
