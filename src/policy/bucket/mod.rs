//! Token buckets.

pub(crate) mod config;
pub(crate) mod rate;

pub(crate) mod keyed;

pub use self::keyed::{Buckets, Grant, KeyedRateLimitSnapshot, Level, Refusal};
