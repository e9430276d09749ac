//! What holds of errors beside each policy's own refusal: chains of sources, nested stacks, panics, and what
//! `attempted` may be relied on for.

use std::{error::Error as StdError, time::Duration};

use portcullis::{
    BoxError, BulkheadConfig, BulkheadLayer, CarryRejection, CircuitBreakerConfig,
    CircuitBreakerLayer, Error, ErrorLayer, PolicyKind, Reason, Rejection, State, deadline, stack,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use crate::{
    backend::{Backend, DOWN, HANGS, MS, OK, PANICS, SECOND, ask, failed, refused},
    errors::{boxed, of_an_application, typed},
    full::config,
    support::{Caller, panic_of},
};

/// A refusal further in says nothing about the service, so no circuit over it opens.
#[tokio::test(start_paused = true)]
async fn a_breaker_over_a_full_bulkhead_stays_closed() {
    let full = BulkheadLayer::new(BulkheadConfig::new("db", 1)).unwrap();
    let config = CircuitBreakerConfig::new("db").consecutive_failures(1).failure_rate(0.01);
    let breaker = CircuitBreakerLayer::new(config.minimum_calls(1)).unwrap();
    let circuit = breaker.circuit().clone();
    let _busy = full.bulkhead().try_acquire().unwrap();
    let backend = Backend::new([OK]);
    let mut service = ServiceBuilder::new()
        .layer(breaker)
        .layer(&full)
        .layer(ErrorLayer::new())
        .service(backend.clone());
    for _ in 0..100 {
        assert_eq!(refused(ask(&mut service).await).reason(), Reason::BulkheadFull);
    }
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.state, snapshot.calls, backend.calls()), (State::Closed, 0, 0));
    // Nor does a probe that is refused further in decide anything: its slot is free again.
    circuit.half_open();
    for _ in 0..10 {
        assert_eq!(refused(ask(&mut service).await).reason(), Reason::BulkheadFull);
    }
    assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (State::HalfOpen, 0));
}

/// From any error of the stack, boxed or not, the way down reaches the cause.
#[tokio::test(start_paused = true)]
async fn the_chain_of_sources_reaches_the_cause() {
    fn chain(error: &(dyn StdError + 'static)) -> Vec<String> {
        let mut texts = vec![error.to_string()];
        let mut next = error.source();
        while let Some(error) = next {
            texts.push(error.to_string());
            next = error.source();
        }
        texts
    }
    let cause = "an error occurred when formatting an argument";

    let mut full = typed();
    full.backend.script([DOWN]);
    let error = ask(&mut full.service).await.unwrap_err();
    assert_eq!(chain(&error), ["down", "down", cause]);
    assert_eq!(error.into_inner(), Some(failed("down")));
    full.circuit.force_open();
    let error = ask(&mut full.service).await.unwrap_err();
    let refused = "db: the circuit was forced open by an operator";
    assert_eq!(chain(&error), [refused, refused]);
    let boxed: BoxError = error.into();
    assert_eq!(Rejection::find(&*boxed).unwrap().reason(), Reason::ForcedOpen);

    let mut full = crate::errors::boxed();
    full.backend.script([DOWN]);
    let error = ask(&mut full.service).await.unwrap_err();
    assert_eq!(chain(&*error), ["down", cause]);
    assert_eq!(error.downcast_ref(), Some(&failed("down")));
    full.circuit.force_open();
    assert_eq!(chain(&*ask(&mut full.service).await.unwrap_err()), [refused]);

    let mut full = of_an_application();
    full.backend.script([DOWN]);
    let error = ask(&mut full.service).await.unwrap_err();
    assert_eq!(chain(&error), ["the application failed", "down", cause]);
    full.circuit.force_open();
    let error: BoxError = ask(&mut full.service).await.unwrap_err().into();
    assert_eq!(chain(&*error), ["the application failed", refused]);
    assert_eq!(Rejection::find(&*error).unwrap().kind(), PolicyKind::CircuitBreaker);
}

/// A stack over a stack is a service over a service; over `BoxError` the inner one's refusal is seen as well.
#[tokio::test(start_paused = true)]
async fn a_nested_stacks_refusal_is_a_failure_or_a_refusal_as_its_error_says() {
    let inner = boxed();
    inner.circuit.force_open();
    let outer = config().build().unwrap();
    let budget = outer.retry().policy().budget().unwrap().clone();
    let mut seen = outer.clone().without_error().layer(inner.service.clone());
    let refusal = refused(ask(&mut seen).await);
    assert_eq!((refusal.reason(), budget.balance()), (Reason::ForcedOpen, 100));

    let mut wrapped = outer.layer(inner.service);
    let Error::Inner(error) = ask(&mut wrapped).await.unwrap_err() else { panic!("of a service") };
    assert_eq!(error.rejection().unwrap().reason(), Reason::ForcedOpen);
    assert_eq!(budget.balance(), 98, "a failure, tried again");
}

/// Where nothing catches it, a panic goes through all layers, counts as a failure, and leaves nothing
/// behind.
#[tokio::test(start_paused = true)]
async fn a_panic_that_nobody_catches_leaves_nothing_behind() {
    let backend = Backend::new([PANICS]);
    let client = config().build().unwrap().with_rate(10, SECOND).unwrap();
    let (slots, circuit) =
        (client.bulkhead().bulkhead().clone(), client.circuit_breaker().circuit().clone());
    let policy = client.retry().policy().clone();
    let mut service = client.layer(backend.clone());
    let caller = Caller::new();
    for nth in 1..=50 {
        assert!(caller.ready(&mut service).is_ready());
        let text = panic_of(|| caller.finish(&mut Box::pin(service.call(7))));
        assert_eq!((text.as_str(), backend.live()), ("the backend panics", 0));
        assert_eq!((slots.in_flight(), policy.snapshot().calls), (0, nth));
        assert_eq!(deadline::current(), None);
        advance(100 * MS).await;
    }
    assert_eq!((circuit.state(), backend.calls()), (State::Open, 50));
    assert_eq!(policy.budget().unwrap().balance(), 100, "a panic is not tried again");
}

/// What a caller may rely on to send the same request elsewhere: it says `attempted` whenever the service
/// was called, for every way in which a call can end without an answer of the service's.
#[tokio::test(start_paused = true)]
async fn what_is_not_attempted_was_never_seen_by_the_service() {
    let server = stack::server("api").max_in_flight(1).timeout(SECOND).build().unwrap();
    let slots = server.bulkhead().bulkhead().clone();
    let backend = Backend::new([OK]);
    let mut service = server.with_rate(2, 3_600 * SECOND).unwrap().layer(backend.clone());
    let mut seen = Vec::new();
    for (line, full, wait) in [
        (HANGS, false, 0),
        (PANICS, false, 1_800),
        (OK, true, 1_800),
        (OK, false, 0),
        (OK, false, 1_800),
    ] {
        advance(Duration::from_secs(wait)).await;
        backend.script([line]);
        let busy = full.then(|| slots.try_acquire().unwrap());
        let before = backend.calls();
        if let Err(error) = service.ready().await.unwrap().call(7).await {
            let refusal = error.rejection().copied().unwrap();
            assert_eq!(refusal.attempted(), backend.calls() > before, "{refusal}");
            seen.push(refusal.reason());
        }
        drop(busy);
    }
    use Reason::{BulkheadFull, Panicked, RateLimited, Timeout};
    assert_eq!(seen, [Timeout, Panicked, BulkheadFull, RateLimited]);
}
