//! Commands, modes, snapshots, explanations, and live configuration.

use portcullis::{
    Backoff, BudgetConfig, Cause, Command, Error, Event, Mode, PolicyKind, PolicySnapshot,
    Registry, RetryBudget, RetryConfig, RetryEnd, RetryLayer, RetryPolicy,
};
use tower::{Layer, Service, ServiceExt};

use crate::{
    behaviour::exact,
    script::{Ask, Down, Scripted, ask, down, ends, ms, ok, times},
    support::{Caller, Told},
};

#[tokio::test(start_paused = true)]
async fn in_shadow_it_says_what_it_would_do_and_calls_once() {
    let told = Told::default();
    let config = exact("db").budget(BudgetConfig::new(0.0).per_second(0.1));
    let layer = RetryLayer::with(config, told.options()).unwrap();
    layer.policy().shadow();
    let service = Scripted::new([down("down"), down("down"), ok(200)]);
    let mut retry = layer.layer(service.probe());
    let (request, clones) = Ask::counted();
    let answer = retry.ready().await.unwrap().call(request).await;
    assert_eq!(answer, Err(Error::Inner(Down("down"))));
    assert_eq!((*clones.lock().unwrap(), service.clones(), service.calls()), (0, 0, 1));
    assert_eq!(service.seen()[0].attempt, None);
    assert_eq!(layer.policy().budget().unwrap().balance(), 1, "it holds nothing");
    // It would not, for want of a token.
    let paid = layer.policy().budget().unwrap().try_withdraw();
    assert!(paid.is_some() && ask(&mut retry).await.is_err());
    assert_eq!(ask(&mut retry).await, Ok(200));
    let ends = ends(&told);
    let expected = [RetryEnd::Shadow, RetryEnd::BudgetExhausted, RetryEnd::Success];
    assert_eq!(ends, expected.map(|end| (1, end)));
    assert_eq!(layer.policy().snapshot().ends.of(RetryEnd::Shadow), 1);
    let why = layer.policy().explain();
    assert!(why.shadow && why.admits && why.would_admit);
    assert_eq!(
        why.to_string(),
        "db is in shadow and admits calls: 3 attempts a call, 0 tokens in the budget"
    );
}

#[tokio::test(start_paused = true)]
async fn disabled_it_is_not_there() {
    let told = Told::default();
    let layer = RetryLayer::with(exact("db"), told.options()).unwrap();
    layer.policy().disable();
    let service = Scripted::new([down("down"), ok(200)]);
    let mut retry = layer.layer(service.probe());
    assert!(ask(&mut retry).await.is_err());
    let policy = layer.policy();
    assert!(policy.run(|| async { Err::<(), _>(Error::Inner(())) }).await.is_err());
    assert_eq!((policy.snapshot().calls, policy.snapshot().budget.unwrap().calls), (0, 0));
    assert_eq!((told.take(), policy.mode()), (vec![], Mode::Disabled));
    policy.enable();
    assert_eq!((ask(&mut retry).await, policy.snapshot().calls), (Ok(200), 1));
}

