//! Reservations made by hand.

use std::{pin::pin, time::Duration};

use portcullis::{RateLimiter, Reason, Waits};
use tokio::time::advance;

use crate::{MS, SECOND, drained, per_second, support::Caller};

#[tokio::test(start_paused = true)]
async fn a_reservation_takes_now_and_is_used_after_its_wait() {
    let limiter = RateLimiter::new(per_second(10, 2)).unwrap();
    let first = limiter.reserve(2, None).unwrap();
    assert_eq!((first.wait(), first.tokens()), (Duration::ZERO, 2));
    let second = limiter.reserve(2, Some(SECOND)).unwrap();
    assert_eq!(second.wait(), 200 * MS);
    assert_eq!(limiter.snapshot().tokens, -2.0);
    assert_eq!(limiter.try_acquire().unwrap_err().retry_after(), Some(300 * MS));
    advance(200 * MS).await;
    assert!(limiter.try_acquire().is_err(), "the tokens are the reservation's");
    drop((first, second));
    assert_eq!(limiter.snapshot().tokens, 0.0, "at its time it may just have been used");
}

#[tokio::test(start_paused = true)]
async fn what_would_come_too_late_is_refused_and_nothing_taken() {
    let limiter = drained(10, 2);
    let refusal = limiter.reserve(2, Some(199 * MS)).unwrap_err();
    assert_eq!(refusal.reason(), Reason::RateLimited);
    assert_eq!(refusal.retry_after(), Some(200 * MS));
    assert_eq!(limiter.reserve(3, None).unwrap_err().reason(), Reason::OverBurst);
    assert_eq!(limiter.snapshot().tokens, 0.0);
    limiter.reconfigure(per_second(0, 2)).unwrap();
    assert_eq!(limiter.reserve(1, None).unwrap_err().retry_after(), None);
}

#[tokio::test(start_paused = true)]
async fn dropped_before_its_time_it_gives_back_what_later_ones_do_not_need() {
    let limiter = drained(10, 3);
    let first = limiter.reserve(3, None).unwrap();
    let second = limiter.reserve(1, None).unwrap();
    drop(first);
    assert_eq!(limiter.snapshot().tokens, -2.0, "one of three was planned with by the second");
    drop(second);
    assert_eq!(limiter.snapshot().tokens, -1.0);
    let last = limiter.reserve(1, None).unwrap();
    last.cancel();
    assert_eq!(limiter.snapshot().tokens, -1.0);
    let kept = limiter.reserve(1, None).unwrap();
    assert_eq!(kept.keep(), 200 * MS);
    assert_eq!(limiter.snapshot().tokens, -2.0);
}

#[tokio::test(start_paused = true)]
async fn after_a_change_of_the_rate_its_wait_stays_and_its_tokens_come_back() {
    let limiter = drained(10, 1);
    let reservation = limiter.reserve(1, None).unwrap();
    limiter.reconfigure(per_second(1, 1)).unwrap();
    assert_eq!(reservation.wait(), 100 * MS);
    reservation.cancel();
    assert_eq!(limiter.snapshot().tokens, 0.0);

    let late = limiter.reserve(1, None).unwrap();
    limiter.reconfigure(per_second(10, 1)).unwrap();
    advance(SECOND + MS).await;
    late.cancel();
    assert_eq!(limiter.snapshot().tokens, 1.0, "past its time it may have been used");

    // golang's `TestReserveSetLimitCancel`.
    let limiter = drained(5, 2);
    let reservation = limiter.reserve(2, None).unwrap();
    advance(200 * MS).await;
    limiter.reconfigure(per_second(10, 2)).unwrap();
    reservation.cancel();
    assert_eq!(limiter.reserve(2, None).unwrap().keep(), 100 * MS);
}

/// At a higher rate its tokens have come back before it may be used, and the bucket has been full.
#[tokio::test(start_paused = true)]
async fn what_a_full_bucket_has_lost_does_not_come_back() {
    let limiter = drained(1, 2);
    let reservation = limiter.reserve(2, None).unwrap();
    limiter.reconfigure(per_second(100, 2)).unwrap();
    advance(SECOND).await;
    assert!(limiter.try_acquire_n(2).is_ok());
    reservation.cancel();
    assert_eq!(limiter.snapshot().tokens, 0.0);
}

