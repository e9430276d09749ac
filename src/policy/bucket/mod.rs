//! Token buckets.

pub(crate) mod rate;
