//! No allocation on an admitted call, nor on a refusal with a typed error.
//!
//! One warm-up call first: what is made once (a thread's slot, the counters of a circuit that has
//! refused) is not a cost per call.
#![allow(clippy::unwrap_used, reason = "a test may panic, and picks any instant to begin with")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use portcullis::{
    Backoff, Circuit, CircuitBreakerConfig, CircuitBreakerLayer, Circuits, Error, ErrorLayer,
    Event, HalfOpen, KeyedCircuitBreakerLayer, Options, Reason, RetryConfig, RetryEnd, RetryLayer,
    RetryPolicy, Window, circuit_breaker::Permit,
};
use tower::{Layer, Service, ServiceBuilder};

/// Answers at once with whether the request says so.
#[derive(Clone)]
struct Answers;

impl Service<bool> for Answers {
    type Response = ();
    type Error = ();
    type Future = Ready<Result<(), ()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, well: bool) -> Self::Future {
        ready(if well { Ok(()) } else { Err(()) })
    }
}

/// Readies, calls and polls once; the answer is there by then.
fn ask<S: Service<bool>>(service: &mut S, well: bool) -> Result<S::Response, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    match pin!(service.call(well)).poll(&mut cx) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the service answers at once"),
    }
}

#[track_caller]
fn assert_none(times: u32, mut call: impl FnMut()) {
    call();
    let counted = measure(|| (0..times).for_each(|_| call()));
    assert_eq!(counted.count_total, 0, "allocations in {times} calls");
}

/// Windows, and rules with which calls take other ways through the breaker.
fn configurations() -> Vec<(&'static str, CircuitBreakerConfig)> {
    let config = || CircuitBreakerConfig::new("counted").failure_rate(1.0).minimum_calls(1_000_000);
    vec![
        ("time", config()),
        ("count", config().window(Window::count(100))),
        ("slow", config().slow_calls(Duration::from_secs(1), 0.9)),
        ("hung", config().hung_calls(Duration::from_secs(1))),
    ]
}

#[test]
fn an_admitted_call_allocates_nothing() {
    for (name, config) in configurations() {
        let layer = CircuitBreakerLayer::new(config).unwrap();
        let circuit = layer.circuit().clone();
        let mut service =
            ServiceBuilder::new().layer(layer).layer(ErrorLayer::new()).service(Answers);
        // Failures every tenth call, so that no path is left out.
        let mut nth = 0;
        assert_none(1_000, || {
            nth += 1;
            assert_eq!(ask(&mut service, nth % 10 != 0).is_ok(), nth % 10 != 0, "{name}");
        });
        assert_none(1_000, || circuit.call(|| Ok::<_, Error<()>>(())).unwrap());
        // Not all of them: opening is a change of state, not a call.
        assert_none(1_000, || {
            nth += 1;
            let result = if nth % 10 == 0 { Ok(()) } else { Err(Error::Inner(())) };
            assert_eq!(circuit.call(|| result), result);
        });
        assert_none(1_000, || circuit.try_acquire().unwrap().success());
        assert_none(1_000, || drop(circuit.run(ready(Ok::<_, Error<()>>(())))));
    }
}

#[test]
fn a_refusal_allocates_nothing() {
    let layer = CircuitBreakerLayer::new(CircuitBreakerConfig::new("counted")).unwrap();
    let circuit = layer.circuit().clone();
    let mut service = ServiceBuilder::new().layer(layer).layer(ErrorLayer::new()).service(Answers);
    let mut refused = |reason: Reason| {
        assert_none(1_000, || {
            let Err(Error::Rejected(rejection)) = ask(&mut service, true) else {
                panic!("refused with {reason}")
            };
            assert_eq!(rejection.reason(), reason);
        });
    };
    circuit.open();
    refused(Reason::CircuitOpen);
    circuit.force_open();
    refused(Reason::ForcedOpen);
    circuit.half_open();
    let probes = [(); 3].map(|()| circuit.try_acquire().unwrap());
    refused(Reason::ProbeLimit);
    drop(probes);
}

#[test]
fn a_keyed_call_allocates_nothing_once_its_key_is_known() {
    let config = CircuitBreakerConfig::new("counted");
    let layer = KeyedCircuitBreakerLayer::new(config, 10, |well: &bool| *well).unwrap();
    let mut service = ServiceBuilder::new().layer(layer).layer(ErrorLayer::new()).service(Answers);
    assert_none(1_000, || ask(&mut service, true).unwrap());
}

