//! Calls that are dropped, at every point, and panics: nothing stays behind, nothing is remembered or told.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use portcullis::{Failed, FallbackLayer, FallbackPolicy, LastGood, Outcome};
use tower::{Layer, Service, ServiceExt};

use crate::{
    TestError, Told, ask, config, kept,
    support::{
        Answer, Answered, Ask, Caller, ON_DEMAND, Probe, Readiness, Told as Log, panic_of, strict,
    },
};

#[track_caller]
fn assert_idle(probe: &Probe) {
    assert_eq!((probe.live(), probe.reserved()), (0, 0), "futures and reservations");
    assert_eq!(probe.instances(), 1, "instances");
}

/// Two waits of the first service, then two for the other to be ready and three for its answer.
#[test]
fn dropping_at_any_point_gives_everything_back() {
    let log = Log::default();
    let policy = FallbackPolicy::with(config(), log.options()).unwrap();
    let ((inner, first), (spare, second)) = (strict(), strict());
    first.answer(Answer::FAULT.after(2));
    second.readiness(Readiness::After(2));
    second.answer(Answer::OK.after(3));
    let layer = policy.service(spare, |ask: &Ask| Ask(ask.0));
    let mut service = layer.layer(inner);
    let caller = Caller::new();
    let mut answered_after = None;
    for polls in 0..=8 {
        while caller.ready(&mut service).is_pending() {}
        let mut response = Box::pin(service.call(Ask(0)));
        let mut answer = Poll::Pending;
        for _ in 0..polls {
            if answer.is_pending() {
                answer = caller.poll(&mut response);
            }
        }
        drop(response);
        assert_idle(&first);
        assert_idle(&second);
        let told = log.take().len();
        match answer {
            Poll::Ready(answer) => {
                assert_eq!((answer, told), (Ok(Answered), 1));
                answered_after.get_or_insert(polls);
            }
            Poll::Pending => assert_eq!(told, 0, "dropped after {polls} polls: no answer"),
        }
    }
    assert_eq!(answered_after, Some(8), "so every point before it was covered");
    let now = policy.snapshot();
    assert_eq!((now.by_service, now.unanswered), (1, 0));
    assert_eq!(caller.wakers(), 0);
}

/// Ready after so many polls; counts itself while it lives.
struct Slowly {
    polls: u32,
    _alive: Rc<()>,
}

impl Future for Slowly {
    type Output = Result<Answered, TestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(Ok(Answered));
        }
        self.polls -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[test]
fn dropping_drops_the_functions_future() {
    let alive = Rc::new(());
    let held = alive.clone();
    let (inner, probe) = strict();
    probe.answer(Answer::FAULT.after(1));
    let layer = FallbackLayer::async_with_request(
        config(),
        |ask: &Ask| ask.0,
        move |_, _: Failed<Answered, TestError>| Slowly { polls: 2, _alive: held.clone() },
    );
    let mut service = layer.unwrap().layer(inner);
    let caller = Caller::new();
    for polls in 0..=4 {
        assert!(caller.ready(&mut service).is_ready());
        let mut response = Box::pin(service.call(Ask(0)));
        let done = (0..polls).any(|_| caller.poll(&mut response).is_ready());
        assert_eq!(done, polls == 4);
        let futures = Rc::strong_count(&alive) - 2;
        assert_eq!(futures, usize::from((2..4).contains(&polls)), "after {polls} polls");
        drop(response);
        assert_eq!(Rc::strong_count(&alive), 2, "ours, and the layer's");
        assert_idle(&probe);
    }
}

#[test]
fn a_dropped_call_is_not_remembered() {
    let (inner, probe) = strict();
    let answers = LastGood::new(kept()).unwrap();
    let layer = answers.layer(|ask: &Ask| Some(ask.0)).keep(|_: &Answered| (), |(), _| Answered);
    let mut service = layer.layer(inner);
    probe.answer(Answer::OK.after(2));
    let caller = Caller::new();
    for polls in 0..=2 {
        assert!(caller.ready(&mut service).is_ready());
        let mut response = Box::pin(service.call(Ask(0)));
        assert!((0..polls).all(|_| caller.poll(&mut response).is_pending()));
        drop(response);
        assert!(answers.is_empty(), "dropped after {polls} polls");
        assert_idle(&probe);
    }
    // An error that was taken from `poll_ready` goes with the service or with the response.
    probe.readiness(Readiness::Fails("gone"));
    for called in [false, true] {
        let mut clone = service.clone();
        assert!(caller.ready(&mut clone).is_ready());
        let response = called.then(|| clone.call(Ask(0)));
        drop((clone, response));
        assert_idle(&probe);
    }
    let now = answers.snapshot();
    assert_eq!((now.keys, now.answered(), now.unanswered), (0, 0, 0));
}

