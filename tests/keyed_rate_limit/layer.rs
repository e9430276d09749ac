//! The layer over a table of limiters.

use std::{cell::Cell, future::ready};

use portcullis::{Error, KeyedRateLimitLayer, Options, RateLimiters, Reason};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{
    ADMITTED, MS, config, limiters, observed,
    support::{Answer, Ask, Caller, Fault, Readiness, fault, refusal, strict},
};

#[tokio::test(start_paused = true)]
async fn a_refused_call_does_not_reach_the_service() {
    let (inner, probe) = strict();
    let limiters = limiters(8);
    let mut service = limiters.layer(|ask: &Ask| u32::from(ask.0)).layer(inner);
    for _ in 0..2 {
        assert!(service.ready().await.unwrap().call(Ask(1)).await.is_ok());
    }
    let rejection = refusal(service.ready().await.unwrap().call(Ask(1)).await);
    assert_eq!(
        (rejection.reason(), rejection.retry_after()),
        (Reason::RateLimited, Some(100 * MS))
    );
    assert_eq!((probe.calls(), service.limiters().remaining(&1)), (2, 0));
    // Another key, on the instance that was readied for the refused one.
    assert!(service.ready().await.unwrap().call(Ask(2)).await.is_ok());
    advance(100 * MS).await;
    assert!(service.ready().await.unwrap().call(Ask(1)).await.is_ok());
    assert_eq!((probe.calls(), probe.readied()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn the_decision_is_taken_in_call_and_a_drop_gives_nothing_back() {
    let (inner, probe) = strict();
    let (limiters, told) = observed(8);
    let mut service = limiters.layer(|ask: &Ask| u32::from(ask.0)).layer(inner);
    probe.answer(Answer::HANGS);
    let caller = Caller::new();
    for polls in 0..2 {
        assert!(caller.ready(&mut service).is_ready());
        let mut response = Box::pin(service.call(Ask(1)));
        assert_eq!(limiters.remaining(&1), 1 - polls, "before the first poll");
        for _ in 0..polls {
            assert!(caller.poll(&mut response).is_pending());
        }
        drop(response);
        assert_eq!((limiters.remaining(&1), probe.live()), (1 - polls, 0));
    }
    assert_eq!(told.take(), [ADMITTED, ADMITTED]);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_the_inner_services_and_takes_no_token() {
    let (inner, probe) = strict();
    let limiters = limiters(8);
    let mut service = limiters.layer(|_: &Ask| 1).layer(inner);
    probe.readiness(Readiness::Never);
    assert!(Caller::new().ready(&mut service).is_pending());
    probe.readiness(Readiness::Fails("gone"));
    assert_eq!(fault(service.ready().await.map(drop)), Fault("gone"));
    probe.readiness(Readiness::Now);
    for _ in 0..10 {
        assert!(Caller::new().ready(&mut service).is_ready());
    }
    assert!(limiters.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_says_its_key_and_its_cost() {
    let layer = KeyedRateLimitLayer::new(config().burst(10), 8, |ask: &(u32, u64)| ask.0)
        .expect("a valid config")
        .cost(|ask: &(u32, u64)| ask.1);
    let limiters = layer.limiters().clone();
    let service = layer.layer(service_fn(|_: (u32, u64)| ready(Ok::<_, Error<()>>(()))));
    let ask = |key, cost| service.clone().oneshot((key, cost));
    assert_eq!(ask(1, 7).await, Ok(()));
    assert_eq!(refusal_reason(ask(1, 4).await), Reason::RateLimited);
    assert_eq!(refusal_reason(ask(2, 11).await), Reason::OverBurst);
    assert_eq!(ask(1, 3).await, Ok(()));
    assert_eq!(ask(1, 0).await, Ok(()));
    assert_eq!((limiters.remaining(&1), limiters.remaining(&2)), (0, 10));
}

fn refusal_reason(result: Result<(), Error<()>>) -> Reason {
    let Err(Error::Rejected(rejection)) = result else { panic!("expected a refusal") };
    rejection.reason()
}

#[tokio::test(start_paused = true)]
async fn services_of_one_layer_value_share_their_keys_and_others_do_not() {
    let layer = KeyedRateLimitLayer::new(config(), 8, |key: &u32| *key).expect("a valid config");
    let other = KeyedRateLimitLayer::new(config(), 8, |key: &u32| *key).expect("a valid config");
    let inner = service_fn(|_: u32| ready(Ok::<_, Error<()>>(())));
    let twins = [layer.layer(inner), layer.clone().layer(inner)];
    for twin in &twins {
        assert_eq!(twin.clone().oneshot(1).await, Ok(()));
    }
    for twin in &twins {
        assert_eq!(refusal_reason(twin.clone().oneshot(1).await), Reason::RateLimited);
    }
    assert_eq!(other.layer(inner).oneshot(1).await, Ok(()));
    // Layers of one table may ask for different costs.
    let dear = layer.clone().cost(|_: &u32| 2);
    assert_eq!(dear.layer(inner).oneshot(2).await, Ok(()));
    assert_eq!((layer.limiters().remaining(&2), dear.limiters().remaining(&1)), (0, 0));
}

/// Neither the service nor the closures need be anything but what they are called as.
#[tokio::test(start_paused = true)]
async fn a_key_may_be_any_value_and_a_closure_may_own_what_it_needs() {
    let seen = std::rc::Rc::new(Cell::new(0));
    let counts = std::rc::Rc::clone(&seen);
    let limiters: RateLimiters<(String, u8)> =
        RateLimiters::new(config(), 8, Options::new()).expect("a valid config");
    let layer = limiters.layer(move |path: &&str| {
        counts.set(counts.get() + 1);
        (path.to_string(), 4)
    });
    let service = layer.layer(service_fn(|path: &str| ready(Ok::<_, Error<()>>(path.len()))));
    assert_eq!(service.clone().oneshot("a/b").await, Ok(3));
    assert_eq!((seen.get(), limiters.remaining(&("a/b".to_owned(), 4))), (1, 1));
}