#[test]
fn an_observer_costs_no_allocation_of_ours() {
    let options = Options::new().observer(|_: &Event| {});
    let layer = CircuitBreakerLayer::with(CircuitBreakerConfig::new("counted"), options).unwrap();
    let mut service = ServiceBuilder::new().layer(layer).layer(ErrorLayer::new()).service(Answers);
    assert_none(1_000, || ask(&mut service, true).unwrap());
}

#[test]
fn probes_allocate_nothing_once_as_many_were_in_flight() {
    let half_open = HalfOpen::counts(1_000_000, 1).only_concurrent(4);
    let config = CircuitBreakerConfig::new("counted").half_open(half_open);
    let circuit = Circuit::new(config).unwrap();
    circuit.half_open();
    assert_none(1_000, || {
        let probes = [(); 4].map(|()| circuit.try_acquire().unwrap());
        probes.into_iter().for_each(Permit::success);
    });
}

/// A retry: calls that go well, calls whose retries go well, and calls that the budget lets fail.
#[test]
fn a_call_under_a_retry_allocates_nothing() {
    let at_once = Backoff::constant(Duration::ZERO);
    let config = || RetryConfig::new("counted").backoff(at_once);
    let mut service = RetryLayer::new(config()).unwrap().layer(ErrorLayer::new().layer(Answers));
    assert_none(1_000, || ask(&mut service, true).unwrap());

    let policy = service.policy().clone();
    assert_none(1_000, || drop(policy.run(|| ready(Ok::<_, Error<()>>(())))));
    let mut cx = Context::from_waker(Waker::noop());
    let mut fail = |policy: &RetryPolicy| {
        let mut attempts = 0;
        let mut call = pin!(policy.run(|| {
            attempts += 1;
            ready(if attempts < 3 { Err(Error::Inner(())) } else { Ok(()) })
        }));
        while call.as_mut().poll(&mut cx).is_pending() {}
    };
    let unbounded = RetryPolicy::new(config().no_budget()).unwrap();
    assert_none(1_000, || fail(&unbounded));
    assert_eq!(unbounded.snapshot().retried_successes, 1_001);
    // Until the tokens are gone; what follows is stopped by the budget.
    while policy.snapshot().ends.of(RetryEnd::BudgetExhausted) == 0 {
        fail(&policy);
    }
    assert_none(1_000, || fail(&policy));
    assert!(policy.snapshot().ends.of(RetryEnd::BudgetExhausted) > 500);
}

/// Memory is constant in traffic, and as the documentation states it.
#[test]
fn memory_per_circuit_is_bounded() {
    let bytes = |config: CircuitBreakerConfig| {
        let mut kept = None;
        let counted = measure(|| kept = Some(Circuit::new(config.clone()).unwrap()));
        drop(kept);
        counted.bytes_current
    };
    let default = bytes(CircuitBreakerConfig::new("counted"));
    assert!(default <= 1_300, "{default} bytes with the default window");
    let by_count = |size| bytes(CircuitBreakerConfig::new("counted").window(Window::count(size)));
    let per_result = (by_count(1_000_000) - by_count(100)) as f64 / 999_900.0;
    assert!(per_result <= 0.2501, "{per_result} bytes per result of a count window");

    let circuits = Circuits::new(CircuitBreakerConfig::new("counted"), 4_096, Options::new());
    let circuits = circuits.unwrap();
    let filled = measure(|| (0..10_000_u64).for_each(|key| drop(circuits.circuit(key))));
    let per_key = filled.bytes_current / circuits.len() as i64;
    assert!(per_key <= 1_300, "{per_key} bytes per key");
    assert_eq!(circuits.len(), 4_096, "a flood of keys cannot grow the table beyond its bound");

    let mut kept = None;
    let counted = measure(|| kept = Some(RetryPolicy::new(RetryConfig::new("counted")).unwrap()));
    drop(kept);
    assert!(counted.bytes_current <= 4_096, "{} bytes of a retry", counted.bytes_current);

    let circuit = Circuit::new(CircuitBreakerConfig::new("counted")).unwrap();
    let grown = measure(|| {
        for _ in 0..100_000 {
            let _: Result<(), Error<Infallible>> = circuit.call(|| Ok(()));
        }
    });
    assert_eq!(grown.bytes_current, 0, "traffic leaves nothing behind");
    let _ = Layer::layer(&circuit.layer(), Answers);
}
