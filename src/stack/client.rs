//! The standard stack of a client.

use std::time::Duration;

use tower_layer::{Identity, Layer};

use super::slots::place;
use crate::{
    bulkhead::BulkheadLayer,
    circuit_breaker::CircuitBreakerLayer,
    error::{ConfigError, intern},
    error_layer::ErrorLayer,
    policy::{
        breaker::config::CircuitBreakerConfig, bucket::config::RateLimitConfig,
        bulkhead::BulkheadConfig, timeout::config::TimeoutConfig,
    },
    rate_limit::RateLimitLayer,
    registry::{Entry, Registry},
    retry::{RetryConfig, RetryLayer},
    timeout::TimeoutLayer,
};

/// The standard stack of a client under a name: see [`Client`].
pub fn client(name: &'static str) -> ClientConfig {
    ClientConfig::new(name)
}

/// The numbers of a client's standard stack.
///
/// | setting | default | |
/// |---|---|---|
/// | [`total_timeout`](Self::total_timeout) | 30 s | for the whole call, waits and retries included |
/// | [`max_in_flight`](Self::max_in_flight) | 256 | calls at once, refused beyond that |
/// | [`retry`](Self::retry) | the default [`RetryConfig`]: 3 attempts, back-off, a budget of 20 % | |
/// | [`circuit_breaker`](Self::circuit_breaker) | the default [`CircuitBreakerConfig`] | |
/// | [`attempt_timeout`](Self::attempt_timeout) | 9 s | for one attempt: three of them and their delays fit into the total |
#[derive(Clone, Debug)]
#[must_use]
#[non_exhaustive]
pub struct ClientConfig {
    /// The name of every policy in it but the attempt timeout, which is `name.attempt`.
    pub name: &'static str,
    /// The limit for the whole call.
    pub total_timeout: Duration,
    /// How many calls may be in flight.
    pub max_in_flight: usize,
    /// What the retry does.
    pub retry: RetryConfig,
    /// When the circuit opens.
    pub circuit_breaker: CircuitBreakerConfig,
    /// The limit for one attempt.
    pub attempt_timeout: Duration,
}

impl ClientConfig {
    /// The defaults under a name.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            total_timeout: Duration::from_secs(30),
            max_in_flight: 256,
            retry: RetryConfig::new(name),
            circuit_breaker: CircuitBreakerConfig::new(name),
            attempt_timeout: Duration::from_secs(9),
        }
    }

    /// Sets the limit for the whole call.
    pub fn total_timeout(mut self, limit: Duration) -> Self {
        self.total_timeout = limit;
        self
    }

    /// Sets how many calls may be in flight.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.max_in_flight = calls;
        self
    }

    /// Sets what the retry does; the name stays the stack's.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.retry = retry.name(self.name);
        self
    }

    /// Sets when the circuit opens; the name stays the stack's.
    pub fn circuit_breaker(mut self, breaker: CircuitBreakerConfig) -> Self {
        self.circuit_breaker = breaker.name(self.name);
        self
    }

    /// Sets the limit for one attempt.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.attempt_timeout = limit;
        self
    }

    /// Makes the stack: one state for each of its policies, shared by whatever it is put in front of.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn build(self) -> Result<StandardClient, ConfigError> {
        let Self { name, total_timeout, max_in_flight, retry, circuit_breaker, attempt_timeout } =
            self;
        // Two timeouts in one stack: a refusal says which of them it was.
        let attempt = intern(&format!("{name}.attempt"));
        Ok(Client {
            name,
            fallback: Identity::new(),
            total_timeout: TimeoutLayer::new(TimeoutConfig::new(name, total_timeout))?,
            rate_limit: Identity::new(),
            bulkhead: BulkheadLayer::new(BulkheadConfig::new(name, max_in_flight))?,
            retry: RetryLayer::new(retry)?,
            circuit_breaker: CircuitBreakerLayer::new(circuit_breaker)?,
            attempt_timeout: TimeoutLayer::new(TimeoutConfig::new(attempt, attempt_timeout))?,
            error: ErrorLayer::new(),
        })
    }
}

/// What [`ClientConfig::build`] makes.
pub type StandardClient = Client<
    Identity,
    TimeoutLayer,
    Identity,
    BulkheadLayer,
    RetryLayer,
    CircuitBreakerLayer,
    TimeoutLayer,
    ErrorLayer,
>;

/// The layers of a client in their order, as one layer.
///
/// ```text
/// fallback > total timeout > rate limit > bulkhead > retry > circuit breaker > attempt timeout > error layer
/// ```
///
/// [`docs::ordering`](crate::docs::ordering) has the reason for every edge. Each place can be filled with
/// another layer, also of another crate, or left empty. Where nothing fits, leave this out: it is no more
/// than its layers one upon the other.
#[derive(Clone, Debug)]
#[must_use]
pub struct Client<F, T, L, B, R, C, A, E> {
    name: &'static str,
    fallback: F,
    total_timeout: T,
    rate_limit: L,
    bulkhead: B,
    retry: R,
    circuit_breaker: C,
    attempt_timeout: A,
    error: E,
}

