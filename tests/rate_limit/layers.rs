//! The two layers over a strict inner service.

use std::{task::Poll, time::Duration};

use portcullis::{
    ErrorLayer, RateLimit, RateLimitConfig, RateLimitLayer, RateLimiter, Reason,
    WaitingRateLimitLayer, Waits, clock,
    rate_limit::{Cost, OneToken},
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{
    MS, SECOND, passed, per_second,
    support::{Answer, Ask, Caller, Readiness, panic_of, refusal, strict},
};

fn layer(permits: u64, burst: u64) -> RateLimitLayer {
    RateLimitLayer::new(per_second(permits, burst)).unwrap()
}

fn waiting(permits: u64, burst: u64) -> WaitingRateLimitLayer {
    WaitingRateLimitLayer::new(per_second(permits, burst), Waits::default()).unwrap()
}

/// L6: polled ready and left idle, it holds nothing.
#[tokio::test(start_paused = true)]
async fn ten_readied_services_take_no_token() {
    let (service, _probe) = strict();
    let (refusing, patient) = (layer(1, 3), waiting(1, 3));
    let caller = Caller::new();
    let mut refusers: Vec<_> = (0..10).map(|_| refusing.layer(service.clone())).collect();
    let mut waiters: Vec<_> = (0..10).map(|_| patient.layer(service.clone())).collect();
    assert!(refusers.iter_mut().all(|service| caller.ready(service).is_ready()));
    assert!(waiters.iter_mut().all(|service| caller.ready(service).is_ready()));
    assert_eq!((refusing.limiter().remaining(), patient.limiter().remaining()), (3, 3));
}

/// L8: nothing of the inner service is held while waiting.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_holds_nothing_of_the_inner_service() {
    let (service, probe) = strict();
    let layer = waiting(10, 1);
    layer.limiter().try_acquire().unwrap();
    let mut service = layer.layer(service);
    let caller = Caller::new();
    assert!(caller.ready(&mut service).is_ready());
    assert_eq!(probe.reserved(), 1);
    let mut response = Box::pin(service.call(Ask(0)));
    assert!(caller.poll(&mut response).is_pending());
    assert_eq!((probe.reserved(), probe.live(), probe.calls()), (0, 0, 0));
    // One for the service and one to be readied in its turn.
    assert_eq!(probe.instances(), 2);
    advance(100 * MS).await;
    assert_eq!(caller.wakeups(), 1);
    assert!(caller.finish(&mut response).is_ok());
    assert_eq!((probe.calls(), probe.reserved()), (1, 0));
    drop(response);
    assert_eq!(probe.instances(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_is_dropped_at_any_point() {
    // In line, then readying, then calling: with one poll more the answer is there.
    let mut finished = false;
    for polls in 0..=7 {
        let (service, probe) = strict();
        let layer = waiting(10, 1);
        layer.limiter().try_acquire().unwrap();
        let mut service = layer.layer(service);
        let caller = Caller::new();
        assert!(caller.ready(&mut service).is_ready());
        probe.readiness(Readiness::After(2));
        probe.answer(Answer::OK.after(3));
        let mut response = Box::pin(service.call(Ask(0)));
        for nth in 0..polls {
            finished = caller.poll(&mut response).is_ready();
            if nth == 0 {
                advance(100 * MS).await;
            }
        }
        drop(response);
        assert_eq!((probe.live(), probe.reserved(), probe.instances()), (0, 0, 1));
        assert_eq!((layer.limiter().queued(), caller.wakers()), (0, 0));
        // Before its turn the token is the limiter's again; afterwards it is spent.
        let tokens = if polls < 2 { polls } else { 0 };
        assert_eq!(layer.limiter().remaining(), tokens, "after {polls} polls");
    }
    assert!(finished, "the last round polled to the end, so every point before it was covered");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_never_reaches_the_service_and_says_when_to_come_back() {
    let (service, probe) = strict();
    let layer = layer(10, 2);
    let mut service = layer.layer(service);
    for _ in 0..2 {
        assert!(service.ready().await.unwrap().call(Ask(0)).await.is_ok());
    }
    let refused = refusal(service.ready().await.unwrap().call(Ask(0)).await);
    assert_eq!((refused.reason(), refused.policy()), (Reason::RateLimited, "api"));
    assert_eq!(refused.retry_after(), Some(100 * MS));
    assert!(!refused.attempted());
    assert_eq!(refused.to_string(), "api: the rate limit is used up; retry after 100ms");
    assert_eq!(probe.calls(), 2);
    advance(100 * MS).await;
    assert!(service.ready().await.unwrap().call(Ask(0)).await.is_ok());
}

/// L3, through the layer.
#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_be_served_in_time_is_refused_at_once() {
    let (service, _probe) = strict();
    let config = RateLimitConfig::new("api", 1, 60 * SECOND);
    let layer = WaitingRateLimitLayer::new(config, Waits::up_to(100 * MS)).unwrap();
    let mut service = layer.layer(service);
    assert!(service.ready().await.unwrap().call(Ask(0)).await.is_ok());
    let start = clock::tokio_now();
    let refused = refusal(service.ready().await.unwrap().call(Ask(0)).await);
    assert_eq!(refused.retry_after(), Some(60 * SECOND));
    assert_eq!(passed(start), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn one_limiter_serves_every_layer_and_service_made_of_it() {
    let limiter = RateLimiter::new(per_second(1, 4)).unwrap();
    let layers = (limiter.layer(), limiter.waiting_layer(Waits::default()), limiter.leak().layer());
    let (service, _probe) = strict();
    let mut first = layers.0.layer(service.clone());
    let mut other = layers.0.clone().layer(service.clone());
    let mut patient = layers.1.layer(service.clone());
    let mut leaked = layers.2.layer(service);
    assert!(first.ready().await.unwrap().call(Ask(0)).await.is_ok());
    assert!(other.clone().ready().await.unwrap().call(Ask(0)).await.is_ok());
    assert!(patient.ready().await.unwrap().call(Ask(0)).await.is_ok());
    assert!(leaked.ready().await.unwrap().call(Ask(0)).await.is_ok());
    assert_eq!(limiter.remaining(), 0);
    let _ = refusal(other.ready().await.unwrap().call(Ask(0)).await);
    assert_eq!(first.limiter().snapshot().refused, 1);
    assert_eq!(patient.limiter().name(), layers.1.limiter().name());
}

/// A refuse-only layer of the same limiter overtakes nobody who waits under another.
#[tokio::test(start_paused = true)]
async fn a_call_under_the_refusing_layer_overtakes_nobody() {
    let limiter = RateLimiter::new(per_second(10, 2)).unwrap();
    limiter.try_acquire_n(2).unwrap();
    let (service, _probe) = strict();
    let mut patient =
        limiter.waiting_layer(Waits::default()).cost(|_: &Ask| 2).layer(service.clone());
    let mut refusing = limiter.layer().layer(service);
    let waiting = patient.ready().await.unwrap().call(Ask(0));
    advance(150 * MS).await;
    let refused = refusal(refusing.ready().await.unwrap().call(Ask(0)).await);
    assert_eq!(refused.retry_after(), Some(150 * MS));
    assert!(waiting.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_request_costs_what_the_closure_says() {
    let echo = || service_fn(|n: u64| async move { Ok::<_, std::io::Error>(n) });
    let layer = layer(10, 5).cost(|n: &u64| *n);
    let service = ServiceBuilder::new().layer(&layer).layer(ErrorLayer::new()).service(echo());
    assert_eq!(service.clone().oneshot(3).await.unwrap(), 3);
    assert_eq!(service.clone().oneshot(0).await.unwrap(), 0);
    assert_eq!(layer.limiter().remaining(), 2);
    assert_eq!(refusal_of(service.clone().oneshot(6).await), (Reason::OverBurst, None));
    assert_eq!(refusal_of(service.oneshot(5).await), (Reason::RateLimited, Some(300 * MS)));
    assert_eq!(layer.limiter().remaining(), 2, "a refusal takes nothing");

    let patient = waiting(10, 5).cost_with(std::sync::Arc::new(|n: &u64| *n));
    assert_eq!(patient.waits(), Waits::default());
    let service = ServiceBuilder::new().layer(&patient).layer(ErrorLayer::new()).service(echo());
    let start = clock::tokio_now();
    assert_eq!(service.clone().oneshot(5).await.unwrap(), 5);
    assert_eq!(service.clone().oneshot(3).await.unwrap(), 3);
    assert_eq!(passed(start), 300 * MS);
    assert_eq!(refusal_of(service.oneshot(6).await), (Reason::OverBurst, None));
    assert_eq!(Cost::<Ask>::cost(&OneToken, &Ask(7)), 1);
}

#[track_caller]
fn refusal_of<T: std::fmt::Debug>(
    result: Result<T, portcullis::Error<std::io::Error>>,
) -> (Reason, Option<Duration>) {
    let portcullis::Error::Rejected(rejection) = result.unwrap_err() else { panic!("refused") };
    (rejection.reason(), rejection.retry_after())
}

#[tokio::test(start_paused = true)]
async fn a_cost_that_panics_takes_nothing() {
    let (service, probe) = strict();
    let layer = layer(1, 1).cost(|_: &Ask| -> u64 { panic!("the cost panics") });
    let mut service = layer.layer(service);
    assert!(Caller::new().ready(&mut service).is_ready());
    assert_eq!(panic_of(|| service.call(Ask(0))), "the cost panics");
    assert_eq!((layer.limiter().remaining(), probe.calls()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_service_inside_can_be_had_back() {
    let (service, _probe) = strict();
    let mut limited: RateLimit<_> = layer(1, 1).layer(service);
    let caller = Caller::new();
    assert!(caller.ready(limited.get_mut()).is_ready());
    assert!(format!("{:?} {:?}", limited, limited.get_ref()).contains("Strict"));
    let mut inner = limited.into_inner();
    assert!(caller.finish(&mut Box::pin(inner.call(Ask(0)))).is_ok());
}

/// A full queue of ten, and each is answered in turn, under one layer.
#[tokio::test(start_paused = true)]
async fn calls_under_one_layer_are_served_in_turn() {
    let (service, probe) = strict();
    let config = per_second(10, 1);
    let layer = WaitingRateLimitLayer::new(config, Waits::up_to(2 * SECOND).queue(10)).unwrap();
    let mut service = layer.layer(service);
    let caller = Caller::new();
    let mut responses: Vec<_> = (0..12)
        .map(|_| {
            assert!(caller.ready(&mut service).is_ready());
            Box::pin(service.call(Ask(0)))
        })
        .collect();
    assert!(caller.finish(&mut responses.remove(0)).is_ok());
    let refused = refusal(caller.finish(&mut responses.remove(10)));
    assert_eq!(refused.retry_after(), Some(1_100 * MS), "the queue is full");
    for calls in 1..=10 {
        assert!(responses.iter_mut().all(|response| caller.poll(response).is_pending()));
        advance(100 * MS).await;
        assert!(matches!(caller.poll(&mut responses[0]), Poll::Ready(Ok(_))));
        drop(responses.remove(0));
        assert_eq!(probe.calls(), calls + 1);
    }
}
