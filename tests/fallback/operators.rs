//! What operators see and do: configuration, snapshots, explanations, events, the registry, commands.

use std::time::Duration;

use portcullis::{
    Cause, Command, Event, Failed, FallbackConfig, FallbackLayer, FallbackPolicy, LastGood,
    LastGoodConfig, Mode, PolicyKind, PolicySnapshot, Registry, event::AnswerSource,
};
use tokio::time::advance;
use tower::Layer;

use crate::{MINUTE, SECOND, TestError, Told, ask, config, down, kept, support::Told as Log};

#[test]
fn values_that_cannot_work_are_named() {
    let error = FallbackPolicy::new(FallbackConfig::new("")).unwrap_err();
    assert_eq!((error.field(), error.value()), ("name", "\"\""));
    let refused: [(LastGoodConfig, &str, &str); 5] = [
        (kept().name(""), "name", "\"\""),
        (kept().max_age(Duration::ZERO), "max_age", "0ns"),
        (kept().max_keys(0), "max_keys", "0"),
        (kept().max_keys((1 << 24) + 1), "max_keys", "16777217"),
        (kept().max_keys(usize::MAX), "max_keys", "18446744073709551615"),
    ];
    for (config, field, value) in refused {
        assert_eq!(config.validate().map_err(|error| error.field()), Err(field));
        let error = LastGood::<u32, u32>::new(config.clone()).unwrap_err();
        assert_eq!((error.field(), error.value()), (field, value));
        let layer = FallbackLayer::<_, TestError>::last_good(config, |key: &u32| Some(*key));
        let layer = layer.map(|layer| layer.mark(|value: u32, _| value));
        assert_eq!(layer.map(drop).unwrap_err(), error);
    }
    for works in [kept().max_age(Duration::MAX), kept().max_keys(1), kept().max_keys(1 << 24)] {
        assert!(LastGood::<u32, u32>::new(works).is_ok());
    }
    assert_eq!(FallbackConfig::default().name, "fallback");
    assert_eq!(FallbackConfig::default().name("other"), FallbackConfig::new("other"));
    assert_eq!(kept().max_keys, 1024);
}

#[tokio::test(start_paused = true)]
async fn each_source_is_told_once_per_answer() {
    let log = Log::default();
    let told = Told::to(1);
    let policy = FallbackPolicy::with(config(), log.options()).unwrap();
    let mut value = policy.value(7).layer(told.clone());
    let mut function = policy
        .function(|failed: Failed<u32, TestError>| match failed.error() {
            Some(portcullis::Error::Inner(crate::support::Fault("down"))) => Ok(8),
            _ => failed.into_result(),
        })
        .layer(told.clone());
    let mut service = policy.service(Told::to(9), u32::clone).layer(told.clone());
    let answers = LastGood::with(kept(), log.options()).unwrap();
    let mut last_good = answers.layer(|key: &u32| Some(*key)).layer(told.clone());
    for _ in 0..3 {
        ask(&mut value, 1).unwrap();
        ask(&mut last_good, 1).unwrap();
    }
    assert_eq!(log.take(), [], "a call that goes well is no event");
    told.fails("down");
    advance(4_200 * Duration::from_millis(1)).await;
    ask(&mut value, 1).unwrap();
    ask(&mut function, 1).unwrap();
    ask(&mut service, 1).unwrap();
    ask(&mut last_good, 1).unwrap();
    let sources = [
        AnswerSource::Value,
        AnswerSource::Function,
        AnswerSource::Service,
        AnswerSource::LastGood { age: Duration::from_millis(4_200) },
    ];
    assert_eq!(log.take(), sources.map(|source| Event::FellBack { policy: "spare", source }));
    // Where nothing was answered, that is told: it is what a fallback is not for.
    told.fails("worse");
    assert!(ask(&mut function, 1).is_err() && ask(&mut last_good, 2).is_err());
    assert_eq!(log.take(), [Event::Unanswered { policy: "spare" }; 2]);
    ask(&mut value, 1).unwrap();
    ask(&mut last_good, 1).unwrap();
    assert_eq!(
        log.lines(),
        ["spare: fell back on a value", "spare: fell back on the last good answer, 4.2s old"]
    );
}

