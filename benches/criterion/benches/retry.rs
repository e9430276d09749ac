//! What a retry and its budget cost per call, without peers: `cargo bench -p benchmarks --bench retry`.

use std::{
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{
    Backoff, BudgetConfig, ErrorLayer, RetryBudget, RetryConfig, RetryLayer, RetryPolicy, clock,
};
use tower_layer::Layer;
use tower_service::Service;

/// Answers at once; fails for zero.
#[derive(Clone)]
struct Echo;

impl Service<u64> for Echo {
    type Response = u64;
    type Error = ();
    type Future = Ready<Result<u64, ()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(if request == 0 { Err(()) } else { Ok(request) })
    }
}

fn ask<S: Service<u64>>(service: &mut S, request: u64) -> Result<S::Response, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    let _ = service.poll_ready(&mut cx);
    let mut response = pin!(service.call(request));
    loop {
        if let Poll::Ready(result) = response.as_mut().poll(&mut cx) {
            return result;
        }
    }
}

/// Retries at once, so that no timer is measured.
fn config() -> RetryConfig {
    RetryConfig::new("bench").backoff(Backoff::constant(Duration::ZERO))
}

fn policy(config: RetryConfig) -> RetryPolicy {
    RetryPolicy::new(config).expect("the configuration is valid")
}

fn layer(c: &mut Criterion) {
    let mut group = c.benchmark_group("retry layer");
    let mut bare = ErrorLayer::new().layer(Echo);
    group.bench_function("no retry", |b| b.iter(|| ask(&mut bare, black_box(1))));
    let mut layered = |name: &str, layer: RetryLayer, request: u64| {
        let mut service = layer.layer(ErrorLayer::new().layer(Echo));
        group.bench_function(name, |b| b.iter(|| ask(&mut service, black_box(request))));
    };
    layered("success", policy(config()).layer(), 1);
    layered("success, leaked", policy(config()).leak().layer(), 1);
    layered("success, no budget", policy(config().no_budget()).layer(), 1);
    layered("success, one attempt allowed", policy(config().attempts(1)).layer(), 1);
    layered("three attempts, no budget", policy(config().no_budget()).layer(), 0);
    layered("failure, mostly stopped by the budget", policy(config()).layer(), 0);
    group.finish();
}

fn budget(c: &mut Criterion) {
    let mut group = c.benchmark_group("retry budget");
    let budget = RetryBudget::new(BudgetConfig::default()).expect("the configuration is valid");
    group.bench_function("a call", |b| b.iter(|| budget.record_call()));
    group.bench_function("a retry, paid and refunded", |b| {
        b.iter(|| budget.try_withdraw().map(|paid| budget.refund(paid)));
    });
    group.bench_function("two threads, a call each", |b| {
        b.iter_custom(|times| {
            let calls = || (0..times).for_each(|_| budget.record_call());
            let start = clock::tokio_now();
            std::thread::scope(|scope| {
                scope.spawn(calls);
                calls();
            });
            clock::tokio_now() - start
        });
    });
    group.finish();
}

criterion_group!(benches, layer, budget);
criterion_main!(benches);
