//! The handle, without Tower.

use std::{convert::Infallible, future::pending};

use portcullis::{Bulkhead, CarryRejection, Error, PolicyKind, Reason, Rejection, deadline};
use tokio::time::advance;

use crate::{
    bench::{MS, SECOND, bulkhead, config, now, told},
    support::{Caller, panic_of},
};

fn full(refusal: &Rejection) {
    assert_eq!(refusal.reason(), Reason::BulkheadFull);
    assert_eq!((refusal.policy(), refusal.kind()), ("db", PolicyKind::Bulkhead));
    assert_eq!((refusal.attempted(), refusal.retry_after()), (false, None));
    assert_eq!(refusal.to_string(), "db: the bulkhead and its queue are full");
}

#[test]
fn so_many_at_once_and_no_more() {
    let slots = bulkhead(config(3));
    let clone = slots.clone();
    let mut permits: Vec<_> = (0..3).map(|_| slots.try_acquire().unwrap()).collect();
    full(&clone.try_acquire().unwrap_err());
    assert_eq!((clone.in_flight(), clone.snapshot().rejected), (3, 1));
    drop(permits.pop());
    permits.push(clone.try_acquire().unwrap());
    full(&slots.try_acquire().unwrap_err());
    drop(permits);
    assert_eq!(slots.in_flight(), 0);
}

#[test]
fn a_closure_runs_in_a_slot() {
    let slots = bulkhead(config(1));
    let answer: Result<_, Error<Infallible>> = slots.call(|| {
        assert_eq!(slots.in_flight(), 1);
        let inner: Result<(), Error<Infallible>> = slots.call(|| panic!("it is full"));
        full(inner.unwrap_err().rejection().unwrap());
        Ok(7)
    });
    assert_eq!((answer.unwrap(), slots.in_flight()), (7, 0));
    let failed: Result<(), _> = slots.call(|| Err(Error::Inner("its own")));
    assert_eq!(failed, Err(Error::Inner("its own")));
    let text = panic_of(|| slots.call(|| -> Result<(), Error<()>> { panic!("goes on") }));
    assert_eq!((text.as_str(), slots.in_flight()), ("goes on", 0));
}

