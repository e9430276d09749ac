//! No allocation on an admitted call, nor on a refusal with a typed error.
//!
//! One warm-up call first: what is made once (a thread's slot, the counters of a circuit that has
//! refused) is not a cost per call.
#![allow(clippy::unwrap_used, reason = "a test may panic, and picks any instant to begin with")]

#[cfg(feature = "http")]
#[path = "allocations/respond.rs"]
mod respond;
#[path = "allocations/stack.rs"]
mod stack;
#[path = "allocations/timeout.rs"]
mod timeout;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use portcullis::{
    AtCap, Backoff, Bulkhead, BulkheadConfig, Circuit, CircuitBreakerConfig, CircuitBreakerLayer,
    Circuits, Error, ErrorLayer, Event, Failed, FallbackConfig, FallbackPolicy, HalfOpen,
    KeyedCircuitBreakerLayer, KeyedRateLimitLayer, Keys, LastGood, LastGoodConfig, Options,
    QueuedBulkheadLayer, RateLimitConfig, RateLimitLayer, RateLimiter, RateLimiters, Reason,
    RetryConfig, RetryEnd, RetryLayer, RetryPolicy, WaitingRateLimitLayer, Waits, Window,
    circuit_breaker::Permit,
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
fn a_bulkhead_allocates_nothing_for_a_call_or_a_refusal() {
    let slots = Bulkhead::new(BulkheadConfig::new("counted", 1)).unwrap();
    let mut refuses =
        ServiceBuilder::new().layer(slots.layer()).layer(ErrorLayer::new()).service(Answers);
    let mut waits =
        ServiceBuilder::new().layer(slots.queued_layer()).layer(ErrorLayer::new()).service(Answers);
    let mut nth = 0;
    assert_none(1_000, || {
        nth += 1;
        assert_eq!(ask(&mut refuses, nth % 10 != 0).is_ok(), nth % 10 != 0);
        assert_eq!(ask(&mut waits, nth % 10 != 0).is_ok(), nth % 10 != 0);
    });
    assert_none(1_000, || drop(slots.try_acquire().unwrap()));
    assert_none(1_000, || slots.call(|| Ok::<_, Error<()>>(())).unwrap());
    assert_none(1_000, || drop(slots.run(ready(Ok::<_, Error<()>>(())))));
    let _busy = slots.try_acquire().unwrap();
    assert_none(1_000, || {
        for refused in [ask(&mut refuses, true), ask(&mut waits, true)] {
            let Err(Error::Rejected(rejection)) = refused else { panic!("the bulkhead is full") };
            assert_eq!(rejection.reason(), Reason::BulkheadFull);
        }
    });
}

/// Nor does a call that waits, once as many have waited, and nothing is left of those that have.
#[tokio::test(start_paused = true)]
async fn a_wait_for_a_bulkhead_allocates_nothing() {
    let config = BulkheadConfig::new("counted", 1).queue(8);
    let layer = QueuedBulkheadLayer::new(config).unwrap();
    let slots = layer.bulkhead().clone();
    let mut service = layer.layer(ErrorLayer::new().layer(Answers));
    let mut cx = Context::from_waker(Waker::noop());
    // More than the heap of times keeps before it is tidied.
    let mut wait = |gives_up: bool| {
        let busy = slots.try_acquire().unwrap();
        let mut waits = pin!(service.call(true));
        assert!(waits.as_mut().poll(&mut cx).is_pending());
        if gives_up {
            return;
        }
        drop(busy);
        assert!(matches!(waits.poll(&mut cx), Poll::Ready(Ok(()))));
    };
    (0..100).for_each(|nth| wait(nth % 2 == 0));
    let mut nth = 0;
    assert_none(1_000, || {
        nth += 1;
        wait(nth % 2 == 0);
    });
    assert_eq!((slots.in_flight(), slots.queued()), (0, 0));
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

#[test]
fn a_rate_limiter_allocates_for_no_call() {
    let config = || RateLimitConfig::per_second("counted", 1_000_000_000);
    let layer = RateLimitLayer::new(config()).unwrap().cost(|well: &bool| u64::from(*well));
    let limiter = layer.limiter().clone();
    let mut service = ServiceBuilder::new().layer(layer).layer(ErrorLayer::new()).service(Answers);
    assert_none(1_000, || ask(&mut service, true).unwrap());
    assert_none(1_000, || limiter.try_acquire().unwrap());
    assert_none(1_000, || drop(limiter.acquire()));
    assert_none(1_000, || drop(limiter.reserve(1, None)));
    let layer = WaitingRateLimitLayer::new(config(), Waits::default()).unwrap();
    let mut service = ServiceBuilder::new().layer(layer).layer(ErrorLayer::new()).service(Answers);
    assert_none(1_000, || ask(&mut service, true).unwrap());

    let rarely = || RateLimitConfig::new("counted", 1, Duration::from_secs(86_400));
    let refused = |result: Result<(), Error<()>>, reason| {
        let Err(Error::Rejected(rejection)) = result else { panic!("refused with {reason}") };
        assert_eq!(rejection.reason(), reason);
    };
    let layer = RateLimitLayer::new(rarely()).unwrap();
    let limiter = layer.limiter().clone();
    let mut service = ServiceBuilder::new().layer(layer).layer(ErrorLayer::new()).service(Answers);
    ask(&mut service, true).unwrap();
    assert_none(1_000, || refused(ask(&mut service, true), Reason::RateLimited));
    assert_none(1_000, || assert!(limiter.try_acquire_n(2).is_err()));
    assert_none(1_000, || assert!(limiter.reserve(1, Some(Duration::ZERO)).is_err()));
    let mut service =
        limiter.waiting_layer(Waits::default()).layer(ErrorLayer::new().layer(Answers));
    assert_none(1_000, || refused(ask(&mut service, true), Reason::RateLimited));
    // One that waits has its place in a line that has been as long before.
    let patient = Waits::up_to(Duration::MAX);
    assert_none(1_000, || drop(limiter.acquire_within(1, patient)));
}

/// As the documentation states it.
#[test]
fn memory_per_rate_limiter_is_bounded() {
    let mut kept = None;
    let config = RateLimitConfig::per_second("counted", 1_000_000_000);
    let counted = measure(|| kept = Some(RateLimiter::new(config.clone()).unwrap()));
    assert!(counted.bytes_current <= 640, "{} bytes", counted.bytes_current);
    let limiter = kept.unwrap();
    limiter.try_acquire().unwrap();
    let grown = measure(|| (0..100_000).for_each(|_| limiter.try_acquire().unwrap()));
    assert_eq!(grown.bytes_current, 0, "traffic leaves nothing behind");
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

    let config = BulkheadConfig::new("counted", 10).queue(100_000);
    let mut kept = None;
    let bulkhead = measure(|| kept = Some(Bulkhead::new(config.clone()).unwrap())).bytes_current;
    assert!(bulkhead <= 250, "{bulkhead} bytes for a bulkhead");
    let slots = kept.unwrap();
    let mut waiting = Vec::with_capacity(100_000);
    let filled = measure(|| waiting.extend((0..100_000).map(|_| slots.acquire())));
    let per_waiter = filled.bytes_current / slots.queued() as i64;
    assert!(per_waiter <= 150, "{per_waiter} bytes per place in the queue");
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

#[test]
fn a_keyed_limit_allocates_nothing_for_a_key_that_is_known_nor_for_a_refusal() {
    let plenty = RateLimitConfig::per_second("counted", 1_000_000_000);
    let once = RateLimitConfig::new("counted", 0, Duration::from_secs(1)).burst(1);

    let layer = KeyedRateLimitLayer::new(plenty.clone(), 10, |well: &bool| *well).unwrap();
    let mut service = ServiceBuilder::new().layer(layer).layer(ErrorLayer::new()).service(Answers);
    assert_none(1_000, || ask(&mut service, true).unwrap());

    let named: RateLimiters<String> = RateLimiters::new(plenty, 10, Options::new()).unwrap();
    assert_none(1_000, || named.try_acquire("a name that is long enough for the heap").unwrap());
    let named: RateLimiters<String> = RateLimiters::new(once.clone(), 10, Options::new()).unwrap();
    named.try_acquire("ada").unwrap();
    assert_none(1_000, || _ = named.try_acquire("ada").unwrap_err());
    assert_none(1_000, || _ = named.try_acquire_n("grace", 2).unwrap_err());
    assert_none(1_000, || assert!(named.try_acquire("ada").is_err()));
    assert_none(1_000, || assert!(named.try_acquire_n("grace", 2).is_err()));

    // At the bound, whatever becomes of further keys: they are neither copied nor kept.
    for at_cap in [AtCap::ShareOverflow, AtCap::Refuse, AtCap::Admit] {
        let keys = Keys::at_most(1).or(at_cap);
        let named: RateLimiters<String> =
            RateLimiters::new(once.clone(), keys, Options::new()).unwrap();
        named.try_acquire("ada").unwrap();
        let _ = named.try_acquire("grace");
        assert_none(1_000, || {
            assert_eq!(named.try_acquire("grace").is_ok(), at_cap == AtCap::Admit);
        });
    }
}

/// As the documentation states it, and no more than governor's table takes (22 and 36 bytes).
#[test]
fn memory_per_limited_key_is_bounded() {
    let never = || RateLimitConfig::new("counted", 0, Duration::from_secs(1)).burst(1);
    for (most, bytes_per_key) in [(100_000, 22.4), (1_000_000, 35.8)] {
        let limiters: RateLimiters<u64> =
            RateLimiters::new(never(), most as usize, Options::new()).unwrap();
        let filled = measure(|| {
            (0..most).for_each(|key| limiters.try_acquire(&key).expect("there is room"));
        });
        let per_key = filled.bytes_current as f64 / most as f64;
        assert!(per_key <= bytes_per_key, "{per_key} bytes for each of {most} keys");
        assert_eq!(limiters.snapshot().bytes as i64, filled.bytes_current);
    }
}

/// A million keys come by a table that is full: not a byte, whether they find room in turn or not.
#[test]
fn a_flood_of_keys_takes_no_memory_beyond_the_bound() {
    const MOST: u64 = 10_000;
    // In the one nothing ever makes room, in the other everything does at once.
    let closed = RateLimitConfig::new("counted", 0, Duration::from_secs(1)).burst(1);
    let open = RateLimitConfig::per_second("counted", u64::MAX).burst(1);
    for (config, stays) in [(closed, true), (open, false)] {
        let limiters: RateLimiters<u64> =
            RateLimiters::new(config, MOST as usize, Options::new()).unwrap();
        let filled = measure(|| (0..MOST).for_each(|key| limiters.try_acquire(&key).unwrap()));
        let flooded = measure(|| {
            (MOST..1_000_000).for_each(|key| _ = limiters.try_acquire(&key));
            (MOST..1_000_000).for_each(|key| {
                let _ = limiters.try_acquire(&key);
            });
        });
        let bound = 16 * (1_024 * 17 + 16);
        assert!(filled.bytes_current <= bound, "{} bytes", filled.bytes_current);
        if stays {
            // The counter of refusals, and the log of those who refuse: made once.
            assert!(flooded.bytes_current <= 2_048, "{} bytes", flooded.bytes_current);
            assert_eq!(limiters.len() as u64, MOST);
        }
        let both = filled.bytes_current + flooded.bytes_current;
        assert!(both <= bound + 2_048 && limiters.len() as u64 <= MOST, "{both} bytes");
        // While one part is laid out anew there are two of it, and the hashes of its keys.
        assert!(flooded.bytes_max as i64 <= bound / 8, "{} bytes at once", flooded.bytes_max);
    }
}

/// Not even a fallback itself, where the answer needs no allocation.
#[test]
fn a_call_under_a_fallback_allocates_nothing() {
    let policy = FallbackPolicy::new(FallbackConfig::new("counted")).unwrap();
    let mut value = policy.value(()).layer(Answers);
    let mut function = policy.function(|_: Failed<(), ()>| Ok(())).layer(Answers);
    let mut service = policy.service(Answers, |_: &bool| true).layer(Answers);
    let mut last_good = LastGood::new(LastGoodConfig::new("counted", Duration::MAX))
        .unwrap()
        .layer(|_: &bool| Some(7))
        .layer(Answers);
    for well in [true, false] {
        assert_none(1_000, || ask(&mut value, well).unwrap());
        assert_none(1_000, || ask(&mut function, well).unwrap());
        assert_none(1_000, || ask(&mut service, well).unwrap());
        assert_none(1_000, || assert_eq!(ask(&mut last_good, well).unwrap().is_fresh(), well));
        assert_none(1_000, || policy.call(|| Err(()), |_| Ok(())).unwrap());
        assert_none(1_000, || drop(policy.run(ready(Err::<(), ()>(())), |_| Ok(()))));
    }
    policy.shadow();
    assert_none(1_000, || ask(&mut value, false).unwrap_err());
    last_good.handle().disable();
    assert_none(1_000, || ask(&mut last_good, false).unwrap_err());
}

/// A known key's answer takes the place of its last one: what the answer's own clone allocates is all there
/// is, and traffic leaves nothing behind.
#[test]
fn a_known_keys_answer_is_replaced_in_place() {
    let config = LastGoodConfig::new("counted", Duration::MAX).max_keys(1_000);
    let answers: LastGood<u32, Box<u64>> = LastGood::new(config).unwrap();
    let remember = || (0..1_000).for_each(|key| answers.put(key, Box::new(7)));
    remember();
    // The first fallback makes its counter.
    answers.call(0, || Err(())).unwrap();
    let counted = measure(|| (0..10).for_each(|_| remember()));
    assert_eq!((counted.count_total, counted.bytes_current), (10_000, 0), "the boxes themselves");
    let recalled = measure(|| (0..1_000).for_each(|key| drop(answers.call(key, || Err(())))));
    assert_eq!((recalled.count_total, recalled.bytes_current), (1_000, 0), "a clone each");
    // The index may grow once, for the marks that removed keys leave.
    let flood = |from: u32| (from..from + 100_000).for_each(|key| answers.put(key, Box::new(7)));
    let first = measure(|| flood(0)).bytes_current;
    assert!(first <= 16_384, "{first} bytes more than before");
    assert_eq!(measure(|| flood(100_000)).bytes_current, 0, "bytes more than before");
}

/// As the documentation states it.
#[test]
fn memory_per_kept_answer_is_bounded() {
    let config = LastGoodConfig::new("counted", Duration::MAX).max_keys(16_384);
    let answers: LastGood<u64, [u64; 8]> = LastGood::new(config).unwrap();
    let filled = measure(|| (0..20_000).for_each(|key| answers.put(key, [key; 8])));
    let per_key = filled.bytes_current / answers.len() as i64 - size_of::<[u64; 8]>() as i64;
    assert!((40..=110).contains(&per_key), "{per_key} bytes per key beside the answer");
}
