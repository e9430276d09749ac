//! Wakers that panic, and gauges made from events.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Wake, Waker},
    time::Duration,
};

use portcullis::{Event, RateLimiter, Waits, rate_limit::Acquire};
use tokio::time::advance;

use crate::{
    MS, drained, per_second,
    support::{Caller, Told},
};

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics");
    }
}

fn waiting(limiter: &RateLimiter, waker: &Waker) -> Pin<Box<Acquire>> {
    let waits = Waits::up_to(Duration::from_secs(100));
    let mut future = Box::pin(limiter.acquire_within(1, waits));
    assert!(future.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    future
}

fn asleep(limiter: &RateLimiter, caller: &Caller) -> Pin<Box<Acquire>> {
    let mut future = Box::pin(limiter.acquire_within(1, Waits::up_to(Duration::from_secs(100))));
    assert!(caller.poll(&mut future).is_pending());
    future
}

#[tokio::test(start_paused = true)]
async fn one_waker_that_panics_keeps_nobody_from_being_woken() {
    let change = |limiter: &RateLimiter| limiter.reconfigure(per_second(20, 1)).unwrap();
    for command in [RateLimiter::shadow, RateLimiter::disable, RateLimiter::reset, change] {
        let (limiter, caller) = (drained(10, 1), Caller::new());
        let _first = waiting(&limiter, &Arc::new(Panics).into());
        let _second = asleep(&limiter, &caller);
        command(&limiter);
        assert_eq!(caller.wakeups(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_is_not_the_trouble_of_the_one_that_leaves() {
    let (limiter, caller) = (drained(10, 1), Caller::new());
    let first = asleep(&limiter, &caller);
    let mut second = waiting(&limiter, &Arc::new(Panics).into());
    drop(first);
    advance(100 * MS).await;
    assert!(caller.poll(&mut second).is_ready());
    assert_eq!(limiter.queued(), 0);
}

struct PanicsWhenDropped;

impl Wake for PanicsWhenDropped {
    fn wake(self: Arc<Self>) {}
}

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a waker panics when it is dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_when_it_is_dropped_breaks_no_call() {
    let (limiter, caller) = (drained(10, 1), Caller::new());
    let owned = Arc::new(PanicsWhenDropped);
    let mut waits = waiting(&limiter, &Arc::clone(&owned).into());
    // Only the line's is left, once the timer has forgotten its own.
    assert!(caller.poll(&mut waits).is_pending());
    let kept = Arc::strong_count(&owned);
    std::mem::forget(owned);
    assert_eq!(kept, 1);
    drop(waits);
    assert_eq!((limiter.queued(), limiter.remaining()), (0, 0));
}

/// `Queued` less `LeftQueue` and less `Admitted` with a wait.
fn gauge(told: &Told) -> i64 {
    let change = |event: &Event| match event {
        Event::Queued { .. } => 1,
        Event::LeftQueue { .. } => -1,
        Event::Admitted { waited, .. } if *waited > Duration::ZERO => -1,
        _ => 0,
    };
    told.take().iter().map(change).sum()
}

#[tokio::test(start_paused = true)]
async fn a_gauge_made_from_events_is_what_is_queued() {
    for command in [RateLimiter::shadow, RateLimiter::disable, RateLimiter::reset] {
        let told = Told::default();
        let limiter = RateLimiter::with(per_second(10, 1), told.options()).unwrap();
        limiter.try_acquire().unwrap();
        let caller = Caller::new();
        let (mut first, second) = (asleep(&limiter, &caller), asleep(&limiter, &caller));
        let _by_hand = limiter.reserve(1, None).unwrap();
        assert_eq!((gauge(&told), limiter.queued()), (2, 2));
        // At the very time at which it came.
        command(&limiter);
        assert!(caller.poll(&mut first).is_ready());
        assert_eq!((gauge(&told), limiter.queued()), (-1, 1));
        drop(second);
        assert_eq!((gauge(&told), limiter.queued()), (-1, 0));
    }
}

/// Disabled, a limiter counts nothing, and tells of nothing but that nobody waits any more.
#[tokio::test(start_paused = true)]
async fn who_goes_because_nothing_is_counted_is_not_counted() {
    let told = Told::default();
    let limiter = RateLimiter::with(per_second(10, 1), told.options()).unwrap();
    limiter.try_acquire().unwrap();
    let caller = Caller::new();
    let mut waits = asleep(&limiter, &caller);
    limiter.disable();
    told.take();
    assert!(caller.poll(&mut waits).is_ready());
    assert_eq!(told.lines(), ["api: a call gave up waiting"]);
    assert_eq!(limiter.snapshot().admitted, 1);
}

/// They go in its place, and the next verdict is the one that it would have been.
#[tokio::test(start_paused = true)]
async fn who_goes_because_of_shadow_has_spent_its_tokens() {
    let (limiter, caller) = (drained(10, 1), Caller::new());
    let mut line = [asleep(&limiter, &caller), asleep(&limiter, &caller)];
    limiter.shadow();
    assert!(line.iter_mut().all(|waiting| caller.poll(waiting).is_ready()));
    assert_eq!(limiter.snapshot().tokens, -2.0);
    limiter.disable();
    limiter.enable();
    let mut gone = asleep(&limiter, &caller);
    limiter.disable();
    assert!(caller.poll(&mut gone).is_ready());
    assert_eq!(limiter.snapshot().tokens, -2.0);
}
