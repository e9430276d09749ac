//! The rules about numbers of different layers.

use std::time::Duration;

use portcullis::{
    Backoff, CircuitBreakerConfig, ErrorLayer, HalfOpen, Reason, RetryConfig, State, TimeoutConfig,
    TimeoutLayer,
    stack::{self, Report, Rule, Severity},
};
use tower::ServiceBuilder;

use crate::{
    backend::{Backend, HANGS, MS, OK, SECOND, ask, refused, timed},
    rules::{assert_told, at_once, breaker, retry, within},
};

fn attempt(limit: Duration) -> TimeoutConfig {
    TimeoutConfig::new("attempt", limit)
}

fn timeout(config: TimeoutConfig) -> TimeoutLayer {
    TimeoutLayer::new(config).unwrap()
}

#[tokio::test(start_paused = true)]
async fn timeout_never_fires() {
    async fn first_one_hangs(limit: Duration) -> (u128, Option<Reason>, usize, Report) {
        let backend = Backend::new([HANGS, OK]);
        let (mut service, report) = stack::check(|| {
            ServiceBuilder::new()
                .layer(within(SECOND))
                .layer(retry(at_once()))
                .layer(timeout(attempt(limit)))
                .layer(ErrorLayer::new())
                .service(backend.clone())
        });
        let (took, answer) = timed(ask(&mut service)).await;
        let reason = answer.is_err().then(|| refused(answer).reason());
        (took, reason, backend.calls(), report)
    }
    let (took, reason, calls, wrong) = first_one_hangs(SECOND).await;
    assert_eq!((took, reason, calls), (1_000, Some(Reason::Timeout), 1), "no second attempt");
    let (took, reason, calls, right) = first_one_hangs(300 * MS).await;
    assert_eq!((took, reason, calls), (300, None, 2));
    let rule = (Rule::TimeoutNeverFires, Severity::Error);
    assert_told(
        &wrong,
        &right,
        rule,
        "timeout `attempt` ends a call after 1s, but timeout `db` does so after 1s already: one slow \
         attempt takes all of it, and retry `db` makes no other; make the inner limit shorter",
    );

    // Without a retry, and of several over it, the one that comes first is told of, once.
    let (_, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(5 * SECOND))
            .layer(timeout(TimeoutConfig::new("nearer", 2 * SECOND)))
            .layer(timeout(attempt(9 * SECOND)))
            .service(())
    });
    let (_, right) = stack::check(|| ServiceBuilder::new().layer(within(5 * SECOND)).service(()));
    assert_told(
        &wrong,
        &right,
        rule,
        "timeout `attempt` ends a call after 9s, but timeout `nearer` does so after 2s already: its own \
         limit never comes to bear; make the inner limit shorter",
    );
    // One whose requests say their limit, or that has none, is at nobody's odds.
    let (_, report) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(timeout(attempt(9 * SECOND)).limit_from(|_: &u32| None))
            .layer(timeout(TimeoutConfig::per_request("none")))
            .service(())
    });
    assert!(report.findings.is_empty(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn total_too_short() {
    async fn all_hang(total: Duration) -> (u128, usize, Report) {
        let backend = Backend::new([HANGS]);
        let (mut service, report) = stack::check(|| {
            ServiceBuilder::new()
                .layer(within(total))
                .layer(retry(at_once().backoff(Backoff::constant(50 * MS))))
                .layer(timeout(attempt(400 * MS)))
                .layer(ErrorLayer::new())
                .service(backend.clone())
        });
        let (took, answer) = timed(ask(&mut service)).await;
        assert_eq!(refused(answer).reason(), Reason::Timeout);
        (took, backend.calls(), report)
    }
    let (took, calls, wrong) = all_hang(800 * MS).await;
    assert_eq!((took, calls), (800, 2), "the second is cut short, the third not made");
    let (took, calls, right) = all_hang(1_300 * MS).await;
    assert_eq!((took, calls), (1_300, 3));
    assert_told(
        &wrong,
        &right,
        (Rule::TotalTooShort, Severity::Note),
        "retry `db` may need 1.3s for 3 attempts of 400ms and the delays between them, and timeout `db` \
         ends it after 800ms: if all attempts are slow, the last ones are cut short or not made",
    );
    // Where nothing limits the attempts, the timeout is what is meant to.
    let (_, report) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(retry(RetryConfig::new("db").unlimited_attempts()))
            .layer(timeout(attempt(400 * MS)))
            .service(())
    });
    assert!(report.findings.is_empty(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn minimum_never_left() {
    async fn wants(least: Duration) -> (bool, Report) {
        let (mut service, report) = stack::check(|| {
            ServiceBuilder::new()
                .layer(within(SECOND))
                .layer(timeout(TimeoutConfig::per_request("attempt").min_remaining(least)))
                .layer(ErrorLayer::new())
                .service(Backend::new([OK]))
        });
        let answer = ask(&mut service).await;
        let refused = answer.is_err();
        if refused {
            assert_eq!(crate::backend::refused(answer).reason(), Reason::DeadlineTooShort);
        }
        (refused, report)
    }
    let (is_refused, wrong) = wants(1_001 * MS).await;
    assert!(is_refused, "as is every other call");
    let (is_refused, right) = wants(500 * MS).await;
    assert!(!is_refused);
    let sentence = "timeout `attempt` wants at least 1.1s left, but timeout `db` never leaves as much of \
                    its 1s: every call is refused";
    let rule = (Rule::MinimumNeverLeft, Severity::Error);
    assert_told(&wrong, &right, rule, sentence);
    // Time goes by between the two, if only on a clock that is not paused.
    let (_, same) = wants(SECOND).await;
    assert_told(&same, &right, rule, &sentence.replace("1.1s", "1s"));
}

fn probing(lease: Duration) -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("db").half_open(HalfOpen::counts(1, 1)).probe_lease(lease)
}

#[tokio::test(start_paused = true)]
async fn lease_before_timeout() {
    async fn probe(lease: Duration) -> (State, Report) {
        let layer = breaker(probing(lease));
        let (mut service, report) = stack::check(|| {
            ServiceBuilder::new()
                .layer(&layer)
                .layer(timeout(attempt(5 * SECOND)))
                .layer(ErrorLayer::new())
                .service(Backend::new([OK.after(2 * SECOND)]))
        });
        layer.circuit().half_open();
        assert_eq!(ask(&mut service).await, Ok(200), "the service answers in time");
        (layer.circuit().state(), report)
    }
    let (state, wrong) = probe(SECOND).await;
    assert_eq!(state, State::Open);
    let (state, right) = probe(6 * SECOND).await;
    assert_eq!(state, State::Closed);
    let rule = (Rule::LeaseBeforeTimeout, Severity::Warning);
    assert_told(
        &wrong,
        &right,
        rule,
        "circuit breaker `db` gives up on a probe after 1s, but timeout `attempt` waits 5s for it: a probe \
         that answers in time reopens the circuit; make the lease longer than the timeout",
    );
    // Of several timeouts, over it and inside, the one that comes first says how long a probe may take.
    let among = |lease| {
        let stack = ServiceBuilder::new()
            .layer(within(60 * SECOND))
            .layer(breaker(probing(lease)))
            .layer(timeout(attempt(5 * SECOND)));
        stack::check(|| stack.service(())).1
    };
    assert!(among(5 * SECOND).findings.is_empty());
    assert!(among(4 * SECOND).has(Rule::LeaseBeforeTimeout));
}

#[tokio::test(start_paused = true)]
async fn slow_limit_never_reached() {
    async fn all_are_slow(slow: Duration) -> (u64, State, Report) {
        let config = CircuitBreakerConfig::new("db").no_failure_rate();
        let layer = breaker(config.slow_calls(slow, 0.5).minimum_calls(3));
        let (mut service, report) = stack::check(|| {
            ServiceBuilder::new()
                .layer(&layer)
                .layer(timeout(attempt(SECOND)))
                .layer(ErrorLayer::new())
                .service(Backend::new([HANGS]))
        });
        for _ in 0..5 {
            ask(&mut service).await.unwrap_err();
        }
        (layer.circuit().snapshot().slow, layer.circuit().state(), report)
    }
    let (slow, state, wrong) = all_are_slow(SECOND).await;
    assert_eq!((slow, state), (0, State::Closed));
    let (_, state, right) = all_are_slow(500 * MS).await;
    assert_eq!(state, State::Open);
    let sentence = "circuit breaker `db` takes a call for slow after 1s, but timeout `attempt` ends it after \
                    1s: no call is ever slow; make the limit for slow calls shorter than the timeout";
    let rule = (Rule::SlowLimitNeverReached, Severity::Error);
    assert_told(&wrong, &right, rule, sentence);

    // A timeout over the breaker cuts calls as well; where slowness counts for nothing, no matter.
    let over = |config: CircuitBreakerConfig| {
        let stack = ServiceBuilder::new().layer(timeout(attempt(SECOND))).layer(breaker(config));
        stack::check(|| stack.service(())).1
    };
    let config = CircuitBreakerConfig::new("db");
    assert_told(&over(config.clone().hung_calls(SECOND)), &right, rule, sentence);
    assert!(over(config.slow_call_after(SECOND)).findings.is_empty());
}
