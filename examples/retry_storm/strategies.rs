//! Six ways of calling a service.

use std::time::Duration;

use portcullis::{
    Backoff, BoxError, CircuitBreakerConfig, CircuitBreakerLayer, Jitter, RetryConfig, RetryLayer,
    TimeoutConfig, TimeoutLayer,
};
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneService};

use crate::{
    fleet::{Client, Strategy},
    service::Backend,
};

/// How long a caller waits for one attempt.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
/// How often a caller tries at the most.
pub(crate) const ATTEMPTS: u32 = 4;

pub(crate) const STRATEGIES: [Strategy; 6] = [
    Strategy {
        name: "no retry",
        client: |backend, seed| retrying(backend, naive(seed).attempts(1)),
    },
    Strategy { name: "naive", client: |backend, seed| retrying(backend, naive(seed)) },
    Strategy {
        name: "back-off",
        client: |backend, seed| retrying(backend, naive(seed).backoff(backoff(Jitter::None))),
    },
    Strategy {
        name: "jitter",
        client: |backend, seed| retrying(backend, naive(seed).backoff(backoff(Jitter::Full))),
    },
    Strategy { name: "budget", client: |backend, seed| retrying(backend, budgeted(seed)) },
    Strategy { name: "and breaker", client: under_a_breaker },
];

/// Again and again, at once.
fn naive(seed: u64) -> RetryConfig {
    RetryConfig::new("storm")
        .attempts(ATTEMPTS)
        .backoff(Backoff::constant(Duration::ZERO))
        .no_budget()
        .seed(seed)
}

fn backoff(jitter: Jitter) -> Backoff {
    Backoff::exponential(Duration::from_millis(200), 2.0).jitter(jitter)
}

/// What the library does unless told otherwise, but for the number of attempts and the first delay.
fn budgeted(seed: u64) -> RetryConfig {
    RetryConfig::new("storm").attempts(ATTEMPTS).backoff(backoff(Jitter::Full)).seed(seed)
}

fn retrying(backend: Backend, retry: RetryConfig) -> Result<Client, BoxError> {
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(retry)?)
        .layer(TimeoutLayer::new(TimeoutConfig::new("attempt", PATIENCE))?)
        .service(backend.map_err(BoxError::from));
    Ok(BoxCloneService::new(service))
}

fn under_a_breaker(backend: Backend, seed: u64) -> Result<Client, BoxError> {
    let breaker = CircuitBreakerConfig::new("storm").seed(seed);
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(budgeted(seed))?)
        .layer(CircuitBreakerLayer::new(breaker)?)
        .layer(TimeoutLayer::new(TimeoutConfig::new("attempt", PATIENCE))?)
        .service(backend.map_err(BoxError::from));
    Ok(BoxCloneService::new(service))
}
