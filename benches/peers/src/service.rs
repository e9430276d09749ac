//! What every subject has in common: the requests, the service that answers them, and the hand or
//! the runtime that polls it.

use std::{
    error::Error,
    fmt,
    future::{Future, Ready, poll_fn, ready},
    hint::{black_box, spin_loop},
    pin::{Pin, pin},
    sync::LazyLock,
    task::{Context, Poll, Waker},
};

use tokio::runtime::{Builder, Runtime};
use tower_service::Service;

use crate::{Batch, keys::Walk};

/// The request that fails; every other one is answered with itself.
pub const FAIL: u64 = u64::MAX;

/// How many tasks share the service in the runtime's panel.
pub const TASKS: u64 = 64;

/// What can go wrong with a call, for policies that have no error type of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The service failed.
    Service,
    /// The breaker refused.
    Open,
    /// The timeout ended the call.
    Late,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "the service failed",
            Self::Open => "the breaker is open",
            Self::Late => "the service took too long",
        })
    }
}

impl Error for Fault {}

/// The work that is protected: as little as possible, but opaque, so that both of its outcomes are
/// compiled in and nothing about the result is known beforehand.
#[inline]
pub fn answer(request: u64) -> Result<u64, Fault> {
    if black_box(request) == FAIL { Err(Fault::Service) } else { Ok(request) }
}

/// Which requests fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Errors {
    /// None.
    Never,
    /// Every hundredth, so that a window of a hundred calls always holds exactly one.
    OnePercent,
}

impl Errors {
    /// Makes so many calls, one after the other.
    #[inline]
    pub fn each(self, calls: u64, mut call: impl FnMut(u64)) {
        match self {
            Self::Never => (0..calls).for_each(call),
            Self::OnePercent => {
                let mut left = 100_u32;
                for request in 0..calls {
                    left -= 1;
                    if left == 0 {
                        left = 100;
                        call(FAIL);
                    } else {
                        call(request);
                    }
                }
            }
        }
    }
}

/// A subject that is called as a function. The whole result is made opaque, so that a refusal has
/// to be built as its caller would see it.
pub fn calls<R>(errors: Errors, call: impl Fn(u64) -> R + Send + Sync + 'static) -> Batch {
    Box::new(move |calls| {
        errors.each(calls, |request| {
            black_box(&call(request));
        });
    })
}

/// A subject that is asked for one key after another.
pub fn walked<R>(walk: Walk, call: impl Fn(u64) -> R + Send + Sync + 'static) -> Batch {
    Box::new(move |calls| {
        walk.each(calls, |key| {
            black_box(&call(key));
        });
    })
}

/// A subject that is a Tower service: each batch calls a clone of its own, from where timers can be
/// made.
pub fn layer<S>(errors: Errors, service: S) -> Batch
where
    S: Service<u64> + Clone + Send + Sync + 'static,
{
    Box::new(move |calls| {
        let _inside = runtime().enter();
        let mut service = service.clone();
        errors.each(calls, |request| {
            black_box(&one_call(&mut service, request));
        });
    })
}

/// Readies the service, calls it, and polls the answer, all by hand.
#[inline]
pub fn one_call<S: Service<u64>>(service: &mut S, request: u64) -> Result<S::Response, S::Error> {
    drive(poll_fn(|cx| service.poll_ready(cx)))?;
    drive(service.call(request))
}

/// Polls a future until it is ready, with a waker that does nothing: a runtime would add its own
/// cost to every row. Nothing here waits, except for the other thread to leave a lock; a service that
/// is pending once is asked again without the pause that a wait begins with.
#[inline]
pub fn drive<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    let mut polls = 0_u32;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        polls += 1;
        if polls > 1 {
            spin_loop();
        }
    }
}

/// The service under a layer: always ready, answers at once.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AtOnce;

impl Service<u64> for AtOnce {
    type Response = u64;
    type Error = Fault;
    type Future = Ready<Result<u64, Fault>>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: u64) -> Self::Future {
        ready(answer(request))
    }
}

/// The service under a layer in a runtime, or under a timeout: it is pending once before the answer
/// is there. In a runtime its task then goes to the back of the queue.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AfterYield;

impl Service<u64> for AfterYield {
    type Response = u64;
    type Error = Fault;
    type Future = Yielding;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: u64) -> Yielding {
        Yielding { request, yielded: false }
    }
}

/// The answer of [`AfterYield`].
#[derive(Debug)]
pub struct Yielding {
    request: u64,
    yielded: bool,
}

impl Future for Yielding {
    type Output = Result<u64, Fault>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.yielded {
            return Poll::Ready(answer(self.request));
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The one runtime of the program: two workers, and timers for those who need them.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).enable_time();
        builder.build().expect("two threads can be started")
    });
    &RUNTIME
}

/// A subject of a runtime's panel: [`TASKS`] tasks, each with a clone, share the calls.
pub fn tasks<S>(service: S) -> Batch
where
    S: Service<u64, Future: Send, Response: Send, Error: Send> + Clone + Send + Sync + 'static,
{
    Box::new(move |calls| {
        let each = calls.div_ceil(TASKS);
        runtime().block_on(async {
            let tasks = (0..TASKS).map(|_| {
                let mut service = service.clone();
                tokio::spawn(async move {
                    for request in 0..each {
                        let ready = poll_fn(|cx| service.poll_ready(cx)).await;
                        black_box(&match ready {
                            Ok(()) => service.call(request).await,
                            Err(error) => Err(error),
                        });
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.expect("no subject panics");
            }
        });
    })
}
