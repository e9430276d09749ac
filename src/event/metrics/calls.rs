//! Metrics of policies whose calls are only counted: retry, timeouts, fallback, catch panic.

use std::{sync::OnceLock, time::Duration};

use metrics::{Counter, Gauge, Histogram};

use super::{
    chain::Chain,
    names::{self, Metric},
    sink::{Rejections, Scope, shadow_pair},
};
use crate::{
    error::{PolicyKind, Reason},
    policy::{
        fallback,
        retry::{self, RetryEnd},
    },
};

pub(super) struct Retry {
    scope: Scope,
    first_try: Counter,
    after_retry: Counter,
    ends: Chain<RetryEnd, Counter>,
    attempts: Counter,
    delay: Histogram,
    skipped: Chain<RetryEnd, Counter>,
    rejections: Rejections,
    budget: OnceLock<Gauge>,
}

impl Retry {
    pub(super) fn new(scope: Scope) -> Self {
        let calls = |outcome| scope.counter(&names::RETRY_CALLS, [("outcome", outcome)]);
        let retry = Self {
            first_try: calls("first_try"),
            after_retry: calls("after_retry"),
            ends: Chain::default(),
            attempts: scope.counter(&names::RETRY_ATTEMPTS, []),
            delay: scope.histogram(&names::RETRY_DELAY),
            skipped: Chain::default(),
            rejections: Rejections::new(&scope, PolicyKind::Retry),
            budget: OnceLock::new(),
            scope,
        };
        for end in [
            RetryEnd::AttemptsExhausted,
            RetryEnd::NotRetryable,
            RetryEnd::BudgetExhausted,
            RetryEnd::Deadline,
        ] {
            let _ = retry.of(end);
        }
        let _ = retry.skipped(RetryEnd::BudgetExhausted);
        retry
    }

    fn of(&self, end: RetryEnd) -> &Counter {
        self.ends.get(end, || {
            let outcome = match end {
                RetryEnd::AttemptsExhausted => "exhausted",
                // The word that circuits have for it.
                RetryEnd::Abandoned => "cancelled",
                end => end.as_str(),
            };
            self.scope.counter(&names::RETRY_CALLS, [("outcome", outcome)])
        })
    }

    fn skipped(&self, end: RetryEnd) -> &Counter {
        let register = || self.scope.counter(&names::RETRY_SKIPPED, [("reason", end.as_str())]);
        self.skipped.get(end, register)
    }

    pub(super) fn retrying(&self, delay: Duration) {
        self.delay.record(delay);
    }

    pub(super) fn ended(&self, attempts: u32, end: RetryEnd) {
        self.attempts.increment(attempts.into());
        match (end, attempts) {
            (RetryEnd::Success, 0 | 1) => &self.first_try,
            (RetryEnd::Success, _) => &self.after_retry,
            _ => self.of(end),
        }
        .increment(1);
        match end {
            RetryEnd::Success
            | RetryEnd::NotRetryable
            | RetryEnd::AttemptsExhausted
            | RetryEnd::Abandoned => {}
            RetryEnd::BudgetExhausted
            | RetryEnd::Deadline
            | RetryEnd::ToldToStop
            | RetryEnd::HintTooLong
            | RetryEnd::NotReplayable
            | RetryEnd::Nested
            | RetryEnd::Shadow => self.skipped(end).increment(1),
        }
    }

    pub(super) fn rejected(&self, reason: Reason, shadow: bool) {
        self.rejections.add(reason, shadow);
    }

    pub(super) fn sampled(&self, found: &retry::Snapshot) {
        if let Some(budget) = found.budget {
            let tokens = self.scope.late_gauge(&self.budget, &names::RETRY_BUDGET_TOKENS);
            tokens.set(budget.tokens);
        }
    }
}

pub(super) struct Timeout {
    scope: Scope,
    in_time: Counter,
    refused: Chain<(Reason, bool), Counter>,
    rejections: Rejections,
}

impl Timeout {
    pub(super) fn new(scope: Scope) -> Self {
        let pairs = [("outcome", "in_time"), shadow_pair(false)];
        let timeout = Self {
            in_time: scope.counter(&names::TIMEOUT_CALLS, pairs),
            refused: Chain::default(),
            rejections: Rejections::new(&scope, PolicyKind::Timeout),
            scope,
        };
        for reason in [Reason::Timeout, Reason::DeadlineTooShort] {
            let _ = timeout.refused(reason, false);
        }
        timeout
    }

    fn refused(&self, reason: Reason, shadow: bool) -> &Counter {
        self.refused.get((reason, shadow), || {
            let pairs = [("outcome", reason.as_str()), shadow_pair(shadow)];
            self.scope.counter(&names::TIMEOUT_CALLS, pairs)
        })
    }

    pub(super) fn in_time(&self) {
        self.in_time.increment(1);
    }

    pub(super) fn rejected(&self, reason: Reason, shadow: bool) {
        self.refused(reason, shadow).increment(1);
        self.rejections.add(reason, shadow);
    }
}

pub(super) struct Fallback {
    scope: Scope,
    calls: Chain<(&'static str, bool), Counter>,
    rejections: Rejections,
    keys: OnceLock<Gauge>,
    evictions: OnceLock<Counter>,
}

impl Fallback {
    pub(super) fn new(scope: Scope) -> Self {
        let fallback = Self {
            calls: Chain::default(),
            rejections: Rejections::new(&scope, PolicyKind::Fallback),
            keys: OnceLock::new(),
            evictions: OnceLock::new(),
            scope,
        };
        let _ = fallback.calls("unanswered", false);
        fallback
    }

    fn calls(&self, outcome: &'static str, shadow: bool) -> &Counter {
        self.calls.get((outcome, shadow), || {
            let pairs = [("outcome", outcome), shadow_pair(shadow)];
            self.scope.counter(&names::FALLBACK_CALLS, pairs)
        })
    }

    pub(super) fn answered(&self, outcome: &'static str, shadow: bool) {
        self.calls(outcome, shadow).increment(1);
    }

    /// None does; a policy of somebody else's may say that it is one.
    pub(super) fn rejected(&self, reason: Reason, shadow: bool) {
        self.rejections.add(reason, shadow);
    }

    pub(super) fn evicted(&self) {
        self.scope.late_counter(&self.evictions, &names::FALLBACK_EVICTIONS).increment(1);
    }

    pub(super) fn sampled(&self, found: &fallback::Snapshot) {
        if found.max_keys > 0 {
            self.scope.late_gauge(&self.keys, &names::FALLBACK_KEYS).set(found.keys as f64);
        }
    }
}

/// Of a policy that tells of nothing but what has gone wrong.
pub(super) struct Wrongs {
    done: Counter,
    reported: Counter,
    rejections: Rejections,
}

impl Wrongs {
    pub(super) fn new(scope: &Scope, metric: &'static Metric, kind: PolicyKind) -> Self {
        let count = |shadow| scope.counter(metric, [shadow_pair(shadow)]);
        Self { done: count(false), reported: count(true), rejections: Rejections::new(scope, kind) }
    }

    pub(super) fn rejected(&self, reason: Reason, shadow: bool) {
        if shadow { &self.reported } else { &self.done }.increment(1);
        self.rejections.add(reason, shadow);
    }
}
