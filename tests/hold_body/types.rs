//! What the types must be. Most of this file is proven by compiling it.

use std::fmt::Debug;

use http::Response;
use http_body::Body;
use portcullis::{
    BulkheadConfig, BulkheadLayer, CircuitBreakerConfig, CircuitBreakerLayer, Circuits, Error,
    KeyedCircuitBreakerLayer, Options, Outcome, QueuedBulkheadLayer,
    http::hold::{HeldBody, HoldBody},
};
use tower::{Layer, Service};

use super::script::{Ask, Script, Server, poll};
use crate::support::Fault;

fn shared<T: Clone + Debug + Send + Sync + Unpin + 'static>(_: &T) {}
fn sendable<T: Debug + Send + Sync + 'static>(_: &T) {}
fn body<B: Body + Debug + Send + Sync + Unpin + Default + 'static>(_: &B) {}

fn holds<L, S, T>(layer: &L)
where
    L: Layer<Server, Service = S> + Clone + Debug + Send + Sync + Unpin + 'static,
    S: Service<Ask, Response = Response<HeldBody<Script, T>>, Error = Error<Fault>>,
    S: Clone + Debug + Send + Sync + Unpin + 'static,
    S::Future: Debug + Send + Sync + 'static,
    HeldBody<Script, T>: Body + Debug + Send + Sync + Unpin + Default + 'static,
{
    shared(layer);
    let mut service = layer.layer(Server::default());
    shared(&service);
    let future = service.call(Ask::new(&[]));
    sendable(&future);
    let std::task::Poll::Ready(Ok(response)) = poll(future) else { panic!("no head") };
    body(response.body());
}

/// The names of what is held can be written down.
struct Api {
    slots: HoldBody<BulkheadLayer>,
    breaker: HoldBody<CircuitBreakerLayer, fn(&http::HeaderMap) -> Outcome>,
}

#[test]
fn everything_is_thread_safe_over_a_thread_safe_service() {
    let slots = BulkheadConfig::new("bounds", 9);
    let layer = BulkheadLayer::new(slots.clone()).expect("a valid config").hold_body();
    assert_eq!(layer.bulkhead().name(), layer.get_ref().bulkhead().name());
    assert_eq!(layer.layer(Server::default()).bulkhead().in_flight(), 0);
    holds(&layer);
    let queued = QueuedBulkheadLayer::new(slots.queue(1)).expect("a valid config").hold_body();
    assert_eq!(queued.layer(Server::default()).bulkhead().name(), queued.bulkhead().name());
    holds(&queued);
    let config = CircuitBreakerConfig::new("bounds");
    let breaker = CircuitBreakerLayer::new(config.clone()).expect("a valid config");
    let breaker = breaker.hold_body().classify_trailers(|_| Outcome::Success);
    assert_eq!(breaker.layer(Server::default()).circuit().name(), breaker.circuit().name());
    holds(&breaker);
    let circuits = Circuits::new(config, 8, Options::new()).expect("a valid config");
    let keyed = KeyedCircuitBreakerLayer::of(circuits, |_: &Ask| 7).hold_body();
    assert!(keyed.layer(Server::default()).circuits().is_empty() && keyed.circuits().is_empty());
    holds(&keyed);

    let judge: fn(&http::HeaderMap) -> Outcome = |_| Outcome::Success;
    let breaker =
        CircuitBreakerLayer::new(CircuitBreakerConfig::new("bounds")).expect("a valid config");
    let api = Api { slots: layer, breaker: breaker.hold_body().classify_trailers(judge) };
    holds(&api.slots);
    holds(&api.breaker);
    assert_eq!(api.slots.into_inner().bulkhead().in_flight(), 0);
}

/// What the documentation says of it.
#[test]
fn a_body_that_holds_is_little_larger() {
    let more = size_of::<HeldBody<[u64; 4]>>() - size_of::<[u64; 4]>();
    assert!(more <= 64, "{more} bytes");
}
