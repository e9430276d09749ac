//! Every policy and every metric there is, once.

use std::time::Duration;

use futures_util::FutureExt;
use portcullis::{
    AtCap, Circuit, CircuitBreakerConfig, Circuits, Error, FallbackConfig, FallbackPolicy,
    KeyedCircuitBreakerLayer, Keys, LastGood, LastGoodConfig, Options, Outcome, RateLimitConfig,
    RateLimiter, RateLimiters, Registry, RetryConfig, RetryPolicy, TimeLimit, TimeoutConfig, Waits,
    event::MetricsObserver,
};
use tower::{Layer, ServiceExt, service_fn};

use crate::{builder, shop};

type Answer = Result<(), Error<()>>;

/// What the exporter says after a run in which everything happens.
pub(crate) async fn run() -> String {
    let recorder = builder().build_recorder();
    let handle = recorder.handle();
    let observer = MetricsObserver::with_recorder(recorder);
    let options = || Options::new().observer(observer.clone());
    let registry = Registry::new();

    let server = shop::serve().await;
    let stack = shop::stack(&server, &options(), &registry);
    for path in ["/ok", "/flaky", "/bad"] {
        shop::ask(&stack, path).await;
    }
    let slow = CircuitBreakerConfig::new("slow").slow_calls(Duration::from_nanos(1), 1.0);
    let slow = Circuit::with(slow, options()).expect("a valid config");
    slow.try_acquire().expect("closed").settle(Outcome::Success);
    slow.shadow();
    slow.open();
    drop(slow.try_acquire());

    let circuits = CircuitBreakerConfig::new("shards");
    let circuits: Circuits<u32> = Circuits::new(circuits, 1, options()).expect("a valid config");
    let layer = KeyedCircuitBreakerLayer::of(circuits.clone(), |key: &u32| *key);
    let service = layer.layer(service_fn(|_: u32| async { Answer::Ok(()) }));
    for key in 0..2 {
        service.clone().oneshot(key).await.expect("the service works");
    }
    circuits.get(&1).expect("known").force_open();
    service.clone().oneshot(2).await.expect("admitted without a circuit");

    let waits = RateLimitConfig::per_second("waits", 1_000).burst(1);
    let waits = RateLimiter::with(waits, options()).expect("a valid config");
    waits.try_acquire().expect("a token");
    waits.acquire_within(1, Waits::up_to(Duration::from_secs(60))).await.expect("its turn comes");
    let never = RateLimitConfig::new("never", 0, Duration::from_secs(1)).burst(1);
    let never = RateLimiter::with(never, options()).expect("a valid config");
    never.try_acquire().expect("a token");
    assert!(never.try_acquire().is_err());
    let clients = RateLimitConfig::per_second("clients", 1).burst(1);
    let keys = Keys::at_most(1).or(AtCap::Admit);
    let clients: RateLimiters<u32> =
        RateLimiters::new(clients, keys, options()).expect("a valid config");
    for key in 0..2 {
        clients.try_acquire(&key).expect("admitted");
    }
    assert!(clients.remove(&0));
    registry.add(&clients).expect("its name is its own");

    let retry = RetryConfig::new("nested");
    let retry = RetryPolicy::with(retry, options()).expect("a valid config");
    retry.shadow();
    let _ = retry.run(|| async { Answer::Err(Error::Inner(())) }).await;
    let limit = TimeoutConfig::new("limit", Duration::from_secs(60));
    let limit = TimeLimit::with(limit, options()).expect("a valid config");
    assert!(limit.run(async { Answer::Ok(()) }).now_or_never().is_some());

    let fallback = FallbackPolicy::with(FallbackConfig::new("spare"), options());
    let fallback = fallback.expect("a valid config");
    let fault = || Answer::Err(Error::Inner(()));
    assert!(fallback.call(fault, |_| fault()).is_err());
    let kept = LastGoodConfig::new("stock", Duration::from_secs(60)).max_keys(1);
    let kept = LastGood::with(kept, options()).expect("a valid config");
    for key in 0..2 {
        kept.call(key, || Ok::<_, ()>("tea")).expect("the service works");
    }
    kept.call(1, || Err(())).expect("the last good answer");
    registry.add(&kept).expect("its name is its own");

    observer.sample(&registry);
    observer.sample_circuits(circuits.name(), circuits.states());
    handle.render()
}
