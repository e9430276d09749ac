//! Layers of one policy other than breakers and limiters.

use std::{future::ready, sync::Arc, time::Duration};

use seatbelt::{RecoveryInfo, retry::Retry, timeout::Timeout};
use tower::{
    limit::ConcurrencyLimitLayer,
    retry::{
        Policy, RetryLayer,
        budget::{Budget as _, TpsBudget},
    },
    timeout::TimeoutLayer,
};
use tower_layer::Layer as _;
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_fallback::FallbackLayer;
use tower_resilience_retry::RetryBudgetBuilder;
use tower_resilience_timelimiter::TimeLimiterLayer;

use super::{SEATBELT, TOWER, seatbelt};
use crate::{
    NONE, Subject,
    panel::Panel,
    service::{AfterYield, AtOnce, Errors, Fault, layer, tasks},
};

/// Longer than any call takes.
pub(super) const HALF_MINUTE: Duration = Duration::from_secs(30);
/// More than ever are in flight.
pub(super) const MOST: usize = 1_000;

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    let mut all = timeouts();
    all.extend(bulkheads());
    all.extend(retries());
    all.extend(fallbacks());
    all
}

fn timeouts() -> Vec<Subject> {
    use Panel::{TimeoutPending, TimeoutReady, TimeoutRuntime};
    let bare = "the service alone";
    let tower = "tokio's timer, made with each call; 30 s; clones of one service";
    let resilience = "tokio's timer, made with each call; 30 s; clones of one service";
    let belt = "tick's timer; 30 s; clones of one service";
    let resilience_origin = "tower-resilience-timelimiter";
    vec![
        Subject::new("bare-timeout-ready", NONE, TimeoutReady, bare, || {
            layer(Errors::Never, AtOnce)
        }),
        Subject::new("tower-timeout-ready", TOWER, TimeoutReady, tower, || {
            layer(Errors::Never, TimeoutLayer::new(HALF_MINUTE).layer(AtOnce))
        }),
        Subject::new(
            "tower-resilience-timeout-ready",
            resilience_origin,
            TimeoutReady,
            resilience,
            || layer(Errors::Never, resilience_timeout().layer(AtOnce)),
        ),
        Subject::new("seatbelt-timeout-ready", SEATBELT, TimeoutReady, belt, || {
            layer(Errors::Never, seatbelt_timeout().layer(AtOnce))
        }),
        Subject::new("bare-timeout-pending", NONE, TimeoutPending, bare, || {
            layer(Errors::Never, AfterYield)
        }),
        Subject::new("tower-timeout-pending", TOWER, TimeoutPending, tower, || {
            layer(Errors::Never, TimeoutLayer::new(HALF_MINUTE).layer(AfterYield))
        }),
        Subject::new(
            "tower-resilience-timeout-pending",
            resilience_origin,
            TimeoutPending,
            resilience,
            || layer(Errors::Never, resilience_timeout().layer(AfterYield)),
        ),
        Subject::new("seatbelt-timeout-pending", SEATBELT, TimeoutPending, belt, || {
            layer(Errors::Never, seatbelt_timeout().layer(AfterYield))
        }),
        Subject::new("bare-timeout-runtime", NONE, TimeoutRuntime, bare, || tasks(AfterYield)),
        Subject::new("tower-timeout-runtime", TOWER, TimeoutRuntime, tower, || {
            tasks(TimeoutLayer::new(HALF_MINUTE).layer(AfterYield))
        }),
        Subject::new(
            "tower-resilience-timeout-runtime",
            resilience_origin,
            TimeoutRuntime,
            resilience,
            || tasks(resilience_timeout().layer(AfterYield)),
        ),
    ]
}

