//! Five of our layers over one service, in the order of the standard stack.

use std::time::Duration;

use portcullis::{
    Bulkhead, BulkheadConfig, Circuit, CircuitBreakerConfig, Error, ErrorLayer, Options,
    RateLimitConfig, RateLimiter, RetryConfig, RetryPolicy, TimeLimit, TimeoutConfig, Window,
    clock::{ClockFn, quanta_now, tokio_now},
};
use tower_layer::Layer as _;
use tower_service::Service;

use super::OURS;
use crate::{
    Subject,
    panel::Panel,
    service::{AfterYield, AtOnce, Errors, Fault, layer, tasks},
};

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    use Panel::{Stack, StackRuntime};
    let default = "tokio's clock; limiter, bulkhead, retry (default budget), breaker (default: 10 s in \
                   10 buckets), timeout, `ErrorLayer`; clones of one service";
    let fast = "quanta's clock, for timers tokio's; limiter, bulkhead, retry (default budget), breaker (last 100 calls), \
                timeout, `ErrorLayer`; clones of one service";
    let leaked = "the same; every policy lives as long as the process (`leak`)";
    vec![
        Subject::new("ours-stack", OURS, Stack, default, || {
            layer(Errors::Never, five(&DEFAULT, AtOnce))
        }),
        Subject::new("ours-stack-fast", OURS, Stack, fast, || {
            layer(Errors::Never, five(&FAST, AtOnce))
        }),
        Subject::new("ours-stack-fast-leaked", OURS, Stack, leaked, || {
            layer(Errors::Never, five(&Setting { leaked: true, ..FAST }, AtOnce))
        }),
        Subject::new("ours-stack-runtime", OURS, StackRuntime, fast, || {
            tasks(five(&FAST, AfterYield))
        }),
        Subject::new("ours-stack-runtime-default", OURS, StackRuntime, default, || {
            tasks(five(&DEFAULT, AfterYield))
        }),
    ]
}

/// What the stacks differ in.
struct Setting {
    clock: ClockFn,
    last: Option<u32>,
    leaked: bool,
}

const DEFAULT: Setting = Setting { clock: tokio_now, last: None, leaked: false };
const FAST: Setting = Setting { clock: quanta_now, last: Some(100), leaked: false };

fn five<S>(
    setting: &Setting,
    inner: S,
) -> impl Service<u64, Response = u64, Error = Error<Fault>, Future: Send> + Clone + Send + Sync + use<S>
where
    S: Service<u64, Response = u64, Error = Fault, Future: Send> + Clone + Send + Sync + 'static,
{
    let valid = "a valid configuration";
    let options = || Options::new().clock(setting.clock);
    let quota = RateLimitConfig::per_second("peer", 1_000_000).burst(1_000_000_000);
    let mut limiter = RateLimiter::with(quota, options()).expect(valid);
    let most = BulkheadConfig::new("peer", 1_000);
    let mut bulkhead = Bulkhead::with(most, options()).expect(valid);
    let mut retry = RetryPolicy::with(RetryConfig::new("peer"), options()).expect(valid);
    let mut config = CircuitBreakerConfig::new("peer");
    if let Some(calls) = setting.last {
        config = config.window(Window::count(calls));
    }
    let mut circuit = Circuit::with(config, options()).expect(valid);
    let config = TimeoutConfig::new("peer", Duration::from_secs(30));
    let mut limit = TimeLimit::with(config, options()).expect(valid);
    if setting.leaked {
        limiter = limiter.leak();
        bulkhead = bulkhead.leak();
        retry = retry.leak();
        circuit = circuit.leak();
        limit = limit.leak();
    }
    let attempt = limit.layer().layer(ErrorLayer::new().layer(inner));
    let retried = retry.layer().layer(circuit.layer().layer(attempt));
    limiter.layer().layer(bulkhead.layer().layer(retried))
}
