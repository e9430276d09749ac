//! What each layer says of itself while a stack is being built.

use std::{convert::Infallible, panic::AssertUnwindSafe, time::Duration};

use portcullis::{
    BulkheadConfig, BulkheadLayer, CatchPanicConfig, CatchPanicLayer, CircuitBreakerConfig,
    CircuitBreakerLayer, ErrorLayer, FallbackConfig, FallbackLayer, KeyedCircuitBreakerLayer,
    KeyedRateLimitLayer, LastGood, LastGoodConfig, QueuedBulkheadLayer, RateLimitConfig,
    RateLimitLayer, RetryConfig, RetryLayer, TimeoutConfig, TimeoutLayer, WaitingRateLimitLayer,
    Waits,
    stack::{self, Report, Rule, Severity},
};
use tower::{Layer, ServiceBuilder};

use crate::{backend::SECOND, rules::within};

/// What is said of a layer alone.
fn alone<L: Layer<()>>(layer: L) -> Report {
    stack::check(|| layer.layer(())).1
}

fn slots(queue: usize) -> BulkheadConfig {
    BulkheadConfig::new("db", 20).queue(queue)
}

fn rate() -> RateLimitConfig {
    RateLimitConfig::per_second("db", 10)
}

fn retry(attempts: u32) -> RetryLayer {
    RetryLayer::new(RetryConfig::new("db").attempts(attempts)).unwrap()
}

#[test]
fn every_layer_notes_itself() {
    let circuit = CircuitBreakerConfig::new("db");
    let value = FallbackLayer::<_, Infallible>::value(FallbackConfig::new("db"), 0).unwrap();
    let last_good: LastGood<u32, u32> = LastGood::new(LastGoodConfig::new("db", SECOND)).unwrap();
    let last_good = last_good.layer::<_, _, Infallible>(|key: &u32| Some(*key));
    let reports = [
        (alone(ErrorLayer::new()), "error layer"),
        (alone(CircuitBreakerLayer::new(circuit.clone()).unwrap()), "circuit breaker `db`"),
        (
            alone(KeyedCircuitBreakerLayer::new(circuit, 8, |key: &u32| *key).unwrap()),
            "circuit breaker `db`",
        ),
        (alone(RateLimitLayer::new(rate()).unwrap()), "rate limit `db`"),
        (alone(WaitingRateLimitLayer::new(rate(), Waits::default()).unwrap()), "rate limit `db`"),
        (alone(KeyedRateLimitLayer::new(rate(), 8, |key: &u32| *key).unwrap()), "rate limit `db`"),
        (alone(BulkheadLayer::new(slots(0)).unwrap()), "bulkhead `db` (20 at once)"),
        (alone(QueuedBulkheadLayer::new(slots(5)).unwrap()), "bulkhead `db` (20 at once)"),
        (alone(within(SECOND)), "timeout `db` (1s)"),
        (alone(within(Duration::MAX)), "timeout `db` (any time)"),
        (
            alone(within(SECOND).limit_from(|_: &u32| Some(SECOND))),
            "timeout `db` (as requests say)",
        ),
        (
            alone(TimeoutLayer::new(TimeoutConfig::per_request("db")).unwrap()),
            "timeout `db` (as requests say)",
        ),
        (alone(retry(3)), "retry `db` (3 attempts)"),
        (alone(retry(1)), "retry `db` (1 attempt)"),
        (alone(retry(u32::MAX)), "retry `db` (any number of attempts)"),
        (alone(retry(3).replay(|_: &u32| None)), "retry `db` (3 attempts)"),
        (alone(value), "fallback `db`"),
        (alone(last_good), "fallback `db`"),
        (alone(CatchPanicLayer::new(CatchPanicConfig::new("db")).unwrap()), "catch panic `db`"),
    ];
    for (report, line) in reports {
        assert_eq!(report.layers, [line]);
    }
    let nothing = stack::check(|| ()).1;
    assert_eq!(nothing.to_string(), "no layer of this crate\none call is one call of the service");
    assert!(nothing.is_sound());
}

