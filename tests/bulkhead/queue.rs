//! Waiting under the layer: whose turn it is, how often a task is polled, what is held meanwhile.

use std::time::Duration;

use portcullis::{Error, ErrorLayer, QueuedBulkheadLayer, Reason};
use tokio::time::{Instant, advance};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{
    bench::{MS, SECOND, config, now, queueing},
    support::{Answered, Caller, Readiness, refusal},
};

/// L7: first in, first out; one wake-up for each, and two polls.
#[tokio::test(start_paused = true)]
async fn the_oldest_goes_first_and_is_woken_once() {
    let bench = queueing(config(1).queue(200).max_wait(3_600 * SECOND));
    let mut inside = Some(bench.hang());
    let mut waiting: Vec<_> = (0..200).map(|_| (Caller::new(), bench.call())).collect();
    for (caller, response) in &mut waiting {
        assert!(caller.poll(response).is_pending());
    }
    assert_eq!(bench.counts(), (1, 200));
    for next in 0..200 {
        advance(MS).await;
        drop(inside.take());
        let woken: Vec<_> = waiting.iter().map(|(caller, _)| caller.wakeups()).collect();
        let expected: Vec<_> = (0..200).map(|other| u32::from(other <= next)).collect();
        assert_eq!(woken, expected, "each is woken once, in order, and no one else");
        let (caller, response) = &mut waiting[next];
        assert_eq!(now(caller.poll(response)), Ok(Answered), "one poll after its only wake-up");
    }
    assert_eq!(bench.counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_newest_goes_first_if_told_so() {
    let bench = queueing(config(1).queue(3).lifo());
    let inside = bench.hang();
    let mut waiting: Vec<_> = (0..3).map(|_| (Caller::new(), bench.call())).collect();
    for (caller, response) in &mut waiting {
        assert!(caller.poll(response).is_pending());
    }
    // A full queue refuses the newcomer; nobody who waits is sent away for it.
    assert_eq!(refusal(bench.ask()).reason(), Reason::BulkheadFull);
    assert_eq!(bench.counts(), (1, 3));
    drop(inside);
    for (caller, response) in waiting.iter_mut().rev() {
        assert_eq!(caller.wakeups(), 1);
        assert_eq!(now(caller.poll(response)), Ok(Answered));
    }
    assert_eq!(bench.counts(), (0, 0));
}

/// L7: who waits does not lose its slot to a later arrival.
#[tokio::test(start_paused = true)]
async fn a_newcomer_waits_behind_those_who_wait() {
    let bench = queueing(config(1).queue(2));
    let inside = bench.hang();
    let mut first = bench.call();
    drop(inside);
    let mut newcomer = bench.call();
    let caller = Caller::new();
    assert!(caller.poll(&mut newcomer).is_pending(), "the slot is the first one's");
    assert_eq!(now(caller.poll(&mut first)), Ok(Answered));
    assert_eq!(caller.wakeups(), 1);
    assert_eq!(now(caller.poll(&mut newcomer)), Ok(Answered));
}

/// L8, K2: nothing of the service is held while waiting, nor by one that was let in and not yet polled.
#[tokio::test(start_paused = true)]
async fn nothing_of_the_service_is_held_while_waiting() {
    let shared = tower::limit::GlobalConcurrencyLimitLayer::new(10);
    let inner = shared.layer(service_fn(|(): ()| async { Ok::<_, Error<()>>(()) }));
    let layer = QueuedBulkheadLayer::new(config(1).queue(100)).unwrap();
    let service = layer.layer(inner.clone());
    let _busy = layer.bulkhead().try_acquire().unwrap();
    let caller = Caller::new();
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut service = service.clone();
        // Readied, and so reserved, until the call gives the instance up.
        assert!(caller.ready(&mut service).is_ready());
        let mut response = Box::pin(service.call(()));
        assert!(caller.poll(&mut response).is_pending());
        waiting.push((service, response));
    }
    let mut others: Vec<_> = (0..10).map(|_| inner.clone()).collect();
    assert!(others.iter_mut().all(|other| caller.ready(other).is_ready()), "all ten are free");
}

#[tokio::test(start_paused = true)]
async fn a_clone_is_readied_under_the_slot() {
    let bench = queueing(config(1).queue(1));
    let inside = bench.hang();
    let mut waits = bench.call();
    let caller = Caller::new();
    assert!(caller.poll(&mut waits).is_pending());
    assert_eq!(bench.probe.reserved(), 0);
    bench.probe.readiness(Readiness::Never);
    drop(inside);
    assert!(caller.poll(&mut waits).is_pending());
    assert_eq!(bench.counts(), (1, 0), "its slot is its own while the service is not ready");
    bench.probe.readiness(Readiness::Now);
    bench.probe.wake();
    assert_eq!(now(caller.poll(&mut waits)), Ok(Answered));
    assert_eq!(bench.counts(), (0, 0));
}

/// W3: an error of the service's readiness gives the slot back.
#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_become_ready_gives_the_slot_back() {
    let bench = queueing(config(1).queue(1));
    let inside = bench.hang();
    let mut waits = bench.call();
    bench.probe.readiness(Readiness::Fails("gone"));
    drop(inside);
    let failed = now(Caller::new().poll(&mut waits));
    assert_eq!(crate::support::fault(failed), crate::support::Fault("gone"));
    assert_eq!(bench.counts(), (0, 0), "before the future is dropped");
}

