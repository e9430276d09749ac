//! What a bulkhead costs per call, without peers: `cargo bench -p benchmarks --bench bulkhead`.

use std::{
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{Bulkhead, BulkheadConfig, Error, ErrorLayer};
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

fn bulkhead(limit: usize) -> Bulkhead {
    let config = BulkheadConfig::new("bench", limit).queue(1_000);
    Bulkhead::new(config).expect("the configuration is valid")
}

fn handle(c: &mut Criterion) {
    let mut group = c.benchmark_group("bulkhead");
    let slots = bulkhead(10);
    group.bench_function("call", |b| b.iter(|| slots.call(|| Ok::<_, Error<()>>(black_box(1)))));
    group.bench_function("try_acquire", |b| b.iter(|| drop(slots.try_acquire())));
    let full = bulkhead(1);
    let _busy = full.try_acquire();
    group.bench_function("refused", |b| b.iter(|| full.try_acquire().is_err()));
    let waits = bulkhead(1);
    let _others: Vec<_> = (0..500).map(|_| waits.acquire()).collect();
    group.bench_function("queued and dropped behind 499", |b| b.iter(|| drop(waits.acquire())));
    group.finish();
}

fn layer(c: &mut Criterion) {
    let mut group = c.benchmark_group("bulkhead layer");
    let inner = || ErrorLayer::new().layer(Echo);
    let mut refuses = bulkhead(10).layer().layer(inner());
    group.bench_function("refuses at once", |b| b.iter(|| ask(&mut refuses, black_box(1))));
    let mut leaked = bulkhead(10).leak().layer().layer(inner());
    group.bench_function("refuses at once, leaked", |b| b.iter(|| ask(&mut leaked, black_box(1))));
    let mut waits = bulkhead(10).queued_layer().layer(inner());
    group.bench_function("queued", |b| b.iter(|| ask(&mut waits, black_box(1))));
    let full = bulkhead(1);
    let _busy = full.try_acquire();
    let mut full = full.layer().layer(inner());
    group.bench_function("refused", |b| b.iter(|| ask(&mut full, black_box(1))));
    group.finish();
}

criterion_group!(benches, handle, layer);
criterion_main!(benches);