place! {
    Client<F, T, L, B, R, C, A, E> { name, fallback, total_timeout, rate_limit, bulkhead, retry, circuit_breaker, attempt_timeout, error }
    fallback: F, with_fallback -> [New, T, L, B, R, C, A, E], without_fallback -> [Identity, T, L, B, R, C, A, E]
}

place! {
    Client<F, T, L, B, R, C, A, E> { name, fallback, total_timeout, rate_limit, bulkhead, retry, circuit_breaker, attempt_timeout, error }
    total_timeout: T, with_total_timeout -> [F, New, L, B, R, C, A, E], without_total_timeout -> [F, Identity, L, B, R, C, A, E]
}

place! {
    Client<F, T, L, B, R, C, A, E> { name, fallback, total_timeout, rate_limit, bulkhead, retry, circuit_breaker, attempt_timeout, error }
    rate_limit: L, with_rate_limit -> [F, T, New, B, R, C, A, E], without_rate_limit -> [F, T, Identity, B, R, C, A, E]
}

place! {
    Client<F, T, L, B, R, C, A, E> { name, fallback, total_timeout, rate_limit, bulkhead, retry, circuit_breaker, attempt_timeout, error }
    bulkhead: B, with_bulkhead -> [F, T, L, New, R, C, A, E], without_bulkhead -> [F, T, L, Identity, R, C, A, E]
}

place! {
    Client<F, T, L, B, R, C, A, E> { name, fallback, total_timeout, rate_limit, bulkhead, retry, circuit_breaker, attempt_timeout, error }
    retry: R, with_retry -> [F, T, L, B, New, C, A, E], without_retry -> [F, T, L, B, Identity, C, A, E]
}

place! {
    Client<F, T, L, B, R, C, A, E> { name, fallback, total_timeout, rate_limit, bulkhead, retry, circuit_breaker, attempt_timeout, error }
    circuit_breaker: C, with_circuit_breaker -> [F, T, L, B, R, New, A, E], without_circuit_breaker -> [F, T, L, B, R, Identity, A, E]
}

place! {
    Client<F, T, L, B, R, C, A, E> { name, fallback, total_timeout, rate_limit, bulkhead, retry, circuit_breaker, attempt_timeout, error }
    attempt_timeout: A, with_attempt_timeout -> [F, T, L, B, R, C, New, E], without_attempt_timeout -> [F, T, L, B, R, C, Identity, E]
}

place! {
    Client<F, T, L, B, R, C, A, E> { name, fallback, total_timeout, rate_limit, bulkhead, retry, circuit_breaker, attempt_timeout, error }
    error: E, with_error -> [F, T, L, B, R, C, A, New], without_error -> [F, T, L, B, R, C, A, Identity]
}

impl<F, T, L, B, R, C, A, E> Client<F, T, L, B, R, C, A, E> {
    /// The name of its policies.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Puts a rate limit in its place that admits `permits` calls per `per`, and one second's at once.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    #[expect(clippy::type_complexity, reason = "it is the stack itself, with a place filled")]
    pub fn with_rate(
        self,
        permits: u64,
        per: Duration,
    ) -> Result<Client<F, T, RateLimitLayer, B, R, C, A, E>, ConfigError> {
        let layer = RateLimitLayer::new(RateLimitConfig::new(self.name, permits, per))?;
        Ok(self.with_rate_limit(layer))
    }
}

impl<S, F, T, L, B, R, C, A, E> Layer<S> for Client<F, T, L, B, R, C, A, E>
where
    E: Layer<S>,
    A: Layer<E::Service>,
    C: Layer<A::Service>,
    R: Layer<C::Service>,
    B: Layer<R::Service>,
    L: Layer<B::Service>,
    T: Layer<L::Service>,
    F: Layer<T::Service>,
{
    type Service = F::Service;

    fn layer(&self, inner: S) -> Self::Service {
        let inner = self.error.layer(inner);
        let inner = self.attempt_timeout.layer(inner);
        let inner = self.circuit_breaker.layer(inner);
        let inner = self.retry.layer(inner);
        let inner = self.bulkhead.layer(inner);
        let inner = self.rate_limit.layer(inner);
        let inner = self.total_timeout.layer(inner);
        self.fallback.layer(inner)
    }
}

impl StandardClient {
    /// Registers the handles of all its policies.
    ///
    /// # Errors
    /// [`ConfigError`] for `name` when a policy of that name and kind is registered already;
    /// none of them is then.
    pub fn register(&self, registry: &Registry) -> Result<(), ConfigError> {
        registry.add_all([
            Entry::of(self.total_timeout.time_limit()),
            Entry::of(self.bulkhead.bulkhead()),
            Entry::of(self.retry.policy()),
            Entry::of(self.circuit_breaker.circuit()),
            Entry::of(self.attempt_timeout.time_limit()),
        ])
    }
}
