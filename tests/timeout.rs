//! A timeout: when it cuts, when it refuses, and what it leaves alone. Deadlines are in
//! `timeout/deadlines.rs`, what operators see and do in `timeout/operators.rs`, dropped calls and panics
//! in `timeout/drops.rs`, configurations in `timeout/numbers.rs`, and the reference in
//! `timeout/model.rs`.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "services answer after virtual time, and a test may panic"
)]

#[path = "timeout/deadlines.rs"]
mod deadlines;
#[path = "timeout/drops.rs"]
mod drops;
#[path = "timeout/model.rs"]
mod model;
#[path = "timeout/numbers.rs"]
mod numbers;
#[path = "timeout/operators.rs"]
mod operators;
mod support;

use std::{
    convert::Infallible,
    future::{Future, pending, poll_fn, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use portcullis::{
    BoxError, Error, PolicyKind, Reason, Rejection, TimeLimit, TimeoutConfig, TimeoutLayer, clock,
    deadline,
};
use support::{Answer, Answered, Ask, Caller, Readiness, fault, refusal, strict};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};

const NS: Duration = Duration::from_nanos(1);
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// An error that only refusals can be.
type Refused = Error<Infallible>;
/// The future of a call that takes a while.
type Answering = Pin<Box<dyn Future<Output = Result<(), Refused>> + Send>>;

fn limit(limit: Duration) -> TimeLimit {
    TimeLimit::new(TimeoutConfig::new("db", limit)).unwrap()
}

/// A future that answers after so long, by virtual time.
async fn answers_after(took: Duration) -> Result<(), Refused> {
    sleep(took).await;
    Ok(())
}

/// A service that answers each request after as long as it says.
fn sleepy() -> impl Service<Duration, Response = (), Error = Refused, Future = Answering> + Clone {
    service_fn(|took| Box::pin(answers_after(took)) as Answering)
}

/// The refusal in a result that must be one.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Refused>) -> Rejection {
    match result.unwrap_err() {
        Error::Rejected(rejection) => rejection,
        Error::Inner(never) => match never {},
    }
}

