//! The bulkhead.

use std::time::Duration;

use portcullis::{Bulkhead, BulkheadConfig, ErrorLayer};
use tower_layer::Layer as _;

use super::OURS;
use crate::{
    Subject,
    growth::{Axis, Series},
    panel::Panel,
    service::{AfterYield, AtOnce, Errors, layer, tasks},
    waiting::{called, crowd},
};

/// More than ever are in flight.
const MOST: usize = 1_000;
/// Longer than any run.
const HOUR: Duration = Duration::from_secs(3600);

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    use Panel::{Bulkhead, BulkheadRuntime};
    let layered = "1000 in flight, no queue; clones of one service, over `ErrorLayer`";
    vec![
        Subject::new("ours-bulkhead", OURS, Bulkhead, layered, || {
            layer(Errors::Never, bulkhead().layer().layer(ErrorLayer::new().layer(AtOnce)))
        }),
        Subject::new(
            "ours-bulkhead-leaked",
            OURS,
            Bulkhead,
            "the same, on a bulkhead that lives as long as the process (`Bulkhead::leak`)",
            || {
                let bulkhead = bulkhead().leak();
                layer(Errors::Never, bulkhead.layer().layer(ErrorLayer::new().layer(AtOnce)))
            },
        ),
        Subject::new(
            "ours-bulkhead-queued",
            OURS,
            Bulkhead,
            "1000 in flight, a queue that is empty; clones of one service, over `ErrorLayer`",
            || {
                let queue = queued(MOST, MOST);
                layer(Errors::Never, queue.queued_layer().layer(ErrorLayer::new().layer(AtOnce)))
            },
        ),
        Subject::new("ours-bulkhead-runtime", OURS, BulkheadRuntime, layered, || {
            tasks(bulkhead().layer().layer(ErrorLayer::new().layer(AfterYield)))
        }),
    ]
}

/// Cost per call against callers that wait.
pub(super) fn growth() -> Vec<Series> {
    vec![Series::new(Axis::Waiters, "portcullis' bulkhead, N callers wait", |n| {
        let full = queued(1, n as usize + 1);
        let held = full.try_acquire().expect("there is room for one");
        let limited = full.queued_layer().layer(ErrorLayer::new().layer(AtOnce));
        crowd(n, move || {
            // It is full for as long as the crowd lives.
            let _held = &held;
            called(&limited)
        })
    })]
}

fn bulkhead() -> Bulkhead {
    Bulkhead::new(BulkheadConfig::new("peer", MOST)).expect("a valid configuration")
}

fn queued(most: usize, waiting: usize) -> Bulkhead {
    let config = BulkheadConfig::new("peer", most).queue(waiting).max_wait(HOUR);
    Bulkhead::new(config).expect("a valid configuration")
}
