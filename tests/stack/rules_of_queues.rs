//! The rules about layers that let calls wait.

use std::time::Duration;

use futures_util::future::join_all;
use portcullis::{
    Bulkhead, BulkheadConfig, CircuitBreakerConfig, ErrorLayer, QueuedBulkheadLayer,
    RateLimitConfig, Reason, State, WaitingRateLimitLayer, Waits,
    stack::{self, Rule, Severity},
};
use tower::{ServiceBuilder, ServiceExt};

use crate::{
    backend::{Backend, DOWN, MS, OK, SECOND, ask, refused, timed},
    rules::{assert_told, at_once, breaker, retry, within},
};

/// One call at once, others wait for so long.
fn one(max_wait: Duration) -> QueuedBulkheadLayer {
    QueuedBulkheadLayer::new(BulkheadConfig::new("db", 1).queue(100).max_wait(max_wait)).unwrap()
}

/// Keeps the only slot for so long.
fn hold(slots: &Bulkhead, time: Duration) {
    let busy = slots.try_acquire().unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        drop(busy);
    });
}

#[tokio::test(start_paused = true)]
async fn queue_inside_breaker() {
    let slow = || {
        let config = CircuitBreakerConfig::new("db").slow_calls(100 * MS, 0.5).minimum_calls(5);
        breaker(config.no_failure_rate())
    };
    let backend = || Backend::new([OK.after(60 * MS)]);
    let layer = slow();
    let (service, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(10 * SECOND))
            .layer(&layer)
            .layer(one(SECOND))
            .layer(ErrorLayer::new())
            .service(backend())
    });
    // None is slow by itself, but all but two have waited.
    let answers = join_all((0..10).map(|_| service.clone().oneshot(7))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(layer.circuit().state(), State::Open);

    let layer = slow();
    let (service, right) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(10 * SECOND))
            .layer(one(SECOND))
            .layer(&layer)
            .layer(ErrorLayer::new())
            .service(backend())
    });
    let answers = join_all((0..10).map(|_| service.clone().oneshot(7))).await;
    assert!(answers.iter().all(Result::is_ok));
    let snapshot = layer.circuit().snapshot();
    assert_eq!((snapshot.state, snapshot.calls, snapshot.slow), (State::Closed, 10, 0));
    assert_told(
        &wrong,
        &right,
        (Rule::QueueInsideBreaker, Severity::Warning),
        "bulkhead `db` lets calls wait inside circuit breaker `db`, so that waiting counts as slowness of \
         the service and probes wait in a queue; put it over the breaker",
    );
}

#[tokio::test(start_paused = true)]
async fn queue_inside_retry() {
    // The first call fails once; two others come meanwhile.
    let backend = || Backend::new([DOWN.after(100 * MS), OK.after(100 * MS)]);
    let (service, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(10 * SECOND))
            .layer(retry(at_once()))
            .layer(one(SECOND))
            .layer(ErrorLayer::new())
            .service(backend())
    });
    let calls = (0..3).map(|_| timed(service.clone().oneshot(7)));
    let took: Vec<_> = join_all(calls).await.into_iter().map(|(took, _)| took).collect();
    assert_eq!(took, [400, 200, 300], "its second attempt waits behind those that came later");

    let (service, right) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(10 * SECOND))
            .layer(one(SECOND))
            .layer(retry(at_once()))
            .layer(ErrorLayer::new())
            .service(backend())
    });
    let calls = (0..3).map(|_| timed(service.clone().oneshot(7)));
    let took: Vec<_> = join_all(calls).await.into_iter().map(|(took, _)| took).collect();
    assert_eq!(took, [200, 300, 400], "in the order in which they came");
    assert_told(
        &wrong,
        &right,
        (Rule::QueueInsideRetry, Severity::Warning),
        "bulkhead `db` lets calls wait inside retry `db`: each attempt waits anew and at the end of the \
         queue; put it over the retry",
    );
}

#[tokio::test(start_paused = true)]
async fn queue_outside_timeout() {
    let backend = || Backend::new([OK.after(150 * MS)]);
    let layer = one(100 * MS);
    let (mut service, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(&layer)
            .layer(within(200 * MS))
            .layer(ErrorLayer::new())
            .service(backend())
    });
    hold(layer.bulkhead(), 90 * MS);
    assert_eq!(timed(ask(&mut service)).await, (240, Ok(200)), "longer than the timeout");

    let layer = one(100 * MS);
    let (mut service, right) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(200 * MS))
            .layer(&layer)
            .layer(ErrorLayer::new())
            .service(backend())
    });
    hold(layer.bulkhead(), 90 * MS);
    let (took, answer) = timed(ask(&mut service)).await;
    assert_eq!((took, refused(answer).reason()), (200, Reason::Timeout));
    assert_told(
        &wrong,
        &right,
        (Rule::QueueOutsideTimeout, Severity::Note),
        "bulkhead `db` lets calls wait with no timeout over it: that wait comes on top of every limit \
         further in",
    );
}

#[tokio::test(start_paused = true)]
async fn queue_outlasts_timeout() {
    let mut reports = Vec::new();
    for (wait, took, reason, calls) in
        [(SECOND, 100, Reason::Timeout, 1), (50 * MS, 50, Reason::QueueTimeout, 0)]
    {
        let backend = Backend::new([OK.after(50 * MS)]);
        let layer = one(wait);
        let (mut service, report) = stack::check(|| {
            ServiceBuilder::new()
                .layer(within(100 * MS))
                .layer(&layer)
                .layer(ErrorLayer::new())
                .service(backend.clone())
        });
        hold(layer.bulkhead(), 90 * MS);
        let (waited, answer) = timed(ask(&mut service)).await;
        assert_eq!((waited, refused(answer).reason(), backend.calls()), (took, reason, calls));
        reports.push(report);
    }
    let rule = (Rule::QueueOutlastsTimeout, Severity::Warning);
    assert_told(
        &reports[0],
        &reports[1],
        rule,
        "bulkhead `db` lets a call wait for up to 1s, but timeout `db` ends it after 100ms: a call that \
         waited for that long has no time left to be made; make the wait a fraction of the timeout",
    );

    // As long as the timeout is too long.
    for (wait, outlasts) in [(100 * MS, true), (99 * MS, false)] {
        let stack = ServiceBuilder::new().layer(within(100 * MS)).layer(one(wait));
        let (_, report) = stack::check(|| stack.service(()));
        assert_eq!(report.has(Rule::QueueOutlastsTimeout), outlasts);
    }

    // A limiter that lets calls wait is held to the same, and a wait may be without an end.
    let rate = RateLimitConfig::per_second("db", 10);
    let limit = WaitingRateLimitLayer::new(rate, Waits::up_to(Duration::MAX)).unwrap();
    let (_, wrong) =
        stack::check(|| ServiceBuilder::new().layer(within(SECOND)).layer(limit).service(()));
    assert_told(
        &wrong,
        &reports[1],
        rule,
        "rate limit `db` lets a call wait for up to any time, but timeout `db` ends it after 1s: a call \
         that waited for that long has no time left to be made; make the wait a fraction of the timeout",
    );
}
