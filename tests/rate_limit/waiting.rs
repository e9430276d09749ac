//! Calls that wait: refused at once or served in turn, and woken when there is a reason.

use std::{pin::Pin, task::Poll, time::Duration};

use portcullis::{
    PolicyKind, RateLimitConfig, RateLimiter, Reason, Waits, clock, deadline, rate_limit::Acquire,
};
use tokio::time::advance;

use crate::{
    MS, SECOND, drained, passed, per_second,
    support::{Caller, panic_of},
};

/// One that waits, as a task would.
struct Waiter {
    caller: Caller,
    future: Pin<Box<Acquire>>,
}

impl Waiter {
    fn poll(&mut self) -> Poll<Result<(), portcullis::Rejection>> {
        self.caller.poll(&mut self.future)
    }

    #[track_caller]
    fn goes(&mut self) {
        assert_eq!(self.poll(), Poll::Ready(Ok(())));
    }

    #[track_caller]
    fn stays(&mut self) {
        assert!(self.poll().is_pending());
    }
}

fn up_to(seconds: u64) -> Waits {
    Waits::up_to(Duration::from_secs(seconds))
}

/// One that has begun to wait for `tokens`.
#[track_caller]
fn waiter(limiter: &RateLimiter, tokens: u64, waits: Waits) -> Waiter {
    let future = Box::pin(limiter.acquire_within(tokens, waits));
    let mut waiter = Waiter { caller: Caller::new(), future };
    waiter.stays();
    waiter
}

#[track_caller]
fn refused(limiter: &RateLimiter, tokens: u64, waits: Waits) -> portcullis::Rejection {
    let mut future = Box::pin(limiter.acquire_within(tokens, waits));
    match Caller::new().poll(&mut future) {
        Poll::Ready(Err(rejection)) => rejection,
        other => panic!("{other:?}, not refused at once"),
    }
}

/// L3: refused at 0 virtual ms.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_had_in_time_is_refused_at_once() {
    let start = clock::tokio_now();
    let limiter = RateLimiter::new(RateLimitConfig::new("api", 1, 60 * SECOND)).unwrap();
    limiter.acquire().await.unwrap();
    let refusal = limiter.acquire_within(1, Waits::up_to(100 * MS)).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::RateLimited);
    assert_eq!(refusal.retry_after(), Some(60 * SECOND), "exactly");
    assert_eq!(passed(start), Duration::ZERO);
    assert_eq!((limiter.queued(), limiter.snapshot().tokens), (0, 0.0), "and nothing is taken");
    advance(60 * SECOND).await;
    assert!(limiter.try_acquire().is_ok(), "as it said");
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_exactly_the_bound_is_made() {
    let limiter = drained(10, 1);
    assert_eq!(refused(&limiter, 1, Waits::up_to(99 * MS)).retry_after(), Some(100 * MS));
    let start = clock::tokio_now();
    limiter.acquire_within(1, Waits::up_to(100 * MS)).await.unwrap();
    assert_eq!(passed(start), 100 * MS);
}

#[tokio::test(start_paused = true)]
async fn bounds_of_any_size_work() {
    let limiter = drained(10, 2);
    assert_eq!(refused(&limiter, 1, Waits::up_to(Duration::ZERO)).reason(), Reason::RateLimited);
    assert_eq!(refused(&limiter, 1, up_to(1).queue(0)).retry_after(), Some(100 * MS));
    assert_eq!(refused(&limiter, 3, up_to(1)).reason(), Reason::OverBurst);
    let never = RateLimiter::new(RateLimitConfig::per_second("never", 0)).unwrap();
    never.try_acquire().unwrap();
    let for_ever = Waits::up_to(Duration::MAX).queue(usize::MAX);
    assert_eq!(refused(&never, 1, for_ever).retry_after(), None);
    let slow = RateLimiter::new(RateLimitConfig::new("slow", 1, 365 * 86_400 * SECOND)).unwrap();
    slow.try_acquire().unwrap();
    drop(waiter(&slow, 1, for_ever));
    assert_eq!(slow.snapshot().tokens, 0.0);
}

