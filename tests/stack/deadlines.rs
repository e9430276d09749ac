//! One total timeout over a whole stack: every wait below sees its deadline, refuses as early as it can
//! know, and leaves the last real error of the service standing.

use std::time::Duration;

use portcullis::{
    Backoff, Classify, Error, FallbackConfig, FallbackLayer, Hint, Outcome, PolicyKind,
    QueuedBulkheadLayer, RateLimitConfig, Reason, Rejection, RetryConfig, RetryEnd, TimeoutConfig,
    WaitingRateLimitLayer, Waits, deadline, stack,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{
    backend::{Backend, DOWN, Down, HANGS, MS, OK, SECOND, ask, failed, refused, timed},
    full::{Answers, Full, config, patient},
    rules::{at_once, retry, within},
    support::{Answer, Ask, Fault, Readiness, strict},
};

/// Everything waits, and all of it has a second.
fn hurried() -> Full<impl Answers<Error<Down>>> {
    let full = patient(Error::Inner);
    full.total.reconfigure(TimeoutConfig::new("db", SECOND)).unwrap();
    full
}

impl<S> Full<S> {
    /// The next token comes after so long.
    fn token_after(&self, wait: Duration) {
        let rate = RateLimitConfig::new("db", 1, wait).burst(1);
        self.limiter.reconfigure(rate).unwrap();
        self.limiter.reset();
        self.limiter.try_acquire().unwrap();
    }
}

fn who(rejection: &Rejection) -> (&'static str, PolicyKind, Reason) {
    (rejection.policy(), rejection.kind(), rejection.reason())
}

#[tokio::test(start_paused = true)]
async fn a_token_that_comes_too_late_is_not_waited_for() {
    for wait in [SECOND, 2 * SECOND] {
        let mut full = hurried();
        full.token_after(wait);
        let (took, answer) = timed(ask(&mut full.service)).await;
        let refusal = refused(answer);
        assert_eq!(who(&refusal), ("db", PolicyKind::RateLimit, Reason::DeadlineTooShort));
        assert_eq!((refusal.retry_after(), refusal.attempted()), (Some(wait), false));
        assert_eq!((took, full.backend.calls(), full.limiter.snapshot().queued), (0, 0, 0));
    }
    // One that comes in time is, and one that no patience would wait for is refused for that reason.
    let mut full = hurried();
    full.token_after(999 * MS);
    assert_eq!(timed(ask(&mut full.service)).await, (999, Ok(200)));
    full.token_after(4 * SECOND);
    let (took, answer) = timed(ask(&mut full.service)).await;
    assert_eq!((took, refused(answer).reason()), (0, Reason::RateLimited));
    // It is the deadline that does it: without one, all of it is waited for.
    full.total.disable();
    full.token_after(2 * SECOND);
    assert_eq!(timed(ask(&mut full.service)).await, (2_000, Ok(200)));
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_room_ends_at_the_deadline_and_says_that_nothing_was_attempted() {
    let mut full = hurried();
    let _busy = full.slots.try_acquire().unwrap();
    let (took, answer) = timed(ask(&mut full.service)).await;
    let refusal = refused(answer);
    assert_eq!(who(&refusal), ("db", PolicyKind::Bulkhead, Reason::DeadlineTooShort));
    assert_eq!((took, refusal.attempted(), full.backend.calls()), (1_000, false, 0));
    assert_eq!((full.slots.queued(), full.circuit.snapshot().calls), (0, 0));
    assert_eq!(full.total.snapshot().timed_out, 0, "whoever waited knows better what happened");
}

/// All of them share one second: what one has used up, the next has no more.
#[tokio::test(start_paused = true)]
async fn waits_one_after_the_other_share_one_deadline() {
    let full = hurried();
    full.token_after(600 * MS);
    let busy = full.slots.try_acquire().unwrap();
    let mut service = full.service.clone();
    let call = tokio::spawn(async move { timed(ask(&mut service)).await });
    tokio::time::sleep(900 * MS).await;
    assert_eq!((full.slots.queued(), full.limiter.snapshot().queued), (1, 0));
    full.backend.script([HANGS]);
    drop(busy);
    // A tenth of a second is left for the attempt, however long its own limit.
    let (took, answer) = call.await.unwrap();
    let refusal = refused(answer);
    assert_eq!(who(&refusal), ("db.attempt", PolicyKind::Timeout, Reason::Timeout));
    assert_eq!((took, refusal.attempted(), full.backend.times()), (1_000, true, vec![900]));
    assert_eq!(full.circuit.snapshot().failures, 1);
}

#[tokio::test(start_paused = true)]
async fn a_back_off_that_ends_too_late_is_not_begun() {
    for wait in [SECOND, 20 * SECOND] {
        let mut full = hurried();
        let mut config = full.policy.config();
        config.backoff = Backoff::constant(wait);
        full.policy.reconfigure(config).unwrap();
        full.backend.script([DOWN]);
        let (took, answer) = timed(ask(&mut full.service)).await;
        assert_eq!((took, answer), (0, Err(Error::Inner(failed("down")))));
        assert_eq!((full.backend.calls(), full.budget.balance()), (1, 100));
        assert_eq!(full.policy.snapshot().ends.of(RetryEnd::Deadline), 1);
    }
}

/// Says when to come back.
#[derive(Clone)]
struct ComeBack(Duration);

impl Classify<u32, Error<Down>> for ComeBack {
    fn classify(&self, result: &Result<u32, Error<Down>>) -> Outcome {
        if result.is_ok() { Outcome::Success } else { Outcome::Failure }
    }

    fn hint(&self, _: &Result<u32, Error<Down>>) -> Option<Hint> {
        Some(Hint::After(self.0))
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_ends_too_late_is_not_followed() {
    for (hint, took, calls) in [(SECOND, 0, 1), (400 * MS, 800, 3), (600 * MS, 600, 2)] {
        let backend = Backend::new([DOWN]);
        let client = config().total_timeout(SECOND).attempt_timeout(900 * MS).build().unwrap();
        let mut service =
            client.map_retry(|retry| retry.classify_with(ComeBack(hint))).layer(backend.clone());
        let answer = timed(ask(&mut service)).await;
        assert_eq!(answer, (took, Err(Error::Inner(failed("down")))));
        assert_eq!(backend.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_has_too_little_time_is_not_begun() {
    let mut full = hurried();
    let limit = full.attempt.config().min_remaining(500 * MS);
    full.attempt.reconfigure(limit).unwrap();
    full.backend.script([DOWN.after(600 * MS)]);
    // After the back-off, at 700 ms, 300 are left.
    let (took, answer) = timed(ask(&mut full.service)).await;
    assert_eq!((took, answer), (700, Err(Error::Inner(failed("down")))), "the last real error");
    assert_eq!((full.backend.calls(), full.circuit.snapshot().calls), (1, 1));
    assert_eq!(full.budget.balance(), 100, "nothing is paid for an attempt that is refused");
    assert_eq!(full.attempt.snapshot().refused, 1);

    // At the beginning there is no error yet to give.
    full.attempt.reconfigure(full.attempt.config().min_remaining(1_001 * MS)).unwrap();
    let (took, answer) = timed(ask(&mut full.service)).await;
    let refusal = refused(answer);
    assert_eq!(who(&refusal), ("db.attempt", PolicyKind::Timeout, Reason::DeadlineTooShort));
    assert_eq!((took, refusal.attempted(), full.backend.calls()), (0, false, 1));
}

/// Where something inside the retry waits, the error of the attempt before is the answer in its place.
#[tokio::test(start_paused = true)]
async fn the_last_real_error_outlives_a_wait_inside_the_retry() {
    let rate = RateLimitConfig::new("db", 1, 5 * SECOND).burst(1);
    let limit = WaitingRateLimitLayer::new(rate, Waits::up_to(9 * SECOND)).unwrap();
    let backend = Backend::new([DOWN]);
    let client = || config().total_timeout(SECOND).attempt_timeout(900 * MS).build().unwrap();
    let mut service = client().with_circuit_breaker(limit).layer(backend.clone());
    let (took, answer) = timed(ask(&mut service)).await;
    assert_eq!((took, answer), (100, Err(Error::Inner(failed("down")))), "refused at once");
    assert_eq!(backend.calls(), 1);

    let slots = portcullis::BulkheadConfig::new("db", 1).queue(1).max_wait(9 * SECOND);
    let layer = QueuedBulkheadLayer::new(slots).unwrap();
    let slots = layer.bulkhead().clone();
    let backend = Backend::new([DOWN]);
    let mut service = client().with_circuit_breaker(layer).layer(backend.clone());
    let call = tokio::spawn(async move { timed(ask(&mut service)).await });
    tokio::time::sleep(50 * MS).await;
    // Somebody else has come in between two attempts, and stays.
    let _busy = slots.try_acquire().unwrap();
    let (took, answer) = call.await.unwrap();
    assert_eq!((took, answer), (1_000, Err(Error::Inner(failed("down")))));
    assert_eq!((backend.calls(), slots.queued()), (1, 0));
}

/// The service does not become ready for the second attempt: the timeout polls once more, and the retry then
/// gives the error of the first.
#[tokio::test(start_paused = true)]
async fn the_last_real_error_outlives_a_service_that_is_not_ready_again() {
    let (service, probe) = strict();
    let client = config().total_timeout(SECOND).attempt_timeout(900 * MS).build().unwrap();
    let budget = client.retry().policy().budget().unwrap().clone();
    let limit = client.total_timeout().time_limit().clone();
    let mut service = client
        .without_error()
        .map_retry(|retry| retry.replay(|Ask(key): &Ask| Some(Ask(*key))))
        .layer(service);
    probe.answer(Answer::FAULT);
    let call = service.ready().await.unwrap().call(Ask(0));
    probe.readiness(Readiness::Never);
    assert_eq!(timed(call).await, (1_000, Err(Error::Inner(Fault("fault")))));
    assert_eq!((probe.calls(), probe.reserved(), budget.balance()), (1, 0, 100));
    assert_eq!(limit.snapshot().timed_out, 0);
}

/// An attempt that runs at the deadline is cut there, and that is how the call ended: by whatever stands
/// nearest to the service.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_runs_at_the_deadline_is_cut_there_and_the_last_real_error_answers() {
    for innermost in [true, false] {
        let mut full = hurried();
        if !innermost {
            full.attempt.disable();
        }
        full.backend.script([DOWN, HANGS]);
        let (took, answer) = timed(ask(&mut full.service)).await;
        assert_eq!(answer, Err(Error::Inner(failed("down"))));
        assert_eq!((took, full.backend.calls()), (1_000, 2));
        assert_eq!((full.backend.live(), full.circuit.snapshot().failures), (0, 2));
        // The first attempt, which left no error before it, is answered by the timeout.
        full.backend.script([HANGS]);
        let (took, answer) = timed(ask(&mut full.service)).await;
        assert_eq!((took, refused(answer).reason()), (1_000, Reason::Timeout));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_there_at_the_deadline_wins_through_all_layers() {
    let mut full = hurried();
    full.backend.script([OK.after(SECOND)]);
    assert_eq!(timed(ask(&mut full.service)).await, (1_000, Ok(200)));
    full.backend.script([OK.after(SECOND + MS)]);
    let (took, answer) = timed(ask(&mut full.service)).await;
    assert_eq!((took, refused(answer).reason()), (1_000, Reason::Timeout));
    // An error of that moment as well, though there is no time to try again.
    full.backend.script([DOWN.after(SECOND)]);
    assert_eq!(timed(ask(&mut full.service)).await, (1_000, Err(Error::Inner(failed("down")))));
}

/// A client inside a server: the waits of the one see the deadline of the other, which is nearer.
#[tokio::test(start_paused = true)]
async fn nested_stacks_see_the_nearest_deadline() {
    let inner = patient(Error::Inner);
    let server = stack::server("api").timeout(SECOND).build().unwrap();
    let client = inner.service.clone();
    let mut server = server.layer(service_fn(move |key: u32| client.clone().oneshot(key)));
    inner.token_after(2 * SECOND);
    let (took, answer) = timed(ask(&mut server)).await;
    let Err(Error::Inner(refusal)) = answer else { panic!("the client refuses: {answer:?}") };
    let refusal = refused(Err::<(), _>(refusal));
    assert_eq!(who(&refusal), ("db", PolicyKind::RateLimit, Reason::DeadlineTooShort));
    assert_eq!((took, inner.backend.calls()), (0, 0));

    // The back-off as well, and the attempt is cut where the server's time ends.
    inner.limiter.disable();
    inner.policy.reconfigure(every(SECOND, &inner.policy.config())).unwrap();
    inner.backend.script([DOWN]);
    let (took, answer) = timed(ask(&mut server)).await;
    assert_eq!((took, answer), (0, Err(Error::Inner(Error::Inner(failed("down"))))));
    inner.backend.script([HANGS]);
    let (took, answer) = timed(ask(&mut server)).await;
    let Err(Error::Inner(refusal)) = answer else { panic!("the client refuses: {answer:?}") };
    assert_eq!((took, refused(Err::<(), _>(refusal)).policy()), (1_000, "db.attempt"));

    // Called by itself the client has its own ten seconds.
    inner.policy.disable();
    let (took, answer) = timed(ask(&mut inner.service.clone())).await;
    assert_eq!((took, refused(answer).policy()), (2_000, "db.attempt"));
}

fn every(delay: Duration, config: &RetryConfig) -> RetryConfig {
    config.clone().backoff(Backoff::constant(delay))
}

/// A spawned task knows no deadline, unless it is taken along.
#[tokio::test(start_paused = true)]
async fn a_deadline_goes_along_to_a_spawned_task_only_if_carried() {
    let client = patient(Error::Inner);
    let handler = |carried: bool| {
        let client = client.service.clone();
        deadline::within(SECOND, async move {
            let call = client.oneshot(7);
            if carried {
                tokio::spawn(deadline::carry(call)).await.unwrap()
            } else {
                tokio::spawn(call).await.unwrap()
            }
        })
    };
    client.token_after(2 * SECOND);
    let (took, answer) = timed(handler(true)).await;
    assert_eq!((took, refused(answer).reason()), (0, Reason::DeadlineTooShort));
    assert_eq!(timed(handler(false)).await, (2_000, Ok(200)));
}

/// Work that several callers share does not end with the first of them.
#[tokio::test(start_paused = true)]
async fn a_cleared_deadline_lets_shared_work_go_on() {
    let mut client = patient(Error::Inner);
    client.token_after(2 * SECOND);
    let shared = deadline::within(SECOND, async {
        deadline::clear(async { ask(&mut client.service).await }).await
    });
    assert_eq!(timed(shared).await, (2_000, Ok(200)));
    // What stands below still has its own limits.
    client.limiter.disable();
    client.backend.script([HANGS]);
    client.policy.disable();
    let shared = deadline::within(SECOND, async {
        deadline::clear(async { ask(&mut client.service).await }).await
    });
    let (took, answer) = timed(shared).await;
    assert_eq!((took, refused(answer).policy()), (2_000, "db.attempt"));
}

/// The fallback stands over the timeout: what answers in the end has a time of its own.
#[tokio::test(start_paused = true)]
async fn a_fallback_is_not_bound_by_the_deadline_that_has_passed() {
    let backup = service_fn(|_: u32| async {
        assert_eq!(deadline::current(), None);
        tokio::time::sleep(SECOND).await;
        Ok::<u32, Error<Down>>(1)
    });
    let config = FallbackConfig::new("db");
    let mut service = stack::client("db")
        .total_timeout(SECOND)
        .build()
        .unwrap()
        .without_attempt_timeout()
        .with_fallback(FallbackLayer::service(config, backup, u32::clone).unwrap())
        .layer(Backend::new([HANGS]));
    let (took, answer): (u128, Result<u32, Error<Down>>) = timed(ask(&mut service)).await;
    assert_eq!((took, answer), (2_000, Ok(1)));
}

/// Under one deadline a retry makes as many attempts as there is time for, and ends with a real error.
#[tokio::test(start_paused = true)]
async fn attempts_without_a_limit_end_at_the_deadline() {
    let backend = Backend::new([DOWN.after(10 * MS)]);
    let config = at_once().unlimited_attempts().no_budget();
    let mut service = ServiceBuilder::new()
        .layer(within(SECOND))
        .layer(retry(config.backoff(Backoff::constant(90 * MS))))
        .layer(portcullis::ErrorLayer::new())
        .service(backend.clone());
    let (took, answer) = timed(ask(&mut service)).await;
    assert_eq!((took, answer), (910, Err(Error::Inner(failed("down")))));
    assert_eq!(backend.calls(), 10);
}
