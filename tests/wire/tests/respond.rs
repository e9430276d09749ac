//! Refusals over the wire: a real axum server under a real client with several connections, and a real tonic
//! server under a real channel. Both sides are looked at: what clients are told, and what handlers saw.

#[path = "respond/axum.rs"]
mod axum_server;
#[path = "respond/tonic.rs"]
mod tonic_server;

use std::time::Duration;

use portcullis::{CircuitBreakerConfig, RateLimitConfig, Sleep};

/// Waits for an answer, but not for ever.
#[expect(clippy::disallowed_methods, reason = "a bound on the real clock, far beyond any answer")]
async fn answer<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("an answer")
}

const HOUR: Duration = Duration::from_secs(3_600);

/// So many at once, and no more while a test runs.
fn only(burst: u64) -> RateLimitConfig {
    RateLimitConfig::new("limit", 1, HOUR).burst(burst)
}

/// Opened by hand, and for longer than a test runs.
fn opened_by_hand() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("db").sleep(Sleep::fixed(HOUR))
}
