//! What a timeout and a guard against panics cost per call, without peers: `cargo bench -p benchmarks`.

use std::{
    future::Future,
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{
    CatchPanicConfig, Error, Options, PanicGuard, TimeLimit, TimeoutConfig, clock, deadline,
};
use tower_layer::Layer;
use tower_service::Service;

const HOUR: Duration = Duration::from_secs(3600);

/// Answers after so many polls.
#[derive(Clone)]
struct Echo(u32);

struct Answer {
    polls: u32,
    request: u64,
}

impl Future for Answer {
    type Output = Result<u64, Error<()>>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.polls.checked_sub(1) {
            Some(left) => {
                self.polls = left;
                Poll::Pending
            }
            None => Poll::Ready(Ok(self.request)),
        }
    }
}

impl Service<u64> for Echo {
    type Response = u64;
    type Error = Error<()>;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error<()>>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Answer {
        Answer { polls: self.0, request }
    }
}

fn ask<S: Service<u64>>(service: &mut S, request: u64) -> Result<S::Response, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    let _ = service.poll_ready(&mut cx);
    let mut call = pin!(service.call(request));
    loop {
        if let Poll::Ready(answer) = call.as_mut().poll(&mut cx) {
            return answer;
        }
    }
}

fn timeout(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime with timers");
    let _inside = runtime.enter();
    let with = |options: Options| {
        TimeLimit::with(TimeoutConfig::new("bench", HOUR), options).expect("a valid configuration")
    };
    let disabled = with(Options::new()).leak();
    disabled.disable();
    let quanta = || Options::new().clock(clock::quanta_now);
    for (group, polls) in [("timeout, ready at once", 0), ("timeout, pending once", 1)] {
        let mut group = c.benchmark_group(group);
        let mut bare = Echo(polls);
        group.bench_function("no timeout", |b| b.iter(|| ask(&mut bare, black_box(1))));
        for (name, limit) in [
            ("tokio's clock", with(Options::new())),
            ("tokio's clock, leaked", with(Options::new()).leak()),
            ("quanta's clock", with(quanta())),
            ("quanta's clock, leaked", with(quanta()).leak()),
            ("disabled, leaked", disabled.clone()),
        ] {
            let mut service = limit.layer().layer(Echo(polls));
            group.bench_function(name, |b| b.iter(|| ask(&mut service, black_box(1))));
        }
        group.finish();
    }
    let mut group = c.benchmark_group("timeout, refused");
    let mut service = with(Options::new()).layer().layer(Echo(0));
    let past = clock::tokio_now();
    group.bench_function("past the deadline", |b| {
        b.iter(|| deadline::enter(past, || ask(&mut service, black_box(1))));
    });
    group.finish();
}

fn catch_panic(c: &mut Criterion) {
    let mut group = c.benchmark_group("catch panic");
    let guard = PanicGuard::new(CatchPanicConfig::new("bench")).expect("a valid configuration");
    for (name, guard) in [("counted", guard.clone()), ("leaked", guard.leak())] {
        let mut service = guard.layer().layer(Echo(0));
        group.bench_function(name, |b| b.iter(|| ask(&mut service, black_box(1))));
    }
    group.finish();
}

criterion_group!(benches, timeout, catch_panic);
criterion_main!(benches);
