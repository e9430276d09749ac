//! Rate limiters.

mod keyed;

pub use self::keyed::{
    Cost, KeyedRateLimit, KeyedRateLimitLayer, OneToken, RateLimiters,
    ResponseFuture as KeyedResponseFuture,
};
