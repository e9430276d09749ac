//! What the parts of a call cost on this machine, without any breaker: no breaker that needs such a part
//! can cost less.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use portcullis::clock::{ClockFn, quanta_now, tokio_now};

use crate::{
    Batch, Panel, Subject,
    service::{Errors, Fault, answer, calls},
};

/// All parts.
pub fn subjects() -> Vec<Subject> {
    let part = |name, what, make| Subject::new(name, "no breaker", Panel::Floor, what, make);
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

fn exchange() -> Batch {
    let left = AtomicU64::new(u64::MAX);
    Box::new(move |calls| {
        repeat(calls, || {
            let _ = left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| Some(left - 1));
        });
    })
}
