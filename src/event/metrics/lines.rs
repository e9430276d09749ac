//! Metrics of policies where calls may wait: rate limits and bulkheads.

use std::{sync::OnceLock, time::Duration};

use metrics::{Counter, Gauge, Histogram};

use super::{
    chain::Chain,
    names,
    sink::{Rejections, Scope},
};
use crate::{
    error::{PolicyKind, Reason},
    policy::{
        bucket::{KeyedRateLimitSnapshot, RateLimitSnapshot},
        bulkhead,
    },
};

pub(super) struct Limiter {
    scope: Scope,
    allowed: Counter,
    limited: Counter,
    rejections: Rejections,
    line: OnceLock<(Gauge, Histogram)>,
    tokens: OnceLock<Gauge>,
    keys: OnceLock<Gauge>,
    evictions: OnceLock<Counter>,
    untracked: OnceLock<Counter>,
}

impl Limiter {
    pub(super) fn new(scope: Scope) -> Self {
        let requests = |outcome| scope.counter(&names::LIMITER_REQUESTS, [("outcome", outcome)]);
        Self {
            allowed: requests("allowed"),
            limited: requests("limited"),
            rejections: Rejections::new(&scope, PolicyKind::RateLimit),
            line: OnceLock::new(),
            tokens: OnceLock::new(),
            keys: OnceLock::new(),
            evictions: OnceLock::new(),
            untracked: OnceLock::new(),
            scope,
        }
    }

    /// The calls that wait, and how long they did. Made when one does: most limiters refuse.
    fn line(&self) -> &(Gauge, Histogram) {
        self.line.get_or_init(|| {
            let queued = self.scope.gauge(&names::LIMITER_QUEUED, []);
            (queued, self.scope.histogram(&names::LIMITER_WAIT))
        })
    }

    pub(super) fn queued(&self) {
        self.line().0.increment(1.0);
    }

    pub(super) fn left_queue(&self) {
        self.line().0.decrement(1.0);
    }

    pub(super) fn admitted(&self, waited: Duration) {
        self.allowed.increment(1);
        if !waited.is_zero() {
            let (queued, wait) = self.line();
            queued.decrement(1.0);
            wait.record(waited);
        }
    }

    /// In shadow the call is told as allowed as well.
    pub(super) fn rejected(&self, reason: Reason, shadow: bool) {
        if !shadow {
            self.limited.increment(1);
        }
        self.rejections.add(reason, shadow);
    }

    pub(super) fn untracked(&self) {
        self.scope.late_counter(&self.untracked, &names::LIMITER_UNTRACKED).increment(1);
    }

    pub(super) fn sampled(&self, found: &RateLimitSnapshot) {
        self.scope.late_gauge(&self.tokens, &names::LIMITER_TOKENS).set(found.tokens);
    }

    pub(super) fn sampled_keys(&self, found: &KeyedRateLimitSnapshot) {
        self.scope.late_gauge(&self.keys, &names::LIMITER_KEYS).set(found.keys as f64);
        // A bucket that goes is full, which is as good as none: no event tells of it.
        let evictions = self.scope.late_counter(&self.evictions, &names::LIMITER_EVICTIONS);
        evictions.absolute(found.forgotten);
    }
}

pub(super) struct Bulkhead {
    scope: Scope,
    admitted: Counter,
    rejected: Counter,
    in_flight: Gauge,
    queued: Gauge,
    wait: Histogram,
    refused: Chain<Reason, Counter>,
    rejections: Rejections,
    limit: OnceLock<Gauge>,
}

impl Bulkhead {
    pub(super) fn new(scope: Scope) -> Self {
        let calls = |outcome| scope.counter(&names::BULKHEAD_CALLS, [("outcome", outcome)]);
        let bulkhead = Self {
            admitted: calls("admitted"),
            rejected: calls("rejected"),
            in_flight: scope.gauge(&names::BULKHEAD_IN_FLIGHT, []),
            queued: scope.gauge(&names::BULKHEAD_QUEUED, []),
            wait: scope.histogram(&names::BULKHEAD_WAIT),
            refused: Chain::default(),
            rejections: Rejections::new(&scope, PolicyKind::Bulkhead),
            limit: OnceLock::new(),
            scope,
        };
        for reason in [Reason::BulkheadFull, Reason::QueueTimeout] {
            let _ = bulkhead.refused(reason);
        }
        bulkhead
    }

    fn refused(&self, reason: Reason) -> &Counter {
        self.refused.get(reason, || {
            let word = if reason == Reason::BulkheadFull { "full" } else { reason.as_str() };
            self.scope.counter(&names::BULKHEAD_REJECTIONS, [("reason", word)])
        })
    }

    pub(super) fn queued(&self) {
        self.queued.increment(1.0);
    }

    pub(super) fn left_queue(&self) {
        self.queued.decrement(1.0);
    }

    pub(super) fn admitted(&self, waited: Duration) {
        self.admitted.increment(1);
        self.in_flight.increment(1.0);
        if !waited.is_zero() {
            self.queued.decrement(1.0);
            self.wait.record(waited);
        }
    }

    pub(super) fn released(&self) {
        self.in_flight.decrement(1.0);
    }

    pub(super) fn rejected(&self, reason: Reason, shadow: bool) {
        if !shadow {
            self.rejected.increment(1);
            self.refused(reason).increment(1);
        }
        self.rejections.add(reason, shadow);
    }

    /// What events say exactly is left alone: a sample is older than an event that comes meanwhile.
    pub(super) fn sampled(&self, found: &bulkhead::Snapshot) {
        self.scope.late_gauge(&self.limit, &names::BULKHEAD_LIMIT).set(found.limit as f64);
    }
}
