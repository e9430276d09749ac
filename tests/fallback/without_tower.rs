//! Use without Tower.

use std::{
    future::{pending, ready},
    task::Poll,
};

use portcullis::{
    Circuit, CircuitBreakerConfig, Error, Failed, FallbackPolicy, LastGood, Outcome, Served,
};
use tokio::time::advance;

use crate::{
    SECOND, TestError, config, down, kept,
    support::{Caller, Fault, panic_of},
};

#[tokio::test(start_paused = true)]
async fn a_future_or_a_closure_is_answered() {
    let policy = FallbackPolicy::new(config()).unwrap();
    let seven = |_: Failed<u32, TestError>| Ok(7);
    assert_eq!(policy.run(async { Ok(1) }, seven).await, Ok(1));
    assert_eq!(policy.run(async { down() }, seven).await, Ok(7));
    assert_eq!((policy.call(|| Ok(1), seven), policy.call(down, seven)), (Ok(1), Ok(7)));
    // The answer may be moved out of what the caller has.
    let owned = String::from("spare");
    let answer = policy.run(async { down() }, move |_: Failed<_, TestError>| Ok(owned)).await;
    assert_eq!(answer.as_deref(), Ok("spare"));
    let declined = policy.call(down, |failed: Failed<u32, TestError>| failed.into_result());
    assert_eq!(declined, down());
    let now = policy.snapshot();
    assert_eq!((now.by_function, now.unanswered), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_classifier_of_its_own_judges() {
    let policy = FallbackPolicy::new(config()).unwrap();
    let bad = |result: &Result<u32, TestError>| match result {
        Ok(500..) => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Ignored,
    };
    let answer = |failed: Failed<u32, TestError>| Ok(failed.response().map_or(0, |n| n + 1_000));
    assert_eq!(policy.call_classified(&bad, || Ok(503), answer), Ok(1_503));
    assert_eq!(policy.call_classified(&bad, || Ok(200), answer), Ok(200));
    assert_eq!(policy.run_classified(bad, ready(Ok(503)), answer).await, Ok(1_503));
    assert_eq!(policy.run_classified(bad, ready(down()), answer).await, down());
    let answers = LastGood::new(kept()).unwrap();
    assert_eq!(answers.call_classified(&bad, 'k', || Ok(503)), Ok(Served::Fresh(503)));
    assert!(answers.is_empty());
    assert_eq!(answers.run_classified(bad, 'k', ready(Ok(200))).await, Ok(Served::Fresh(200)));
    assert!(!answers.run_classified(bad, 'k', ready(Ok(503))).await.unwrap().is_fresh());
    assert_eq!(answers.run_classified(bad, 'k', ready(down())).await, down());
}

#[tokio::test(start_paused = true)]
async fn the_last_good_answer_of_a_key() {
    let answers = LastGood::new(kept()).unwrap();
    assert_eq!(answers.run('k', async { down() }).await, down::<Served<u32>>());
    assert_eq!(answers.run('k', ready(Ok::<_, TestError>(3))).await, Ok(Served::Fresh(3)));
    advance(SECOND).await;
    let age = SECOND;
    assert_eq!(answers.run('k', async { down() }).await, Ok(Served::LastGood { value: 3, age }));
    assert_eq!(answers.call('k', down), Ok(Served::LastGood { value: 3, age }));
    assert_eq!(answers.call('l', down), down::<Served<u32>>());
    for (mode, passes) in
        [(LastGood::shadow as fn(&_), true), (LastGood::disable, true), (LastGood::enable, false)]
    {
        mode(&answers);
        assert_eq!(answers.call('k', down).is_err(), passes);
        assert_eq!(answers.run('k', ready(down())).await.is_err(), passes);
    }
}

#[tokio::test(start_paused = true)]
async fn around_a_circuit() {
    let circuit = Circuit::new(CircuitBreakerConfig::new("db").consecutive_failures(1)).unwrap();
    let answers = LastGood::new(kept()).unwrap();
    let fetch = |result: Result<u32, TestError>| answers.run('k', circuit.run(ready(result)));
    assert_eq!(fetch(Ok(3)).await, Ok(Served::Fresh(3)));
    assert!(!fetch(down()).await.unwrap().is_fresh(), "the service's own error");
    assert!(!fetch(Ok(4)).await.unwrap().is_fresh(), "the open circuit's refusal");
    assert_eq!(circuit.snapshot().rejected, 1);
}

#[test]
fn dropping_it_drops_the_future_and_counts_nothing() {
    let policy = FallbackPolicy::new(config()).unwrap();
    let answers = LastGood::<char, u32>::new(kept()).unwrap();
    let alive = std::rc::Rc::new(());
    let hang = || {
        let held = alive.clone();
        async move {
            let _held = held;
            pending::<Result<u32, TestError>>().await
        }
    };
    let caller = Caller::new();
    for polls in 0..3 {
        let mut run = Box::pin(policy.run(hang(), |_| Ok(7)));
        let mut kept = Box::pin(answers.run('k', hang()));
        for _ in 0..polls {
            assert!(caller.poll(&mut run).is_pending() && caller.poll(&mut kept).is_pending());
        }
        drop((run, kept));
        assert_eq!(std::rc::Rc::strong_count(&alive), 1);
    }
    assert_eq!((policy.snapshot().answered(), answers.snapshot().unanswered), (0, 0));
    assert!(answers.is_empty());
}

#[test]
fn panics_go_on() {
    let policy = FallbackPolicy::new(config()).unwrap();
    let run = || -> Result<u32, TestError> { panic!("the closure") };
    assert_eq!(panic_of(|| policy.call(run, |_| Ok(7))), "the closure");
    let answer = |_: Failed<u32, TestError>| -> Result<u32, TestError> { panic!("the answer") };
    assert_eq!(panic_of(|| policy.call(down, answer)), "the answer");
    let mut run = Box::pin(policy.run(ready(down()), answer));
    let caller = Caller::new();
    assert_eq!(panic_of(|| caller.poll(&mut run)), "the answer");
    assert!(panic_of(|| caller.poll(&mut run)).contains("polled after it had finished"));
    assert_eq!(policy.call(down, |_: Failed<u32, TestError>| Ok(7)), Ok(7));
    let mut done = Box::pin(policy.run(ready(Err(Error::Inner(Fault("x")))), |_| Ok(1)));
    assert_eq!(caller.poll(&mut done), Poll::Ready(Ok(1)));
}
