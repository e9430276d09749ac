//! A retry inside another one's attempt leaves retrying to it.

use portcullis::{Error, RetryConfig, RetryEnd, RetryLayer, RetryPolicy, retry};
use tower::{Layer, ServiceBuilder};

use crate::{
    behaviour::exact,
    script::{Scripted, ask, down, ends, ok},
    support::Told,
};

/// The service, and how often the inner retry's budget was paid into.
fn stack(inner: RetryConfig, told: &Told) -> (Scripted, u64) {
    stack_of(inner, told, |_| {})
}

fn stack_of(inner: RetryConfig, told: &Told, command: fn(&RetryPolicy)) -> (Scripted, u64) {
    let service = Scripted::new([down("down")]);
    let outer = RetryLayer::new(exact("outer")).unwrap();
    let inner = RetryLayer::with(inner, told.options()).unwrap();
    let policy = inner.policy().clone();
    command(&policy);
    let mut stack = ServiceBuilder::new().layer(outer).layer(inner).service(service.probe());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        assert!(ask(&mut stack).await.is_err());
        (service.probe(), policy.snapshot().budget.unwrap().calls)
    })
}

#[test]
fn a_nested_retry_makes_one_attempt_and_earns_nothing() {
    let told = Told::default();
    let (service, paid_in) = stack(exact("inner"), &told);
    assert_eq!((service.calls(), paid_in), (3, 0));
    let attempts: Vec<_> = service.seen().iter().map(|seen| seen.attempt).collect();
    assert_eq!(attempts, [Some(1), Some(2), Some(3)], "of the retry that retries");
    assert_eq!(ends(&told), vec![(1, RetryEnd::Nested); 3]);
}

#[test]
fn told_so_it_retries_all_the_same() {
    let told = Told::default();
    let (service, paid_in) = stack(exact("inner").nested(true), &told);
    assert_eq!((service.calls(), paid_in), (9, 3));
    let attempts: Vec<_> = service.seen().iter().map(|seen| seen.attempt).collect();
    assert_eq!(attempts, [1, 2, 3].repeat(3).into_iter().map(Some).collect::<Vec<_>>());
    assert_eq!(ends(&told), vec![(3, RetryEnd::AttemptsExhausted); 3]);
}

/// A retry that makes one attempt anyway is no reason for one inside it to do the same.
#[tokio::test(start_paused = true)]
async fn inside_a_retry_that_does_not_retry_another_one_does() {
    let service = Scripted::new([down("down"), ok(200)]);
    let outer = RetryLayer::new(exact("outer").attempts(1)).unwrap();
    let inner = RetryLayer::new(exact("inner")).unwrap();
    let mut stack = outer.layer(inner.layer(service.probe()));
    assert_eq!(ask(&mut stack).await, Ok(200));
    assert_eq!(service.calls(), 2);
}

/// The number holds in the synchronous part of the call and in every poll, and nowhere else.
#[tokio::test(start_paused = true)]
async fn the_number_of_the_attempt_is_ambient() {
    assert_eq!(retry::attempt(), None);
    let policy = RetryPolicy::new(exact("db")).unwrap();
    let answer = policy.run(|| {
        let in_call = retry::attempt();
        async move {
            let before = retry::attempt();
            tokio::task::yield_now().await;
            let seen = (in_call, before, retry::attempt());
            let spawned = tokio::spawn(async { retry::attempt() }).await.unwrap();
            assert_eq!(spawned, None, "a spawned task is no part of the attempt");
            if in_call == Some(2) { Ok(seen) } else { Err(Error::Inner(())) }
        }
    });
    assert_eq!(answer.await, Ok((Some(2), Some(2), Some(2))));
    assert_eq!(retry::attempt(), None);
}

/// In shadow it would not try again there either.
#[test]
fn a_nested_retry_in_shadow_reports_nothing() {
    let told = Told::default();
    let (service, paid_in) = stack_of(exact("inner"), &told, |policy| policy.shadow());
    assert_eq!((service.calls(), paid_in), (3, 0));
    assert_eq!(ends(&told), vec![(1, RetryEnd::Nested); 3]);
}