/// The result, and how long it was waited for.
async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    (future.await, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn answers_and_errors_in_time_pass_unchanged() {
    let (service, probe) = strict();
    let mut service = limit(SECOND).layer().layer(service);
    for polls in 0..3 {
        probe.answer(Answer::OK.after(polls));
        assert_eq!(service.ready().await.unwrap().call(Ask(0)).await, Ok(Answered));
        probe.answer(Answer::FAULT.after(polls));
        let failed = service.ready().await.unwrap().call(Ask(0)).await;
        assert_eq!(fault(failed).0, "fault");
    }
    assert_eq!((probe.calls(), probe.live()), (6, 0));
    assert_eq!(service.time_limit().snapshot().timed_out, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_cut_at_its_limit_to_the_millisecond() {
    for span in [MS, 7 * MS, 999 * MS, SECOND, 90 * SECOND, 3_600 * SECOND, 400 * 86_400 * SECOND] {
        let layer = limit(span).layer();
        let (cut, after) = timed(layer.layer(sleepy()).oneshot(span + MS)).await;
        assert_eq!((refused(cut).reason(), after), (Reason::Timeout, span));
        let (answer, after) = timed(layer.layer(sleepy()).oneshot(span - MS)).await;
        assert_eq!((answer, after), (Ok(()), span - MS));
        let (cut, after) = timed(limit(span).run(pending::<Result<(), Refused>>())).await;
        assert_eq!((refused(cut).reason(), after), (Reason::Timeout, span));
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_says_who_and_that_the_service_was_called() {
    let cut = refused(limit(SECOND).run(answers_after(2 * SECOND)).await);
    assert_eq!((cut.policy(), cut.kind()), ("db", PolicyKind::Timeout));
    assert!(cut.attempted());
    assert_eq!(cut.retry_after(), None);
    assert_eq!(cut.to_string(), "db: the service did not answer in time");
}

/// Ready by then is ready in time, whichever of the two is looked at first.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_ready_at_the_deadline_wins() {
    for late in [Duration::ZERO, MS, SECOND] {
        let caller = Caller::new();
        let at = clock::tokio_now() + SECOND + late;
        let answers = poll_fn(move |_| match clock::tokio_now() >= at {
            true => Poll::Ready(Ok::<_, Refused>(())),
            false => Poll::Pending,
        });
        let mut call = Box::pin(limit(SECOND).run(answers));
        assert!(caller.poll(&mut call).is_pending());
        // Nobody polls until both are due.
        advance(SECOND + late).await;
        assert_eq!(caller.poll(&mut call), Poll::Ready(Ok(())), "{late:?} after the deadline");
    }
    let (answer, after) = timed(limit(SECOND).run(answers_after(SECOND))).await;
    assert_eq!((answer, after), (Ok(()), SECOND));
}

/// What a policy below that sees the deadline still has to say is heard: it is polled once more when the
/// time is over.
#[tokio::test(start_paused = true)]
async fn the_inner_future_is_polled_once_more_when_the_time_is_over() {
    let polls = Arc::new(AtomicU32::new(0));
    // A timeout of its own making would find it pending in the same poll in which the timer fires.
    let answers_to_poll = |nth: u32| {
        let polls = Arc::clone(&polls);
        polls.store(0, SeqCst);
        poll_fn(move |_| match polls.fetch_add(1, SeqCst) + 1 {
            poll if poll == nth => Poll::Ready(Ok::<_, Refused>(())),
            _ => Poll::Pending,
        })
    };
    // One at the beginning, one when it is woken, one more.
    let (answer, after) = timed(limit(SECOND).run(answers_to_poll(3))).await;
    assert_eq!((answer, after, polls.load(SeqCst)), (Ok(()), SECOND, 3));
    let (cut, after) = timed(limit(SECOND).run(answers_to_poll(4))).await;
    assert_eq!((refused(cut).reason(), after), (Reason::Timeout, SECOND));
    assert_eq!(polls.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_is_woken_by_its_timer_and_by_nothing_else() {
    let (service, probe) = strict();
    probe.answer(Answer::HANGS);
    let mut service = limit(SECOND).layer().layer(service);
    let caller = Caller::new();
    assert!(caller.ready(&mut service).is_ready());
    let mut call = Box::pin(service.call(Ask(0)));
    assert!((0..100).all(|_| caller.poll(&mut call).is_pending()));
    advance(SECOND - MS).await;
    assert_eq!((caller.wakeups(), caller.wakers()), (0, 1));
    advance(MS).await;
    assert_eq!(caller.wakeups(), 1);
    let Poll::Ready(cut) = caller.poll(&mut call) else { panic!("its time is over") };
    assert_eq!(refusal(cut).reason(), Reason::Timeout);
    assert_eq!((caller.wakers(), probe.live()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn too_little_time_refuses_at_once_and_the_service_is_never_called() {
    let config = TimeoutConfig::new("db", 10 * SECOND).min_remaining(SECOND);
    let layer = TimeoutLayer::new(config).unwrap();
    let (service, probe) = strict();
    let mut service = layer.layer(service);
    let mut calls = 0;
    for (left, starts) in [
        (2 * SECOND, true),
        (SECOND + NS, true),
        (SECOND, true),
        (SECOND - NS, false),
        (NS, false),
        (Duration::ZERO, false),
    ] {
        let outer = clock::tokio_now() + left;
        assert!(service.ready().await.is_ok());
        let call = deadline::enter(outer, || service.call(Ask(0)));
        calls += u32::from(starts);
        assert_eq!(probe.calls(), calls, "decided in `call`, with {left:?} left");
        let (result, after) = timed(call).await;
        assert_eq!(after, Duration::ZERO);
        match starts {
            true => assert_eq!(result, Ok(Answered)),
            false => {
                let refusal = refusal(result);
                assert_eq!(refusal.reason(), Reason::DeadlineTooShort);
                assert_eq!((refusal.policy(), refusal.kind()), ("db", PolicyKind::Timeout));
                assert!(!refusal.attempted());
            }
        }
    }
    // Past is past, also without a least time.
    let past = clock::tokio_now();
    advance(SECOND).await;
    let late =
        deadline::scope(past, async { limit(SECOND).run(ready(Ok::<_, Refused>(()))).await });
    assert_eq!(refused(late.await).reason(), Reason::DeadlineTooShort);
}

#[tokio::test(start_paused = true)]
async fn a_request_says_its_own_limit() {
    #[derive(Clone, Copy)]
    struct Query {
        patience: Option<Duration>,
        takes: Duration,
    }
    let query = |patience, takes| Query { patience, takes };
    let mut service = service_fn(|query: Query| answers_after(query.takes));
    let fixed = TimeoutLayer::new(TimeoutConfig::new("db", 2 * SECOND)).unwrap();
    let mut by_request = fixed.clone().limit_from(|query: &Query| query.patience).layer(service);
    for (patience, cut_at) in [
        (None, Some(2 * SECOND)),
        (Some(SECOND), Some(SECOND)),
        // It may be longer than the configured one, which it replaces.
        (Some(9 * SECOND), Some(9 * SECOND)),
        (Some(Duration::MAX), None),
        (Some(Duration::ZERO), Some(Duration::ZERO)),
    ] {
        let hour = 3_600 * SECOND;
        let (result, after) = timed(by_request.call(query(patience, hour))).await;
        match cut_at {
            None => assert_eq!((result, after), (Ok(()), hour)),
            Some(Duration::ZERO) => {
                assert_eq!(refused(result).reason(), Reason::DeadlineTooShort);
                assert_eq!(after, Duration::ZERO);
            }
            Some(cut) => {
                assert_eq!((refused(result).reason(), after), (Reason::Timeout, cut));
            }
        }
    }
    // Without a configured one, those that say nothing have none.
    let per_request = TimeoutLayer::new(TimeoutConfig::per_request("db")).unwrap();
    let mut by_request = per_request.limit_from(|query: &Query| query.patience).layer(service);
    let (result, after) = timed(by_request.call(query(None, 9_999 * SECOND))).await;
    assert_eq!((result, after), (Ok(()), 9_999 * SECOND));
    let (result, after) = timed(by_request.call(query(Some(SECOND), 9 * SECOND))).await;
    assert_eq!((refused(result).reason(), after), (Reason::Timeout, SECOND));
    // One that the handle is given for one call.
    let (result, after) =
        timed(limit(SECOND).run_within(3 * SECOND, service.call(query(None, 9 * SECOND)))).await;
    assert_eq!((refused(result).reason(), after), (Reason::Timeout, 3 * SECOND));
    // All of them are one timeout.
    assert_eq!(fixed.time_limit().snapshot().timed_out, 3);
}

/// T1: the limit is measured from `call`, and not from the first poll.
#[tokio::test(start_paused = true)]
async fn the_limit_is_measured_from_call() {
    let caller = Caller::new();
    let mut service = limit(SECOND).layer().layer(sleepy());
    let mut call = Box::pin(service.call(SECOND));
    // The rival's own case: first polled 9.9 s after `call`, it answered 10.9 s after it.
    advance(9_900 * MS).await;
    let Poll::Ready(cut) = caller.poll(&mut call) else { panic!("its time was over 8.9 s ago") };
    assert_eq!(refused(cut).reason(), Reason::Timeout);

    let call = service.call(2 * SECOND);
    advance(400 * MS).await;
    let (cut, after) = timed(call).await;
    assert_eq!((refused(cut).reason(), after), (Reason::Timeout, 600 * MS));

    let run = limit(SECOND).run(answers_after(2 * SECOND));
    advance(400 * MS).await;
    let (cut, after) = timed(run).await;
    assert_eq!((refused(cut).reason(), after), (Reason::Timeout, 600 * MS));
}

/// T3: readiness is outside the limit. The timeout waits for it as its caller does, and counts from `call`.
#[tokio::test(start_paused = true)]
async fn readiness_is_outside_the_limit() {
    let (service, probe) = strict();
    probe.readiness(Readiness::Never);
    let time_limit = limit(SECOND);
    let mut service = time_limit.layer().layer(service);
    assert!(timeout(3_600 * SECOND, service.ready()).await.is_err(), "it waits for ever");
    assert_eq!((probe.calls(), time_limit.snapshot().timed_out), (0, 0));

    // A readied service that is left alone uses up nothing.
    probe.readiness(Readiness::Now);
    assert!(service.ready().await.is_ok());
    advance(3_600 * SECOND).await;
    assert_eq!(service.call(Ask(0)).await, Ok(Answered));
}

/// T3, the other half: the handle puts the wait for readiness under the limit as well.
#[tokio::test(start_paused = true)]
async fn the_handle_includes_readiness_where_that_is_wanted() {
    let (service, probe) = strict();
    probe.readiness(Readiness::Never);
    let (cut, after) = timed(limit(SECOND).run(service.clone().oneshot(Ask(0)))).await;
    assert_eq!((refusal(cut).reason(), after), (Reason::Timeout, SECOND));
    assert_eq!((probe.calls(), probe.instances()), (0, 1), "the waiting clone is gone");
    probe.readiness(Readiness::Now);
    assert_eq!(limit(SECOND).run(service.oneshot(Ask(0))).await, Ok(Answered));
}

/// No runtime is here: a call that needs a timer would panic.
#[test]
fn a_call_that_answers_at_once_needs_no_timer() {
    let caller = Caller::new();
    let (service, probe) = strict();
    let mut service = limit(SECOND).layer().layer(service);
    for _ in 0..3 {
        assert!(caller.ready(&mut service).is_ready());
        let answer = caller.poll(&mut Box::pin(service.call(Ask(0))));
        assert_eq!(answer, Poll::Ready(Ok(Answered)));
    }
    // One without a limit never does.
    let unlimited = TimeLimit::new(TimeoutConfig::per_request("db")).unwrap();
    probe.answer(Answer::OK.after(5));
    assert!(caller.ready(&mut service).is_ready());
    let call = unlimited.run(service.get_mut().call(Ask(0)));
    assert_eq!(caller.finish(&mut Box::pin(call)), Ok(Answered));
    // The documented exception: one that waits does, and tokio says so.
    assert!(caller.ready(&mut service).is_ready());
    let mut waits = Box::pin(service.call(Ask(0)));
    let text = support::panic_of(|| caller.poll(&mut waits));
    assert!(text.contains("runtime"), "{text}");
}

/// tokio lets a timer fire only while its task has budget left, which such a service takes whole.
#[tokio::test(start_paused = true)]
async fn a_service_that_uses_up_its_tasks_budget_is_cut_all_the_same() {
    let greedy = async {
        loop {
            tokio::task::consume_budget().await;
        }
    };
    let cut = tokio::spawn(limit(SECOND).run::<_, (), Refused>(greedy));
    tokio::task::yield_now().await;
    advance(SECOND).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(cut.is_finished(), "cut when it came by again");
    assert_eq!(refused(cut.await.unwrap()).reason(), Reason::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_boxed_error_carries_the_refusal() {
    let service =
        limit(SECOND).layer().layer(service_fn(|(): ()| pending::<Result<(), BoxError>>()));
    let error = service.oneshot(()).await.unwrap_err();
    assert_eq!(Rejection::find(&*error).map(Rejection::reason), Some(Reason::Timeout));
}
