//! What the tests of the layers share: a bulkhead over one strict service, and gauges made from events.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use portcullis::{
    Bulkhead, BulkheadConfig, Bulkheaded, Event, Options, PolicyKind, QueuedBulkhead,
};
use tower::{Layer, Service};

use crate::support::{Answer, Answered, Ask, Caller, Peel, Probe, Strict, Told, strict};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn config(limit: usize) -> BulkheadConfig {
    BulkheadConfig::new("db", limit)
}

pub(crate) fn bulkhead(config: BulkheadConfig) -> Bulkhead {
    Bulkhead::new(config).expect("a valid config")
}

/// Gauges as a user would make them, from nothing but events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauges(Arc<(AtomicI64, AtomicI64)>);

impl Gauges {
    pub(crate) fn options(&self) -> Options {
        let gauges = self.clone();
        Options::new().observer(move |event: &Event| gauges.see(event))
    }

    pub(crate) fn see(&self, event: &Event) {
        let (in_flight, queued) = &*self.0;
        match event {
            Event::Admitted { policy: "db", kind: PolicyKind::Bulkhead, waited } => {
                in_flight.fetch_add(1, SeqCst);
                // Only who comes out of the queue has waited, if only for a nanosecond.
                if !waited.is_zero() {
                    queued.fetch_sub(1, SeqCst);
                }
            }
            Event::Released { policy: "db", kind: PolicyKind::Bulkhead } => {
                in_flight.fetch_sub(1, SeqCst);
            }
            Event::Queued { policy: "db", kind: PolicyKind::Bulkhead } => {
                queued.fetch_add(1, SeqCst);
            }
            Event::LeftQueue { policy: "db", kind: PolicyKind::Bulkhead } => {
                queued.fetch_sub(1, SeqCst);
            }
            _ => {}
        }
    }

    pub(crate) fn read(&self) -> (i64, i64) {
        (self.0.0.load(SeqCst), self.0.1.load(SeqCst))
    }
}

/// A layer's service over one strict service.
#[derive(Debug)]
pub(crate) struct Bench<S> {
    pub(crate) service: S,
    pub(crate) bulkhead: Bulkhead,
    pub(crate) probe: Probe,
    pub(crate) gauges: Gauges,
}

pub(crate) fn refusing(config: BulkheadConfig) -> Bench<Bulkheaded<Strict>> {
    let gauges = Gauges::default();
    let bulkhead = Bulkhead::with(config, gauges.options()).expect("a valid config");
    let (service, probe) = strict();
    Bench { service: bulkhead.layer().layer(service), bulkhead, probe, gauges }
}

pub(crate) fn queueing(config: BulkheadConfig) -> Bench<QueuedBulkhead<Strict>> {
    let gauges = Gauges::default();
    let bulkhead = Bulkhead::with(config, gauges.options()).expect("a valid config");
    let (service, probe) = strict();
    Bench { service: bulkhead.queued_layer().layer(service), bulkhead, probe, gauges }
}

/// A bulkhead with a log of its events.
pub(crate) fn told(config: BulkheadConfig) -> (Bulkhead, Told) {
    let told = Told::default();
    (Bulkhead::with(config, told.options()).expect("a valid config"), told)
}

impl<S> Bench<S>
where
    S: Service<Ask, Response = Answered, Error: Peel> + Clone,
{
    /// Readies and calls a clone, as one connection of many would; the clone is gone afterwards.
    #[track_caller]
    pub(crate) fn call(&self) -> Pin<Box<S::Future>> {
        let mut service = self.service.clone();
        let caller = Caller::new();
        while caller.ready(&mut service).is_pending() {}
        Box::pin(service.call(Ask(0)))
    }

    /// A call that hangs, polled once.
    #[track_caller]
    pub(crate) fn hang(&self) -> Pin<Box<S::Future>> {
        self.probe.answer(Answer::HANGS);
        let mut response = self.call();
        assert!(Caller::new().poll(&mut response).is_pending());
        self.probe.answer(Answer::OK);
        response
    }

    /// Calls until the answer is there.
    #[track_caller]
    pub(crate) fn ask(&self) -> Result<Answered, S::Error> {
        Caller::new().finish(&mut self.call())
    }

    /// What is, and what events say that is, must be the same: in flight, and queued.
    #[track_caller]
    pub(crate) fn counts(&self) -> (usize, usize) {
        let now = self.bulkhead.snapshot();
        assert_eq!(self.gauges.read(), (now.in_flight as i64, now.queued as i64), "by events");
        assert_eq!(self.bulkhead.in_flight(), now.in_flight);
        assert_eq!(self.bulkhead.queued(), now.queued);
        (now.in_flight, now.queued)
    }
}

/// The output of a future that must be ready.
#[track_caller]
pub(crate) fn now<T>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("still pending"),
    }
}