/// L7: about one wake-up for each that goes, and nobody is overtaken.
#[tokio::test(start_paused = true)]
async fn two_hundred_wait_in_turn_for_one_wake_up_each() {
    let limiter = drained(100, 1);
    let mut waiting: Vec<Waiter> = (0..200).map(|_| waiter(&limiter, 1, up_to(5))).collect();
    assert_eq!(limiter.queued(), 200);
    for went in 0..200 {
        advance(10 * MS).await;
        assert!(limiter.try_acquire().is_err(), "a newcomer overtakes nobody");
        let woken: Vec<u32> = waiting.iter().map(|waiter| waiter.caller.wakeups()).collect();
        assert_eq!(woken[..went], vec![1; went], "each is woken once");
        assert_eq!(woken[went..], [vec![1], vec![0; 199 - went]].concat(), "in its turn");
        waiting[went].goes();
    }
    assert_eq!(limiter.snapshot().admitted, 201);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_overtakes_nobody_however_little_it_asks_for() {
    let limiter = drained(10, 5);
    let mut large = waiter(&limiter, 5, up_to(1));
    advance(400 * MS).await;
    let refusal = limiter.try_acquire().unwrap_err();
    assert_eq!(refusal.retry_after(), Some(200 * MS), "after those in line");
    let mut small = waiter(&limiter, 1, up_to(1));
    advance(100 * MS).await;
    small.stays();
    large.goes();
    advance(100 * MS).await;
    small.goes();
    limiter.try_acquire_n(0).unwrap();
}

/// Whoever drops out of line, those behind it profit; only the next is woken, and hands on.
#[tokio::test(start_paused = true)]
async fn those_behind_one_that_leaves_move_up() {
    let limiter = drained(10, 1);
    let mut line: Vec<Waiter> = (0..5).map(|_| waiter(&limiter, 1, up_to(5))).collect();
    let wakeups = |line: &[Waiter]| line.iter().map(|w| w.caller.wakeups()).collect::<Vec<_>>();
    advance(50 * MS).await;
    drop(line.remove(0));
    assert_eq!(wakeups(&line), [1, 0, 0, 0], "the next one alone");
    line[0].stays();
    advance(50 * MS).await;
    assert_eq!(wakeups(&line), [2, 0, 0, 0]);
    line.remove(0).goes();
    assert_eq!(wakeups(&line), [1, 0, 0], "handed on");
    line[0].stays();
    // One in the middle wakes nobody; the one behind it learns of it in its turn.
    drop(line.remove(1));
    assert_eq!(wakeups(&line), [1, 0]);
    advance(100 * MS).await;
    line.remove(0).goes();
    line[0].stays();
    advance(100 * MS).await;
    line.remove(0).goes();
    assert_eq!((limiter.queued(), limiter.remaining()), (0, 0));
    assert_eq!(limiter.reset_after(), Some(100 * MS));
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_point_it_leaves_nothing_behind() {
    for polls in 0..3 {
        let limiter = drained(10, 2);
        let mut future = Box::pin(limiter.acquire_within(2, up_to(1)));
        let caller = Caller::new();
        (0..polls).for_each(|_| assert!(caller.poll(&mut future).is_pending()));
        assert_eq!((limiter.queued(), limiter.snapshot().tokens), (1, -2.0));
        drop(future);
        assert_eq!((limiter.queued(), limiter.snapshot().tokens), (0, 0.0));
        assert_eq!(caller.wakers(), 0);
    }
    // Its turn has come, but it was not polled any more.
    let limiter = drained(10, 2);
    let waiting = waiter(&limiter, 1, up_to(1));
    advance(100 * MS).await;
    assert_eq!(waiting.caller.wakeups(), 1);
    drop(waiting);
    assert_eq!(limiter.snapshot().tokens, 1.0);
}

/// The last of a line that leaves frees the place for one that was refused a moment ago.
#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once() {
    let limiter = drained(10, 1);
    let short = up_to(5).queue(2);
    let _first = waiter(&limiter, 1, short);
    let second = waiter(&limiter, 1, short);
    let refusal = refused(&limiter, 1, short);
    assert_eq!(refusal.reason(), Reason::RateLimited);
    assert_eq!(refusal.retry_after(), Some(300 * MS));
    drop(second);
    let _second = waiter(&limiter, 1, short);
    let _third = waiter(&limiter, 1, up_to(5).queue(3));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_end_at_the_deadline_is_refused_at_once() {
    let limiter = drained(10, 1);
    let start = clock::tokio_now();
    let refusal = deadline::within(100 * MS, async { limiter.acquire().await }).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::DeadlineTooShort);
    assert_eq!(refusal.kind(), PolicyKind::RateLimit);
    assert_eq!(refusal.retry_after(), Some(100 * MS));
    assert_eq!(passed(start), Duration::ZERO);
    // The bound of the wait comes first where both are too short.
    let short = Waits::up_to(50 * MS);
    let both = deadline::within(100 * MS, async { limiter.acquire_within(1, short).await });
    assert_eq!(both.await.unwrap_err().reason(), Reason::RateLimited);
    let just = deadline::within(101 * MS, async { limiter.acquire().await });
    assert!(just.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_first_seen_by_a_poll_counts_as_well() {
    let limiter = drained(10, 1);
    let future = limiter.acquire();
    assert_eq!(limiter.queued(), 1);
    let refusal = deadline::within(50 * MS, future).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::DeadlineTooShort);
    assert_eq!((limiter.queued(), limiter.snapshot().tokens), (0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_rate_tells_everybody_anew() {
    let limiter = drained(10, 5);
    let mut first = waiter(&limiter, 1, up_to(1));
    let mut second = waiter(&limiter, 5, up_to(1));
    let mut third = waiter(&limiter, 1, up_to(1));
    advance(50 * MS).await;
    limiter.reconfigure(per_second(100, 5)).unwrap();
    assert_eq!(first.caller.wakeups() + third.caller.wakeups(), 2);
    [&mut first, &mut second, &mut third].into_iter().for_each(Waiter::stays);
    advance(5 * MS).await;
    first.goes();
    limiter.reconfigure(per_second(100, 4)).unwrap();
    let Poll::Ready(Err(refusal)) = second.poll() else { panic!("it can never go") };
    assert_eq!(refusal.reason(), Reason::OverBurst);
    third.stays();
    advance(10 * MS).await;
    third.goes();

    let mut first = waiter(&limiter, 1, up_to(1));
    let mut second = waiter(&limiter, 1, up_to(1));
    limiter.reconfigure(per_second(1, 4)).unwrap();
    first.stays();
    let Poll::Ready(Err(refusal)) = second.poll() else { panic!("it would wait for too long") };
    assert_eq!(refusal.reason(), Reason::RateLimited);
    assert_eq!(refusal.retry_after(), Some(2 * SECOND));
    limiter.reconfigure(per_second(0, 4)).unwrap();
    let Poll::Ready(Err(refusal)) = first.poll() else { panic!("it would wait for ever") };
    assert_eq!((refusal.reason(), refusal.retry_after()), (Reason::RateLimited, None));
    assert_eq!((limiter.queued(), limiter.remaining()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn whose_turn_has_come_keeps_it_through_a_change_of_the_rate() {
    let limiter = drained(10, 2);
    let mut first = waiter(&limiter, 2, up_to(1));
    advance(200 * MS).await;
    limiter.reconfigure(per_second(1, 1)).unwrap();
    first.goes();
    let second = waiter(&limiter, 1, up_to(1));
    advance(SECOND).await;
    limiter.reconfigure(per_second(10, 500)).unwrap();
    drop(second);
    assert_eq!(limiter.remaining(), 1, "it has not gone");
}

#[tokio::test(start_paused = true)]
async fn a_reset_serves_the_line_from_a_full_bucket() {
    let limiter = drained(10, 3);
    let mut line: Vec<Waiter> = (0..5).map(|_| waiter(&limiter, 1, up_to(5))).collect();
    limiter.reset();
    assert!(line.iter().all(|waiter| waiter.caller.wakeups() == 1));
    line.drain(..3).for_each(|mut waiter| waiter.goes());
    line.iter_mut().for_each(Waiter::stays);
    advance(100 * MS).await;
    line.remove(0).goes();
    line[0].stays();
}

/// It has no tokens then, and gives none back.
#[tokio::test(start_paused = true)]
async fn one_that_can_never_go_after_a_reset_is_refused_when_it_asks() {
    let limiter = drained(10, 3);
    let mut asks = waiter(&limiter, 3, up_to(5));
    let leaves = waiter(&limiter, 3, up_to(5));
    limiter.reconfigure(per_second(10, 2)).unwrap();
    limiter.reset();
    limiter.try_acquire_n(2).unwrap();
    limiter.reconfigure(per_second(5, 2)).unwrap();
    let Poll::Ready(Err(refusal)) = asks.poll() else { panic!("it can never go") };
    assert_eq!((refusal.reason(), refusal.retry_after()), (Reason::OverBurst, None));
    drop(leaves);
    assert_eq!((limiter.queued(), limiter.snapshot().tokens), (0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn in_shadow_or_disabled_nobody_waits() {
    for command in [RateLimiter::shadow, RateLimiter::disable] {
        let limiter = drained(10, 1);
        let mut first = waiter(&limiter, 1, up_to(5));
        let mut second = waiter(&limiter, 1, up_to(5));
        command(&limiter);
        assert_eq!((first.caller.wakeups(), second.caller.wakeups()), (1, 1));
        second.goes();
        first.goes();
        assert_eq!(limiter.queued(), 0);
        let mut third = Box::pin(limiter.acquire_within(9, Waits::up_to(MS)));
        assert!(Caller::new().poll(&mut third).is_ready());
    }
}

/// A timer may run late, and by another clock than the limiter's: nobody goes before its turn.
#[tokio::test(start_paused = true)]
async fn nobody_goes_before_its_turn_by_the_limiters_own_clock() {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    static LATER: AtomicU64 = AtomicU64::new(0);
    fn moved_by_hand() -> std::time::Instant {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        *START.get_or_init(clock::tokio_now) + Duration::from_millis(LATER.load(SeqCst))
    }
    let options = portcullis::Options::new().clock(moved_by_hand);
    let limiter = RateLimiter::with(per_second(10, 1), options).unwrap();
    limiter.try_acquire().unwrap();
    let mut waiting = waiter(&limiter, 1, up_to(5));
    advance(100 * MS).await;
    LATER.store(50, SeqCst);
    assert_eq!(waiting.caller.wakeups(), 1);
    waiting.stays();
    advance(50 * MS).await;
    LATER.store(99, SeqCst);
    waiting.stays();
    advance(MS).await;
    LATER.store(100, SeqCst);
    waiting.goes();
}

#[tokio::test(start_paused = true)]
async fn a_finished_future_says_so_when_it_is_polled_again() {
    let limiter = drained(10, 1);
    let mut future = Box::pin(limiter.acquire());
    advance(100 * MS).await;
    let caller = Caller::new();
    assert!(caller.poll(&mut future).is_ready());
    let text = panic_of(|| caller.poll(&mut future));
    assert!(text.contains("after it had finished"), "{text}");
    let mut future = Box::pin(limiter.acquire_n(0));
    assert!(caller.poll(&mut future).is_ready());
    assert!(panic_of(|| caller.poll(&mut future)).contains("after it had finished"));
}

/// Threads join, give up, and ask without waiting: nobody is lost, and at the end nothing is owed.
#[test]
fn threads_that_wait_and_give_up_leave_nothing_behind() {
    let config = RateLimitConfig::new("api", 1, 3_600 * SECOND).burst(4);
    let limiter = RateLimiter::new(config).unwrap();
    limiter.try_acquire_n(4).unwrap();
    let waits = Waits::up_to(Duration::MAX);
    crate::support::on_threads(8, |thread| {
        let mut mine = Vec::new();
        for round in 0..2_000_u64 {
            if (round + u64::from(thread)) % 3 == 0 {
                mine.truncate(round as usize % 5);
            }
            mine.push(limiter.acquire_within(1 + round % 4, waits));
            assert!(limiter.try_acquire().is_err());
        }
    });
    assert_eq!(limiter.queued(), 0);
    let tokens = limiter.snapshot().tokens;
    assert!((0.0..0.1).contains(&tokens), "{tokens}");
}
