//! Calls that ask late after their turn has come: no interval holds more than burst + rate × its length.

use std::{pin::Pin, time::Duration};

use portcullis::{RateLimiter, Waits, rate_limit::Acquire};
use tokio::time::advance;

use crate::{MS, SECOND, drained, per_second, support::Caller};

fn waiting(limiter: &RateLimiter, tokens: u64) -> Pin<Box<Acquire>> {
    let waits = Waits::up_to(Duration::from_secs(100));
    let mut future = Box::pin(limiter.acquire_within(tokens, waits));
    assert!(Caller::new().poll(&mut future).is_pending());
    future
}

fn goes(future: &mut Pin<Box<Acquire>>) -> bool {
    Caller::new().poll(future).is_ready()
}

#[tokio::test(start_paused = true)]
async fn one_that_moved_up_to_the_first_instant_may_come_late_as_well() {
    let limiter = RateLimiter::new(per_second(1, 2)).unwrap();
    limiter.try_acquire().unwrap();
    let first = waiting(&limiter, 2);
    let mut second = waiting(&limiter, 1);
    drop(first);
    advance(10 * SECOND).await;
    limiter.try_acquire_n(2).unwrap();
    assert!(!goes(&mut second), "a third token at once");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_rate_does_not_make_up_for_coming_late() {
    for burst in [1, 2] {
        let limiter = drained(10, 1);
        let mut late = waiting(&limiter, 1);
        advance(150 * MS).await;
        limiter.reconfigure(per_second(10, burst)).unwrap();
        advance(10 * SECOND).await;
        limiter.try_acquire_n(burst).unwrap();
        assert!(!goes(&mut late), "one more than the burst at once");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_stands_behind_another_late_one_does_not_move_up_for_nothing() {
    let limiter = drained(1_000, 2);
    let mut first = waiting(&limiter, 2);
    let second = waiting(&limiter, 1);
    advance(4 * MS).await;
    assert!(!goes(&mut first), "the second one's token is taken");
    drop(second);
    advance(MS).await;
    assert!(goes(&mut first));
    assert!(limiter.try_acquire().is_err(), "a third token at once");
}

/// The bound was held against its turn when it came.
#[tokio::test(start_paused = true)]
async fn who_comes_late_is_not_refused_for_it() {
    let limiter = drained(10, 1);
    let mut late = Box::pin(limiter.acquire_within(1, Waits::up_to(100 * MS)));
    assert!(!goes(&mut late));
    let second = waiting(&limiter, 1);
    advance(250 * MS).await;
    assert!(!goes(&mut late), "not yet");
    drop(second);
    advance(100 * MS).await;
    assert_eq!(Caller::new().poll(&mut late), std::task::Poll::Ready(Ok(())));
}

/// What it took anew and gave back is as if it had never been.
#[tokio::test(start_paused = true)]
async fn a_late_one_that_leaves_changes_nothing_for_reservations() {
    let limiter = drained(10, 1);
    let mut late = waiting(&limiter, 1);
    let [first, second] = [200, 300].map(|wait| {
        let planned = limiter.reserve(1, None).unwrap();
        assert_eq!(planned.wait(), wait * MS);
        planned
    });
    advance(150 * MS).await;
    assert!(!goes(&mut late));
    drop(late);
    first.cancel();
    assert_eq!(limiter.snapshot().tokens, -1.5, "the second one was planned with its token");
    second.cancel();
    assert_eq!(limiter.snapshot().tokens, -0.5);
}

#[tokio::test(start_paused = true)]
async fn one_behind_a_late_one_that_leaves_is_so_much_later() {
    let limiter = drained(1_000, 3);
    let first = waiting(&limiter, 1);
    let mut second = waiting(&limiter, 1);
    advance(2 * MS).await;
    drop(first);
    advance(2 * MS).await;
    assert!(goes(&mut second));
    assert_eq!(limiter.remaining(), 2);
}
