//! Properties that others were found not to hold, by their number. R4 is in `cancellation.rs`, R5 in
//! `refusals.rs`, W4 and W5 in `budget.rs` and `threads.rs`.

use portcullis::{
    BudgetConfig, Error, Outcome, RetryBudget, RetryConfig, RetryEnd, RetryLayer, RetryPolicy,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{
    behaviour::exact,
    script::{Ask, Scripted, ask, down, ends, ms, ok, times},
    support::Told,
};

/// R1: attempts ≤ calls × (1 + ratio) + reserve, for any pattern; here for calls that all fail once and
/// succeed at their second attempt, which would refill a budget that successes earn.
#[tokio::test(start_paused = true)]
async fn attempts_are_bounded_by_calls_whatever_their_results() {
    for (ratio, reserve) in [(0.2, 0), (0.2, 10), (0.5, 10), (0.0, 10)] {
        let config = BudgetConfig::new(ratio).per_second(f64::from(reserve) / 10.0);
        let budget = RetryBudget::new(config).unwrap();
        let told = Told::default();
        let layer = RetryLayer::with(exact("db").budget(&budget), told.options()).unwrap();
        let mut attempts = 0;
        // No time passes between the calls: nothing expires.
        for _ in 0..1_000 {
            let service = Scripted::new([down("once"), ok(200)]);
            let mut retry = layer.layer(service.probe());
            let _ = tokio::time::timeout(ms(0), ask(&mut retry)).await;
            attempts += service.calls();
        }
        assert_eq!(attempts, 1_000, "all were dropped in their back-off");
        assert_eq!(budget.balance(), (1_000.0 * ratio) as u64 + u64::from(reserve as u32));
        budget.reset();
        told.take();

        let mut calls = tokio::task::JoinSet::new();
        let services: Vec<_> = (0..1_000).map(|_| Scripted::new([down("once"), ok(200)])).collect();
        for service in &services {
            let mut retry = layer.layer(service.probe());
            calls.spawn(async move { ask(&mut retry).await.is_ok() });
        }
        let succeeded = calls.join_all().await.into_iter().filter(|ok| *ok).count();
        let attempts: usize = services.iter().map(Scripted::calls).sum();
        let allowed = (1_000.0 * ratio) as usize + reserve as usize;
        assert_eq!((attempts, succeeded), (1_000 + allowed, allowed));
        let exhausted =
            ends(&told).into_iter().filter(|(_, end)| *end == RetryEnd::BudgetExhausted);
        assert_eq!(exhausted.count(), 1_000 - allowed);
    }
}

/// R2: default delays are jittered and capped; three clients that fail together come back apart.
#[tokio::test(start_paused = true)]
async fn clients_that_failed_together_come_back_apart() {
    let mut clients = Vec::new();
    for seed in 1..=3 {
        let service = Scripted::new([down("down")]);
        let config = RetryConfig::new("db").attempts(12).seed(seed);
        let mut retry = RetryLayer::new(config).unwrap().layer(service.probe());
        assert!(ask(&mut retry).await.is_err());
        let times = times(&service);
        for (nth, pair) in times.windows(2).enumerate() {
            let cap = (50_u128 << nth).min(20_000);
            assert!(pair[1] - pair[0] <= cap + 1, "retry {} of {times:?}", nth + 1);
        }
        clients.push(times);
    }
    for nth in 3..12 {
        let mut at: Vec<_> = clients.iter().map(|times| times[nth]).collect();
        at.dedup();
        assert_eq!(at.len(), 3, "the clients meet at attempt {}", nth + 1);
    }
    // Unseeded ones differ as well: each draws its seed.
    let unseeded = || RetryPolicy::new(RetryConfig::new("db")).unwrap();
    let (one, other) = (Told::default(), Told::default());
    for told in [&one, &other] {
        let policy = RetryPolicy::with(unseeded().config().attempts(9), told.options()).unwrap();
        let _ = policy.run(|| async { Err::<(), _>(Error::Inner(())) }).await;
    }
    assert_ne!(one.take(), other.take());
}

/// R3: clones ≤ attempts allowed − 1, and none for the last attempt.
#[tokio::test(start_paused = true)]
async fn no_request_is_cloned_for_an_attempt_that_cannot_be() {
    for allowed in 1..=5_u32 {
        for made in 1..=allowed {
            let script = (1..made).map(|_| down("down")).chain([ok(200)]);
            let service = Scripted::new(script);
            let layer = RetryLayer::new(exact("db").attempts(allowed)).unwrap();
            let mut retry = layer.layer(service.probe());
            let (request, clones) = Ask::counted();
            assert_eq!(retry.ready().await.unwrap().call(request).await, Ok(200));
            assert_eq!(service.calls() as u32, made);
            let cloned = *clones.lock().unwrap();
            assert_eq!(cloned, made.min(allowed - 1), "{made} of {allowed} attempts");
            assert_eq!(service.clones(), u32::from(allowed > 1), "one service for all of them");
        }
    }
}

/// X4: nothing here names a type that the compiler could find: closures infer, over a builder, too.
#[tokio::test(start_paused = true)]
async fn no_turbofish_and_no_nested_type_is_needed() {
    #[derive(Debug, PartialEq)]
    struct Body(&'static str);
    // Neither the request nor the response is `Clone`.
    let retry = RetryLayer::new(exact("db"))
        .unwrap()
        .replay(|body: &Body| Some(Body(body.0)))
        .classify(|result: &Result<Body, Error<std::io::Error>>| match result {
            Ok(Body("busy")) | Err(_) => Outcome::Failure,
            Ok(_) => Outcome::Success,
        });
    let policy = retry.policy().clone();
    let service = ServiceBuilder::new()
        .layer(retry)
        .layer(portcullis::ErrorLayer::new())
        .service(service_fn(|request: Body| async move { Ok::<_, std::io::Error>(request) }));
    assert_eq!(service.clone().oneshot(Body("busy")).await.unwrap(), Body("busy"));
    assert_eq!(service.oneshot(Body("fine")).await.unwrap(), Body("fine"));
    assert_eq!((policy.snapshot().calls, policy.snapshot().attempts), (2, 4));

    let answer = policy.run(|| async { Ok::<_, Error<std::io::Error>>(1) }).await;
    assert_eq!(answer.unwrap(), 1);
}
