//! Layers that hold to the end of a body, over the strict service made to speak HTTP. Its bodies never end: what
//! holds is given back as each response is taken for its head alone.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream::{self, Pending};
use http::Response;
use http_body::Frame;
use http_body_util::StreamBody;
use portcullis::{
    BulkheadConfig, BulkheadLayer, CircuitBreakerLayer, KeyedCircuitBreakerLayer,
    QueuedBulkheadLayer,
    http::{
        BodyTimeoutConfig, BodyTimeoutLayer,
        body_timeout::TimedBody,
        hold::{HeldBody, HoldBody},
    },
};
use tower::{
    Layer,
    util::{MapResponse, MapResponseLayer},
};

use super::{
    config,
    every_layer::{self, Calls, contract},
    support::{Answered, Ask, Strict},
};

type Endless = StreamBody<Pending<Result<Frame<Bytes>, Infallible>>>;
type Speaks = MapResponse<Strict, fn(Answered) -> Response<Endless>>;

fn endless(_: Answered) -> Response<Endless> {
    Response::new(StreamBody::new(stream::pending()))
}

fn head<B>(response: Response<B>) -> Answered {
    drop(response);
    Answered
}

/// A layer over HTTP as one over the strict service.
#[derive(Clone, Debug)]
struct OverHttp<L, F>(L, F);

impl<L: Layer<Speaks>, F: Clone> Layer<Strict> for OverHttp<L, F> {
    type Service = MapResponse<L::Service, F>;

    fn layer(&self, strict: Strict) -> Self::Service {
        let speaks = MapResponse::new(strict, endless as fn(Answered) -> _);
        MapResponseLayer::new(self.1.clone()).layer(self.0.layer(speaks))
    }
}

/// Takes a response for its head.
type Looks = fn(Response<HeldBody<Endless>>) -> Answered;

fn held<L>(layer: HoldBody<L>) -> OverHttp<HoldBody<L>, Looks> {
    OverHttp(layer, head)
}

// One slot: whatever a body keeps is missed by the next call.
contract!(bulkhead, || {
    held(
        BulkheadLayer::new(BulkheadConfig::new("contract", 1)).expect("a valid config").hold_body(),
    )
});
contract!(queued_bulkhead, || {
    let layer = QueuedBulkheadLayer::new(BulkheadConfig::new("contract", 1).queue(1));
    held(layer.expect("a valid config").hold_body())
});
contract!(circuit_breaker, || {
    held(CircuitBreakerLayer::new(config()).expect("a valid config").hold_body())
});
contract!(keyed_circuit_breaker, Calls::InFuture, || {
    let layer = KeyedCircuitBreakerLayer::new(config(), 8, |ask: &Ask| ask.0);
    held(layer.expect("a valid config").hold_body())
});
contract!(body_timeout, || {
    let config = BodyTimeoutConfig::new("contract", std::time::Duration::from_secs(60));
    let layer = BodyTimeoutLayer::new(config).expect("a valid config");
    OverHttp(layer, head::<TimedBody<Endless>> as fn(_) -> _)
});
contract!(server_with_slots_that_are_held, catches_panics, || {
    let server = portcullis::stack::server("contract").max_in_flight(1).build();
    let server = server.expect("a valid config").hold_body();
    OverHttp(server, head::<HeldBody<Endless>> as fn(_) -> _)
});