#[tokio::test(start_paused = true)]
async fn reset_empties_a_budget_of_its_own_and_leaves_a_shared_one() {
    let budget = RetryBudget::new(BudgetConfig::new(0.0).per_second(1.0)).unwrap();
    let own = RetryPolicy::new(exact("own").budget(budget.config())).unwrap();
    let shared = RetryPolicy::new(exact("shared").budget(&budget)).unwrap();
    for policy in [&own, &shared] {
        let _ = policy.run(|| async { Err::<(), _>(Error::Inner(())) }).await;
        assert_eq!(policy.budget().unwrap().balance(), 8);
        policy.reset();
        assert_eq!(policy.snapshot().calls, 1, "counts only ever grow");
    }
    assert_eq!((own.budget().unwrap().balance(), budget.balance()), (10, 8));
    budget.reset();
    assert_eq!(budget.balance(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_registry_lists_explains_and_commands_it() {
    let policy = RetryPolicy::new(exact("db").no_budget()).unwrap();
    let registry = Registry::new();
    registry.add(&policy).unwrap();
    assert_eq!(registry.names(), [("db", PolicyKind::Retry)]);
    let [("db", PolicySnapshot::Retry(snapshot))] = registry.snapshot()[..] else { panic!() };
    assert_eq!(snapshot, policy.snapshot());
    let [why] = registry.explain()[..] else { panic!() };
    assert_eq!(why.cause, Cause::Retries { attempts: 3, tokens: None });
    assert_eq!(
        why.to_string(),
        "db is enforcing and admits calls: 3 attempts a call, without a budget"
    );
    registry.command("db", Command::Shadow).unwrap();
    assert_eq!(registry.get::<RetryPolicy>("db").unwrap().mode(), Mode::Shadow);
    let error = registry.command("db", Command::ForceOpen).unwrap_err();
    assert_eq!((error.field(), policy.mode()), ("command", Mode::Shadow));
}

#[tokio::test(start_paused = true)]
async fn numbers_change_live_also_for_calls_under_way() {
    let told = Told::default();
    let policy = RetryPolicy::with(exact("db"), told.options()).unwrap();
    let service = Scripted::new([down("down")]);
    let mut retry = policy.layer().layer(service.probe());
    let mut call = Box::pin(retry.ready().await.unwrap().call(Ask::default()));
    let caller = Caller::new();
    assert!(caller.poll(&mut call).is_pending());
    let config = exact("db").attempts(5).backoff(Backoff::constant(ms(10)));
    policy.reconfigure(config.clone()).unwrap();
    assert_eq!(policy.config(), config);
    assert_eq!(call.await, Err(Error::Inner(Down("down"))));
    // The delay that had begun goes on.
    assert_eq!(times(&service), [0, 100, 110, 120, 130]);
    policy.reconfigure(config.attempts(1)).unwrap();
    assert!(ask(&mut retry).await.is_err());
    assert_eq!(service.calls(), 6);
    let [.., Event::RetryEnded { end, .. }] = told.take()[..] else { panic!() };
    assert_eq!(end, RetryEnd::AttemptsExhausted);
}

#[tokio::test(start_paused = true)]
async fn what_a_retry_keeps_is_named_when_it_would_change() {
    let budget = RetryBudget::new(BudgetConfig::default()).unwrap();
    let policy = RetryPolicy::new(exact("db")).unwrap();
    (0..50).for_each(|_| policy.budget().unwrap().record_call());
    let refused = |config: RetryConfig| {
        let field = policy.reconfigure(config).unwrap_err().field();
        assert_eq!(policy.config(), exact("db"), "nothing has changed");
        field
    };
    assert_eq!(refused(exact("other")), "name");
    assert_eq!(refused(exact("db").attempts(0)), "attempts");
    assert_eq!(refused(exact("db").budget(&budget)), "budget");
    assert_eq!(refused(exact("db").no_budget()), "budget");
    assert_eq!(refused(exact("db").budget(BudgetConfig::grpc(10, 0.1))), "budget");
    let half = exact("db").budget(BudgetConfig::new(0.5));
    policy.reconfigure(half.clone()).unwrap();
    assert_eq!((policy.config(), policy.budget().unwrap().balance()), (half, 125));
    // Also by the budget's own handle.
    policy.budget().unwrap().reconfigure(BudgetConfig::new(1.0)).unwrap();
    assert_eq!(policy.config(), exact("db").budget(BudgetConfig::new(1.0)));
    let shared = RetryPolicy::new(exact("db").budget(&budget)).unwrap();
    shared.reconfigure(exact("db").budget(&budget).attempts(7)).unwrap();
    assert_eq!(shared.snapshot().max_attempts, 7);
}

#[tokio::test(start_paused = true)]
async fn the_layer_and_the_handle_give_one_another() {
    let policy = RetryPolicy::new(exact("db")).unwrap().leak();
    let layer = policy.layer().classify_with(portcullis::DefaultClassifier);
    let mut retry = layer.layer(Scripted::new([ok(200)]));
    assert_eq!(ask(&mut retry).await, Ok(200));
    assert_eq!(layer.policy().snapshot(), retry.policy().snapshot());
    assert_eq!(policy.snapshot().calls, 1);
    assert_eq!(retry.get_ref().calls(), 1);
    assert_eq!(retry.get_mut().calls(), 1);
    let shown = format!("{layer:?} {retry:?} {:?}", policy.snapshot());
    assert!(shown.contains("db") && shown.contains("Success: 1"), "{shown}");
    assert_eq!(retry.into_inner().calls(), 1);
}

/// gRPC's throttling hears of every attempt, and stops retries below half of its tokens.
#[tokio::test(start_paused = true)]
async fn the_throttling_of_grpc_counts_attempts() {
    let budget = RetryBudget::grpc(10, 0.5).unwrap();
    let layer = RetryLayer::new(exact("db").attempts(2).budget(&budget)).unwrap();
    let failing = Scripted::new([down("down")]);
    let mut retry = layer.layer(failing.probe());
    for (attempts, tokens) in [(2, 8), (4, 6), (5, 5), (6, 4)] {
        assert!(ask(&mut retry).await.is_err());
        assert_eq!((failing.calls(), budget.balance()), (attempts, tokens));
    }
    let mut well = layer.layer(Scripted::new([ok(200)]));
    for _ in 0..6 {
        assert_eq!(ask(&mut well).await, Ok(200));
    }
    assert_eq!(budget.balance(), 7);
    assert!(ask(&mut retry).await.is_err());
    assert_eq!((failing.calls(), budget.balance()), (8, 5));

    // A success of a later attempt counts as one at the first.
    let budget = RetryBudget::grpc(10, 0.5).unwrap();
    let mut retry = RetryLayer::new(exact("db").budget(&budget))
        .unwrap()
        .layer(Scripted::new([down("down"), ok(200)]));
    assert_eq!(ask(&mut retry).await, Ok(200));
    assert_eq!(budget.snapshot().tokens, 9.5);
}

/// A seed that stays the same goes on where it was.
#[tokio::test(start_paused = true)]
async fn a_change_of_numbers_does_not_repeat_the_delays() {
    let config = RetryConfig::new("db").attempts(2).seed(7);
    let layer = RetryLayer::new(config.clone()).unwrap();
    let delay = async || {
        let service = Scripted::new([down("down")]);
        assert!(ask(&mut layer.layer(service.probe())).await.is_err());
        service.seen()[1].at
    };
    let first = delay().await;
    layer.policy().reconfigure(config.clone().no_budget()).unwrap_err();
    layer.policy().reconfigure(config.attempts(2)).unwrap();
    assert_ne!(delay().await, first);
    layer.policy().reconfigure(RetryConfig::new("db").attempts(2).seed(8)).unwrap();
    layer.policy().reconfigure(RetryConfig::new("db").attempts(2).seed(7)).unwrap();
    assert_eq!(delay().await, first);
}
