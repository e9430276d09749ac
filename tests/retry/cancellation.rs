//! Dropping a call at any point gives everything back.

use std::future::Future;

use portcullis::{
    Backoff, BudgetConfig, Error, RetryBudget, RetryConfig, RetryEnd, RetryLayer, RetryPolicy,
};
use tower::{Layer, Service, ServiceExt};

use crate::{
    behaviour::exact,
    script::{Ask, Down, Scripted, down, ends, ms, ok},
    support::{Caller, Told, panic_of},
};

/// Ten tokens of a reserve, and none that calls earn.
fn ten() -> RetryBudget {
    RetryBudget::new(BudgetConfig::new(0.0).per_second(1.0)).unwrap()
}

/// R4: dropping a call in its back-off refunds what was paid for the attempt that will not be. Ten
/// cancelled calls that sent no retry leave ten tokens.
#[tokio::test(start_paused = true)]
async fn dropping_before_the_attempt_refunds() {
    let (budget, told) = (ten(), Told::default());
    let service = Scripted::new([down("down")]);
    let config = exact("db").budget(&budget);
    let mut retry = RetryLayer::with(config, told.options()).unwrap().layer(service.probe());
    for call in 1..=10 {
        let mut response = Box::pin(retry.ready().await.unwrap().call(Ask::default()));
        assert!(Caller::new().poll(&mut response).is_pending());
        assert_eq!((budget.balance(), service.calls()), (9, call), "paid before the sleep");
        drop(response);
        assert_eq!(budget.balance(), 10);
    }
    assert_eq!(ends(&told), vec![(1, RetryEnd::Abandoned); 10]);
}

/// Every point at which a call can be dropped, and what of two retries has been spent there.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_point_has_spent_only_what_was_sent() {
    let mut finished = false;
    for polls in 0..20 {
        let (budget, told) = (ten(), Told::default());
        let service = Scripted::new([
            down("first").took(ms(5)),
            down("second").took(ms(5)),
            ok(200).took(ms(5)),
        ]);
        let config = exact("db").budget(&budget);
        let mut retry = RetryLayer::with(config, told.options()).unwrap().layer(service.probe());
        let mut response = Box::pin(retry.ready().await.unwrap().call(Ask::default()));
        service.block();
        let caller = Caller::new();
        for poll in 0..polls {
            // Every third time the service is ready, so that each attempt waits for it as well.
            if poll % 3 == 2 {
                service.unblock();
            } else {
                service.block();
            }
            finished = caller.poll(&mut response).is_ready();
            if finished {
                break;
            }
            tokio::time::advance(ms(50)).await;
        }
        drop(response);
        let sent = service.calls() as u64 - 1;
        assert_eq!(budget.balance(), 10 - sent, "after {polls} polls");
        let end = if finished { RetryEnd::Success } else { RetryEnd::Abandoned };
        assert_eq!(ends(&told), [(sent as u32 + 1, end)], "after {polls} polls");
        if finished {
            break;
        }
    }
    assert!(finished, "the last round polled to the end, so every point before it was covered");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_attempt_ends_the_call_and_is_paid_for() {
    let (budget, told) = (ten(), Told::default());
    let policy = RetryPolicy::with(exact("db").budget(&budget), told.options()).unwrap();
    let mut attempt = 0;
    let mut call = Box::pin(policy.run(|| {
        attempt += 1;
        let second = attempt == 2;
        async move {
            assert!(!second, "the second attempt panics");
            Err::<(), _>(Error::Inner(()))
        }
    }));
    let caller = Caller::new();
    assert!(caller.poll(&mut call).is_pending());
    tokio::time::advance(ms(101)).await;
    assert!(panic_of(|| caller.poll(&mut call)).contains("second"));
    drop(call);
    assert_eq!(budget.balance(), 9);
    assert_eq!(ends(&told), [(2, RetryEnd::NotRetryable)]);
    assert_eq!(portcullis::retry::attempt(), None);
}

/// The future of `run` gives back what that of a layer does.
#[tokio::test(start_paused = true)]
async fn without_tower_a_dropped_call_refunds_too() {
    let budget = ten();
    let policy = RetryPolicy::new(exact("db").budget(&budget)).unwrap();
    let mut call = Box::pin(policy.run(|| async { Err::<(), _>(Error::Inner(Down("down"))) }));
    assert!(Caller::new().poll(&mut call).is_pending());
    assert_eq!(budget.balance(), 9);
    drop(call);
    assert_eq!(budget.balance(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_timer_wakes_the_task_that_polled_last() {
    let service = Scripted::new([down("down"), ok(200)]);
    let mut retry = RetryLayer::new(exact("db")).unwrap().layer(service.probe());
    let mut response = Box::pin(retry.ready().await.unwrap().call(Ask::default()));
    let (first, second) = (Caller::new(), Caller::new());
    assert!(first.poll(&mut response).is_pending());
    assert!(second.poll(&mut response).is_pending());
    tokio::time::advance(ms(101)).await;
    assert_eq!((first.wakeups(), second.wakeups()), (0, 1));
    assert_eq!(second.finish(&mut response), Ok(200));
}

#[test]
fn a_future_that_has_finished_says_so_when_it_is_polled() {
    let config = RetryConfig::new("db").backoff(Backoff::constant(ms(0)));
    let policy = RetryPolicy::new(config).unwrap();
    let mut call = Box::pin(policy.run(|| async { Ok::<_, Error<()>>(()) }));
    let caller = Caller::new();
    assert_eq!(caller.finish(&mut call), Ok(()));
    assert!(panic_of(|| caller.poll(&mut call)).contains("finished"));
    fn is_a_future<F: Future>(_: &F) {}
    is_a_future(&call);
}
