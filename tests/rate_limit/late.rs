//! Calls that ask late after their turn has come: no interval holds more than burst + rate × its length.

use std::{pin::Pin, task::Poll, time::Duration};

use portcullis::{
    RateLimiter, Waits,
    rate_limit::{Acquire, Reservation},
};
use proptest::prelude::*;
use tokio::time::advance;

use crate::{
    MS, SECOND, drained,
    fifo::{cases, config, never_too_much, paused},
    per_second,
    support::Caller,
};

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
    assert_eq!(Caller::new().poll(&mut late), Poll::Ready(Ok(())));
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

/// Whoever comes late and stands behind others moves nobody into a reservation, whose time stays.
#[tokio::test(start_paused = true)]
async fn nobody_moves_into_a_reservation_for_a_late_one() {
    let limiter = drained(1_000, 2);
    let mut late = waiting(&limiter, 1);
    advance(4 * MS).await;
    limiter.try_acquire_n(2).unwrap();
    let mut before = waiting(&limiter, 1);
    let by_hand = limiter.reserve(2, None).unwrap();
    assert_eq!(by_hand.wait(), 3 * MS);
    assert!(!goes(&mut late));
    advance(3 * MS).await;
    by_hand.keep();
    assert!(!goes(&mut before), "a third token at once, two milliseconds after its turn");
}

/// Whoever cancels a reservation gives its tokens to those that came after it, also to one whose turn is the
/// same or earlier since another was cancelled.
#[tokio::test(start_paused = true)]
async fn who_waits_behind_a_reservation_moves_up_whatever_its_turn() {
    let limiter = drained(1_000, 5);
    let [first, second] = [5, 1].map(|tokens| limiter.reserve(tokens, None).unwrap());
    first.cancel();
    let mut waits = waiting(&limiter, 2);
    second.cancel();
    advance(20 * MS).await;
    assert!(goes(&mut waits));
    assert_eq!(limiter.remaining(), 3);
}

proptest! {
    #![proptest_config(cases())]

    /// L1: the same through changes of rate and burst.
    #[test]
    fn whoever_comes_late_after_a_change_of_the_rate_goes_on_no_more_than_was_there(
        ops in prop::collection::vec((0_u8..7, 0_u64..40), 0..80),
    ) {
        paused(async {
            // In every millisecond that has passed: how many 16ths of a token came.
            let (mut t, mut burst, mut came) = (4, 3, vec![0]);
            let limiter = RateLimiter::new(config(t, burst)).unwrap();
            let waits = Waits::up_to(Duration::from_secs(5));
            let mut uses: Vec<(usize, u64, u64)> = Vec::new();
            let mut waiting: Vec<(u64, Pin<Box<Acquire>>)> = Vec::new();
            let caller = Caller::new();
            for (what, number) in ops {
                let (n, at) = (number % burst + 1, number as usize % waiting.len().max(1));
                let now = came.len() - 1;
                match what {
                    0 => {
                        advance(Duration::from_millis(number)).await;
                        (0..number).for_each(|_| came.push(came[came.len() - 1] + 16 / t));
                    }
                    1 | 2 => {
                        let mut future = Box::pin(limiter.acquire_within(n, waits));
                        match caller.poll(&mut future) {
                            Poll::Ready(_) => uses.push((now, n, burst)),
                            Poll::Pending => waiting.push((n, future)),
                        }
                    }
                    3 if at < waiting.len() => drop(waiting.remove(at)),
                    4 if at < waiting.len() => {
                        if let Poll::Ready(answer) = caller.poll(&mut waiting[at].1) {
                            let (n, _) = waiting.remove(at);
                            uses.extend(answer.ok().map(|()| (now, n, burst)));
                        }
                    }
                    5 => uses.extend(limiter.try_acquire_n(n).ok().map(|()| (now, n, burst))),
                    6 => {
                        (t, burst) = (1 << (number % 5), number / 5 + 1);
                        prop_assert!(limiter.reconfigure(config(t, burst)).is_ok());
                        // One that costs more than there may be from now on may still go in its turn.
                        waiting.retain(|(n, _)| *n <= burst);
                    }
                    _ => {}
                }
            }
            for from in 0..uses.len() {
                let (since, _, burst) = uses[from];
                let mut sum = 0;
                for (at, n, _) in &uses[from..] {
                    sum += 16 * n;
                    prop_assert!(sum <= 16 * burst + came[*at] - came[since], "{:?}", uses);
                }
            }
            Ok(())
        })?;
    }

    /// L1: the same with reservations made by hand, used or cancelled, among those that come late.
    #[test]
    fn whoever_comes_late_among_reservations_goes_on_no_more_than_was_there(
        t in 1_u64..12,
        burst in 1_u64..6,
        ops in prop::collection::vec((0_u8..8, 0_u64..30), 0..60),
    ) {
        paused(async {
            let limiter = RateLimiter::new(config(t, burst)).unwrap();
            let waits = Waits::up_to(Duration::from_secs(5));
            let (mut now, mut uses) = (0, Vec::new());
            let mut waiting: Vec<(u64, Pin<Box<Acquire>>)> = Vec::new();
            let mut by_hand: Vec<(u64, u64, Reservation)> = Vec::new();
            let caller = Caller::new();
            for (what, number) in ops {
                let (n, at) = (number % burst + 1, number as usize);
                match what {
                    0 => {
                        now += number;
                        advance(Duration::from_millis(number)).await;
                    }
                    1 | 2 => {
                        let mut future = Box::pin(limiter.acquire_within(n, waits));
                        match caller.poll(&mut future) {
                            Poll::Ready(_) => uses.push((now, n)),
                            Poll::Pending => waiting.push((n, future)),
                        }
                    }
                    3 if !waiting.is_empty() => drop(waiting.remove(at % waiting.len())),
                    4 if !waiting.is_empty() => {
                        let at = at % waiting.len();
                        if caller.poll(&mut waiting[at].1).is_ready() {
                            uses.push((now, waiting.remove(at).0));
                        }
                    }
                    5 => uses.extend(limiter.try_acquire_n(n).ok().map(|()| (now, n))),
                    6 => {
                        let planned = limiter.reserve(n, None).unwrap();
                        by_hand.push((now + planned.wait().as_millis() as u64, n, planned));
                    }
                    7 if !by_hand.is_empty() => {
                        let (usable, n, planned) = by_hand.remove(at % by_hand.len());
                        // Before its time it is given back; later it counts as used.
                        uses.extend((now >= usable).then_some((usable, n)));
                        drop(planned);
                    }
                    _ => {}
                }
            }
            uses.extend(by_hand.iter().map(|(usable, n, _)| (*usable, *n)));
            never_too_much(&uses, t, burst)
        })?;
    }
}
