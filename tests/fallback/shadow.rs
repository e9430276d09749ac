//! Shadow and disabled: what is reported, what passes, and what is remembered meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use portcullis::{
    Error, Event, Failed, FallbackLayer, FallbackPolicy, LastGood, Served, event::AnswerSource,
};
use tokio::time::advance;
use tower::{Layer, Service};

use crate::{
    SECOND, TestError, Told, ask, config, down, kept,
    support::{Answer, Answered, Ask, Caller, Fault, Readiness, Told as Log, strict},
};

fn would(source: AnswerSource) -> Event {
    Event::WouldFallBack { policy: "spare", source }
}

#[test]
fn in_shadow_failures_pass_and_what_would_answer_is_told() {
    let log = Log::default();
    let policy = FallbackPolicy::with(config(), log.options()).unwrap();
    let (told, spare) = (Told::to(1), Told::to(2));
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let mut value = policy.value(7).layer(told.clone());
    let mut function = policy
        .function(move |_: Failed<u32, TestError>| {
            count.fetch_add(1, SeqCst);
            Ok(8)
        })
        .layer(told.clone());
    let mut service = policy.service(spare.clone(), u32::clone).layer(told.clone());
    policy.shadow();
    assert_eq!(ask(&mut value, 1), Ok(1));
    assert_eq!(log.take(), []);
    told.fails("down");
    assert_eq!(ask(&mut value, 1), down());
    assert_eq!(ask(&mut function, 1), down());
    assert_eq!(ask(&mut service, 1), down());
    let sources = [AnswerSource::Value, AnswerSource::Function, AnswerSource::Service];
    assert_eq!(log.take(), sources.map(would));
    // Neither is tried: a function may do something, and another service has its own load.
    assert_eq!((asked.load(SeqCst), spare.seen()), (0, vec![]));
    let now = policy.snapshot();
    assert_eq!((now.in_shadow, now.answered(), now.unanswered), (3, 0, 0));
    policy.enable();
    assert_eq!(ask(&mut function, 1), Ok(8));
}

#[tokio::test(start_paused = true)]
async fn in_shadow_answers_are_remembered_and_reported_with_their_age() {
    let log = Log::default();
    let answers = LastGood::with(kept(), log.options()).unwrap();
    let told = Told::to(1);
    let mut service = answers.layer(|key: &u32| Some(*key)).layer(told.clone());
    answers.shadow();
    assert_eq!(ask(&mut service, 1), Ok(Served::Fresh(1)));
    told.fails("down");
    advance(9 * SECOND).await;
    assert_eq!((ask(&mut service, 1), ask(&mut service, 2)), (down(), down()));
    let age = 9 * SECOND;
    assert_eq!(log.take(), [would(AnswerSource::LastGood { age })], "key 2 has none");
    assert_eq!(answers.snapshot().in_shadow, 1);
    answers.enable();
    assert_eq!(ask(&mut service, 1), Ok(Served::LastGood { value: 1, age }));
    advance(51 * SECOND).await;
    answers.shadow();
    log.take();
    assert_eq!(ask(&mut service, 1), down());
    assert_eq!(log.take(), [], "too old by now");
}

/// What is only reported is not used: it is forgotten as if nobody had asked.
#[tokio::test(start_paused = true)]
async fn a_report_is_no_use_of_an_answer() {
    let answers = LastGood::new(kept().max_keys(2)).unwrap();
    answers.put(1, 1);
    answers.put(2, 2);
    answers.shadow();
    assert_eq!(answers.call(1, || Err(())), Err(()));
    answers.put(3, 3);
    assert!(answers.get(&1).is_none() && answers.get(&2).is_some());
}

