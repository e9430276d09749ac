//! The full stack of a client, every place filled, with all its handles.

use portcullis::{
    Backoff, BudgetConfig, Bulkhead, BulkheadConfig, CarryRejection, CatchPanicConfig,
    CatchPanicLayer, Circuit, CircuitBreakerConfig, Failed, FallbackConfig, FallbackLayer,
    HalfOpen, QueuedBulkheadLayer, RateLimitConfig, RateLimiter, RetryBudget, RetryConfig,
    RetryPolicy, Sleep, TimeLimit, WaitingRateLimitLayer, Waits,
    stack::{self, ClientConfig},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use crate::backend::{Backend, Down, MS, SECOND};

/// A service under everything, and everything's handles.
#[derive(Clone, Debug)]
pub(crate) struct Full<S> {
    pub(crate) service: S,
    pub(crate) backend: Backend,
    pub(crate) limiter: RateLimiter,
    pub(crate) slots: Bulkhead,
    pub(crate) policy: RetryPolicy,
    pub(crate) budget: RetryBudget,
    pub(crate) circuit: Circuit,
    pub(crate) total: TimeLimit,
    pub(crate) attempt: TimeLimit,
}

/// A request of the full stack's callers.
pub(crate) trait Answers<E>:
    Service<u32, Response = u32, Error = E, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<E, S> Answers<E> for S where
    S: Service<u32, Response = u32, Error = E, Future: Send> + Clone + Send + Sync + 'static
{
}

/// 10 s in all, 2 s an attempt, three of them 100 ms apart; opens after 50 failures in a row for 5 s.
pub(crate) fn config() -> ClientConfig {
    let budget = BudgetConfig::new(0.0).per_second(10.0);
    let backoff = Backoff::constant(100 * MS);
    let breaker = CircuitBreakerConfig::default()
        .no_failure_rate()
        .consecutive_failures(50)
        .sleep(Sleep::fixed(5 * SECOND))
        .half_open(HalfOpen::counts(1, 1));
    stack::client("db")
        .total_timeout(10 * SECOND)
        .attempt_timeout(2 * SECOND)
        .max_in_flight(2)
        .retry(RetryConfig::default().budget(budget).backoff(backoff))
        .circuit_breaker(breaker)
}

/// Ten calls a second, ten at once.
pub(crate) fn rate() -> RateLimitConfig {
    RateLimitConfig::per_second("db", 10)
}

/// One that answers nothing: what goes wrong below passes through it.
macro_rules! declines {
    () => {
        FallbackLayer::function(FallbackConfig::new("db"), |failed: Failed<u32, E>| {
            failed.into_result()
        })
        .unwrap()
    };
}

/// Every layer by which a call is refused at once, over a service whose error is made by `lift`.
pub(crate) fn refusing<E>(lift: fn(Down) -> E) -> Full<impl Answers<E>>
where
    E: CarryRejection + Send + Sync + 'static,
{
    let backend = Backend::new([crate::backend::OK]);
    let client = config().build().unwrap().with_rate(10, SECOND).unwrap();
    let catches = CatchPanicLayer::new(CatchPanicConfig::new("db")).unwrap();
    let service = ServiceBuilder::new().layer(catches).service(backend.clone().map_err(lift));
    let client = client.without_error().with_fallback(declines!());
    Full {
        limiter: client.rate_limit().limiter().clone(),
        slots: client.bulkhead().bulkhead().clone(),
        policy: client.retry().policy().clone(),
        budget: client.retry().policy().budget().unwrap().clone(),
        circuit: client.circuit_breaker().circuit().clone(),
        total: client.total_timeout().time_limit().clone(),
        attempt: client.attempt_timeout().time_limit().clone(),
        service: client.layer(service),
        backend,
    }
}

/// Every layer by which a call may wait: for tokens up to 3 s, for room as long.
pub(crate) fn patient<E>(lift: fn(Down) -> E) -> Full<impl Answers<E>>
where
    E: CarryRejection + Send + Sync + 'static,
{
    let backend = Backend::new([crate::backend::OK]);
    let slots = BulkheadConfig::new("db", 1).queue(5).max_wait(3 * SECOND);
    let client = config()
        .build()
        .unwrap()
        .with_rate_limit(WaitingRateLimitLayer::new(rate(), Waits::up_to(3 * SECOND)).unwrap())
        .with_bulkhead(QueuedBulkheadLayer::new(slots).unwrap())
        .without_error()
        .with_fallback(declines!());
    Full {
        limiter: client.rate_limit().limiter().clone(),
        slots: client.bulkhead().bulkhead().clone(),
        policy: client.retry().policy().clone(),
        budget: client.retry().policy().budget().unwrap().clone(),
        circuit: client.circuit_breaker().circuit().clone(),
        total: client.total_timeout().time_limit().clone(),
        attempt: client.attempt_timeout().time_limit().clone(),
        service: client.layer(backend.clone().map_err(lift)),
        backend,
    }
}
