//! Each rule of the check: what goes wrong where it is broken, that it does not where it is kept, and that
//! the check says the one and not the other.

use portcullis::{
    BoxError, BulkheadConfig, BulkheadLayer, CatchPanicConfig, CatchPanicLayer,
    CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer, FallbackConfig, FallbackLayer,
    Reason, RetryConfig, RetryLayer, Sleep, State, TimeoutConfig, TimeoutLayer,
    stack::{self, Report, Rule, Severity},
};
use std::{collections::BTreeSet, time::Duration};
use tower::{ServiceBuilder, ServiceExt};

use crate::backend::{Backend, DOWN, Down, OK, PANICS, SECOND, ask, refused};

fn rules(report: &Report) -> BTreeSet<&'static str> {
    report.findings.iter().map(|finding| finding.rule.as_str()).collect()
}

/// The check tells of the rule in the one stack, by this sentence, and not in the other; otherwise it says
/// the same of both.
#[track_caller]
pub(crate) fn assert_told(
    wrong: &Report,
    right: &Report,
    (rule, severity): (Rule, Severity),
    sentence: &str,
) {
    let mut others = rules(right);
    assert!(!others.contains(rule.as_str()), "{right}");
    others.insert(rule.as_str());
    assert_eq!(rules(wrong), others, "{wrong}");
    let told: Vec<_> = wrong.findings.iter().filter(|found| found.rule == rule).collect();
    let [told] = *told else { panic!("told once: {wrong}") };
    assert_eq!((told.severity, rule.severity()), (severity, severity));
    assert_eq!(told.sentence, sentence);
    assert!(wrong.to_string().contains(&format!("\n{severity} ({}): {sentence}", rule.as_str())));
    assert_eq!(wrong.is_sound(), wrong.findings.iter().all(|f| f.severity == Severity::Note));
}

pub(crate) fn within(limit: Duration) -> TimeoutLayer {
    TimeoutLayer::new(TimeoutConfig::new("db", limit)).unwrap()
}

pub(crate) fn opens_after(failures: u32) -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("db").consecutive_failures(failures).sleep(Sleep::fixed(10 * SECOND))
}

pub(crate) fn breaker(config: CircuitBreakerConfig) -> CircuitBreakerLayer {
    CircuitBreakerLayer::new(config).unwrap()
}

pub(crate) fn retry(config: RetryConfig) -> RetryLayer {
    RetryLayer::new(config).unwrap()
}

pub(crate) fn at_once() -> RetryConfig {
    RetryConfig::new("db").backoff(portcullis::Backoff::constant(Duration::ZERO))
}

fn fallback<E>() -> FallbackLayer<portcullis::fallback::Value<u32>, E> {
    FallbackLayer::value(FallbackConfig::new("db"), 0).unwrap()
}

/// The names are stable words, each once, and the guide lists every rule with its gravity.
#[test]
fn every_rule_has_a_word_and_a_line_in_the_guide() {
    let guide = include_str!("../../src/docs/ordering.md");
    let words: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
    assert_eq!(words.len(), Rule::ALL.len());
    for rule in Rule::ALL {
        let line = format!("| `{}` | {} |", rule.as_str(), rule.severity());
        assert!(guide.contains(&line), "no line that begins with {line}");
    }
    assert!(Severity::Error > Severity::Warning && Severity::Warning > Severity::Note);
}

#[tokio::test(start_paused = true)]
async fn retry_inside_breaker() {
    let mut calls = Vec::new();
    let mut reports = Vec::new();
    let backend = Backend::new([DOWN]);
    let layer = breaker(opens_after(3));
    let circuit = layer.circuit().clone();
    let (mut service, report) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(&layer)
            .layer(retry(at_once()))
            .layer(ErrorLayer::new())
            .service(backend.clone())
    });
    while circuit.state() == State::Closed {
        ask(&mut service).await.unwrap_err();
    }
    calls.push(backend.calls());
    reports.push(report);

    let backend = Backend::new([DOWN]);
    let layer = breaker(opens_after(3));
    let circuit = layer.circuit().clone();
    let (mut service, report) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(retry(at_once()))
            .layer(&layer)
            .layer(ErrorLayer::new())
            .service(backend.clone())
    });
    while circuit.state() == State::Closed {
        ask(&mut service).await.unwrap_err();
    }
    calls.push(backend.calls());
    reports.push(report);

    assert_eq!(calls, [9, 3], "calls of a service that is down before the circuit opens");
    assert_told(
        &reports[0],
        &reports[1],
        (Rule::RetryInsideBreaker, Severity::Error),
        "retry `db` stands inside circuit breaker `db`, which then sees one result for several attempts \
         and opens late, while the retry goes on calling a service that is down; put the retry over the \
         breaker",
    );
}

