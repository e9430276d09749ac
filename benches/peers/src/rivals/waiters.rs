//! What it costs to join a queue that is already long, and to leave it again.

use std::{future::poll_fn, time::Duration};

use tower::{limit::ConcurrencyLimitLayer, timeout::TimeoutLayer};
use tower_layer::Layer as _;
use tower_service::Service as _;

use crate::{
    growth::{Axis, Series},
    service::{AtOnce, drive},
    waiting::{Silent, called, crowd},
};

/// Longer than any run.
const HOUR: Duration = Duration::from_secs(3600);

/// All series.
pub(super) fn growth() -> Vec<Series> {
    vec![
        Series::new(Axis::Waiters, "tower `ConcurrencyLimit`, N callers wait", |n| {
            let limited = ConcurrencyLimitLayer::new(1).layer(AtOnce);
            let mut held = limited.clone();
            drive(poll_fn(|cx| held.poll_ready(cx))).expect("there is a permit");
            crowd(n, move || {
                // The one that was readied lives as long as the crowd.
                let _held = &held;
                let mut limited = limited.clone();
                async move { poll_fn(|cx| limited.poll_ready(cx)).await }
            })
        }),
        Series::new(Axis::Waiters, "tower `Timeout`, N calls in flight", |n| {
            let timed = TimeoutLayer::new(HOUR).layer(Silent);
            crowd(n, move || called(&timed))
        }),
    ]
}
