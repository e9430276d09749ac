//! Token buckets.

pub(crate) mod config;
pub(crate) mod rate;