#[tokio::test(start_paused = true)]
async fn it_explains_itself() {
    let policy = FallbackPolicy::new(config()).unwrap();
    let answers = LastGood::new(kept().max_keys(100)).unwrap();
    assert_eq!(
        policy.explain().to_string(),
        "spare is enforcing and admits calls: nothing is counted"
    );
    answers.put(1, 1);
    let why = answers.explain();
    assert_eq!(why.to_string(), "spare is enforcing and admits calls: 1 of 100 answers kept");
    assert_eq!(why.cause, Cause::LastGood { observed: 1, limit: 100 });
    assert!(why.admits && why.would_admit && !why.shadow && why.until.is_none());
    answers.shadow();
    let why = answers.explain();
    assert_eq!(why.to_string(), "spare is in shadow and admits calls: 1 of 100 answers kept");
    assert!(why.shadow && why.admits);
    policy.disable();
    assert_eq!(
        policy.explain().to_string(),
        "spare is disabled and admits calls: the command `disable` was given"
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_what_is_kept() {
    let answers = LastGood::new(kept().max_keys(100)).unwrap();
    answers.put(1, 1);
    assert!(answers.call(1, || Err(())).is_ok());
    assert!(answers.call(2, || Err(())).is_err());
    let now = answers.snapshot();
    assert_eq!((now.mode, now.keys, now.max_keys), (Mode::Enforce, 1, 100));
    assert_eq!((now.max_age, now.by_last_good, now.unanswered), (Some(MINUTE), 1, 1));
    let plain = FallbackPolicy::new(config()).unwrap().snapshot();
    assert_eq!((plain.keys, plain.max_keys, plain.max_age), (0, 0, None));
    answers.reconfigure(kept().max_age(Duration::MAX)).unwrap();
    assert_eq!(answers.snapshot().max_age, Some(Duration::MAX));
}

#[tokio::test(start_paused = true)]
async fn a_registry_holds_both_handles() {
    let registry = Registry::new();
    let policy = FallbackPolicy::new(FallbackConfig::new("greeting")).unwrap();
    let answers: LastGood<u32, String> = LastGood::new(kept().name("prices")).unwrap();
    registry.add(&policy).unwrap();
    registry.add(&answers).unwrap();
    let kind = PolicyKind::Fallback;
    assert_eq!(registry.names(), [("greeting", kind), ("prices", kind)]);
    assert_eq!(registry.snapshot()[1].1, PolicySnapshot::Fallback(answers.snapshot()));
    assert_eq!(registry.explain()[0], policy.explain());
    let again = registry.get::<LastGood<u32, String>>("prices").unwrap();
    again.put(1, "one".to_owned());
    assert_eq!(answers.len(), 1, "it is the same one");
    assert!(registry.get::<LastGood<u32, u32>>("prices").is_none());
    assert!(registry.get::<FallbackPolicy>("greeting").is_some());

    registry.command("prices", Command::Reset).unwrap();
    assert!(answers.is_empty());
    registry.command("greeting", Command::Reset).unwrap();
    for (command, mode) in [
        (Command::Shadow, Mode::Shadow),
        (Command::Reset, Mode::Shadow),
        (Command::Disable, Mode::Disabled),
        (Command::Enable, Mode::Enforce),
    ] {
        for name in ["greeting", "prices"] {
            registry.command(name, command).unwrap();
        }
        assert_eq!((policy.snapshot().mode, answers.snapshot().mode), (mode, mode), "{command}");
    }
    for circuits in [Command::Open, Command::Close, Command::ForceOpen, Command::HalfOpen] {
        let error = registry.command("prices", circuits).unwrap_err();
        assert_eq!(error.field(), "command");
        assert!(policy.command(circuits).is_err());
    }
    assert_eq!(
        format!("{registry:?}"),
        r#"[FallbackPolicy { name: "greeting", mode: Enforce }, LastGood { name: "prices", mode: Enforce, .. }]"#
    );
}

#[tokio::test(start_paused = true)]
async fn reconfiguring_keeps_answers_and_name() {
    let answers = LastGood::new(kept()).unwrap();
    answers.put(1, 'a');
    advance(30 * SECOND).await;
    answers.reconfigure(kept().max_age(30 * SECOND)).unwrap();
    assert_eq!(answers.call(1, || Err(())), Err(()), "too old from now on");
    // In an outage that lasts, a longer age brings back what is still there.
    advance(MINUTE).await;
    answers.reconfigure(kept().max_age(2 * MINUTE)).unwrap();
    assert_eq!(answers.call(1, || Err(())).map(|served| served.age()), Ok(Some(90 * SECOND)));
    assert_eq!(answers.config(), kept().max_age(2 * MINUTE));

    let error = answers.reconfigure(kept().name("other")).unwrap_err();
    assert_eq!(error.to_string(), "`name` = other: a fallback keeps its name, which is `spare`");
    for bad in [kept().max_keys(0), kept().max_age(Duration::ZERO).max_keys(1)] {
        assert!(answers.reconfigure(bad).is_err());
    }
    assert_eq!(answers.config(), kept().max_age(2 * MINUTE), "nothing has changed");
    assert!(answers.call(1, || Err(())).is_ok());
    assert_eq!(FallbackPolicy::new(config()).unwrap().config(), config());
}

#[tokio::test(start_paused = true)]
async fn one_layer_value_is_one_state() {
    let told = Told::to(1);
    let layer = FallbackLayer::last_good(kept(), |key: &u32| Some(*key)).unwrap();
    let other = FallbackLayer::last_good(kept(), |key: &u32| Some(*key)).unwrap();
    let mut first = layer.layer(told.clone());
    let mut second = layer.clone().layer(told.clone());
    let mut apart = other.layer(told.clone());
    ask(&mut first, 1).unwrap();
    told.fails("down");
    assert!(ask(&mut second, 1).is_ok() && ask(&mut first.clone(), 1).is_ok());
    assert_eq!(ask(&mut apart, 1), down());
    let same = layer.handle().layer(|key: &u32| Some(*key));
    assert!(ask(&mut same.layer(told), 1).is_ok());
}