#[test]
fn the_report_reads_as_a_sentence() {
    let age = Duration::from_millis(1_500);
    let lines = [AnswerSource::Value, AnswerSource::LastGood { age }].map(|s| would(s).to_string());
    assert_eq!(
        lines,
        [
            "spare: would fall back on a value",
            "spare: would fall back on the last good answer, 1.5s old"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn disabled_it_neither_judges_nor_counts_nor_remembers() {
    let answers = LastGood::new(kept()).unwrap();
    let judged = Arc::new(AtomicU32::new(0));
    let (keys, outcomes) = (Arc::clone(&judged), Arc::clone(&judged));
    let told = Told::to(1);
    let layer = answers
        .layer(move |key: &u32| {
            keys.fetch_add(1, SeqCst);
            Some(*key)
        })
        .classify(move |result: &Result<u32, TestError>| {
            outcomes.fetch_add(1, SeqCst);
            if result.is_ok() { portcullis::Outcome::Success } else { portcullis::Outcome::Failure }
        });
    let mut service = layer.layer(told.clone());
    answers.disable();
    assert_eq!(ask(&mut service, 1), Ok(Served::Fresh(1)));
    told.fails("down");
    assert_eq!(ask(&mut service, 1), down());
    assert!(answers.is_empty());
    assert_eq!((judged.load(SeqCst), answers.snapshot().unanswered), (0, 0));
    assert_eq!(answers.call(1, || Ok::<_, ()>(1)), Ok(Served::Fresh(1)));
    assert!(answers.is_empty());
    answers.enable();
    told.answers(2);
    ask(&mut service, 1).unwrap();
    assert_eq!(answers.len(), 1);
}

/// A command acts on calls in flight as well; but a call made while it was disabled has nothing of its
/// request.
#[test]
fn a_command_acts_at_once() {
    let (inner, probe) = strict();
    probe.answer(Answer::FAULT.after(1));
    let layer =
        FallbackLayer::function(config(), |_: Failed<Answered, TestError>| Ok(Answered)).unwrap();
    let policy = layer.handle().clone();
    let mut service = layer.layer(inner);
    let caller = Caller::new();
    let mut call = || {
        assert!(caller.ready(&mut service).is_ready());
        let mut response = Box::pin(service.call(Ask(0)));
        assert!(caller.poll(&mut response).is_pending());
        response
    };
    let fault = || Err(Error::Inner(Fault("fault")));
    let commands: [(&dyn Fn(), bool); 3] =
        [(&|| policy.disable(), false), (&|| policy.shadow(), false), (&|| policy.enable(), true)];
    for (command, answered) in commands {
        policy.enable();
        let mut response = call();
        command();
        let expected = if answered { Ok(Answered) } else { fault() };
        assert_eq!(caller.finish(&mut response), expected);
    }
    policy.disable();
    let mut response = call();
    policy.enable();
    assert_eq!(caller.finish(&mut response), fault());
}

/// The same without Tower.
#[test]
fn a_future_that_began_while_disabled_is_not_answered_later() {
    let policy = FallbackPolicy::new(config()).unwrap();
    let caller = Caller::new();
    let run = || Box::pin(policy.run(std::future::ready(down()), |_| Ok(7)));
    policy.disable();
    let mut response = run();
    policy.enable();
    assert_eq!(caller.finish(&mut response), down::<u32>());
    assert_eq!(caller.finish(&mut run()), Ok(7));
}

#[test]
fn readiness_errors_pass_in_shadow_and_disabled() {
    let log = Log::default();
    let policy = FallbackPolicy::with(config(), log.options()).unwrap();
    let answers = LastGood::<u8, ()>::with(kept(), log.options()).unwrap();
    let (inner, probe) = strict();
    probe.readiness(Readiness::Fails("gone"));
    let gone = |answer| matches!(answer, Poll::Ready(Err(Error::Inner(Fault("gone")))));
    let caller = Caller::new();
    let judged = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&judged);
    let layer = policy.function(|_: Failed<Answered, TestError>| Ok(Answered)).when(move |_| {
        count.fetch_add(1, SeqCst);
        true
    });
    let mut service = layer.layer(inner.clone());
    policy.shadow();
    assert!(gone(caller.ready(&mut service)));
    assert_eq!((log.take(), judged.load(SeqCst)), (vec![would(AnswerSource::Function)], 1));
    policy.disable();
    assert!(gone(caller.ready(&mut service)));
    assert_eq!((log.take(), judged.load(SeqCst)), (vec![], 1), "nor is it judged");
    // Without a request there is no key, so nothing can be said of it.
    let layer = answers.layer(|ask: &Ask| Some(ask.0)).keep(|_: &Answered| (), |(), _| Answered);
    let mut service = layer.layer(inner);
    answers.shadow();
    answers.put(0, ());
    assert!(gone(caller.ready(&mut service)));
    assert_eq!(log.take(), []);
    // An error that was taken before the command is the answer of that call.
    answers.enable();
    assert!(matches!(caller.ready(&mut service), Poll::Ready(Ok(()))));
    answers.disable();
    let result = caller.finish(&mut Box::pin(service.call(Ask(0))));
    assert_eq!(result, Err(Error::Inner(Fault("gone"))));
}
