//! What callers and the service see of a retry.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use portcullis::{
    Backoff, BudgetConfig, Error, Event, Hint, HintMode, Hints, Jitter, Outcome, RetryConfig,
    RetryEnd, RetryLayer, RetryPolicy,
    retry::{self, Replay},
};
use tower::{Layer, Service, ServiceExt};

use crate::{
    script::{Answer, Ask, Down, Scripted, ask, down, ends, ms, ok, times},
    support::Told,
};

/// Exact delays: 100, 200, 400 … ms.
pub(crate) fn exact(name: &'static str) -> RetryConfig {
    RetryConfig::new(name).backoff(Backoff::exponential(ms(100), 2.0).jitter(Jitter::None))
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_not_seen() {
    let told = Told::default();
    let service = Scripted::new([down("first"), down("second"), ok(200)]);
    let layer = RetryLayer::with(exact("db"), told.options()).unwrap();
    let mut retry = layer.layer(service.probe());
    assert_eq!(ask(&mut retry).await, Ok(200));
    assert_eq!(times(&service), [0, 100, 300]);
    let attempts: Vec<_> = service.seen().iter().map(|seen| seen.attempt).collect();
    assert_eq!(attempts, [Some(1), Some(2), Some(3)]);
    assert_eq!(retry::attempt(), None);
    assert_eq!(
        told.take(),
        [
            Event::Retrying { policy: "db", attempt: 2, delay: ms(100) },
            Event::Retrying { policy: "db", attempt: 3, delay: ms(200) },
            Event::RetryEnded { policy: "db", attempts: 3, end: RetryEnd::Success },
        ]
    );
    let snapshot = layer.policy().snapshot();
    assert_eq!((snapshot.calls, snapshot.attempts), (1, 3));
    assert_eq!((snapshot.first_try_successes, snapshot.retried_successes), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_first_success_costs_one_clone_of_each_and_nothing_else() {
    let service = Scripted::new([ok(200)]);
    let mut retry = RetryLayer::new(exact("db")).unwrap().layer(service.probe());
    let (request, clones) = Ask::counted();
    assert_eq!(retry.ready().await.unwrap().call(request).await, Ok(200));
    assert_eq!((*clones.lock().unwrap(), service.clones(), service.calls()), (1, 1, 1));
    assert_eq!(retry.policy().snapshot().first_try_successes, 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_error_is_the_answer_when_attempts_run_out() {
    let told = Told::default();
    let service = Scripted::new([down("first"), down("second"), down("third")]);
    let mut retry = RetryLayer::with(exact("db"), told.options()).unwrap().layer(service.probe());
    assert_eq!(ask(&mut retry).await, Err(Error::Inner(Down("third"))));
    assert_eq!(ends(&told), [(3, RetryEnd::AttemptsExhausted)]);
}

#[tokio::test(start_paused = true)]
async fn responses_can_be_failures_and_the_last_one_is_the_answer() {
    let service = Scripted::new([ok(503), ok(500), ok(502)]);
    let layer = RetryLayer::new(exact("db")).unwrap().classify_with(service.classifier());
    let mut retry = layer.layer(service.probe());
    assert_eq!(ask(&mut retry).await, Ok(502));
    assert_eq!(service.calls(), 3);
    // What says nothing about the service is not worth another attempt.
    let service = Scripted::new([ok(404)]);
    let layer = layer.classify_with(service.classifier());
    assert_eq!(ask(&mut layer.layer(service.probe())).await, Ok(404));
    assert_eq!(service.calls(), 1);
    let ends = layer.policy().snapshot().ends;
    assert_eq!((ends.of(RetryEnd::AttemptsExhausted), ends.of(RetryEnd::NotRetryable)), (1, 1));
}

/// A failed response may pin a connection, so it is gone before the wait begins.
#[tokio::test(start_paused = true)]
async fn a_failed_response_is_dropped_before_the_wait() {
    let pinned = Arc::new(());
    let policy = RetryPolicy::new(exact("db")).unwrap();
    let body = pinned.clone();
    let judge = |result: &Result<Arc<()>, Error<()>>| match result {
        Ok(_) => Outcome::Failure,
        Err(_) => Outcome::Ignored,
    };
    let call = policy.run_classified(judge, move || {
        let body = body.clone();
        async move { Ok(body) }
    });
    let mut call = Box::pin(call);
    let caller = crate::support::Caller::new();
    assert!(caller.poll(&mut call).is_pending());
    // The test's, and the closure's.
    assert_eq!(Arc::strong_count(&pinned), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_replayable_has_one_attempt_and_is_no_error() {
    let told = Told::default();
    let service = Scripted::new([down("first"), ok(200)]);
    let layer = RetryLayer::with(exact("db"), told.options()).unwrap().replay(|_: &Ask| None);
    let mut retry = layer.layer(service.probe());
    assert_eq!(ask(&mut retry).await, Err(Error::Inner(Down("first"))));
    assert_eq!(ask(&mut retry).await, Ok(200));
    assert_eq!(ends(&told), [(1, RetryEnd::NotReplayable), (1, RetryEnd::Success)]);
    assert_eq!(service.clones(), 0, "no service for an attempt that cannot be");
}

/// The hook is asked before each attempt that may have another after it, and may change its mind.
#[tokio::test(start_paused = true)]
async fn a_request_that_stops_being_replayable_is_not_sent_again() {
    let told = Told::default();
    let left = Arc::new(std::sync::Mutex::new(1));
    let hook = move |ask: &Ask| {
        let mut left = left.lock().unwrap();
        (*left > 0).then(|| {
            *left -= 1;
            ask.clone()
        })
    };
    let service = Scripted::new([down("first"), down("second"), ok(200)]);
    let layer = RetryLayer::with(exact("db"), told.options()).unwrap().replay(hook);
    let answer = ask(&mut layer.layer(service.probe())).await;
    assert_eq!(answer, Err(Error::Inner(Down("second"))));
    assert_eq!(ends(&told), [(2, RetryEnd::NotReplayable)]);
}

/// A hook whose requests may turn out to be used up by the attempt before them.
#[derive(Clone, Debug, Default)]
struct UsedUp {
    /// Whether each request in turn can still be sent.
    answers: Arc<std::sync::Mutex<VecDeque<bool>>>,
    asked: Arc<std::sync::Mutex<Vec<&'static str>>>,
}

impl Replay<Ask> for UsedUp {
    fn replay(&self, ask: &Ask) -> Option<Ask> {
        self.asked.lock().unwrap().push("replay");
        Some(ask.clone())
    }

    fn take_over(&self, _: &Ask) -> bool {
        self.asked.lock().unwrap().push("take over");
        self.answers.lock().unwrap().pop_front().unwrap()
    }
}

impl UsedUp {
    fn new(answers: impl IntoIterator<Item = bool>) -> Self {
        Self {
            answers: Arc::new(answers.into_iter().collect::<VecDeque<_>>().into()),
            ..Self::default()
        }
    }

    fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// What an attempt leaves of a request is known when it is over: the budget gets its token back, nothing
/// is told of an attempt that is not made, and the answer is the attempt's own.
#[tokio::test(start_paused = true)]
async fn a_request_that_an_attempt_has_used_up_is_not_sent_again() {
    let told = Told::default();
    let hook = UsedUp::new([true, false]);
    let service = Scripted::new([down("first"), down("second"), ok(200)]);
    let config =
        exact("db").attempts(4).budget(BudgetConfig::new(1.0).per_second(0.0).ttl(ms(600_000)));
    let layer = RetryLayer::with(config, told.options()).unwrap().replay_with(hook.clone());
    let budget = layer.policy().budget().unwrap().clone();
    (0..4).for_each(|_| budget.record_call());
    let mut retry = layer.layer(service.probe());
    let mut call = Box::pin(ask(&mut retry));
    let caller = crate::support::Caller::new();
    assert!(caller.poll(&mut call).is_pending());
    assert_eq!(hook.asked(), ["replay", "take over"], "before the wait");
    assert_eq!(call.await, Err(Error::Inner(Down("second"))));
    assert_eq!(hook.asked(), ["replay", "take over"]);
    assert_eq!(
        told.take(),
        [
            Event::Retrying { policy: "db", attempt: 2, delay: ms(100) },
            Event::RetryEnded { policy: "db", attempts: 2, end: RetryEnd::NotReplayable },
        ]
    );
    assert_eq!(budget.balance(), 4 + 1 - 1);
}

/// It is asked last: where anything else ends the call, the attempt keeps what it has.
#[tokio::test(start_paused = true)]
async fn a_request_is_taken_over_only_where_another_attempt_follows() {
    let none = BudgetConfig::new(0.000_1).per_second(0.0);
    let cases = [
        (exact("db").budget(none), down("down"), RetryEnd::BudgetExhausted),
        (exact("db"), down("down").hinting(Hint::Stop), RetryEnd::ToldToStop),
        (exact("db"), down("down").hinting(Hint::After(ms(60_001))), RetryEnd::HintTooLong),
        (exact("db"), ok(404), RetryEnd::NotRetryable),
    ];
    for (config, answer, end) in cases {
        let told = Told::default();
        let hook = UsedUp::default();
        let service = Scripted::new([answer]);
        let layer = RetryLayer::with(config, told.options()).unwrap().replay_with(hook.clone());
        let mut retry = layer.classify_with(service.classifier()).layer(service.probe());
        let _ = ask(&mut retry).await;
        assert_eq!(ends(&told), [(1, end)]);
        assert_eq!(hook.asked(), ["replay"]);
    }
    // Nor is the last one, which has none after it.
    let told = Told::default();
    let hook = UsedUp::new([true]);
    let service = Scripted::new([down("down")]);
    let layer = RetryLayer::with(exact("db").attempts(2), told.options()).unwrap();
    let _ = ask(&mut layer.replay_with(hook.clone()).layer(service.probe())).await;
    assert_eq!(ends(&told), [(2, RetryEnd::AttemptsExhausted)]);
    assert_eq!(hook.asked(), ["replay", "take over"]);
}

fn hinted(mode: HintMode) -> Hints {
    Hints::default().mode(mode).cap(Duration::from_secs(10))
}

#[tokio::test(start_paused = true)]
async fn hints_make_the_delay_as_their_mode_says() {
    let after = |millis| down("busy").hinting(Hint::After(ms(millis)));
    let cases: [(Hints, Answer, Option<u128>); 11] = [
        (hinted(HintMode::Exact), after(7), Some(7)),
        (hinted(HintMode::Exact), after(10_000), Some(10_000)),
        (hinted(HintMode::Exact), after(10_001), None),
        (hinted(HintMode::AtLeast), after(7), Some(100)),
        (hinted(HintMode::AtLeast), after(3_000), Some(3_000)),
        (hinted(HintMode::AtLeast), after(10_001), None),
        (hinted(HintMode::Capped), after(99_000), Some(10_000)),
        (hinted(HintMode::Capped), after(7), Some(7)),
        (hinted(HintMode::Within(ms(50))), after(7), Some(100)),
        (hinted(HintMode::Within(ms(50))), after(120), Some(120)),
        (hinted(HintMode::Within(ms(50))), after(99_000), Some(150)),
    ];
    for (hints, first, expected) in cases {
        let told = Told::default();
        let service = Scripted::new([first.clone(), ok(200)]);
        let layer = RetryLayer::with(exact("db").hints(hints), told.options()).unwrap();
        let mut retry = layer.classify_with(service.classifier()).layer(service.probe());
        let answer = ask(&mut retry).await;
        match expected {
            Some(delay) => {
                assert_eq!(answer, Ok(200), "{hints:?} {first:?}");
                assert_eq!(times(&service), [0, delay], "{hints:?} {first:?}");
            }
            None => {
                assert_eq!(answer, Err(Error::Inner(Down("busy"))));
                assert_eq!(ends(&told), [(1, RetryEnd::HintTooLong)]);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_says_stop_is_obeyed() {
    let told = Told::default();
    let service = Scripted::new([ok(503).hinting(Hint::Stop), ok(200)]);
    let layer = RetryLayer::with(exact("db"), told.options()).unwrap();
    let mut retry = layer.classify_with(service.classifier()).layer(service.probe());
    assert_eq!(ask(&mut retry).await, Ok(503));
    assert_eq!(ends(&told), [(1, RetryEnd::ToldToStop)]);
}

#[tokio::test(start_paused = true)]
async fn jitter_on_a_hint_is_never_shorter_than_the_hint() {
    let mut delays = Vec::new();
    for seed in 0..20 {
        let service = Scripted::new([down("busy").hinting(Hint::After(ms(1_000))), ok(200)]);
        let layer = RetryLayer::new(exact("db").hints(Hints::http()).seed(seed)).unwrap();
        let mut retry = layer.classify_with(service.classifier()).layer(service.probe());
        assert_eq!(ask(&mut retry).await, Ok(200));
        delays.push(times(&service)[1]);
    }
    assert!(delays.iter().all(|delay| (1_000..=1_101).contains(delay)), "{delays:?}");
    delays.dedup();
    assert!(delays.len() > 15, "they differ: {delays:?}");
}

/// A delay of zero needs no timer, and lets other tasks run in between.
#[test]
fn an_endless_retry_without_delay_needs_no_runtime_and_does_not_hog_the_thread() {
    let config = RetryConfig::new("db").unlimited_attempts().no_budget();
    let policy = RetryPolicy::new(config.backoff(Backoff::constant(Duration::ZERO))).unwrap();
    let call = policy.run(|| async { Err::<(), _>(Error::Inner(())) });
    let mut call = Box::pin(call);
    let caller = crate::support::Caller::new();
    for polls in 1..=50 {
        assert!(caller.poll(&mut call).is_pending());
        assert_eq!(caller.wakeups(), polls);
    }
    drop(call);
    assert_eq!(policy.snapshot().attempts, 50);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_for_which_the_service_does_not_get_ready_has_failed() {
    let service = Scripted::new([down("first"), ok(200)]);
    let layer = RetryLayer::new(exact("db")).unwrap();
    let mut retry = layer.layer(service.probe());
    let call = retry.ready().await.unwrap().call(Ask::default());
    service.fail_readiness("gone");
    assert_eq!(call.await, Ok(200));
    // The second attempt got no further than readiness; the third went on a fresh instance.
    assert_eq!(times(&service), [0, 300]);
    assert_eq!(service.seen()[1].attempt, Some(3));
    assert_eq!(layer.policy().snapshot().attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn one_seed_repeats_the_delays() {
    let run = async |seed: u64| {
        let service = Scripted::new([down("down")]);
        let config = RetryConfig::new("db").attempts(6).seed(seed);
        let _ = ask(&mut RetryLayer::new(config).unwrap().layer(service.probe())).await;
        times(&service)
    };
    assert_eq!(run(1).await, run(1).await);
    assert_ne!(run(1).await, run(2).await);
}

/// An instance that failed to become ready is not asked again: a clone of it is, for the attempt after.
#[tokio::test(start_paused = true)]
async fn an_instance_that_failed_is_not_asked_again() {
    let service = Scripted::new([down("first"), ok(200)]);
    let mut retry = RetryLayer::new(exact("db")).unwrap().layer(service.probe());
    let call = retry.ready().await.unwrap().call(Ask::default());
    assert_eq!(service.clones(), 1);
    service.fail_readiness("gone");
    assert_eq!(call.await, Ok(200));
    assert_eq!(service.clones(), 2);
}
