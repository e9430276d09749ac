//! The standard stack of a client.

use std::time::Duration;

use tower_layer::{Identity, Layer};

use super::{
    limit_is,
    operated::{Handles, Operated},
    slots::places,
};
use crate::{
    bulkhead::BulkheadLayer,
    circuit_breaker::CircuitBreakerLayer,
    error::{ConfigError, intern},
    error_layer::ErrorLayer,
    policy::{
        breaker::config::CircuitBreakerConfig,
        bucket::config::RateLimitConfig,
        bulkhead::BulkheadConfig,
        check::{Shown, ensure},
        timeout::config::TimeoutConfig,
    },
    rate_limit::RateLimitLayer,
    registry::Registry,
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
/// | [`attempt_timeout`](Self::attempt_timeout) | three tenths of the total: 9 s | for one attempt: three of them and their delays fit into the total |
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Backoff, RetryConfig, stack};
///
/// let backoff = Backoff::exponential(Duration::from_millis(20), 2.0);
/// let client = stack::client("search")
///     .total_timeout(Duration::from_secs(2))
///     .retry(RetryConfig::default().attempts(2).backoff(backoff))
///     .build()?;
/// assert_eq!(client.attempt_timeout().time_limit().config().limit, Some(Duration::from_millis(600)));
///
/// let error = stack::client("search").attempt_timeout(Duration::from_secs(60)).build().unwrap_err();
/// assert_eq!(error.field(), "attempt_timeout");
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
#[non_exhaustive]
pub struct ClientConfig {
    /// The name of every policy in it but the attempt timeout, which is `name.attempt`.
    pub name: &'static str,
    /// The limit for the whole call.
    pub total_timeout: Duration,
    /// How many calls may be in flight.
    pub max_in_flight: usize,
    /// What the retry does; its name is the stack's.
    pub retry: RetryConfig,
    /// When the circuit opens; its name is the stack's.
    pub circuit_breaker: CircuitBreakerConfig,
    /// The limit for one attempt, shorter than the total one. Default `None`: three tenths of that.
    pub attempt_timeout: Option<Duration>,
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
            attempt_timeout: None,
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
        self.retry = retry;
        self
    }

    /// Sets when the circuit opens; the name stays the stack's.
    pub fn circuit_breaker(mut self, breaker: CircuitBreakerConfig) -> Self {
        self.circuit_breaker = breaker;
        self
    }

    /// Sets the limit for one attempt.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.attempt_timeout = Some(limit);
        self
    }

    /// Checks every value and their combinations.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work, by its field here or in the configuration of
    /// retry or breaker. An attempt timeout that is no shorter than the total one is such a value: to go
    /// without, see [`Client::without_attempt_timeout`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        let name = self.name;
        let total = TimeoutConfig::new(name, self.total_timeout);
        total.validate().map_err(limit_is("total_timeout"))?;
        if let Some(attempt) = self.attempt_timeout {
            let why = "must be shorter than `total_timeout`, or one slow attempt takes all of it";
            ensure(attempt < self.total_timeout, "attempt_timeout", Shown(attempt), why)?;
        }
        let attempt = TimeoutConfig::new(name, self.limit_of_attempt());
        attempt.validate().map_err(limit_is("attempt_timeout"))?;
        BulkheadConfig::new(name, self.max_in_flight).validate()?;
        self.retry.clone().name(name).validate()?;
        self.circuit_breaker.clone().name(name).validate()
    }

    /// Makes the stack: one state for each of its policies, shared by whatever it is put in front of.
    ///
    /// # Errors
    /// Those of [`validate`](Self::validate).
    pub fn build(self) -> Result<StandardClient, ConfigError> {
        self.validate()?;
        let attempt = self.limit_of_attempt();
        let Self { name, total_timeout, max_in_flight, retry, circuit_breaker, .. } = self;
        // Two timeouts in one stack: a refusal says which of them it was.
        let name_of_attempt = intern(&format!("{name}.attempt"));
        Ok(Client {
            name,
            fallback: Identity::new(),
            total_timeout: TimeoutLayer::new(TimeoutConfig::new(name, total_timeout))?,
            rate_limit: Identity::new(),
            bulkhead: BulkheadLayer::new(BulkheadConfig::new(name, max_in_flight))?,
            retry: RetryLayer::new(retry.name(name))?,
            circuit_breaker: CircuitBreakerLayer::new(circuit_breaker.name(name))?,
            attempt_timeout: TimeoutLayer::new(TimeoutConfig::new(name_of_attempt, attempt))?,
            error: ErrorLayer::new(),
        })
    }

    fn limit_of_attempt(&self) -> Duration {
        let share = || (self.total_timeout / 10 * 3).max(Duration::from_nanos(1));
        self.attempt_timeout.unwrap_or_else(share)
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
/// [`docs::ordering`](crate::docs::ordering) has the reason for every edge. As it is built, the places
/// `fallback` and `rate_limit` are empty. It is no more than its layers one upon the other: where it does not
/// fit, leave it out. One value is one state for each of its policies; its clones share it.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Error, FallbackConfig, FallbackLayer, stack};
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// # async fn fetch(_: u32) -> Result<u32, std::io::Error> { Err(std::io::ErrorKind::ConnectionReset.into()) }
/// let client = stack::client("search")
///     .total_timeout(Duration::from_secs(2))
///     .build()?
///     .with_rate(100, Duration::from_secs(1))?
///     .with_fallback(FallbackLayer::value(FallbackConfig::new("search"), 0)?);
/// // By its handle, whenever the circuit is asked for.
/// let circuit = client.circuit_breaker().circuit().clone();
///
/// let mut search = ServiceBuilder::new().layer(client).service(service_fn(fetch));
/// let found: Result<u32, Error<std::io::Error>> = search.ready().await.unwrap().call(7).await;
/// assert_eq!(found.unwrap(), 0);
/// assert_eq!(circuit.snapshot().failures, 3);
/// # Ok(())
/// # }
/// ```
///
/// # What its places ask for
///
/// Each place can be changed, filled with another layer, also of another crate, or left empty.
///
/// - **A request that is not `Clone`**, or that must not be sent twice: say how it is made once more,
///   `.map_retry(|retry| retry.replay(|request: &Request| …))`, or go
///   [`without_retry`](Self::without_retry).
/// - **An error that can carry a refusal already**, such as `BoxError` or an enum of your own:
///   [`without_error`](Self::without_error).
/// - **What counts as a failure** is judged by each layer for itself:
///   `.map_retry(|retry| retry.classify(…))`, and likewise for circuit breaker and fallback.
/// - **A rate limit or a bulkhead that lets calls wait**:
///   `.with_bulkhead(QueuedBulkheadLayer::new(…)?)`. The service must be `Clone`, as it must for the retry.
/// - **One policy for several clients**: `.with_circuit_breaker(other.circuit_breaker().clone())`, or a layer
///   from a handle.
/// - **A service that may panic**: leave out the error layer here, and put
///   `.layer(CatchPanicLayer::new(…)?).layer(ErrorLayer::new())` below.
///
/// A service type is named by `<StandardClient as Layer<S>>::Service`.
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

places! {
    Client [F, T, L, B, R, C, A, E]
    { name, fallback, total_timeout, rate_limit, bulkhead, retry, circuit_breaker, attempt_timeout, error }

    fallback: F, map_fallback,
        with_fallback -> [New, T, L, B, R, C, A, E],
        without_fallback -> [Identity, T, L, B, R, C, A, E];
    total_timeout: T, map_total_timeout,
        with_total_timeout -> [F, New, L, B, R, C, A, E],
        without_total_timeout -> [F, Identity, L, B, R, C, A, E];
    rate_limit: L, map_rate_limit,
        with_rate_limit -> [F, T, New, B, R, C, A, E],
        without_rate_limit -> [F, T, Identity, B, R, C, A, E];
    bulkhead: B, map_bulkhead,
        with_bulkhead -> [F, T, L, New, R, C, A, E],
        without_bulkhead -> [F, T, L, Identity, R, C, A, E];
    retry: R, map_retry,
        with_retry -> [F, T, L, B, New, C, A, E],
        without_retry -> [F, T, L, B, Identity, C, A, E];
    circuit_breaker: C, map_circuit_breaker,
        with_circuit_breaker -> [F, T, L, B, R, New, A, E],
        without_circuit_breaker -> [F, T, L, B, R, Identity, A, E];
    attempt_timeout: A, map_attempt_timeout,
        with_attempt_timeout -> [F, T, L, B, R, C, New, E],
        without_attempt_timeout -> [F, T, L, B, R, C, Identity, E];
    error: E, map_error,
        with_error -> [F, T, L, B, R, C, A, New],
        without_error -> [F, T, L, B, R, C, A, Identity];
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

impl<F, T, L, B, R, C, A, E> Client<F, T, L, B, R, C, A, E>
where
    F: Operated,
    T: Operated,
    L: Operated,
    B: Operated,
    R: Operated,
    C: Operated,
    A: Operated,
    E: Operated,
{
    /// Registers the handles of all its policies.
    ///
    /// ```
    /// use portcullis::{Command, Registry, stack};
    ///
    /// let registry = Registry::new();
    /// let client = stack::client("search").build()?;
    /// client.register(&registry)?;
    /// registry.command("search", Command::Disable)?;     // all of them but the attempt timeout
    /// registry.command("search.attempt", Command::Disable)?;
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] for `name` when a policy of that name and kind is registered already, as one that is
    /// shared with another stack is; none of them is then.
    pub fn register(&self, registry: &Registry) -> Result<(), ConfigError> {
        registry.add_all(Handles::of(&[
            &self.fallback,
            &self.total_timeout,
            &self.rate_limit,
            &self.bulkhead,
            &self.retry,
            &self.circuit_breaker,
            &self.attempt_timeout,
            &self.error,
        ]))
    }
}