/// K1: length and time of the queue are both bounded.
#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_a_service_that_hangs_have_their_answers_within_the_wait() {
    let bench = queueing(config(10).queue(100));
    let inside: Vec<_> = (0..10).map(|_| bench.hang()).collect();
    let began = Instant::now();
    let mut full = 0;
    let mut waiting = Vec::new();
    for _ in 0..990 {
        let mut response = bench.call();
        match Caller::new().poll(&mut response) {
            std::task::Poll::Pending => waiting.push(response),
            std::task::Poll::Ready(refused) => {
                assert_eq!(refusal(refused).reason(), Reason::BulkheadFull);
                full += 1;
            }
        }
    }
    assert_eq!((full, bench.counts()), (890, (10, 100)));
    for response in waiting {
        assert_eq!(refusal(response.await).reason(), Reason::QueueTimeout);
    }
    assert_eq!((began.elapsed(), bench.counts()), (SECOND, (10, 0)));
    drop(inside);
    assert_eq!(bench.counts(), (0, 0));
}

/// B13: between its first poll and its turn, a task that waits is not polled, whatever others do.
#[tokio::test(start_paused = true)]
async fn a_waiter_is_polled_only_when_something_changed_for_it() {
    let bench = queueing(config(1).queue(10).max_wait(10 * SECOND));
    let inside = bench.hang();
    let caller = Caller::new();
    let mut waits = bench.call();
    assert!(caller.poll(&mut waits).is_pending());
    for _ in 0..50 {
        // Others join behind it, give up, wait too long, and are refused.
        let mut others: Vec<_> = (0..9).map(|_| bench.call()).collect();
        assert!(others.iter_mut().all(|other| Caller::new().poll(other).is_pending()));
        assert_eq!(refusal(bench.ask()).reason(), Reason::BulkheadFull);
        advance(100 * MS).await;
    }
    bench.bulkhead.reset();
    assert_eq!((caller.wakeups(), bench.counts()), (0, (1, 1)));
    drop(inside);
    assert_eq!(caller.wakeups(), 1);
    assert_eq!(now(caller.poll(&mut waits)), Ok(Answered));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_polled_last_is_the_one_that_is_woken() {
    let bench = queueing(config(1).queue(1));
    let inside = bench.hang();
    let mut waits = bench.call();
    let (first, second) = (Caller::new(), Caller::new());
    assert!(first.poll(&mut waits).is_pending());
    assert!(second.poll(&mut waits).is_pending());
    assert_eq!(first.wakers(), 0);
    drop(inside);
    assert_eq!((first.wakeups(), second.wakeups()), (0, 1));
    assert_eq!(now(second.poll(&mut waits)), Ok(Answered));
    assert_eq!(second.wakers(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_woken_by_its_own_timer() {
    let bench = queueing(config(1).queue(1).max_wait(Duration::from_millis(700)));
    let inside = bench.hang();
    let began = Instant::now();
    let waits = tokio::spawn(bench.call());
    assert_eq!(refusal(waits.await.unwrap()).reason(), Reason::QueueTimeout);
    assert_eq!((began.elapsed(), bench.counts()), (700 * MS, (1, 0)));
    drop(inside);
}

/// A whole stack in a runtime: nobody is lost on the way.
#[tokio::test(start_paused = true)]
async fn a_crowd_gets_through_a_few_at_a_time() {
    let inner = service_fn(|ms: u64| async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok::<_, std::io::Error>(ms)
    });
    let layer = QueuedBulkheadLayer::new(config(4).queue(1_000).max_wait(3_600 * SECOND)).unwrap();
    let service = layer.layer(ErrorLayer::new().layer(inner));
    let began = Instant::now();
    let calls = (0..400).map(|_| tokio::spawn(service.clone().oneshot(10)));
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().unwrap(), 10);
    }
    // A hundred rounds of four.
    assert_eq!(began.elapsed(), 1_000 * MS);
    assert_eq!((layer.bulkhead().in_flight(), layer.bulkhead().queued()), (0, 0));
}
