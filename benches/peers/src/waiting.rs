//! Callers that wait, and one more that joins them.

use std::{
    convert::Infallible,
    future::{Future, Pending, pending, poll_fn},
    hint::black_box,
    pin::{Pin, pin},
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use tower_service::Service;

use crate::{
    Batch,
    service::{drive, runtime},
};

/// A service that never answers.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Silent;

impl Service<u64> for Silent {
    type Response = u64;
    type Error = Infallible;
    type Future = Pending<Result<u64, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u64) -> Self::Future {
        pending()
    }
}

/// So many callers wait; then, with each call, one more joins them and gives up at once.
pub fn crowd<F>(callers: u32, join: impl Fn() -> F + Send + Sync + 'static) -> Batch
where
    F: Future + Send + 'static,
{
    let waiting: Vec<Pin<Box<F>>> = {
        let _inside = runtime().enter();
        (0..callers).map(|_| Box::pin(join())).map(waits).collect()
    };
    // Nobody looks at them again. The lock makes them fit to be shared.
    let waiting = Mutex::new(waiting);
    Box::new(move |calls| {
        let _inside = runtime().enter();
        let _held = &waiting;
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..calls {
            let future = pin!(join());
            black_box(future.poll(&mut cx).is_pending());
        }
    })
}

/// A call of a clone of the service, not yet polled.
pub fn called<S: Service<u64> + Clone>(service: &S) -> S::Future {
    let mut service = service.clone();
    let ready = drive(poll_fn(|cx| service.poll_ready(cx))).is_ok();
    assert!(ready, "it cannot be called");
    service.call(1)
}

/// The same future, after it has begun to wait.
fn waits<F: Future>(mut future: Pin<Box<F>>) -> Pin<Box<F>> {
    let poll = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_pending(), "there was nothing to wait for");
    future
}