/// Those that wait behind it move up at another rate as well.
#[tokio::test(start_paused = true)]
async fn a_change_of_the_rate_does_not_keep_those_behind_it_from_moving_up() {
    let limiter = drained(10, 2);
    let reservation = limiter.reserve(2, None).unwrap();
    let mut waiting = Box::pin(limiter.acquire_within(1, Waits::up_to(10 * SECOND)));
    let caller = Caller::new();
    assert!(caller.poll(&mut waiting).is_pending());
    limiter.reconfigure(per_second(1, 2)).unwrap();
    assert!(caller.poll(&mut waiting).is_pending());
    advance(100 * MS).await;
    reservation.cancel();
    advance(899 * MS).await;
    assert!(caller.poll(&mut waiting).is_pending());
    advance(MS).await;
    assert!(caller.poll(&mut waiting).is_ready());
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_behind_it_move_up_when_it_is_cancelled() {
    let limiter = drained(10, 2);
    let reservation = limiter.reserve(2, None).unwrap();
    let mut waiting = Box::pin(limiter.acquire_within(1, Waits::up_to(SECOND)));
    let caller = Caller::new();
    assert!(caller.poll(&mut waiting).is_pending());
    reservation.cancel();
    assert_eq!(caller.wakeups(), 1);
    assert!(caller.poll(&mut waiting).is_pending());
    advance(100 * MS).await;
    assert!(caller.poll(&mut waiting).is_ready());
    assert_eq!(limiter.snapshot().tokens, 0.0);
}

/// Its wait was told: one that leaves from before it makes no room behind it.
#[tokio::test(start_paused = true)]
async fn nobody_moves_up_past_it() {
    let limiter = drained(10, 2);
    let first = limiter.acquire_within(2, Waits::up_to(SECOND));
    let mut second = Box::pin(limiter.acquire_within(1, Waits::up_to(SECOND)));
    let reservation = limiter.reserve(1, None).unwrap();
    let mut third = Box::pin(limiter.acquire_within(1, Waits::up_to(SECOND)));
    let caller = Caller::new();
    assert!(caller.poll(&mut second).is_pending() && caller.poll(&mut third).is_pending());
    drop(first);
    advance(100 * MS).await;
    assert!(caller.poll(&mut second).is_ready());
    assert_eq!(reservation.wait(), 400 * MS);
    advance(399 * MS).await;
    assert!(caller.poll(&mut third).is_pending());
    advance(MS).await;
    assert!(caller.poll(&mut third).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_burst_alone_changes_no_plan() {
    let limiter = drained(10, 2);
    let reservation = limiter.reserve(1, None).unwrap();
    limiter.reconfigure(per_second(10, 5)).unwrap();
    reservation.cancel();
    assert_eq!(limiter.snapshot().tokens, 0.0);
}

#[tokio::test(start_paused = true)]
async fn what_left_the_line_behind_it_was_not_planned_with() {
    let limiter = drained(10, 3);
    let reservation = limiter.reserve(3, None).unwrap();
    let waiting = limiter.acquire();
    assert_eq!(limiter.snapshot().tokens, -4.0);
    drop(waiting);
    reservation.cancel();
    assert_eq!(limiter.snapshot().tokens, 0.0);
}

/// One that comes too late for its turn, and cannot go since others' tokens are taken by then, stands behind
/// those others.
#[tokio::test(start_paused = true)]
async fn one_that_comes_late_stands_behind_a_reservation() {
    let limiter = drained(10, 1);
    let mut late = Box::pin(limiter.acquire());
    let reservation = limiter.reserve(1, None).unwrap();
    advance(150 * MS).await;
    let caller = Caller::new();
    assert!(caller.poll(&mut late).is_pending(), "the bucket would have been full at 100 ms");
    assert_eq!(limiter.snapshot().tokens, -1.5);
    reservation.cancel();
    assert_eq!(limiter.snapshot().tokens, -0.5);
    advance(50 * MS).await;
    assert!(caller.poll(&mut late).is_ready());
}

/// After a reset the line is planned anew, behind every reservation: all may move up again.
#[tokio::test(start_paused = true)]
async fn after_a_reset_nothing_stands_between_those_in_line() {
    let limiter = drained(10, 1);
    let first = limiter.acquire();
    let reservation = limiter.reserve(1, None).unwrap();
    let mut second = Box::pin(limiter.acquire());
    limiter.reset();
    limiter.try_acquire().unwrap_err();
    let third = limiter.acquire();
    drop(reservation);
    drop(first);
    let caller = Caller::new();
    assert!(caller.poll(&mut second).is_ready(), "the one token of the reset");
    assert_eq!(limiter.snapshot().tokens, -1.0, "the third's");
    drop(third);
    assert_eq!(limiter.snapshot().tokens, 0.0);
}

#[tokio::test(start_paused = true)]
async fn in_shadow_there_is_no_wait_and_disabled_nothing_is_taken() {
    let limiter = drained(10, 1);
    limiter.shadow();
    assert_eq!(limiter.reserve(1, None).unwrap().keep(), Duration::ZERO);
    assert_eq!(limiter.snapshot().tokens, -1.0, "the next verdict is the one it would be");
    assert_eq!(limiter.reserve(1, Some(MS)).unwrap().wait(), Duration::ZERO);
    limiter.disable();
    assert_eq!(limiter.reserve(9, Some(MS)).unwrap().tokens(), 9);
    assert_eq!(limiter.snapshot().tokens, -1.0);
    let future = pin!(limiter.acquire());
    assert!(future.await.is_ok());
}
