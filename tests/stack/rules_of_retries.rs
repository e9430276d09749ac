//! The rules about retries: time, budget, refusals, nesting.

use portcullis::{
    Backoff, BudgetConfig, ErrorLayer, HintMode, Hints, Reason, RetryConfig, RetryEnd,
    stack::{self, Rule, Severity},
};
use tower::ServiceBuilder;

use crate::{
    backend::{Backend, DOWN, MS, OK, SECOND, ask, failed, refused, timed},
    rules::{assert_told, at_once, breaker, opens_after, retry, within},
};

fn every_second() -> RetryConfig {
    at_once().backoff(Backoff::constant(SECOND))
}

#[tokio::test(start_paused = true)]
async fn retry_without_total_timeout() {
    let backend = || Backend::new([DOWN.after(SECOND)]);
    let (mut service, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(retry(every_second()))
            .layer(ErrorLayer::new())
            .service(backend())
    });
    let (took, answer) = timed(ask(&mut service)).await;
    assert_eq!((took, answer.unwrap_err().into_inner()), (5_000, Some(failed("down"))));

    let (mut service, right) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(3_500 * MS))
            .layer(retry(every_second()))
            .layer(ErrorLayer::new())
            .service(backend())
    });
    // The second delay could not be used, so it was not begun.
    let (took, answer) = timed(ask(&mut service)).await;
    assert_eq!((took, answer.unwrap_err().into_inner()), (3_000, Some(failed("down"))));

    let rule = (Rule::RetryWithoutTotalTimeout, Severity::Warning);
    assert_told(
        &wrong,
        &right,
        rule,
        "retry `db` has no timeout over it: its attempts and the delays between them take as long as they \
         take, and the service may ask for 60s between two of them; put a timeout for the whole call over \
         the retry",
    );

    let hints = Hints::default().mode(HintMode::Within(SECOND));
    let (_, wrong) = stack::check(|| {
        ServiceBuilder::new().layer(retry(every_second().hints(hints))).service(())
    });
    let (_, right) = stack::check(|| {
        ServiceBuilder::new().layer(within(3_500 * MS)).layer(retry(at_once())).service(())
    });
    assert_told(
        &wrong,
        &right,
        rule,
        "retry `db` has no timeout over it: its attempts and the delays between them take as long as they \
         take; put a timeout for the whole call over the retry",
    );
    // What makes one attempt needs none.
    let (_, once) = stack::check(|| {
        ServiceBuilder::new().layer(retry(at_once().attempts(1).no_budget())).service(())
    });
    assert!(once.findings.is_empty(), "{once}");
}

#[tokio::test(start_paused = true)]
async fn retry_without_budget() {
    async fn outage(config: RetryConfig) -> (usize, stack::Report) {
        let backend = Backend::new([DOWN]);
        let (mut service, report) = stack::check(|| {
            ServiceBuilder::new()
                .layer(within(SECOND))
                .layer(retry(config))
                .layer(ErrorLayer::new())
                .service(backend.clone())
        });
        for _ in 0..1_000 {
            ask(&mut service).await.unwrap_err();
        }
        (backend.calls(), report)
    }
    let (calls, wrong) = outage(at_once().no_budget()).await;
    assert_eq!(calls, 3_000, "three times the load while the service is down");
    let (calls, right) = outage(at_once().budget(BudgetConfig::new(0.2).per_second(0.0))).await;
    assert_eq!(calls, 1_200);
    let rule = (Rule::RetryWithoutBudget, Severity::Warning);
    assert_told(
        &wrong,
        &right,
        rule,
        "retry `db` has no budget: while the service is down, every call becomes 3 calls; give it one",
    );
    let unlimited = at_once().no_budget().unlimited_attempts();
    let (_, wrong) = stack::check(|| {
        ServiceBuilder::new().layer(within(SECOND)).layer(retry(unlimited)).service(())
    });
    assert_told(
        &wrong,
        &right,
        rule,
        "retry `db` has no budget: while the service is down, every call becomes as many calls as there \
         is time for; give it one",
    );
}

#[tokio::test(start_paused = true)]
async fn retry_of_refusals() {
    let mut reports = Vec::new();
    for (again, took, refusals) in [(true, 2_000, 3), (false, 0, 1)] {
        let backend = Backend::new([OK]);
        let layer = breaker(opens_after(3));
        layer.circuit().force_open();
        let (mut service, report) = stack::check(|| {
            ServiceBuilder::new()
                .layer(within(10 * SECOND))
                .layer(retry(every_second().retry_refusals(again)))
                .layer(&layer)
                .layer(ErrorLayer::new())
                .service(backend.clone())
        });
        let (waited, answer) = timed(ask(&mut service)).await;
        assert_eq!((waited, refused(answer).reason()), (took, Reason::ForcedOpen));
        assert_eq!((layer.circuit().snapshot().rejected, backend.calls()), (refusals, 0));
        reports.push(report);
    }
    assert_told(
        &reports[0],
        &reports[1],
        (Rule::RetryOfRefusals, Severity::Warning),
        "retry `db` tries refusals of circuit breaker `db` again: its caller waits, and attempts are used \
         up, for calls that do not reach the service; leave refusals alone unless they end soon",
    );
    // Without anybody below that refuses there is nothing to say.
    let (_, report) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(retry(at_once().retry_refusals(true)))
            .service(())
    });
    assert!(report.findings.is_empty(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn nested_retries() {
    let one = stack::check(|| {
        ServiceBuilder::new().layer(within(SECOND)).layer(retry(at_once())).service(())
    });
    for (nested, calls, what) in [
        (false, 3, "the inner one makes one attempt per attempt of the outer one"),
        (true, 9, "their attempts multiply"),
    ] {
        let backend = Backend::new([DOWN]);
        let inner = retry(at_once().name("inner").nested(nested));
        let (mut service, report) = stack::check(|| {
            ServiceBuilder::new()
                .layer(within(SECOND))
                .layer(retry(at_once()))
                .layer(&inner)
                .layer(ErrorLayer::new())
                .service(backend.clone())
        });
        ask(&mut service).await.unwrap_err();
        assert_eq!((backend.calls(), report.amplification.worst), (calls, calls as u64));
        let ends = inner.policy().snapshot().ends;
        assert_eq!(ends.of(RetryEnd::Nested), if nested { 0 } else { 3 }, "the inner one is idle");
        assert_told(
            &report,
            &one.1,
            (Rule::NestedRetries, Severity::Note),
            &format!("retry `inner` stands inside retry `db`: {what}; one retry is enough"),
        );
    }
    // Neither is one that makes a single attempt a retry that another could stand inside.
    let backend = Backend::new([DOWN, OK]);
    let (mut service, report) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(retry(at_once().attempts(1)))
            .layer(retry(at_once()))
            .layer(ErrorLayer::new())
            .service(backend.clone())
    });
    assert_eq!((ask(&mut service).await, backend.calls()), (Ok(200), 2));
    assert!(report.findings.is_empty() && report.amplification.worst == 3, "{report}");
}
