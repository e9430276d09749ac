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
#[path = "contract/fallback.rs"]
mod fallback;
#[cfg(feature = "http")]
#[path = "contract/held.rs"]
mod held;
#[path = "contract/keyed.rs"]
mod keyed;
#[path = "contract/neighbours.rs"]
mod neighbours;
#[path = "contract/readiness.rs"]
mod readiness;

use std::time::Duration;

use every_layer::{Calls, contract};
use portcullis::{
    BulkheadConfig, BulkheadLayer, CatchPanicConfig, CatchPanicLayer, CircuitBreakerConfig,
    CircuitBreakerLayer, ErrorLayer, KeyedCircuitBreakerLayer, KeyedRateLimitLayer, Outcome,
    PanicGuard, QueuedBulkheadLayer, RateLimitConfig, RateLimitLayer, RetryConfig, RetryLayer,
    TimeLimit, TimeoutConfig, WaitingRateLimitLayer, Waits, stack,
};
#[cfg(feature = "http")]
use portcullis::{Rejection, http::RespondLayer};
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
// One slot: whatever a test leaves behind is missed by its next call.
contract!(bulkhead, || {
    BulkheadLayer::new(BulkheadConfig::new("contract", 1)).expect("a valid config")
});
contract!(queued_bulkhead, || {
    QueuedBulkheadLayer::new(BulkheadConfig::new("contract", 1).queue(1)).expect("a valid config")
});

// Between two that make a response of HTTP's from the strict service's and back.
#[cfg(feature = "http")]
contract!(respond, || {
    tower::ServiceBuilder::new()
        .map_response(http::Response::into_body)
        .layer(RespondLayer::with(|_: &Rejection| http::Response::new(support::Answered)))
        .map_response(http::Response::new)
        .into_inner()
});

contract!(timeout, || TimeLimit::new(within(60)).expect("a valid config").layer());
contract!(timeout_by_request, || {
    let layer = TimeLimit::new(within(60)).expect("a valid config").leak().layer();
    layer.limit_from(|_: &Ask| Some(Duration::from_secs(30)))
});
contract!(timeout_in_shadow, || {
    let limit = TimeLimit::new(within(60)).expect("a valid config");
    limit.shadow();
    limit.layer()
});
contract!(catch_panic, catches_panics, || {
    CatchPanicLayer::new(CatchPanicConfig::new("contract")).expect("a valid config")
});
// In shadow and disabled it lets panics go on, as every other layer does.
contract!(catch_panic_in_shadow, || {
    let guard = PanicGuard::new(CatchPanicConfig::new("contract")).expect("a valid config");
    guard.shadow();
    guard.layer()
});
contract!(catch_panic_disabled, || {
    let guard = PanicGuard::new(CatchPanicConfig::new("contract")).expect("a valid config");
    guard.disable();
    guard.leak().layer()
});

/// A limit that no call here comes near.
fn within(seconds: u64) -> TimeoutConfig {
    TimeoutConfig::new("contract", Duration::from_secs(seconds))
}

contract!(retry_that_replays_nothing, || {
    RetryLayer::new(RetryConfig::new("contract")).expect("a valid config").replay(|_: &Ask| None)
});
contract!(retry_of_what_is_no_failure, || {
    // Each call is ready for three attempts, and none but the first is made.
    RetryLayer::new(RetryConfig::new("contract"))
        .expect("a valid config")
        .replay(|ask: &Ask| Some(Ask(ask.0)))
        .classify(|_: &Result<support::Answered, _>| Outcome::Ignored)
});
contract!(rate_limit, || RateLimitLayer::new(plenty()).expect("a valid config"));
contract!(rate_limit_with_a_cost, || {
    RateLimitLayer::new(plenty()).expect("a valid config").cost(|ask: &Ask| u64::from(ask.0) + 1)
});
contract!(waiting_rate_limit, || {
    WaitingRateLimitLayer::new(plenty(), Waits::default()).expect("a valid config")
});

// Whole stacks are layers like any other: `Ask` is not `Clone`, so the client says how it is made once more.
contract!(standard_client, || {
    let client = stack::client("contract").circuit_breaker(config()).build();
    client
        .expect("a valid config")
        .with_rate(1_000_000, Duration::from_secs(1))
        .expect("a valid rate")
        .map_retry(|retry| {
            retry
                .replay(|ask: &Ask| Some(Ask(ask.0)))
                .classify(|_: &Result<support::Answered, _>| Outcome::Ignored)
        })
});
contract!(standard_client_without_a_retry, || {
    let client = stack::client("contract").circuit_breaker(config()).max_in_flight(1).build();
    client.expect("a valid config").without_retry()
});
contract!(standard_client_that_waits, || {
    let client = stack::client("contract").circuit_breaker(config()).build();
    let limit = WaitingRateLimitLayer::new(plenty(), Waits::default()).expect("a valid config");
    let slots = BulkheadConfig::new("contract", 1).queue(1);
    client
        .expect("a valid config")
        .with_rate_limit(limit)
        .with_bulkhead(QueuedBulkheadLayer::new(slots).expect("a valid config"))
        .map_retry(|retry| retry.replay(|_: &Ask| None))
});
contract!(standard_server, catches_panics, || {
    let server = stack::server("contract").max_in_flight(1).build().expect("a valid config");
    server.with_rate(1_000_000, Duration::from_secs(1)).expect("a valid rate")
});
contract!(standard_server_without_catching, || {
    let server = stack::server("contract").max_in_flight(1).build().expect("a valid config");
    server.without_catch_panic()
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
