//! What the parts of a call cost on this machine, without any policy: none that needs such a part can
//! cost less.

use std::{
    future::Future as _,
    hint::black_box,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use portcullis::clock::{ClockFn, quanta_now, tokio_now};
use tokio::{sync::Semaphore, time::sleep};

use crate::{
    Batch, NONE, Subject,
    panel::Panel,
    service::{Errors, Fault, answer, calls, runtime},
};

/// All parts.
pub fn subjects() -> Vec<Subject> {
    let part = |name, what, make| Subject::new(name, NONE, Panel::Floor, what, make);
    vec![
        part("floor-call", "the service behind two atomic loads and their branches", loads),
        part("floor-clock", "tokio's clock, and the time since an instant", || time(tokio_now)),
        part("floor-clock-quanta", "quanta's clock, and the time since an instant", || {
            time(quanta_now)
        }),
        part("floor-arc", "an `Arc` cloned and dropped", || {
            let arc = Arc::new(0_u64);
            Box::new(move |calls| repeat(calls, || drop(black_box(arc.clone()))))
        }),
        part("floor-semaphore", "tokio's semaphore: an owned permit, taken and given back", || {
            let semaphore = Arc::new(Semaphore::new(1_000));
            Box::new(move |calls| {
                repeat(calls, || drop(black_box(Arc::clone(&semaphore).try_acquire_owned())));
            })
        }),
        part("floor-timer", "tokio's timer, made and dropped", || timer(false)),
        part("floor-timer-started", "tokio's timer, made, started and dropped", || timer(true)),
        part("floor-exchange", "a number counted down by compare-and-swap", exchange),
        part(
            "floor-time-layer",
            "clock, `Arc` and compare-and-swap, as a layer needs them",
            || {
                let (clock, exchange, arc) = (time(tokio_now), exchange(), Arc::new(0_u64));
                Box::new(move |calls| {
                    repeat(calls, || {
                        let held = black_box(arc.clone());
                        clock(1);
                        exchange(1);
                        drop(held);
                    });
                })
            },
        ),
    ]
}

/// The least that a breaker without a window could do: ask before, and look after.
fn loads() -> Batch {
    let (before, after) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    calls(Errors::Never, move |request| {
        if before.load(Ordering::Acquire) != 0 {
            return Err(Fault::Service);
        }
        let result = answer(request);
        if result.is_err() || after.load(Ordering::Acquire) != u64::MAX {
            after.fetch_sub(1, Ordering::AcqRel);
        }
        result
    })
}

fn repeat(times: u64, mut run: impl FnMut()) {
    for _ in 0..times {
        run();
    }
}

fn time(clock: ClockFn) -> Batch {
    let origin = clock();
    Box::new(move |calls| {
        repeat(calls, || {
            black_box(clock().saturating_duration_since(origin));
        });
    })
}

#[expect(clippy::disallowed_methods, reason = "what tokio's timer costs is the question")]
fn timer(started: bool) -> Batch {
    Box::new(move |calls| {
        let _inside = runtime().enter();
        let mut cx = Context::from_waker(Waker::noop());
        repeat(calls, || {
            let timer = pin!(sleep(Duration::from_secs(30)));
            if started {
                let _ = black_box(timer.poll(&mut cx));
            }
        });
    })
}

fn exchange() -> Batch {
    let left = AtomicU64::new(u64::MAX);
    Box::new(move |calls| {
        repeat(calls, || {
            let _ = left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| Some(left - 1));
        });
    })
}
