//! State watches: the newest state, once, for every subscriber at once.

use std::task::Poll;

use portcullis::{Circuit, State};
use tokio::time::advance;
use tower::Layer;

use crate::{
    SECOND, config,
    support::{Caller, strict},
};

#[tokio::test(start_paused = true)]
async fn a_watch_sees_the_newest_state_once() {
    let circuit = Circuit::new(config("watch")).expect("a valid config");
    let mut watch = circuit.subscribe();
    assert_eq!(watch.current(), State::Closed);
    let caller = Caller::new();
    {
        let mut changed = Box::pin(watch.changed());
        assert!(caller.poll(&mut changed).is_pending());
        circuit.open();
        circuit.half_open();
        circuit.force_open();
        assert_eq!(caller.wakeups(), 1);
        assert_eq!(caller.poll(&mut changed), Poll::Ready(Some(State::ForcedOpen)));
    }
    assert_eq!(watch.current(), State::ForcedOpen);
    assert!(caller.poll(&mut Box::pin(watch.changed())).is_pending(), "nothing is newer");
    circuit.enable();
    assert_eq!(watch.changed().await, Some(State::Closed));
    // A later subscriber starts from what is, not from what was.
    let mut late = circuit.subscribe();
    assert_eq!(late.current(), State::Closed);
    assert!(caller.poll(&mut Box::pin(late.changed())).is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_command_reaches_all_subscribers_at_once() {
    let circuit = Circuit::new(config("all-at-once")).expect("a valid config");
    let mut watches: Vec<_> = (0..100).map(|_| circuit.subscribe()).collect();
    let callers: Vec<_> = (0..100).map(|_| Caller::new()).collect();
    let mut waiting: Vec<_> = watches.iter_mut().map(|watch| Box::pin(watch.changed())).collect();
    for (caller, changed) in callers.iter().zip(&mut waiting) {
        assert!(caller.poll(changed).is_pending());
    }
    // Time alone wakes nobody.
    advance(3_600 * SECOND).await;
    assert!(callers.iter().all(|caller| caller.wakeups() == 0));
    circuit.force_open();
    for (caller, changed) in callers.iter().zip(&mut waiting) {
        assert_eq!(caller.wakeups(), 1);
        assert_eq!(caller.poll(changed), Poll::Ready(Some(State::ForcedOpen)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_dropped_misses_nothing() {
    let circuit = Circuit::new(config("dropped")).expect("a valid config");
    let mut watch = circuit.subscribe();
    let caller = Caller::new();
    for _ in 0..10 {
        assert!(caller.poll(&mut Box::pin(watch.changed())).is_pending());
    }
    assert_eq!(caller.wakers(), 0, "a dropped wait keeps nothing");
    circuit.open();
    drop(watch.changed());
    assert_eq!(watch.changed().await, Some(State::Open));
}

#[tokio::test(start_paused = true)]
async fn a_watch_follows_the_circuit_through_a_real_outage() {
    let circuit = Circuit::new(config("outage")).expect("a valid config");
    let mut watch = circuit.subscribe();
    let seen = tokio::spawn(async move {
        [watch.changed().await, watch.changed().await, watch.changed().await]
    });
    tokio::task::yield_now().await;
    for _ in 0..3 {
        circuit.try_acquire().expect("closed").failure();
    }
    tokio::task::yield_now().await;
    advance(10 * SECOND).await;
    let probe = circuit.try_acquire().expect("a probe");
    tokio::task::yield_now().await;
    probe.success();
    assert_eq!(
        seen.await.unwrap(),
        [Some(State::Open), Some(State::HalfOpen), Some(State::Closed)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_its_circuit() {
    let circuit = Circuit::new(config("gone")).expect("a valid config");
    let mut watch = circuit.subscribe();
    let service = circuit.layer().layer(strict().0);
    circuit.open();
    drop(circuit);
    assert_eq!(watch.changed().await, Some(State::Open), "a service keeps its circuit");
    let caller = Caller::new();
    let mut changed = Box::pin(watch.changed());
    assert!(caller.poll(&mut changed).is_pending());
    drop(service);
    assert_eq!((caller.wakeups(), caller.poll(&mut changed)), (1, Poll::Ready(None)));
}
