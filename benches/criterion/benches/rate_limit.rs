//! What a rate limiter costs per call, without peers: `cargo bench -p benchmarks --bench rate_limit`.
//!
//! For figures beside other crates' see `benches/peers`.

use std::{
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{
    ErrorLayer, Options, RateLimitConfig, RateLimiter, Waits, clock, policy::bucket::Bucket,
};
use tower_layer::Layer;
use tower_service::Service;

/// Answers at once.
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
        ready(Ok(request))
    }
}

fn ask<S: Service<u64>>(service: &mut S, request: u64) -> Poll<Result<S::Response, S::Error>> {
    let mut cx = Context::from_waker(Waker::noop());
    let _ = service.poll_ready(&mut cx);
    pin!(service.call(request)).poll(&mut cx)
}

fn plenty() -> RateLimitConfig {
    RateLimitConfig::per_second("bench", 1_000_000_000)
}

fn rarely() -> RateLimitConfig {
    RateLimitConfig::new("bench", 1, Duration::from_secs(86_400))
}

fn limiter(config: RateLimitConfig, options: Options) -> RateLimiter {
    RateLimiter::with(config, options).expect("the configuration is valid")
}

fn handle(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiter");
    let now = clock::tokio_now();
    let bucket = Bucket::new(plenty(), now).expect("the configuration is valid");
    let later = now + Duration::from_secs(1);
    group.bench_function("bucket, time given", |b| {
        b.iter(|| bucket.try_acquire(black_box(1), black_box(later)));
    });
    let fast = || Options::new().clock(clock::quanta_now);
    let mut ask = |name: &str, limiter: RateLimiter| {
        group.bench_function(name, |b| b.iter(|| limiter.try_acquire()));
    };
    ask("admitted", limiter(plenty(), Options::new()));
    ask("admitted, quanta's clock", limiter(plenty(), fast()));
    ask("refused", limiter(rarely(), Options::new()));
    ask("refused, quanta's clock", limiter(rarely(), fast()));
    let reserving = limiter(plenty(), Options::new());
    group.bench_function("reserved", |b| b.iter(|| reserving.reserve(1, None)));
    let waiting = limiter(rarely(), Options::new());
    let _ = waiting.try_acquire();
    let patient = Waits::up_to(Duration::MAX);
    group.bench_function("waits and gives up", |b| b.iter(|| waiting.acquire_within(1, patient)));
    group.finish();
}

fn layer(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiter layer");
    let inner = || ErrorLayer::new().layer(Echo);
    let mut bare = inner();
    group.bench_function("no limiter", |b| b.iter(|| ask(&mut bare, black_box(1))));
    let mut refusing = limiter(plenty(), Options::new()).layer().layer(inner());
    group.bench_function("admitted", |b| b.iter(|| ask(&mut refusing, black_box(1))));
    let costs = limiter(plenty(), Options::new()).layer().cost(|n: &u64| *n);
    let mut costs = costs.layer(inner());
    group.bench_function("admitted, with a cost", |b| b.iter(|| ask(&mut costs, black_box(1))));
    let patient = limiter(plenty(), Options::new()).waiting_layer(Waits::default());
    let mut patient = patient.layer(inner());
    group.bench_function("admitted, may wait", |b| b.iter(|| ask(&mut patient, black_box(1))));
    let mut refused = limiter(rarely(), Options::new()).layer().layer(inner());
    group.bench_function("refused", |b| b.iter(|| ask(&mut refused, black_box(1))));
    group.finish();
}

criterion_group!(benches, handle, layer);
criterion_main!(benches);