#[tokio::test(start_paused = true)]
async fn fallback_inside_retry() {
    let backend = Backend::new([DOWN, OK]);
    let (mut service, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(retry(at_once()))
            .layer(fallback())
            .layer(ErrorLayer::new())
            .service(backend.clone())
    });
    assert_eq!(ask(&mut service).await, Ok(0), "nothing was tried again");
    assert_eq!(backend.calls(), 1);

    let backend = Backend::new([DOWN, OK]);
    let (mut service, right) = stack::check(|| {
        ServiceBuilder::new()
            .layer(fallback())
            .layer(retry(at_once()))
            .layer(ErrorLayer::new())
            .service(backend.clone())
    });
    assert_eq!((ask(&mut service).await, backend.calls()), (Ok(200), 2));
    assert_told(
        &wrong,
        &right,
        (Rule::FallbackInsideRetry, Severity::Error),
        "fallback `db` stands inside retry `db`, which then sees answers where the service failed and \
         never tries again; put the fallback outermost",
    );
}

#[tokio::test(start_paused = true)]
async fn fallback_inside_breaker() {
    let backend = Backend::new([DOWN]);
    let layer = breaker(opens_after(3));
    let (mut service, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(&layer)
            .layer(fallback())
            .layer(ErrorLayer::new())
            .service(backend.clone())
    });
    for _ in 0..50 {
        assert_eq!(ask(&mut service).await, Ok(0));
    }
    assert_eq!((layer.circuit().state(), backend.calls()), (State::Closed, 50));

    let backend = Backend::new([DOWN]);
    let layer = breaker(opens_after(3));
    let (mut service, right) = stack::check(|| {
        ServiceBuilder::new()
            .layer(fallback())
            .layer(&layer)
            .layer(ErrorLayer::new())
            .service(backend.clone())
    });
    for _ in 0..50 {
        assert_eq!(ask(&mut service).await, Ok(0));
    }
    assert_eq!((layer.circuit().state(), backend.calls()), (State::Open, 3));
    assert_told(
        &wrong,
        &right,
        (Rule::FallbackInsideBreaker, Severity::Error),
        "fallback `db` stands inside circuit breaker `db`, which then never sees a failure and never \
         opens; put the fallback outermost",
    );
}

#[tokio::test(start_paused = true)]
async fn fallback_inside_refuser() {
    let full = BulkheadLayer::new(BulkheadConfig::new("db", 1)).unwrap();
    let _busy = full.bulkhead().try_acquire().unwrap();
    let (mut service, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(&full)
            .layer(fallback())
            .layer(ErrorLayer::new())
            .service(Backend::new([OK]))
    });
    assert_eq!(refused(ask(&mut service).await).reason(), Reason::BulkheadFull);
    let (mut service, right) = stack::check(|| {
        ServiceBuilder::new()
            .layer(fallback())
            .layer(&full)
            .layer(ErrorLayer::new())
            .service(Backend::new([OK]))
    });
    assert_eq!(ask(&mut service).await, Ok(0));
    let rule = (Rule::FallbackInsideRefuser, Severity::Warning);
    assert_told(
        &wrong,
        &right,
        rule,
        "fallback `db` stands inside bulkhead `db`, whose refusals reach the caller without it; put the \
         fallback outermost",
    );

    // A timeout refuses, too.
    let (mut service, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(fallback())
            .layer(ErrorLayer::new())
            .service(Backend::new([crate::backend::HANGS]))
    });
    assert_eq!(refused(ask(&mut service).await).reason(), Reason::Timeout);
    assert_told(
        &wrong,
        &right,
        rule,
        "fallback `db` stands inside timeout `db`, whose refusals reach the caller without it; put the \
         fallback outermost",
    );
}

