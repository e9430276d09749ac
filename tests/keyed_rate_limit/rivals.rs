//! One test for each line of the rivals' defects that a keyed limiter could have.

use std::{future::ready, time::Duration};

use portcullis::{
    Error, Event, KeyedRateLimitLayer, Options, RateLimitConfig, RateLimiters, Reason, clock,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{ADMITTED, MS, SECOND, UNTRACKED, config, limiters, observed};

/// L1: windows over-admit at their edges.
#[tokio::test(start_paused = true)]
async fn no_interval_gives_a_key_more_than_burst_and_rate_times_its_length() {
    let config = RateLimitConfig::per_second("clients", 100);
    let limiters = RateLimiters::new(config, 4, Options::new()).expect("a valid config");
    let mut given = Vec::new();
    for ms in 0..5_000_u64 {
        // Greedy in bursts, around whole seconds above all.
        let asks = if ms % 1_000 > 990 || ms % 1_000 < 10 { 200 } else { ms % 3 };
        for _ in 0..asks {
            if limiters.try_acquire(&7_u32).is_ok() {
                given.push(ms);
            }
        }
        advance(MS).await;
    }
    for (first, from) in given.iter().enumerate() {
        for (many, until) in given[first..].iter().enumerate() {
            let most = 100 + (until - from) / 10;
            assert!((many as u64) < most, "{} in {from}..={until}", many + 1);
        }
    }
    assert!(given.len() as u64 > 100 + 5_000 / 10 - 100);
}

/// L2: extreme numbers panic inside the mutex, and every later call with it. See also
/// `extreme_numbers_admit_refuse_or_are_named`.
#[tokio::test(start_paused = true)]
async fn a_period_without_end_works_or_is_named() {
    for permits in [1, u64::MAX] {
        for burst in [1, u64::MAX] {
            let config = RateLimitConfig::new("clients", permits, Duration::MAX).burst(burst);
            match RateLimiters::new(config, 4, Options::new()) {
                Ok(limiters) => {
                    limiters.try_acquire(&1_u32).expect("a full bucket");
                    advance(SECOND).await;
                    assert!(limiters.try_acquire_n(&1, burst).is_err());
                }
                Err(error) => assert_eq!(error.field(), "burst"),
            }
        }
    }
}

/// L3: what cannot be had in time is refused at once, with the exact time.
#[tokio::test(start_paused = true)]
async fn a_refusal_comes_at_once_with_the_exact_time() {
    let config = RateLimitConfig::new("clients", 1, 60 * SECOND).burst(1);
    let layer = KeyedRateLimitLayer::new(config, 4, |key: &u32| *key).expect("a valid config");
    let service = layer.layer(service_fn(|_: u32| ready(Ok::<_, Error<()>>(()))));
    let before = clock::tokio_now();
    assert_eq!(service.clone().oneshot(1).await, Ok(()));
    let Err(Error::Rejected(rejection)) = service.clone().oneshot(1).await else {
        panic!("a token is 60 s away")
    };
    assert_eq!(rejection.retry_after(), Some(60 * SECOND));
    assert_eq!(clock::tokio_now(), before);
    advance(60 * SECOND).await;
    assert_eq!(service.oneshot(1).await, Ok(()));
}

/// L4: a stale handle still throttles after an hour.
#[tokio::test(start_paused = true)]
async fn what_is_seen_is_computed_at_now() {
    let limiters = limiters(1);
    limiters.try_acquire_n(&1, 2).expect("full");
    limiters.try_acquire_n(&2, 2).expect("shared");
    assert!(!limiters.explain_key(&1).admits && !limiters.explain().admits);
    advance(3_600 * SECOND).await;
    assert_eq!((limiters.remaining(&1), limiters.reset_after(&1)), (2, Some(Duration::ZERO)));
    assert_eq!(limiters.snapshot().shared.remaining, 2);
    assert!(limiters.explain_key(&1).admits && limiters.explain().admits);
}

/// L5: an event that is in the list is never emitted.
#[tokio::test(start_paused = true)]
async fn every_event_of_a_keyed_limiter_is_emitted() {
    let (limiters, told) = observed(1);
    limiters.try_acquire(&1).expect("full");
    limiters.try_acquire_n(&2, 2).expect("shared");
    let rejection = limiters.try_acquire(&3).expect_err("shared and empty");
    limiters.shadow();
    limiters.try_acquire(&3).expect("in shadow");
    let words: Vec<String> = told.take().iter().map(ToString::to_string).collect();
    let would = Event::WouldReject {
        policy: "clients",
        kind: portcullis::PolicyKind::RateLimit,
        reason: Reason::RateLimited,
    };
    let events = [ADMITTED, UNTRACKED, ADMITTED, Event::Rejected(rejection), would, ADMITTED];
    assert_eq!(words, events.map(|event| event.to_string()));
}

/// L6: tokens taken in `poll_ready` are lost by whoever is readied and not called.
#[tokio::test(start_paused = true)]
async fn polled_ready_and_left_idle_holds_nothing() {
    let layer = KeyedRateLimitLayer::new(config(), 4, |key: &u32| *key).expect("a valid config");
    let service = layer.layer(service_fn(|_: u32| ready(Ok::<_, Error<()>>(()))));
    let mut idle = Vec::new();
    for _ in 0..10 {
        let mut one = service.clone();
        one.ready().await.expect("ready");
        idle.push(one);
    }
    assert_eq!((layer.limiters().len(), layer.limiters().remaining(&1)), (0, 2));
    assert_eq!(idle.pop().expect("ten").call(1).await, Ok(()));
    assert_eq!(layer.limiters().remaining(&1), 1);
}

/// L9: burst(100, 50) has a capacity of 150.
#[tokio::test(start_paused = true)]
async fn capacity_is_the_burst_to_the_token() {
    let config = RateLimitConfig::per_second("clients", 100).burst(50);
    let limiters = RateLimiters::new(config, 300, Options::new()).expect("a valid config");
    for key in 0..5_u32 {
        advance(1_000 * SECOND).await;
        let admitted = (0..1_000).filter(|_| limiters.try_acquire(&key).is_ok()).count();
        assert_eq!(admitted, 50);
    }
}

/// Pain 19: the memory of a keyed limiter is a way to bring a service down. A flood of keys is bounded by
/// the table and by one client's rate, without anybody's thread; allocations are counted in
/// `tests/allocations.rs`.
#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_gets_one_clients_rate_and_no_memory() {
    let limiters = limiters(1_000);
    for key in 0..1_000 {
        limiters.try_acquire(&key).expect("there is room");
    }
    let bytes = limiters.snapshot().bytes;
    let mut admitted = 0;
    // A thousand forged addresses a millisecond; what is known is in use all the time.
    for ms in 0..100_u32 {
        for forged in 0..1_000 {
            admitted += u32::from(limiters.try_acquire(&(1_000 + ms * 1_000 + forged)).is_ok());
        }
        for key in (0..1_000).filter(|_| ms == 0) {
            limiters.try_acquire(&key).expect("one is left");
        }
        assert_eq!(limiters.len(), 1_000);
        advance(MS).await;
    }
    assert_eq!(admitted, 2, "one client's burst; its rate brings a third at 100 ms");
    assert_eq!(limiters.snapshot().bytes, bytes);
}
