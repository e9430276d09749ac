//! What may be configured: any number works or is an error that names it.

use std::time::Duration;

use portcullis::{
    Bulkhead, BulkheadConfig, BulkheadLayer, ConfigError, QueueOrder, QueuedBulkheadLayer, Reason,
    clock,
};
use tokio::time::advance;

use crate::{
    bench::{SECOND, bulkhead, config, now},
    support::{Caller, longest},
};

fn error(config: BulkheadConfig) -> (String, String) {
    let by_handle = Bulkhead::new(config.clone()).unwrap_err();
    let by_layer = QueuedBulkheadLayer::new(config.clone()).unwrap_err();
    assert_eq!(by_handle, by_layer);
    assert_eq!(config.validate(), Err(by_handle.clone()));
    (by_handle.field().to_owned(), by_handle.value().to_owned())
}

#[test]
fn the_defaults_are_those_of_the_table() {
    let config = BulkheadConfig::new("db", 7);
    assert_eq!((config.name, config.max_in_flight, config.queue), ("db", 7, 0));
    assert_eq!((config.max_wait, config.order), (SECOND, QueueOrder::Fifo));
    assert_eq!(QueueOrder::default(), QueueOrder::Fifo);
    let other = BulkheadConfig::new("", 1).name("api").max_in_flight(9).queue(3).lifo();
    assert_eq!(Bulkhead::new(other.clone()).unwrap().config(), other);
    assert_eq!((other.name, other.max_in_flight, other.queue), ("api", 9, 3));
    assert_eq!(other.order, QueueOrder::Lifo);
}

#[test]
fn what_cannot_work_is_named() {
    assert_eq!(error(config(0)), ("max_in_flight".into(), "0".into()));
    assert_eq!(error(BulkheadConfig::new("", 1)), ("name".into(), "\"\"".into()));
    let waitless = config(1).queue(1).max_wait(Duration::ZERO);
    assert_eq!(error(waitless), ("max_wait".into(), "0ns".into()));
    // Without a queue nobody waits, whatever they may.
    assert!(Bulkhead::new(config(1).max_wait(Duration::ZERO)).is_ok());
}

#[test]
fn a_layer_that_refuses_at_once_wants_no_queue() {
    let error: ConfigError = BulkheadLayer::new(config(1).queue(5)).unwrap_err();
    assert_eq!((error.field(), error.value()), ("queue", "5"));
    assert!(error.to_string().contains("`QueuedBulkheadLayer`"), "{error}");
    // One of a handle is told so by its name.
    assert!(bulkhead(config(1).queue(5)).layer().bulkhead().try_acquire().is_ok());
}

/// B4: any number works; the largest did panic in others.
#[tokio::test(start_paused = true)]
async fn the_largest_numbers_work() {
    let largest = config(usize::MAX).queue(usize::MAX).max_wait(Duration::MAX);
    let slots = bulkhead(largest.clone());
    let permits: Vec<_> = (0..1_000).map(|_| slots.try_acquire().unwrap()).collect();
    assert_eq!((slots.in_flight(), slots.snapshot().limit), (1_000, usize::MAX));
    slots.resize(1).unwrap();
    let caller = Caller::new();
    let mut waits = Box::pin(slots.acquire());
    assert!(caller.poll(&mut waits).is_pending());
    advance(Duration::from_secs(100 * 365 * 24 * 3_600)).await;
    assert!(caller.poll(&mut waits).is_pending(), "it may wait for ever");
    slots.reconfigure(largest).unwrap();
    assert!(now(caller.poll(&mut waits)).is_ok());
    drop(permits);
    let _ = slots.layer();
    let _ = slots.queued_layer();
    assert_eq!(slots.in_flight(), 0);
}

/// A wait that is longer than any clock, and a deadline just as far.
#[tokio::test(start_paused = true)]
async fn waits_of_any_length_work() {
    let days = 24 * 3_600 * SECOND;
    for wait in [Duration::from_nanos(1), SECOND, 365 * 1_000 * days, longest(), Duration::MAX] {
        let slots = bulkhead(config(1).queue(2).max_wait(wait));
        let _busy = slots.try_acquire().unwrap();
        let caller = Caller::new();
        let mut waits = Box::pin(slots.acquire());
        let far = clock::tokio_now() + 365 * 100 * days;
        let mut until = portcullis::deadline::enter(far, || Box::pin(slots.acquire()));
        assert!(caller.poll(&mut waits).is_pending());
        assert!(caller.poll(&mut until).is_pending());
        assert_eq!(slots.queued(), 2);
        advance(2 * SECOND).await;
        let over = wait <= SECOND;
        for waits in [&mut waits, &mut until] {
            match caller.poll(waits) {
                std::task::Poll::Ready(answer) => {
                    assert!(over);
                    assert_eq!(answer.unwrap_err().reason(), Reason::QueueTimeout);
                }
                std::task::Poll::Pending => assert!(!over),
            }
        }
        drop((waits, until));
        assert_eq!(slots.queued(), 0);
    }
}