/// Over a service whose error can carry a refusal by itself, so that all of these compile.
#[tokio::test(start_paused = true)]
async fn error_layer_over_others() {
    let boxed = || Backend::new([OK]).map_err(BoxError::from);
    let layer = breaker(opens_after(3));
    layer.circuit().force_open();
    let again = retry(at_once());
    let tokens = || again.policy().budget().unwrap().balance();
    let (mut service, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(&again)
            .layer(ErrorLayer::new())
            .layer(&layer)
            .service(boxed())
    });
    let error = ask(&mut service).await.unwrap_err();
    assert!(matches!(error, Error::Inner(_)), "to its caller it is no refusal: {error:?}");
    assert_eq!((layer.circuit().snapshot().rejected, tokens()), (3, 98), "tried again in vain");

    let (mut service, right) = stack::check(|| {
        ServiceBuilder::new().layer(within(SECOND)).layer(&again).layer(&layer).service(boxed())
    });
    assert_eq!(refused(ask(&mut service).await).reason(), Reason::ForcedOpen);
    assert_eq!((layer.circuit().snapshot().rejected, tokens()), (4, 98));
    assert_told(
        &wrong,
        &right,
        (Rule::ErrorLayerOverOthers, Severity::Error),
        "the error layer stands over circuit breaker `db`, whose refusals it wraps as errors of the \
         service: layers further out take them for failures; put it right above the service, or leave it \
         out where the error can carry a refusal already",
    );
}

/// A stack over a stack is a service over a service: legal, and worth knowing where it is not meant.
#[tokio::test(start_paused = true)]
async fn nested_stacks() {
    let layer = breaker(opens_after(3));
    layer.circuit().force_open();
    let again = retry(at_once());
    let (mut service, wrong) = stack::check(|| {
        let inner = ServiceBuilder::new()
            .layer(&layer)
            .layer(ErrorLayer::new())
            .service(Backend::new([OK]));
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(&again)
            .layer(ErrorLayer::new())
            .service(inner)
    });
    let error = ask(&mut service).await.unwrap_err();
    assert!(matches!(error, Error::Inner(Error::Rejected(_))), "{error:?}");
    assert_eq!(layer.circuit().snapshot().rejected, 3, "a failure like any other");
    assert!(wrong.is_sound(), "{wrong}");

    let (mut service, right) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(&again)
            .layer(&layer)
            .layer(ErrorLayer::new())
            .service(Backend::new([OK]))
    });
    assert_eq!(refused(ask(&mut service).await).reason(), Reason::ForcedOpen);
    assert_eq!(layer.circuit().snapshot().rejected, 4);
    let rule = (Rule::NestedStacks, Severity::Note);
    assert_told(
        &wrong,
        &right,
        rule,
        "an error layer stands over circuit breaker `db` and another one: to the layers over it, refusals \
         further in are failures of a service; where the two are meant to be one stack, leave out the \
         upper one",
    );

    let twice = || ServiceBuilder::new().layer(ErrorLayer::new()).layer(ErrorLayer::new());
    let (_, wrong) = stack::check(|| twice().service(Backend::new([OK])));
    let (_, right) =
        stack::check(|| ServiceBuilder::new().layer(ErrorLayer::new()).service(Backend::new([OK])));
    assert_told(
        &wrong,
        &right,
        rule,
        "an error layer stands over another one: to the layers over it, refusals further in are failures \
         of a service; where the two are meant to be one stack, leave out the upper one",
    );
}

#[tokio::test(start_paused = true)]
async fn catch_panic_over_retry() {
    let catch = || CatchPanicLayer::new(CatchPanicConfig::new("db")).unwrap();
    let backend = Backend::new([PANICS, OK]);
    let (mut service, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(catch())
            .layer(retry(at_once()))
            .layer(ErrorLayer::new())
            .service(backend.clone())
    });
    assert_eq!(refused(ask(&mut service).await).reason(), Reason::Panicked);
    assert_eq!(backend.calls(), 1);

    let backend = Backend::new([PANICS, OK]);
    let (mut service, right) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(retry(at_once()))
            .layer(catch())
            .layer(ErrorLayer::new())
            .service(backend.clone())
    });
    let answer: Result<u32, Error<Down>> = ask(&mut service).await;
    assert_eq!((answer, backend.calls()), (Ok(200), 2));
    assert_told(
        &wrong,
        &right,
        (Rule::CatchPanicOverRetry, Severity::Warning),
        "catch panic `db` stands over retry `db`, through which a panic passes without another attempt; \
         put it right above the error layer",
    );
}