fn bulkheads() -> Vec<Subject> {
    use Panel::{Bulkhead, BulkheadRuntime};
    let bare = "the service alone";
    let tower = "`ConcurrencyLimit`, 1000 in flight; clones of one service";
    let resilience = "1000 in flight, default: waits without end; clones of one service";
    let resilience_origin = "tower-resilience-bulkhead";
    vec![
        Subject::new("bare-bulkhead", NONE, Bulkhead, bare, || layer(Errors::Never, AtOnce)),
        Subject::new("tower-limit", TOWER, Bulkhead, tower, || {
            layer(Errors::Never, ConcurrencyLimitLayer::new(MOST).layer(AtOnce))
        }),
        Subject::new("tower-resilience-bulkhead", resilience_origin, Bulkhead, resilience, || {
            layer(Errors::Never, resilience_bulkhead().layer(AtOnce))
        }),
        Subject::new("bare-bulkhead-runtime", NONE, BulkheadRuntime, bare, || tasks(AfterYield)),
        Subject::new("tower-limit-runtime", TOWER, BulkheadRuntime, tower, || {
            tasks(ConcurrencyLimitLayer::new(MOST).layer(AfterYield))
        }),
        Subject::new(
            "tower-resilience-bulkhead-runtime",
            resilience_origin,
            BulkheadRuntime,
            resilience,
            || tasks(resilience_bulkhead().layer(AfterYield)),
        ),
    ]
}

fn retries() -> Vec<Subject> {
    use Panel::Retry;
    vec![
        Subject::new("bare-retry", NONE, Retry, "the service alone", || {
            layer(Errors::Never, AtOnce)
        }),
        Subject::new(
            "tower-retry",
            TOWER,
            Retry,
            "`TpsBudget`, std clock; a success deposits; clones of one service",
            || layer(Errors::Never, RetryLayer::new(Budgeted::default()).layer(AtOnce)),
        ),
        Subject::new(
            "tower-resilience-retry",
            "tower-resilience-retry",
            Retry,
            "token bucket as its budget, std clock; clones of one service",
            || {
                let retry = tower_resilience_retry::RetryLayer::builder().budget(
                    RetryBudgetBuilder::new()
                        .token_bucket()
                        .build()
                        .expect("the defaults are valid"),
                );
                layer(Errors::Never, retry.build().layer(AtOnce))
            },
        ),
        Subject::new("seatbelt-retry", SEATBELT, Retry, "no budget; clones of one service", || {
            layer(Errors::Never, seatbelt_retry().layer(AtOnce))
        }),
    ]
}

fn fallbacks() -> Vec<Subject> {
    use Panel::Fallback;
    vec![
        Subject::new("bare-fallback", NONE, Fallback, "the service alone", || {
            layer(Errors::Never, AtOnce)
        }),
        Subject::new(
            "tower-resilience-fallback",
            "tower-resilience-fallback",
            Fallback,
            "a value; clones of one service",
            || layer(Errors::Never, FallbackLayer::<u64, u64, Fault>::value(7).layer(AtOnce)),
        ),
    ]
}

// ===== tower-resilience =====

pub(super) fn resilience_timeout() -> TimeLimiterLayer {
    TimeLimiterLayer::builder().timeout_duration(HALF_MINUTE).build()
}

pub(super) fn resilience_bulkhead() -> BulkheadLayer {
    BulkheadLayer::builder().max_concurrent_calls(MOST).build().expect("a valid configuration")
}

// ===== tower =====

/// A policy as tower's documentation has it, with an end.
#[derive(Clone)]
pub(super) struct Budgeted {
    budget: Arc<TpsBudget>,
    left: u32,
}

impl Default for Budgeted {
    fn default() -> Self {
        Self { budget: Arc::default(), left: 2 }
    }
}

impl<E> Policy<u64, u64, E> for Budgeted {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, E>) -> Option<Self::Future> {
        if result.is_ok() {
            self.budget.deposit();
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        self.budget.withdraw().then(|| ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

// ===== seatbelt =====

type Answer = Result<u64, Fault>;

pub(super) fn seatbelt_timeout() -> seatbelt::timeout::TimeoutLayer<u64, Answer> {
    Timeout::layer("peer", &seatbelt()).timeout_error(|_| Fault::Late).timeout(HALF_MINUTE)
}

pub(super) fn seatbelt_retry() -> seatbelt::retry::RetryLayer<u64, Answer> {
    Retry::layer("peer", &seatbelt()).clone_input().recovery_with(|result: &Answer, _| match result
    {
        Ok(_) => RecoveryInfo::never(),
        Err(_) => RecoveryInfo::retry(),
    })
}
