//! What a rate limit by key costs per call, without peers: `cargo bench -p benchmarks`.

use std::{
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{
    AtCap, ErrorLayer, KeyedRateLimitLayer, Keys, Options, RateLimitConfig, RateLimiters, clock,
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

/// Never used up, and never full again either.
fn plenty() -> RateLimitConfig {
    RateLimitConfig::per_second("bench", 1).burst(1 << 26)
}

fn once() -> RateLimitConfig {
    RateLimitConfig::per_second("bench", 0).burst(1)
}

/// Numbers in an order that no prefetcher guesses.
fn scatter(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

fn handle(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiters");
    let mut call =
        |name: &str, config: RateLimitConfig, keys: Keys, used: u64, options: Options| {
            let limiters: RateLimiters<u64> =
                RateLimiters::new(config, keys, options).expect("the configuration is valid");
            let mut n = 0_u64;
            group.bench_function(name, |b| {
                b.iter(|| {
                    n += 1;
                    black_box(limiters.try_acquire(&(scatter(n) % used)))
                });
            });
        };
    let quick = || Options::new().clock(clock::quanta_now);
    for used in [1, 1_000, 100_000] {
        let keys = Keys::at_most(used as usize);
        call(&format!("{used} keys"), plenty(), keys, used, Options::new());
        call(&format!("{used} keys, quanta's clock"), plenty(), keys, used, quick());
    }
    call("1000 keys, refused", once(), Keys::at_most(1_000), 1_000, Options::new());
    let full = |at_cap| Keys::at_most(1_000).or(at_cap);
    for at_cap in [AtCap::ShareOverflow, AtCap::Refuse, AtCap::Admit] {
        call(&format!("a flood: {at_cap:?}"), once(), full(at_cap), 1 << 40, Options::new());
    }
    let churn = RateLimitConfig::per_second("bench", 1_000_000_000).burst(1);
    call("keys that come once each", churn, Keys::at_most(100_000), 1 << 40, Options::new());

    let names: Vec<String> = (0..1_000).map(|n| format!("client-{n:06}")).collect();
    let limiters: RateLimiters<String> =
        RateLimiters::new(plenty(), 1_000, Options::new()).expect("the configuration is valid");
    let mut n = 0;
    group.bench_function("1000 names", |b| {
        b.iter(|| {
            n += 1;
            black_box(limiters.try_acquire(names[(scatter(n) % 1_000) as usize].as_str()))
        });
    });
    group.finish();
}

fn layer(c: &mut Criterion) {
    let layer = KeyedRateLimitLayer::new(plenty(), 10_000, |key: &u64| *key % 1_000)
        .expect("the configuration is valid");
    let mut service = layer.layer(ErrorLayer::new().layer(Echo));
    let mut key = 0;
    c.bench_function("layer, 1000 keys", |b| {
        b.iter(|| {
            key += 1;
            ask(&mut service, key)
        });
    });
}

criterion_group!(benches, handle, layer);
criterion_main!(benches);