#[tokio::test(start_paused = true)]
async fn a_future_runs_in_a_slot() {
    let slots = bulkhead(config(1).queue(1));
    let caller = Caller::new();
    let mut first = Box::pin(slots.run(async { Err::<(), _>(Error::Inner("its own")) }));
    // Taken when it was made, not when it is polled.
    assert_eq!((slots.in_flight(), slots.queued()), (1, 0));
    let mut second = Box::pin(slots.run(async { Ok::<_, Error<()>>(slots.in_flight()) }));
    let mut third = Box::pin(slots.run(async { Ok::<_, Error<()>>(()) }));
    full(now(caller.poll(&mut third)).unwrap_err().rejection().unwrap());
    assert!(caller.poll(&mut second).is_pending());
    assert_eq!((slots.in_flight(), slots.queued()), (1, 1));
    assert_eq!(now(caller.poll(&mut first)), Err(Error::Inner("its own")));
    // The slot went over when the first one resolved, before it was dropped.
    assert_eq!((slots.in_flight(), slots.queued(), caller.wakeups()), (1, 0, 1));
    assert_eq!(now(caller.poll(&mut second)), Ok(1));
    assert_eq!(slots.in_flight(), 0);
    drop((first, second, third));
    assert_eq!(slots.in_flight(), 0);
    assert!(
        panic_of(|| {
            let mut run = Box::pin(slots.run(async { Ok::<_, Error<()>>(()) }));
            let _ = now(caller.poll(&mut run));
            let _ = caller.poll(&mut run);
        })
        .contains("polled after it had finished")
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_future_gives_the_slot_back_at_once() {
    let slots = bulkhead(config(1));
    let caller = Caller::new();
    let mut panics = Box::pin(slots.run(async {
        if slots.in_flight() == 1 {
            panic!("goes on");
        }
        Ok::<_, Error<()>>(())
    }));
    assert_eq!(panic_of(|| caller.poll(&mut panics)), "goes on");
    assert_eq!(slots.in_flight(), 0, "before the future is dropped");
    drop(panics);
    assert_eq!(slots.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn acquiring_waits_for_its_turn() {
    let (slots, told) = told(config(1).queue(2));
    let busy = slots.acquire().await.unwrap();
    let (first, second) = (Caller::new(), Caller::new());
    let mut one = Box::pin(slots.acquire());
    let mut two = Box::pin(slots.acquire());
    assert!(first.poll(&mut one).is_pending() && second.poll(&mut two).is_pending());
    full(&slots.acquire().await.unwrap_err());
    full(&slots.try_acquire().unwrap_err());
    advance(300 * MS).await;
    drop(busy);
    assert_eq!((first.wakeups(), second.wakeups()), (1, 0));
    // It is theirs already: nobody else can take it.
    full(&slots.try_acquire().unwrap_err());
    let permit = now(first.poll(&mut one)).unwrap();
    assert!(second.poll(&mut two).is_pending());
    drop(permit);
    let permit = now(second.poll(&mut two)).unwrap();
    drop(permit);
    assert_eq!((slots.in_flight(), slots.queued(), slots.snapshot().rejected), (0, 0, 3));
    assert_eq!(
        told.lines(),
        [
            "db: a call was let in",
            "db: a call waits for its turn",
            "db: a call waits for its turn",
            "refused: db: the bulkhead and its queue are full",
            "refused: db: the bulkhead and its queue are full",
            "db: a call has left",
            "db: a call was let in after 300ms",
            "refused: db: the bulkhead and its queue are full",
            "db: a call has left",
            "db: a call was let in after 300ms",
            "db: a call has left",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_takes_too_long_ends_at_its_limit() {
    let (slots, told) = told(config(1).queue(1).max_wait(250 * MS));
    let _busy = slots.try_acquire().unwrap();
    let began = tokio::time::Instant::now();
    let refusal = slots.acquire().await.unwrap_err();
    assert_eq!(began.elapsed(), 250 * MS);
    assert_eq!((refusal.reason(), refusal.kind()), (Reason::QueueTimeout, PolicyKind::Bulkhead));
    assert_eq!(refusal.to_string(), "db: the wait in the queue took too long");
    assert_eq!((slots.queued(), slots.in_flight()), (0, 1));
    assert_eq!(
        told.lines(),
        [
            "db: a call was let in",
            "db: a call waits for its turn",
            "db: a call gave up waiting",
            "refused: db: the wait in the queue took too long",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_measured_from_the_call() {
    let slots = bulkhead(config(1).queue(1));
    let _busy = slots.try_acquire().unwrap();
    let mut waits = Box::pin(slots.acquire());
    advance(SECOND).await;
    // Its first poll comes as late as its limit.
    let refusal = now(Caller::new().poll(&mut waits)).unwrap_err();
    assert_eq!(refusal.reason(), Reason::QueueTimeout);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_let_in_in_time_may_come_late() {
    let slots = bulkhead(config(1).queue(1));
    let busy = slots.try_acquire().unwrap();
    let mut waits = Box::pin(slots.acquire());
    advance(999 * MS).await;
    drop(busy);
    advance(SECOND).await;
    assert!(now(Caller::new().poll(&mut waits)).is_ok());
}

#[test]
fn without_a_runtime_only_waiting_is_impossible() {
    let slots = bulkhead(config(1).queue(1));
    let caller = Caller::new();
    let permit = now(caller.poll(&mut Box::pin(slots.acquire()))).unwrap();
    let mut waits = Box::pin(slots.acquire());
    drop(permit);
    // Let in before it had to wait: no timer is made.
    drop(now(caller.poll(&mut waits)).unwrap());
    assert_eq!(slots.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_leaked_bulkhead_is_the_same_one() {
    let slots = bulkhead(config(1).queue(1));
    let leaked: Bulkhead = slots.leak();
    let permit = leaked.try_acquire().unwrap();
    full(&slots.try_acquire().unwrap_err());
    let mut waits = Box::pin(leaked.acquire());
    drop(slots);
    drop(permit);
    assert!(now(Caller::new().poll(&mut waits)).is_ok());
    assert_eq!(leaked.in_flight(), 0);
    let _ = leaked.leak().layer();
}

#[tokio::test(start_paused = true)]
async fn a_permit_outlives_its_handle_and_crosses_threads() {
    let slots = bulkhead(config(1).queue(1));
    let permit = slots.try_acquire().unwrap();
    let waits = slots.acquire();
    drop(slots);
    std::thread::spawn(move || drop(permit)).join().unwrap();
    assert!(waits.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_hanging_call_that_is_cut_gives_its_slot_back() {
    let slots = bulkhead(config(1).queue(1));
    let hangs = slots.run(pending::<Result<(), Error<()>>>());
    let waits = slots.acquire();
    let cut = deadline::within(SECOND, tokio::time::timeout(SECOND, hangs)).await;
    assert!(cut.is_err());
    assert!(waits.await.is_err(), "its own second was over as well");
    assert_eq!((slots.in_flight(), slots.queued()), (0, 0));
}
