//! Nor on a call through a whole standard stack, whatever becomes of it.

use std::time::Duration;

use portcullis::{
    Backoff, BulkheadConfig, CircuitBreakerConfig, Error, FallbackConfig, FallbackLayer,
    QueuedBulkheadLayer, RateLimitConfig, Reason, RetryConfig, WaitingRateLimitLayer, Waits,
    stack::{self, StandardClient},
};
use tower::{Layer, Service};

use super::{Answers, ask, assert_none};

const SECOND: Duration = Duration::from_secs(1);

fn client() -> StandardClient {
    // Such that failures are told apart from refusals and no circuit opens by itself.
    let breaker = CircuitBreakerConfig::default().failure_rate(1.0).minimum_calls(1_000_000);
    let retry = RetryConfig::default().backoff(Backoff::constant(Duration::ZERO)).no_budget();
    stack::client("counted").retry(retry).circuit_breaker(breaker).build().unwrap()
}

fn refused<T>(answer: Result<T, Error<()>>, reason: Reason) {
    let Err(Error::Rejected(rejection)) = answer else { panic!("refused with {reason}") };
    assert_eq!(rejection.reason(), reason);
}

/// Five layers as they are by default, then all seven, then those under which calls may wait.
#[test]
fn a_call_through_a_whole_stack_allocates_nothing() {
    let mut five = client().layer(Answers);
    assert_none(1_000, || ask(&mut five, true).unwrap());

    let plenty = || RateLimitConfig::per_second("counted", 1_000_000_000);
    let fallback = || FallbackLayer::value(FallbackConfig::new("counted"), ()).unwrap();
    let limited = client().with_rate(1_000_000_000, SECOND).unwrap();
    let mut seven = limited.with_fallback(fallback()).layer(Answers);
    assert_none(1_000, || ask(&mut seven, true).unwrap());

    let slots = BulkheadConfig::new("counted", 8).queue(8);
    let mut waits = client()
        .with_rate_limit(WaitingRateLimitLayer::new(plenty(), Waits::default()).unwrap())
        .with_bulkhead(QueuedBulkheadLayer::new(slots).unwrap())
        .with_fallback(fallback())
        .layer(Answers);
    assert_none(1_000, || ask(&mut waits, true).unwrap());

    let server = stack::server("counted").build().unwrap();
    let mut server = server.with_rate(1_000_000_000, SECOND).unwrap().layer(Answers);
    assert_none(1_000, || ask(&mut server, true).unwrap());
    assert_none(1_000, || assert_eq!(ask(&mut server, false), Err(Error::Inner(()))));
}

/// A call that fails, is tried again twice and is answered by the fallback; and one that each layer refuses.
#[tokio::test(start_paused = true)]
async fn a_failure_or_a_refusal_in_a_whole_stack_allocates_nothing() {
    let fallback = FallbackLayer::value(FallbackConfig::new("counted"), ()).unwrap();
    let mut answered = client().with_fallback(fallback).layer(Answers);
    assert_none(1_000, || finish(&mut answered).unwrap());

    let stack = client().with_rate(1, 3_600 * SECOND).unwrap();
    let (limiter, slots, circuit) = (
        stack.rate_limit().limiter().clone(),
        stack.bulkhead().bulkhead().clone(),
        stack.circuit_breaker().circuit().clone(),
    );
    let mut service = stack.layer(Answers);
    assert_none(1_000, || {
        limiter.reset();
        assert_eq!(finish(&mut service), Err(Error::Inner(())));
    });
    assert_none(1_000, || refused(ask(&mut service, true), Reason::RateLimited));
    limiter.disable();
    let busy: Vec<_> = (0..256).map(|_| slots.try_acquire().unwrap()).collect();
    assert_none(1_000, || refused(ask(&mut service, true), Reason::BulkheadFull));
    drop(busy);
    circuit.force_open();
    assert_none(1_000, || refused(ask(&mut service, true), Reason::ForcedOpen));
}

/// Calls once, badly, and polls to the end.
fn finish<S: Service<bool>>(service: &mut S) -> Result<S::Response, S::Error> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let mut call = std::pin::pin!(service.call(false));
    loop {
        if let std::task::Poll::Ready(answer) = call.as_mut().poll(&mut cx) {
            return answer;
        }
    }
}
