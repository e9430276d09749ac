//! Waits under an ambient deadline.

use std::time::Instant;

use portcullis::{PolicyKind, Reason, clock, deadline};
use tokio::time::advance;

use crate::{
    bench::{MS, SECOND, bulkhead, config, now, queueing, told},
    support::{Answered, Caller, refusal},
};

fn after(ms: u32) -> Instant {
    clock::tokio_now() + ms * MS
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_the_deadline_if_that_comes_first() {
    for (deadline, ends, reason) in [
        (400, 400, Reason::DeadlineTooShort),
        (999, 999, Reason::DeadlineTooShort),
        // At the same time: the answer would come too late as well.
        (1_000, 1_000, Reason::DeadlineTooShort),
        (1_001, 1_000, Reason::QueueTimeout),
    ] {
        let bench = queueing(config(1).queue(1));
        let inside = bench.hang();
        let began = tokio::time::Instant::now();
        let waits = deadline::enter(after(deadline), || bench.call());
        let refusal = refusal(waits.await);
        assert_eq!((refusal.reason(), refusal.kind()), (reason, PolicyKind::Bulkhead));
        assert!(!refusal.attempted());
        assert_eq!((began.elapsed(), bench.counts()), (ends * MS, (1, 0)));
        drop(inside);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_has_passed_does_not_begin_to_wait() {
    let (slots, told) = told(config(1).queue(1));
    let busy = slots.try_acquire().unwrap();
    advance(SECOND).await;
    told.take();
    for passed in [after(0), after(0) - MS] {
        let answer = deadline::enter(passed, || slots.acquire());
        let mut answer = Box::pin(answer);
        let refusal = now(Caller::new().poll(&mut answer)).unwrap_err();
        assert_eq!(refusal.reason(), Reason::DeadlineTooShort);
        assert_eq!(refusal.kind(), PolicyKind::Bulkhead);
    }
    let refused = "refused: db: too little time is left before the deadline";
    assert_eq!(told.lines(), [refused, refused]);
    // It is asked about only where a call would have to wait.
    drop(busy);
    assert!(deadline::enter(after(0), || slots.try_acquire()).is_ok());
    let mut free = Box::pin(deadline::enter(after(0), || slots.acquire()));
    assert!(now(Caller::new().poll(&mut free)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_seen_by_a_poll_counts_as_well() {
    // As under a buffer, where `call` sees none.
    let slots = bulkhead(config(1).queue(1));
    let _busy = slots.try_acquire().unwrap();
    let waits = slots.acquire();
    let began = tokio::time::Instant::now();
    let refusal = deadline::scope(after(300), waits).await.unwrap_err();
    assert_eq!((refusal.reason(), began.elapsed()), (Reason::DeadlineTooShort, 300 * MS));

    // A later one changes nothing, nor does the end of an earlier one.
    let mut waits = Box::pin(deadline::enter(after(300), || slots.acquire()));
    let caller = Caller::new();
    assert!(deadline::enter(after(200), || caller.poll(&mut waits)).is_pending());
    assert!(deadline::enter(after(500), || caller.poll(&mut waits)).is_pending());
    advance(199 * MS).await;
    assert!(caller.poll(&mut waits).is_pending());
    advance(MS).await;
    assert_eq!(caller.wakeups(), 1);
    let refusal = now(caller.poll(&mut waits)).unwrap_err();
    assert_eq!(refusal.reason(), Reason::DeadlineTooShort);
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_not_given_to_one_whose_deadline_has_come() {
    let slots = bulkhead(config(1).queue(2));
    let busy = slots.try_acquire().unwrap();
    let late = deadline::enter(after(100), || slots.acquire());
    let next = slots.acquire();
    advance(100 * MS).await;
    drop(busy);
    let caller = Caller::new();
    assert!(now(caller.poll(&mut Box::pin(next))).is_ok());
    let refusal = now(caller.poll(&mut Box::pin(late))).unwrap_err();
    assert_eq!(refusal.reason(), Reason::DeadlineTooShort);
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_for_its_slot_too_late_hands_it_on() {
    let bench = queueing(config(1).queue(2));
    let inside = bench.hang();
    let mut late = deadline::enter(after(100), || bench.call());
    let mut next = bench.call();
    let caller = Caller::new();
    assert!(caller.poll(&mut next).is_pending());
    advance(99 * MS).await;
    drop(inside);
    assert_eq!(bench.counts(), (1, 1), "let in while there was time");
    advance(MS).await;
    let refusal = refusal(now(Caller::new().poll(&mut late)));
    assert_eq!(refusal.reason(), Reason::DeadlineTooShort);
    assert_eq!((bench.counts(), caller.wakeups()), ((1, 0), 1));
    assert_eq!(now(caller.poll(&mut next)), Ok(Answered));
    assert_eq!((bench.counts(), bench.probe.calls()), ((0, 0), 2));
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_refuses_at_once_asks_no_deadline() {
    let bench = crate::bench::refusing(config(1));
    let past = after(0);
    assert_eq!(deadline::enter(past, || bench.ask()), Ok(Answered));
    let _inside = bench.hang();
    let refused = deadline::enter(past, || bench.ask());
    assert_eq!(refusal(refused).reason(), Reason::BulkheadFull);
}
