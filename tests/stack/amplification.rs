//! How many calls one call may become: what the check says is what happens at worst, and never less.

use portcullis::{
    BudgetConfig, ErrorLayer, RetryBudget, RetryConfig, RetryLayer,
    stack::{self, Amplification},
};
use tower::ServiceBuilder;

use crate::{
    backend::{Backend, DOWN, SECOND, ask},
    rules::{at_once, retry, within},
};

fn share(ratio: f64) -> BudgetConfig {
    BudgetConfig::new(ratio).per_second(0.0)
}

/// What is said of these retries, the outermost first, and what 1 000 calls become that all fail.
async fn outage(configs: &[RetryConfig]) -> (Amplification, f64) {
    let backend = Backend::new([DOWN]);
    let [outer, inner] = match configs {
        [one] => [one.clone(), RetryConfig::new("idle").attempts(1)],
        [outer, inner] => [outer.clone(), inner.clone().nested(true)],
        _ => panic!("one or two"),
    };
    let (mut service, report) = stack::check(|| {
        ServiceBuilder::new()
            .layer(within(SECOND))
            .layer(retry(outer))
            .layer(retry(inner))
            .layer(ErrorLayer::new())
            .service(backend.clone())
    });
    for _ in 0..1_000 {
        ask(&mut service).await.unwrap_err();
    }
    (report.amplification, backend.calls() as f64 / 1_000.0)
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.005
}

#[tokio::test(start_paused = true)]
async fn one_budget_holds_an_outage_down_to_its_share() {
    for (config, worst, calls) in [
        (at_once().budget(share(0.2)), 3, 1.2),
        (at_once().attempts(10).budget(share(0.5)), 10, 1.5),
        // More than a call has attempts for.
        (at_once().attempts(2).budget(share(5.0)), 2, 2.0),
        (at_once().no_budget(), 3, 3.0),
        (at_once().attempts(1), 1, 1.0),
        (at_once().unlimited_attempts().budget(share(0.2)), u64::MAX, 1.2),
    ] {
        let (said, came) = outage(&[config]).await;
        assert_eq!((said.worst, said.per_second), (worst, 0.0));
        assert!(close(said.sustained, calls) && close(came, calls), "{said:?}, {came}");
    }
}

/// A throttle as gRPC's lets no retry through while every call fails, once half of its tokens are gone.
#[tokio::test(start_paused = true)]
async fn a_throttle_stops_retries_in_an_outage() {
    let (said, came) = outage(&[at_once().budget(BudgetConfig::grpc(10, 0.1))]).await;
    assert_eq!((said.worst, said.sustained, said.per_second), (3, 1.0, 0.0));
    assert!((1.0..1.01).contains(&came), "{came}: the few before it stops them");
    let sentence = "one call may become 3 calls of the service; while all fail, budgets hold it to one \
                    call per call";
    assert_eq!(said.to_string(), sentence);
}

#[tokio::test(start_paused = true)]
async fn nested_retries_multiply_what_their_budgets_allow() {
    let (said, came) = outage(&[at_once().budget(share(0.2)), at_once().budget(share(0.5))]).await;
    assert_eq!(said.worst, 9);
    assert!(close(said.sustained, 1.8) && close(came, 1.8), "{said:?}, {came}");
    let (said, came) = outage(&[at_once().budget(share(0.2)), at_once().no_budget()]).await;
    assert!(close(said.sustained, 3.6) && close(came, 3.6), "{said:?}, {came}");
}

/// One budget for both is one purse; but what the outer one spends is paid in again by the inner one.
#[tokio::test(start_paused = true)]
async fn nested_retries_that_share_a_budget_stay_within_what_is_said() {
    let shared = RetryBudget::new(share(0.2)).unwrap();
    let both = [at_once().budget(&shared), at_once().budget(&shared)];
    let (said, came) = outage(&both).await;
    // At worst the outer one spends all: 0.2 × (1 + 1.5) = 0.5 retries a call.
    assert!(close(said.sustained, 1.5), "{said:?}");
    // It goes to whoever asks first, which is the inner one: 0.2 × (1 + 1).
    assert!(close(came, 1.4), "{came}");

    // What the outer one earns and has no attempts for is there for the inner one: 16 calls, 5 × 3 of them
    // paid for.
    let shared = RetryBudget::new(share(5.0)).unwrap();
    let both = [at_once().attempts(2).budget(&shared), at_once().attempts(10).budget(&shared)];
    let (said, came) = outage(&both).await;
    assert!(close(said.sustained, 16.0) && close(came, 16.0), "{said:?}, {came}");

    // A token of every second counts once: each may become 1.25 calls, and not 1.2 + 1.
    let shared = RetryBudget::new(BudgetConfig::new(0.2)).unwrap();
    let layers = |outer, inner| {
        let (outer, inner) = (retry(outer), retry(inner));
        stack::check(|| ServiceBuilder::new().layer(outer).layer(inner).service(())).1.amplification
    };
    let of = |budget: &RetryBudget| at_once().budget(budget).nested(true);
    assert!(close(layers(of(&shared), of(&shared)).per_second, 12.5));
    let other = RetryBudget::new(BudgetConfig::new(0.2)).unwrap();
    assert!(close(layers(of(&shared), of(&other)).per_second, 22.0));
    // The inner one earns five tokens for each of these, and has an attempt for one.
    let earns = at_once().attempts(2).budget(share(5.0)).nested(true);
    assert!(close(layers(of(&other), earns).per_second, 20.0));
    // However much a budget earns, a token is no more than the attempts that it may cause.
    let rich = RetryBudget::new(BudgetConfig::new(1_000.0)).unwrap();
    let said = layers(of(&rich), of(&rich));
    assert!(said.sustained <= 9.0 && said.per_second <= 90.0, "{said:?}");
}

/// As the guide says: 100 calls that all fail become at most 120, and 10 more a second.
#[test]
fn it_prints_as_a_sentence() {
    let print = |config: Option<RetryConfig>| {
        let layer = config.map(|config| RetryLayer::new(config).unwrap());
        stack::check(|| ServiceBuilder::new().option_layer(layer).service(())).1.amplification
    };
    for (config, sentence) in [
        (None, "one call is one call of the service"),
        (Some(at_once().attempts(1)), "one call is one call of the service"),
        (
            Some(at_once()),
            "one call may become 3 calls of the service; while all fail, budgets hold it to 1.2 calls per \
             call and 10 more a second",
        ),
        (Some(at_once().no_budget()), "one call may become 3 calls of the service"),
        // A budget that holds nothing down is not told of.
        (
            Some(at_once().attempts(2).budget(BudgetConfig::new(1.0))),
            "one call may become 2 calls of the service",
        ),
        (
            Some(at_once().unlimited_attempts().budget(BudgetConfig::new(0.1).per_second(0.5))),
            "one call may become as many calls of the service as there is time for; while all fail, \
             budgets hold it to 1.1 calls per call and 0.5 more a second",
        ),
        (
            Some(at_once().unlimited_attempts().no_budget()),
            "one call may become as many calls of the service as there is time for",
        ),
    ] {
        assert_eq!(print(config).to_string(), sentence);
    }
}
