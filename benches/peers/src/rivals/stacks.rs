//! Several policies over one service, by the crates that have several.

use tower::{limit::ConcurrencyLimitLayer, retry::RetryLayer, timeout::TimeoutLayer};
use tower_layer::Layer as _;
use tower_resilience_circuitbreaker::CircuitBreakerLayer;
use tower_resilience_ratelimiter::RateLimiterLayer;
use tower_resilience_retry::RetryBudgetBuilder;
use tower_service::Service;

use super::{
    SEATBELT, TOWER,
    breakers::seatbelt_layer,
    layers::{
        Budgeted, HALF_MINUTE, MOST, resilience_bulkhead, resilience_timeout, seatbelt_retry,
        seatbelt_timeout,
    },
};
use crate::{
    NONE, Subject,
    panel::Panel,
    service::{AfterYield, AtOnce, Errors, Fault, layer, tasks},
};

const TOWER_RESILIENCE: &str = "tower-resilience";

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    use Panel::{Stack, StackRuntime};
    let bare = "the service alone";
    let five = "std clock; limiter (fixed window), timeout, retry (token bucket as its budget), \
                breaker (100 calls), bulkhead; clones of one service";
    let tower = "std clock; `Timeout`, `Retry` with a `TpsBudget`, `ConcurrencyLimit`: no limiter, no \
                 breaker; clones of one service";
    let belt = "tick's clock on std's; timeout, retry, breaker (30 s in 10 windows): no limiter, no \
                bulkhead, no budget; clones of one service";
    vec![
        Subject::new("bare-stack", NONE, Stack, bare, || layer(Errors::Never, AtOnce)),
        Subject::new("tower-resilience-stack", TOWER_RESILIENCE, Stack, five, || {
            layer(Errors::Never, resilience(AtOnce))
        }),
        Subject::new("tower-stack", TOWER, Stack, tower, || layer(Errors::Never, three(AtOnce))),
        Subject::new("seatbelt-stack", SEATBELT, Stack, belt, || {
            layer(Errors::Never, seatbelts(AtOnce))
        }),
        Subject::new("bare-stack-runtime", NONE, StackRuntime, bare, || tasks(AfterYield)),
        Subject::new(
            "tower-resilience-stack-runtime",
            TOWER_RESILIENCE,
            StackRuntime,
            five,
            || tasks(resilience(AfterYield)),
        ),
        Subject::new("tower-stack-runtime", TOWER, StackRuntime, tower, || {
            tasks(three(AfterYield))
        }),
        Subject::new("seatbelt-stack-runtime", SEATBELT, StackRuntime, belt, || {
            tasks(seatbelts(AfterYield))
        }),
    ]
}

/// What a service under a stack is.
trait Inner:
    Service<u64, Response = u64, Error = Fault, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Inner for S where
    S: Service<u64, Response = u64, Error = Fault, Future: Send> + Clone + Send + Sync + 'static
{
}

/// What a stack is, whatever errors it has.
trait Outer: Service<u64, Response = u64, Future: Send, Error: Send> + Clone + Send + Sync {}

impl<S> Outer for S where
    S: Service<u64, Response = u64, Future: Send, Error: Send> + Clone + Send + Sync
{
}

fn resilience(inner: impl Inner) -> impl Outer {
    let limiter = RateLimiterLayer::per_second(1_000_000_000).build().expect("a valid limit");
    let budget = RetryBudgetBuilder::new().token_bucket().build().expect("the defaults are valid");
    let retry = tower_resilience_retry::RetryLayer::builder().budget(budget).build();
    let breaker = CircuitBreakerLayer::builder().build().expect("the defaults are valid");
    let attempt = breaker.layer(resilience_bulkhead().layer(inner));
    limiter.layer(resilience_timeout().layer(retry.layer(attempt)))
}

fn three(inner: impl Inner) -> impl Outer {
    let attempt = ConcurrencyLimitLayer::new(MOST).layer(inner);
    TimeoutLayer::new(HALF_MINUTE).layer(RetryLayer::new(Budgeted::default()).layer(attempt))
}

fn seatbelts(inner: impl Inner) -> impl Outer {
    let attempt = seatbelt_layer(HALF_MINUTE).layer(inner);
    seatbelt_timeout().layer(seatbelt_retry().layer(attempt))
}
