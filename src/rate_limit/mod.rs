//! Rate limiter.

mod core;
mod cost;
mod handle;
mod keyed;
mod layer;
mod reservation;
mod turn;
mod waiting;
mod waits;

pub use self::{
    cost::{Cost, OneToken},
    handle::{Acquire, RateLimiter},
    keyed::{
        KeyedRateLimit, KeyedRateLimitLayer, RateLimiters, ResponseFuture as KeyedResponseFuture,
    },
    layer::{RateLimit, RateLimitLayer, ResponseFuture},
    reservation::Reservation,
    waiting::{WaitingRateLimit, WaitingRateLimitLayer, WaitingResponseFuture},
    waits::Waits,
};
