//! The retry, with the budget that it has by default.

use portcullis::{
    BudgetConfig, ErrorLayer, Options, RetryBudget, RetryConfig, RetryPolicy,
    clock::{ClockFn, quanta_now, tokio_now},
};
use tower_layer::Layer as _;

use super::OURS;
use crate::{
    Batch, Subject,
    growth::{Axis, Series},
    jumping,
    panel::Panel,
    service::{AtOnce, Errors, calls, layer},
};

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    use Panel::Retry;
    let std = "default budget; tokio's clock; clones of one service, over `ErrorLayer`";
    let quanta = "default budget; quanta's clock; clones of one service, over `ErrorLayer`";
    vec![
        Subject::new("ours-retry", OURS, Retry, std, || retrying(&policy(tokio_now))),
        Subject::new(
            "ours-retry-leaked",
            OURS,
            Retry,
            "the same, on a retry that lives as long as the process (`RetryPolicy::leak`)",
            || retrying(&policy(tokio_now).leak()),
        ),
        Subject::new("ours-retry-quanta", OURS, Retry, quanta, || retrying(&policy(quanta_now))),
    ]
}

/// Cost per call against the time since the last one.
pub(super) fn growth() -> Vec<Series> {
    vec![Series::new(Axis::Idle, "portcullis' retry budget, counting a call", |seconds| {
        let options = Options::new().clock(jumping::now);
        let budget = RetryBudget::with(BudgetConfig::default(), options);
        let budget = budget.expect("the defaults are valid");
        calls(Errors::Never, move |_| {
            jumping::ahead(seconds);
            budget.record_call();
        })
    })]
}

fn policy(clock: ClockFn) -> RetryPolicy {
    RetryPolicy::with(RetryConfig::new("peer"), Options::new().clock(clock))
        .expect("a valid configuration")
}

fn retrying(retry: &RetryPolicy) -> Batch {
    layer(Errors::Never, retry.layer().layer(ErrorLayer::new().layer(AtOnce)))
}
