//! Every metric there is: its name, its unit, and what it says.

use metrics::Unit;

/// What a metric is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: Unit,
    pub(super) text: &'static str,
}

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal in $unit:ident: $text:literal;)+) => {
        $(
            pub(super) const $id: Metric =
                Metric { name: $name, kind: Kind::$kind, unit: Unit::$unit, text: $text };
        )+

        /// All of them.
        pub(super) const ALL: &[&Metric] = &[$(&$id),+];
    };
}

// `Unit::Count` is no part of a name in any exporter's scheme; a share is counted in it as well.
metrics! {
    REJECTIONS = Counter "portcullis.rejections" in Count:
        "Calls that a policy refused or cut, and in shadow those that it would have";

    BREAKER_CALLS = Counter "portcullis.breaker.calls" in Count:
        "Calls under a circuit breaker, by outcome";
    BREAKER_SLOW_CALLS = Counter "portcullis.breaker.slow_calls" in Count:
        "Calls under a circuit breaker that took longer than its slow limit, whatever their outcome";
    BREAKER_TRANSITIONS = Counter "portcullis.breaker.transitions" in Count:
        "Changes of a circuit's state";
    BREAKER_STATE = Gauge "portcullis.breaker.state" in Count:
        "1 for the state that a circuit is in and 0 for all others; of circuits by key, how many are in it";
    BREAKER_FAILURE_RATE = Gauge "portcullis.breaker.failure_rate" in Count:
        "Failures over the calls in a circuit's window, 0 without calls";
    BREAKER_SLOW_CALL_RATE = Gauge "portcullis.breaker.slow_call_rate" in Count:
        "Slow calls over the calls in a circuit's window, 0 without calls";
    BREAKER_WINDOW_CALLS = Gauge "portcullis.breaker.window_calls" in Count:
        "Calls in a circuit's window; while it is half-open, the probes that have answered";
    BREAKER_KEYS = Gauge "portcullis.breaker.keys" in Count:
        "Keys that have a circuit";
    BREAKER_EVICTIONS = Counter "portcullis.breaker.evictions" in Count:
        "Idle circuits that were forgotten to make room for another key";
    BREAKER_UNTRACKED = Counter "portcullis.breaker.untracked" in Count:
        "Calls admitted without a circuit, since there was no room for their key";

    LIMITER_REQUESTS = Counter "portcullis.limiter.requests" in Count:
        "Calls under a rate limit, by whether they were allowed";
    LIMITER_QUEUED = Gauge "portcullis.limiter.queued" in Count:
        "Calls that wait for tokens";
    LIMITER_WAIT = Histogram "portcullis.limiter.wait.duration" in Seconds:
        "How long calls waited for their tokens; those that did not wait are not in it";
    LIMITER_TOKENS = Gauge "portcullis.limiter.tokens" in Count:
        "Tokens there are; below zero while waiting calls have taken some ahead of time";
    LIMITER_KEYS = Gauge "portcullis.limiter.keys" in Count:
        "Keys that have a bucket";
    LIMITER_EVICTIONS = Counter "portcullis.limiter.evictions" in Count:
        "Buckets that went: full ones, which are as good as none, and removed ones";
    LIMITER_UNTRACKED = Counter "portcullis.limiter.untracked" in Count:
        "Calls admitted without a bucket of their key's own, since there was no room for it";

    BULKHEAD_CALLS = Counter "portcullis.bulkhead.calls" in Count:
        "Calls under a bulkhead, by whether they got a slot";
    BULKHEAD_IN_FLIGHT = Gauge "portcullis.bulkhead.in_flight" in Count:
        "Calls that hold a slot";
    BULKHEAD_QUEUED = Gauge "portcullis.bulkhead.queued" in Count:
        "Calls that wait for a slot";
    BULKHEAD_LIMIT = Gauge "portcullis.bulkhead.limit" in Count:
        "Calls that may hold a slot at once";
    BULKHEAD_WAIT = Histogram "portcullis.bulkhead.wait.duration" in Seconds:
        "How long calls waited for their slot; those that did not wait are not in it";
    BULKHEAD_REJECTIONS = Counter "portcullis.bulkhead.rejections" in Count:
        "Calls that got no slot, by reason";

    RETRY_CALLS = Counter "portcullis.retry.calls" in Count:
        "Calls under a retry that have ended, by how";
    RETRY_ATTEMPTS = Counter "portcullis.retry.attempts" in Count:
        "Attempts of the calls that have ended, the first ones included";
    RETRY_DELAY = Histogram "portcullis.retry.delay" in Seconds:
        "Waits before further attempts";
    RETRY_SKIPPED = Counter "portcullis.retry.skipped" in Count:
        "Further attempts that were worth making and were not made, by reason";
    RETRY_BUDGET_TOKENS = Gauge "portcullis.retry.budget_tokens" in Count:
        "Retries that the budget would pay for now";

    TIMEOUT_CALLS = Counter "portcullis.timeout.calls" in Count:
        "Calls under a timeout, by outcome; dropped ones are not in it";

    FALLBACK_CALLS = Counter "portcullis.fallback.calls" in Count:
        "Failures that a fallback was asked to answer, by where the answer came from";
    FALLBACK_KEYS = Gauge "portcullis.fallback.keys" in Count:
        "Keys that have an answer kept";
    FALLBACK_EVICTIONS = Counter "portcullis.fallback.evictions" in Count:
        "Kept answers that were forgotten to make room for another key";

    BODY_TIMEOUT_CUTS = Counter "portcullis.body_timeout.cuts" in Count:
        "Bodies that took too long";

    CATCH_PANIC_PANICS = Counter "portcullis.catch_panic.panics" in Count:
        "Panics of the service";
}
