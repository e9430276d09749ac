//! The Tower contract, held by every layer over one strict inner service (`support/strict.rs`).
//!
//! A new layer joins by one line in the table below. What only a circuit breaker promises is in
//! `contract/breaker.rs` (keyed and unkeyed alike), `contract/readiness.rs` (unkeyed) and
//! `contract/keyed.rs`.

mod support;

#[path = "contract/bounds.rs"]
mod bounds;
#[path = "contract/breaker.rs"]
mod breaker;
#[path = "contract/drops.rs"]
mod drops;
#[path = "contract/every_layer.rs"]
mod every_layer;
#[path = "contract/keyed.rs"]
mod keyed;
#[path = "contract/neighbours.rs"]
mod neighbours;
#[path = "contract/readiness.rs"]
mod readiness;

use every_layer::{Calls, contract};
use portcullis::{
    CircuitBreakerConfig, CircuitBreakerLayer, ErrorLayer, KeyedCircuitBreakerLayer,
    KeyedRateLimitLayer, RateLimitConfig, RateLimitLayer, WaitingRateLimitLayer, Waits,
};
use support::Ask;

// One line adds a layer. A layer that readies a clone inside its future says so.
contract!(error_layer, ErrorLayer::new);
contract!(circuit_breaker, || CircuitBreakerLayer::new(config()).expect("a valid config"));
contract!(circuit_breaker_with_a_closure, || {
    CircuitBreakerLayer::new(config()).expect("a valid config").classify(
        |result: &Result<support::Answered, _>| match result {
            Ok(_) => portcullis::Outcome::Success,
            Err(_) => portcullis::Outcome::Failure,
        },
    )
});
contract!(keyed_rate_limit, || {
    KeyedRateLimitLayer::new(keyed_rate(), 8, |ask: &Ask| ask.0).expect("a valid config")
});
contract!(keyed_rate_limit_with_a_cost, || {
    KeyedRateLimitLayer::new(keyed_rate(), 8, |ask: &Ask| ask.0)
        .expect("a valid config")
        .cost(|ask: &Ask| u64::from(ask.0))
});
contract!(keyed_circuit_breaker, Calls::InFuture, || {
    KeyedCircuitBreakerLayer::new(config(), 8, |ask: &Ask| ask.0).expect("a valid config")
});
contract!(rate_limit, || RateLimitLayer::new(plenty()).expect("a valid config"));
contract!(rate_limit_with_a_cost, || {
    RateLimitLayer::new(plenty()).expect("a valid config").cost(|ask: &Ask| u64::from(ask.0) + 1)
});
contract!(waiting_rate_limit, || {
    WaitingRateLimitLayer::new(plenty(), Waits::default()).expect("a valid config")
});

/// A limiter that never refuses here.
fn plenty() -> RateLimitConfig {
    RateLimitConfig::per_second("contract", 1_000_000)
}

/// A breaker that never trips by itself, so that the contract is seen and not the policy.
fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("contract").no_failure_rate().consecutive_failures(1_000)
}

/// A rate that is never used up, for the same reason.
fn keyed_rate() -> RateLimitConfig {
    RateLimitConfig::per_second("contract", 1_000_000)
}
