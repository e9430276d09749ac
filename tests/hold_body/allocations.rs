//! What is held moves; nothing is allocated for it.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use portcullis::{
    BulkheadConfig, BulkheadLayer, CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer,
    KeyedCircuitBreakerLayer, QueuedBulkheadLayer, http::hold::HeldBody,
};
use tower::{Layer, Service};

/// Three frames and an end.
#[derive(Debug)]
struct Frames(u32);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        self.0 -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"frame")))))
    }
}

#[derive(Clone, Debug)]
struct Streams;

impl Service<()> for Streams {
    type Response = Response<Frames>;
    type Error = ();
    type Future = Ready<Result<Response<Frames>, ()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(Response::new(Frames(3))))
    }
}

#[track_caller]
fn allocates_nothing<S>(mut service: S)
where
    S: Service<(), Response = Response<HeldBody<Frames>>, Error = Error<()>>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let mut call = |read: bool| {
        assert!(service.poll_ready(&mut cx).is_ready());
        let Poll::Ready(Ok(response)) = pin!(service.call(())).poll(&mut cx) else {
            panic!("no head")
        };
        let mut body = pin!(response.into_body());
        while read && !matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(None)) {}
    };
    call(true);
    let counted = measure(|| (0..100).for_each(|nth| call(nth % 3 > 0)));
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_call_that_is_held_allocates_nothing() {
    let error = ErrorLayer::new;
    let slots = || BulkheadConfig::new("counted", 1);
    let layer = BulkheadLayer::new(slots()).expect("a valid config");
    allocates_nothing(layer.hold_body().layer(error().layer(Streams)));
    let layer = QueuedBulkheadLayer::new(slots().queue(1)).expect("a valid config");
    allocates_nothing(layer.hold_body().layer(error().layer(Streams)));
    let config = || CircuitBreakerConfig::new("counted");
    let layer = CircuitBreakerLayer::new(config()).expect("a valid config");
    allocates_nothing(layer.hold_body().layer(error().layer(Streams)));
    let layer = KeyedCircuitBreakerLayer::new(config(), 8, |(): &()| 7).expect("a valid config");
    allocates_nothing(layer.hold_body().layer(error().layer(Streams)));
}
