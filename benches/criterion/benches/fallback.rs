//! What a fallback costs per call, without peers: `cargo bench -p benchmarks --bench fallback`.

use std::{
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{
    Failed, FallbackConfig, FallbackPolicy, LastGood, LastGoodConfig, Options, clock,
};
use tower_layer::Layer;
use tower_service::Service;

/// Answers at once, with what the request says.
#[derive(Clone)]
struct Echo;

impl Service<Result<u64, u64>> for Echo {
    type Response = u64;
    type Error = u64;
    type Future = Ready<Result<u64, u64>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), u64>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Result<u64, u64>) -> Self::Future {
        ready(request)
    }
}

fn ask<S>(service: &mut S, request: Result<u64, u64>) -> Poll<Result<S::Response, S::Error>>
where
    S: Service<Result<u64, u64>>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let _ = service.poll_ready(&mut cx);
    pin!(service.call(request)).poll(&mut cx)
}

fn policy() -> FallbackPolicy {
    FallbackPolicy::new(FallbackConfig::new("bench")).expect("the configuration is valid")
}

fn last_good(options: Options) -> LastGood<u64, u64> {
    let config = LastGoodConfig::new("bench", Duration::from_secs(60)).max_keys(10_000);
    LastGood::with(config, options).expect("the configuration is valid")
}

fn layer(c: &mut Criterion) {
    let mut group = c.benchmark_group("fallback layer");
    let mut bare = Echo;
    group.bench_function("no fallback", |b| b.iter(|| ask(&mut bare, black_box(Ok(1)))));
    let mut value = policy().value(7).layer(Echo);
    group.bench_function("value, ok", |b| b.iter(|| ask(&mut value, black_box(Ok(1)))));
    group.bench_function("value, answers", |b| b.iter(|| ask(&mut value, black_box(Err(1)))));
    let mut function =
        policy().function(|failed: Failed<u64, u64>| failed.into_result().or(Ok(7))).layer(Echo);
    group.bench_function("function, answers", |b| b.iter(|| ask(&mut function, black_box(Err(1)))));
    let mut service =
        policy().service(Echo, |request: &Result<u64, u64>| request.or(Ok(7))).layer(Echo);
    group.bench_function("service, answers", |b| b.iter(|| ask(&mut service, black_box(Err(1)))));
    let number = |request: &Result<u64, u64>| Some(request.unwrap_or_else(|key| key) % 1_000);
    for (clock, options) in
        [("", Options::new()), (", quanta's clock", Options::new().clock(clock::quanta_now))]
    {
        let mut kept = last_good(options).layer(number).layer(Echo);
        let mut key = 0;
        group.bench_function(format!("last good, ok, 1 000 keys{clock}"), |b| {
            b.iter(|| {
                key += 1;
                ask(&mut kept, Ok(key))
            });
        });
        group.bench_function(format!("last good, answers, 1 000 keys{clock}"), |b| {
            b.iter(|| {
                key += 1;
                ask(&mut kept, Err(key))
            });
        });
    }
    group.finish();
}

fn handle(c: &mut Criterion) {
    let mut group = c.benchmark_group("fallback handle");
    let policy = policy();
    group.bench_function("call, ok", |b| {
        b.iter(|| policy.call(|| black_box(Ok(1)), |_: Failed<u64, u64>| Ok(7)))
    });
    group.bench_function("call, answers", |b| {
        b.iter(|| policy.call(|| black_box(Err(1)), |_: Failed<u64, u64>| Ok(7)))
    });
    let kept = last_good(Options::new());
    group.bench_function("last good, ok", |b| {
        b.iter(|| kept.call(1, || black_box(Ok::<_, u64>(1))))
    });
    group.bench_function("last good, answers", |b| {
        b.iter(|| kept.call(1, || black_box(Err::<u64, _>(1))))
    });
    group.finish();
}

criterion_group!(benches, layer, handle);
criterion_main!(benches);
