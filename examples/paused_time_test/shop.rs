//! What is tested: a shop that asks its warehouse over a network, and protects itself from it.

use std::{error::Error as StdError, fmt, time::Duration};

use portcullis::{
    Bulkhead, BulkheadConfig, Circuit, CircuitBreakerConfig, ConfigError, Error, ErrorLayer,
    Options, Registry, RetryConfig, RetryPolicy, TimeLimit, TimeoutConfig,
};
use tower::{Service, ServiceBuilder, ServiceExt};

/// How long a customer waits for a page.
pub(crate) const PATIENCE: Duration = Duration::from_millis(2500);
/// How long the shop waits for one answer of the warehouse.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(1);
/// How many pages may ask at once.
pub(crate) const AT_ONCE: usize = 4;

/// What happens when the warehouse cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreachable;

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the warehouse cannot be reached")
    }
}

impl StdError for Unreachable {}

pub(crate) type StockError = Error<Unreachable>;

/// The policies between the shop and its warehouse.
pub(crate) struct Guards {
    pub(crate) circuit: Circuit,
    pub(crate) bulkhead: Bulkhead,
    /// For the operators: every policy by name.
    pub(crate) registry: Registry,
    patience: TimeLimit,
    retry: RetryPolicy,
    attempt: TimeLimit,
}

impl Guards {
    /// The numbers that the shop runs with. `options` is what a test gives besides: an observer.
    pub(crate) fn new(options: &Options) -> Result<Self, ConfigError> {
        let told = || options.clone();
        let guards = Self {
            circuit: Circuit::with(CircuitBreakerConfig::new("stock").minimum_calls(10), told())?,
            bulkhead: Bulkhead::with(BulkheadConfig::new("stock", AT_ONCE), told())?,
            registry: Registry::new(),
            patience: TimeLimit::with(TimeoutConfig::new("stock", PATIENCE), told())?,
            retry: RetryPolicy::with(RetryConfig::new("stock"), told())?,
            attempt: TimeLimit::with(TimeoutConfig::new("stock.attempt", ATTEMPT), told())?,
        };
        guards.registry.add(&guards.circuit)?;
        guards.registry.add(&guards.bulkhead)?;
        guards.registry.add(&guards.patience)?;
        guards.registry.add(&guards.retry)?;
        guards.registry.add(&guards.attempt)?;
        Ok(guards)
    }

    /// The way to the warehouse. `warehouse` is an HTTP client in the shop, and whatever a test needs
    /// in a test.
    pub(crate) fn around<S>(
        &self,
        warehouse: S,
    ) -> impl Service<u32, Response = u64, Error = StockError, Future: Send> + Clone + Send + 'static
    where
        S: Service<u32, Response = u64, Error = Unreachable> + Clone + Send + 'static,
        S::Future: Send,
    {
        ServiceBuilder::new()
            .layer(self.patience.layer())
            .layer(self.bulkhead.layer())
            .layer(self.retry.layer())
            .layer(self.circuit.layer())
            .layer(self.attempt.layer())
            .layer(ErrorLayer::new())
            .service(warehouse)
    }
}

/// What a customer reads on an item's page.
pub(crate) async fn page<S>(stock: S, item: u32) -> String
where
    S: Service<u32, Response = u64, Error = StockError>,
{
    match stock.oneshot(item).await {
        Ok(pieces) => format!("{pieces} in stock"),
        Err(Error::Inner(Unreachable)) => "stock unknown".to_owned(),
        Err(Error::Rejected(refusal)) => match refusal.retry_after() {
            Some(after) => format!("stock unknown, look again in {} s", after.as_secs() + 1),
            None => "stock unknown".to_owned(),
        },
    }
}
