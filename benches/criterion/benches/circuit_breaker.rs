//! What a circuit breaker costs per call, without peers: `cargo bench -p benchmarks`.
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
    Circuit, CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer,
    KeyedCircuitBreakerLayer, Options, Window, clock,
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

fn circuit(config: CircuitBreakerConfig) -> Circuit {
    Circuit::new(config).expect("the configuration is valid")
}

fn count() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("bench").window(Window::count(100))
}

fn handle(c: &mut Criterion) {
    let mut group = c.benchmark_group("circuit");
    let mut call = |name: &str, circuit: Circuit, fails_every: u64| {
        let mut n = 0_u64;
        group.bench_function(name, |b| {
            b.iter(|| {
                n += 1;
                let failed = n.is_multiple_of(fails_every);
                circuit.call(|| if black_box(failed) { Err(Error::Inner(())) } else { Ok(n) })
            });
        });
    };
    call("count window, all succeed", circuit(count()), u64::MAX);
    call("count window, 1 % fail", circuit(count()), 100);
    call("count window, 40 % fail", circuit(count()), 3);
    call("time window, all succeed", circuit(CircuitBreakerConfig::new("bench")), u64::MAX);
    call("time window, 1 % fail", circuit(CircuitBreakerConfig::new("bench")), 100);
    let slow = || CircuitBreakerConfig::new("bench").slow_calls(Duration::from_secs(1), 0.5);
    call("time window, slow-call rule", circuit(slow()), u64::MAX);
    call(
        "time window, in-flight rule",
        circuit(slow().hung_calls(Duration::from_secs(1))),
        u64::MAX,
    );
    let open = circuit(count());
    open.open_for(Duration::from_secs(3600));
    call("open", open, u64::MAX);
    let options = Options::new().clock(clock::quanta_now);
    let open = Circuit::with(count(), options).expect("the configuration is valid");
    open.open_for(Duration::from_secs(3600));
    call("open, quanta's clock", open, u64::MAX);
    let forced = circuit(count());
    forced.force_open();
    call("forced open", forced, u64::MAX);
    group.finish();
}

fn layer(c: &mut Criterion) {
    let mut group = c.benchmark_group("layer");
    let mut bare = ErrorLayer::new().layer(Echo);
    group.bench_function("no breaker", |b| b.iter(|| ask(&mut bare, black_box(1))));
    let mut layered = |name: &str, layer: CircuitBreakerLayer| {
        let mut service = layer.layer(ErrorLayer::new().layer(Echo));
        group.bench_function(name, |b| b.iter(|| ask(&mut service, black_box(1))));
    };
    layered("count window", circuit(count()).layer());
    layered("count window, leaked", circuit(count()).leak().layer());
    layered("time window", circuit(CircuitBreakerConfig::new("bench")).layer());
    let config = CircuitBreakerConfig::new("bench");
    let layer = KeyedCircuitBreakerLayer::new(config, 10_000, |key: &u64| *key % 1_000)
        .expect("the configuration is valid");
    let mut keyed = layer.layer(ErrorLayer::new().layer(Echo));
    let mut key = 0;
    group.bench_function("keyed, 1 000 keys", |b| {
        b.iter(|| {
            key += 1;
            ask(&mut keyed, key)
        });
    });
    group.finish();
}

criterion_group!(benches, handle, layer);
criterion_main!(benches);