/// One that has no queue, or a queue in which no time may be spent, lets nobody wait.
#[test]
fn only_a_layer_under_which_calls_wait_is_a_queue() {
    let waits = |report: Report| report.has(Rule::QueueOutsideTimeout);
    let patient = |waits| alone(WaitingRateLimitLayer::new(rate(), waits).unwrap());
    assert!(waits(patient(Waits::default())));
    assert!(!waits(patient(Waits::default().queue(0))));
    assert!(!waits(patient(Waits::up_to(Duration::ZERO))));
    assert!(waits(alone(QueuedBulkheadLayer::new(slots(5)).unwrap())));
    assert!(!waits(alone(QueuedBulkheadLayer::new(slots(0)).unwrap())));
    assert!(!waits(alone(BulkheadLayer::new(slots(0)).unwrap())));
}

/// As they are when the stack is built.
#[test]
fn numbers_that_were_changed_are_seen() {
    let layer = within(SECOND);
    layer.time_limit().reconfigure(TimeoutConfig::new("db", 5 * SECOND)).unwrap();
    assert_eq!(alone(layer).layers, ["timeout `db` (5s)"]);
    let layer = retry(3);
    layer.policy().reconfigure(RetryConfig::new("db").attempts(7)).unwrap();
    assert_eq!(alone(layer).amplification.worst, 7);
}

/// What stands beside a stack is checked by itself, and is not taken for a part of it.
#[test]
fn a_check_inside_a_check_hears_its_own() {
    let ((_, inner), outer) = stack::check(|| {
        let (backup, inner) = stack::check(|| within(SECOND).layer(()));
        (retry(3).layer(backup), inner)
    });
    assert_eq!(inner.layers, ["timeout `db` (1s)"]);
    assert_eq!(outer.layers, ["retry `db` (3 attempts)"]);
}

#[test]
fn a_panic_while_building_leaves_nothing_behind() {
    let (_, report) = stack::check(|| {
        let broken = std::panic::catch_unwind(AssertUnwindSafe(|| {
            stack::check(|| -> () {
                let _ = within(SECOND).layer(());
                panic!("while building")
            })
        }));
        assert!(broken.is_err());
        retry(3).layer(())
    });
    assert_eq!(report.layers, ["retry `db` (3 attempts)"]);
    assert!(alone(tower::layer::util::Identity::new()).layers.is_empty());
}

/// Layers of other crates are passed over, wherever they stand.
#[test]
fn foreign_layers_are_passed_over() {
    let (_, report) = stack::check(|| {
        ServiceBuilder::new()
            .concurrency_limit(5)
            .layer(within(SECOND))
            .load_shed()
            .layer(retry(3))
            .map_request(|request: u32| request)
            .service(())
    });
    assert_eq!(report.layers, ["timeout `db` (1s)", "retry `db` (3 attempts)"]);
    assert!(report.findings.is_empty(), "{report}");
}

/// The gravest first, whatever stands where.
#[test]
fn what_is_gravest_is_told_first() {
    let (_, report) = stack::check(|| {
        ServiceBuilder::new()
            .layer(QueuedBulkheadLayer::new(slots(5)).unwrap())
            .layer(CircuitBreakerLayer::new(CircuitBreakerConfig::new("db")).unwrap())
            .layer(retry(3))
            .service(())
    });
    let told: Vec<_> = report.findings.iter().map(|found| (found.severity, found.rule)).collect();
    assert_eq!(
        told,
        [
            (Severity::Error, Rule::RetryInsideBreaker),
            (Severity::Warning, Rule::RetryWithoutTotalTimeout),
            (Severity::Note, Rule::QueueOutsideTimeout),
        ]
    );
    let lines: Vec<_> = report.to_string().lines().map(str::to_owned).collect();
    assert!(lines[2].starts_with("error (retry_inside_breaker): retry `db` stands inside"));
    assert_eq!((lines.len(), report.is_sound()), (5, false));
}
