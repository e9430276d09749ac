//! The timeout.

use std::time::Duration;

use portcullis::{ErrorLayer, TimeLimit, TimeoutConfig};
use tower_layer::Layer as _;

use super::OURS;
use crate::{
    Subject,
    growth::{Axis, Series},
    panel::Panel,
    service::{AfterYield, AtOnce, Errors, layer, tasks},
    waiting::{Silent, called, crowd},
};

/// Longer than any call takes.
const HALF_MINUTE: Duration = Duration::from_secs(30);
/// Longer than any run.
const HOUR: Duration = Duration::from_secs(3600);

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    use Panel::{TimeoutPending, TimeoutReady, TimeoutRuntime};
    let layered = "tokio's timer; 30 s; clones of one service, over `ErrorLayer`";
    let leaked = "the same, on a timeout that lives as long as the process (`TimeLimit::leak`)";
    vec![
        Subject::new("ours-timeout-ready", OURS, TimeoutReady, layered, || {
            layer(Errors::Never, limit().layer().layer(ErrorLayer::new().layer(AtOnce)))
        }),
        Subject::new("ours-timeout-ready-leaked", OURS, TimeoutReady, leaked, || {
            layer(Errors::Never, limit().leak().layer().layer(ErrorLayer::new().layer(AtOnce)))
        }),
        Subject::new("ours-timeout-pending", OURS, TimeoutPending, layered, || {
            layer(Errors::Never, limit().layer().layer(ErrorLayer::new().layer(AfterYield)))
        }),
        Subject::new("ours-timeout-runtime", OURS, TimeoutRuntime, layered, || {
            tasks(limit().layer().layer(ErrorLayer::new().layer(AfterYield)))
        }),
    ]
}

/// Cost per call against calls in flight.
pub(super) fn growth() -> Vec<Series> {
    vec![Series::new(Axis::Waiters, "portcullis' timeout, N calls in flight", |n| {
        let limit =
            TimeLimit::new(TimeoutConfig::new("peer", HOUR)).expect("a valid configuration");
        let timed = limit.layer().layer(ErrorLayer::new().layer(Silent));
        crowd(n, move || called(&timed))
    })]
}

fn limit() -> TimeLimit {
    TimeLimit::new(TimeoutConfig::new("peer", HALF_MINUTE)).expect("a valid configuration")
}
