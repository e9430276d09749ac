//! The standard stack of a server.

use std::time::Duration;

use tower_layer::{Identity, Layer};

use super::{
    limit_is,
    operated::{Handles, Operated},
    slots::places,
};
use crate::{
    bulkhead::BulkheadLayer,
    catch_panic::CatchPanicLayer,
    error::ConfigError,
    error_layer::ErrorLayer,
    policy::{
        bucket::config::RateLimitConfig, bulkhead::BulkheadConfig, catch_panic::CatchPanicConfig,
        timeout::config::TimeoutConfig,
    },
    rate_limit::RateLimitLayer,
    registry::Registry,
    timeout::TimeoutLayer,
};

/// The standard stack of a server under a name: see [`Server`].
pub fn server(name: &'static str) -> ServerConfig {
    ServerConfig::new(name)
}

/// The numbers of a server's standard stack.
///
/// | setting | default | |
/// |---|---|---|
/// | [`max_in_flight`](Self::max_in_flight) | 256 | requests at once, refused beyond that |
/// | [`timeout`](Self::timeout) | 10 s | for one request |
///
/// There is no rate limit until [`Server::with_rate`] says how much there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct ServerConfig {
    /// The name of every policy in it.
    pub name: &'static str,
    /// How many requests may be in flight.
    pub max_in_flight: usize,
    /// The limit for one request.
    pub timeout: Duration,
}

impl ServerConfig {
    /// The defaults under a name.
    pub fn new(name: &'static str) -> Self {
        Self { name, max_in_flight: 256, timeout: Duration::from_secs(10) }
    }

    /// Sets how many requests may be in flight.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// Sets the limit for one request.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        BulkheadConfig::new(self.name, self.max_in_flight).validate()?;
        let timeout = TimeoutConfig::new(self.name, self.timeout);
        timeout.validate().map_err(limit_is("timeout"))
    }

    /// Makes the stack: one state for each of its policies, shared by every route and connection.
    ///
    /// # Errors
    /// Those of [`validate`](Self::validate).
    pub fn build(self) -> Result<StandardServer, ConfigError> {
        self.validate()?;
        let Self { name, max_in_flight, timeout } = self;
        Ok(Server {
            name,
            respond: Identity::new(),
            rate_limit: Identity::new(),
            bulkhead: BulkheadLayer::new(BulkheadConfig::new(name, max_in_flight))?,
            timeout: TimeoutLayer::new(TimeoutConfig::new(name, timeout))?,
            catch_panic: CatchPanicLayer::new(CatchPanicConfig::new(name))?,
            error: ErrorLayer::new(),
        })
    }
}

/// What [`ServerConfig::build`] makes.
pub type StandardServer =
    Server<Identity, Identity, BulkheadLayer, TimeoutLayer, CatchPanicLayer, ErrorLayer>;

/// The layers of a server in their order, as one layer.
///
/// ```text
/// respond > rate limit > bulkhead > timeout > catch panic > error layer
/// ```
///
/// [`docs::ordering`](crate::docs::ordering) has the reason for every edge. As it is built, the places
/// `respond` and `rate_limit` are empty. Each place can be changed, filled with another layer, also of another crate, or left
/// empty. One value is one state for each of its policies; its clones, and every service that a router makes
/// of it, share it.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Error, KeyedRateLimitLayer, RateLimitConfig, stack};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # struct Request { client: u32 }
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let limit = RateLimitConfig::per_second("api", 50);
/// let server = stack::server("api")
///     .max_in_flight(100)
///     .timeout(Duration::from_secs(5))
///     .build()?
///     .with_rate_limit(KeyedRateLimitLayer::new(limit, 10_000, |request: &Request| request.client)?);
/// let slots = server.bulkhead().bulkhead().clone();
///
/// let api = ServiceBuilder::new()
///     .layer(server)
///     .service(service_fn(|_: Request| async { Ok::<_, std::io::Error>("hello") }));
/// assert_eq!(api.oneshot(Request { client: 7 }).await.unwrap(), "hello");
/// assert_eq!(slots.in_flight(), 0);
/// # Ok(())
/// # }
/// ```
///
/// With feature `http`, `http()` and `grpc()` put a `RespondLayer` into the place `respond`, which turns refusals
/// into responses, as axum and tonic need it: see [`docs::frameworks`](crate::docs::frameworks). A handler whose error can carry a refusal already goes
/// [`without_error`](Self::without_error).
#[derive(Clone, Debug)]
#[must_use]
pub struct Server<R, L, B, T, C, E> {
    name: &'static str,
    respond: R,
    rate_limit: L,
    bulkhead: B,
    timeout: T,
    catch_panic: C,
    error: E,
}

places! {
    Server [R, L, B, T, C, E] { name, respond, rate_limit, bulkhead, timeout, catch_panic, error }

    respond: R, map_respond,
        with_respond -> [New, L, B, T, C, E], without_respond -> [Identity, L, B, T, C, E];
    rate_limit: L, map_rate_limit,
        with_rate_limit -> [R, New, B, T, C, E], without_rate_limit -> [R, Identity, B, T, C, E];
    bulkhead: B, map_bulkhead,
        with_bulkhead -> [R, L, New, T, C, E], without_bulkhead -> [R, L, Identity, T, C, E];
    timeout: T, map_timeout,
        with_timeout -> [R, L, B, New, C, E], without_timeout -> [R, L, B, Identity, C, E];
    catch_panic: C, map_catch_panic,
        with_catch_panic -> [R, L, B, T, New, E], without_catch_panic -> [R, L, B, T, Identity, E];
    error: E, map_error,
        with_error -> [R, L, B, T, C, New], without_error -> [R, L, B, T, C, Identity];
}

impl<R, L, B, T, C, E> Server<R, L, B, T, C, E> {
    /// The name of its policies.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Puts a rate limit in its place that admits `permits` requests per `per`, and one second's at once.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with_rate(
        self,
        permits: u64,
        per: Duration,
    ) -> Result<Server<R, RateLimitLayer, B, T, C, E>, ConfigError> {
        let layer = RateLimitLayer::new(RateLimitConfig::new(self.name, permits, per))?;
        Ok(self.with_rate_limit(layer))
    }
}

impl<S, R, L, B, T, C, E> Layer<S> for Server<R, L, B, T, C, E>
where
    E: Layer<S>,
    C: Layer<E::Service>,
    T: Layer<C::Service>,
    B: Layer<T::Service>,
    L: Layer<B::Service>,
    R: Layer<L::Service>,
{
    type Service = R::Service;

    fn layer(&self, inner: S) -> Self::Service {
        let inner = self.error.layer(inner);
        let inner = self.catch_panic.layer(inner);
        let inner = self.timeout.layer(inner);
        let inner = self.bulkhead.layer(inner);
        let inner = self.rate_limit.layer(inner);
        self.respond.layer(inner)
    }
}

impl<R, L, B, T, C, E> Server<R, L, B, T, C, E>
where
    R: Operated,
    L: Operated,
    B: Operated,
    T: Operated,
    C: Operated,
    E: Operated,
{
    /// Registers the handles of all its policies: see [`Client::register`](super::Client::register).
    ///
    /// # Errors
    /// [`ConfigError`] for `name` when a policy of that name and kind is registered already, as one that is
    /// shared with another stack is; none of them is then.
    pub fn register(&self, registry: &Registry) -> Result<(), ConfigError> {
        registry.add_all(Handles::of(&[
            &self.respond,
            &self.rate_limit,
            &self.bulkhead,
            &self.timeout,
            &self.catch_panic,
            &self.error,
        ]))
    }
}