#[test]
fn a_future_that_has_finished_says_so() {
    let told = Told::<u32>::to(1);
    told.fails("down");
    let mut service = FallbackLayer::value(config(), 7).unwrap().layer(told);
    let caller = Caller::new();
    assert!(caller.ready(&mut service).is_ready());
    let mut response = Box::pin(service.call(1));
    assert_eq!(caller.finish(&mut response), Ok(7));
    assert!(panic_of(|| caller.poll(&mut response)).contains("polled after it had finished"));
}

/// Panics of the service are not caught: the caller's task sees them, and no answer is made up.
#[test]
fn panics_are_not_answered() {
    let (inner, probe) = strict();
    let layer = FallbackLayer::function(config(), |_: Failed<Answered, TestError>| Ok(Answered));
    let mut service = layer.unwrap().layer(inner);
    for panics in [Answer::PANICS_IN_CALL, Answer::PANICS_IN_POLL] {
        probe.answer(panics);
        assert_eq!(panic_of(|| ask(&mut service, Ask(0))), ON_DEMAND);
        assert_idle(&probe);
        probe.answer(Answer::OK);
        assert_eq!(ask(&mut service, Ask(0)), Ok(Answered));
    }
    let now = service.handle().snapshot();
    assert_eq!((now.answered(), now.unanswered), (0, 0));
}

/// The user's own functions may panic as well; the next call works.
#[test]
fn a_panic_in_a_function_of_the_users_goes_on_and_leaves_nothing() {
    let when = |number: u8, name: &'static str| {
        move |ask: u8| {
            if ask == number {
                std::panic::panic_any(name);
            }
        }
    };
    let (key, keep, judge, restore) =
        (when(1, "key"), when(2, "keep"), when(3, "judge"), when(4, "restore"));
    let answers = LastGood::new(kept()).unwrap();
    // The response is the number that was asked for; from 10 on it is a failure.
    let layer = answers
        .layer(move |ask: &u8| {
            key(*ask);
            Some(0)
        })
        .keep(
            move |response: &u8| {
                keep(*response);
                *response
            },
            move |kept: &u8, _| {
                restore(*kept);
                *kept
            },
        )
        .classify(move |result: &Result<u8, TestError>| {
            result.as_ref().iter().for_each(|response| judge(**response));
            if matches!(result, Ok(0..10)) { Outcome::Success } else { Outcome::Failure }
        });
    let echo = tower::service_fn(|ask: u8| async move { Ok::<_, TestError>(ask) });
    let mut service = layer.layer(echo);
    for (number, name) in [(1, "key"), (2, "keep"), (3, "judge")] {
        assert_eq!(panic_of(|| ask(&mut service, number)), name);
        assert!(answers.is_empty());
    }
    assert_eq!(ask(&mut service, 4), Ok(4));
    assert_eq!(panic_of(|| ask(&mut service, 10)), "restore");
    assert_eq!(ask(&mut service, 5), Ok(5));
    assert_eq!(ask(&mut service, 10), Ok(5));

    let thrower = |_: Failed<u8, TestError>| -> Result<u8, TestError> { panic!("answer") };
    let fails = || tower::service_fn(|_: u8| async { crate::down::<u8>() });
    let mut service = FallbackLayer::function(config(), thrower).unwrap().layer(fails());
    assert_eq!(panic_of(|| ask(&mut service, 0)), "answer");
    let layer =
        FallbackLayer::value(config(), 1).unwrap().when(|_: &TestError| -> bool { panic!("when") });
    assert_eq!(panic_of(|| ask(&mut layer.layer(fails()), 0)), "when");
}

/// What is captured of a request is dropped with the call, and with a call that goes well.
#[test]
fn what_was_captured_goes_with_the_call() {
    let alive = Rc::new(());
    let held = alive.clone();
    let (inner, probe) = strict();
    let layer = FallbackLayer::with_request(
        config(),
        move |_: &Ask| held.clone(),
        |_, failed: Failed<Answered, TestError>| failed.into_result(),
    );
    let mut service = layer.unwrap().layer(inner);
    let caller = Caller::new();
    let count = || Rc::strong_count(&alive);
    for answer in [Answer::OK, Answer::FAULT, Answer::HANGS] {
        probe.answer(answer);
        assert!(caller.ready(&mut service).is_ready());
        let mut response = Box::pin(service.call(Ask(0)));
        assert_eq!(count(), 3);
        let ended = caller.poll(&mut response).is_ready();
        assert_eq!(count(), if ended { 2 } else { 3 });
        drop(response);
        assert_eq!(count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_aborted_leaves_nothing() {
    let (inner, probe) = strict();
    let (spare, second) = strict();
    probe.answer(Answer::FAULT);
    second.answer(Answer::HANGS);
    let layer = FallbackLayer::service(config(), spare, |ask: &Ask| Ask(ask.0)).unwrap();
    let service = layer.layer(inner);
    let task = tokio::spawn(service.oneshot(Ask(0)));
    tokio::task::yield_now().await;
    assert_eq!(second.live(), 1);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!((second.live(), second.instances()), (0, 1), "the layer's own instance");
}
