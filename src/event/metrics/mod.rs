//! Events as metrics of the `metrics` crate.

mod breaker;
mod calls;
mod chain;
mod lines;
mod names;
mod sample;
mod sink;

use std::{fmt, sync::Arc};

use metrics::Recorder;

use self::{
    breaker::Breaker,
    calls::{CatchPanic, Fallback, Retry, Timeout},
    chain::Names,
    lines::{Bulkhead, Limiter},
    sink::{Scope, Sink},
};
use super::{Event, Observer};
use crate::error::{PolicyKind, Reason};

/// Records events with the [`metrics`](::metrics) crate, for whichever exporter the program has.
///
/// Clones share everything: one is attached, to the process ([`event::observe`](crate::event::observe))
/// or to single policies ([`Options::observer`](crate::Options::observer)), and another is kept to
/// [`sample`](Self::sample). Attached in both places, it counts everything twice.
///
/// ```
/// use portcullis::{Bulkhead, BulkheadConfig, Options, Registry, event::MetricsObserver};
///
/// # fn main() -> Result<(), portcullis::ConfigError> {
/// // After the exporter has been installed, before the first call.
/// let metrics = MetricsObserver::new();
/// let bulkhead =
///     Bulkhead::with(BulkheadConfig::new("db", 64), Options::new().observer(metrics.clone()))?;
/// let registry = Registry::new();
/// registry.add(&bulkhead)?;
///
/// let permit = bulkhead.try_acquire(); // portcullis.bulkhead.in_flight{name="db"} is 1 ...
/// drop(permit);                        // ... and 0
///
/// // Whenever metrics are scraped:
/// metrics.sample(&registry);           // portcullis.bulkhead.limit{name="db"} is 64
/// # Ok(())
/// # }
/// ```
///
/// # Metrics
///
/// Labels are the policy's name and words of enums: never a key, a path or an address. In the last column
/// stands what a metric is made of: events, or samples.
///
/// | metric | labels besides `name` | kind | from |
/// |---|---|---|---|
/// | `portcullis.rejections` | `kind`, `reason`, `shadow` | counter | events of every kind of policy |
/// | `portcullis.breaker.calls` | `outcome`: `success`, `failure`, `ignored`, `cancelled`, `rejected`; `shadow` | counter | events |
/// | `portcullis.breaker.slow_calls` | | counter | events |
/// | `portcullis.breaker.transitions` | `from`, `to` | counter | events |
/// | `portcullis.breaker.state` | `state` | gauge, 0 or 1 | events and samples |
/// | `portcullis.breaker.failure_rate`, `.slow_call_rate`, `.window_calls` | | gauge | samples |
/// | `portcullis.breaker.keys` | | gauge | [`sample_circuits`](Self::sample_circuits) |
/// | `portcullis.breaker.evictions`, `.untracked` | | counter | events |
/// | `portcullis.limiter.requests` | `outcome`: `allowed`, `limited` | counter | events |
/// | `portcullis.limiter.queued` | | gauge | events |
/// | `portcullis.limiter.wait.duration` | | histogram, s | events |
/// | `portcullis.limiter.tokens`, `.keys` | | gauge | samples |
/// | `portcullis.limiter.evictions` | | counter | samples |
/// | `portcullis.limiter.untracked` | | counter | events |
/// | `portcullis.bulkhead.calls` | `outcome`: `admitted`, `rejected` | counter | events |
/// | `portcullis.bulkhead.in_flight`, `.queued` | | gauge | events |
/// | `portcullis.bulkhead.limit` | | gauge | samples |
/// | `portcullis.bulkhead.wait.duration` | | histogram, s | events |
/// | `portcullis.bulkhead.rejections` | `reason`: `full`, `queue_timeout`, `deadline_too_short` | counter | events |
/// | `portcullis.retry.calls` | `outcome`: `first_try`, `after_retry`, `exhausted`, `not_retryable`, `budget_exhausted`, `deadline`, `told_to_stop`, `hint_too_long`, `not_replayable`, `nested`, `cancelled`, `shadow` | counter | events |
/// | `portcullis.retry.attempts` | | counter | events |
/// | `portcullis.retry.delay` | | histogram, s | events |
/// | `portcullis.retry.skipped` | `reason`: `budget_exhausted`, `deadline`, `told_to_stop`, `hint_too_long`, `not_replayable`, `nested`, `shadow` | counter | events |
/// | `portcullis.retry.budget_tokens` | | gauge | samples |
/// | `portcullis.timeout.calls` | `outcome`: `in_time`, `timeout`, `deadline_too_short`; `shadow` | counter | events |
/// | `portcullis.fallback.calls` | `outcome`: `value`, `function`, `service`, `last_good`, `unanswered`; `shadow` | counter | events |
/// | `portcullis.fallback.keys` | | gauge | samples |
/// | `portcullis.fallback.evictions` | | counter | events |
/// | `portcullis.catch_panic.panics` | `shadow` | counter | events |
///
/// * `shadow` is `"true"` for what a policy in shadow would have done and did not: filter by `"false"` for
///   what was done. A call that a circuit or a rate limit in shadow lets through is counted as that and
///   then as any other call as well; one that a bulkhead lets through without a slot only as that.
/// * A dropped call is `cancelled`, unless its circuit counts the drop as a failure: then it is a `failure`.
/// * `portcullis.breaker.state` is there from the first transition or sample on. Circuits by key have no
///   one state: for them it says how many are in each, and is set by
///   [`sample_circuits`](Self::sample_circuits) alone.
/// * Calls over attempts of a retry, `portcullis.retry.attempts` ÷ the sum of `portcullis.retry.calls`, is
///   its amplification: both count when a call ends.
/// * Gauges that are made from events go up and down with each call, and are right again whatever became of
///   it, if the observer was there from the policy's first call on. A policy's name should be its own: two
///   circuits of one name share one state.
///
/// # Exporters
///
/// `metrics-exporter-prometheus` writes `_` for `.`. Have it follow Prometheus' conventions too, which add
/// `_total` to counters and `_seconds` to durations (`portcullis_breaker_calls_total`,
/// `portcullis_bulkhead_wait_duration_seconds`), and name the buckets of histograms, which it makes summaries
/// of otherwise:
///
/// ```text
/// PrometheusBuilder::new()
///     .with_recommended_naming(true)
///     .set_buckets(&MetricsObserver::BUCKETS)?
///     .install_recorder()?
/// ```
///
/// # Cost
///
/// The metrics of a policy are registered when its first event comes, a rare one's when it is first needed,
/// and kept: from then on an event finds them without a lock and allocates nothing. Where the recorder
/// comes later than the first event, or another takes its place, what was registered stays with the one
/// that was there. A recorder must not make calls under observed policies while it registers a metric.
#[derive(Clone)]
pub struct MetricsObserver {
    of: Arc<Policies>,
}

/// The metrics of each policy, by kind and name.
struct Policies {
    sink: Sink,
    breakers: Names<Breaker>,
    limiters: Names<Limiter>,
    bulkheads: Names<Bulkhead>,
    timeouts: Names<Timeout>,
    retries: Names<Retry>,
    fallbacks: Names<Fallback>,
    guards: Names<CatchPanic>,
}

impl Default for MetricsObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl MetricsObserver {
    /// Bounds for histograms of waits and delays, in seconds: from a millisecond to the longest back-off
    /// that the defaults know.
    pub const BUCKETS: [f64; 15] =
        [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];

    /// Records with the recorder of the process, as the macros of `metrics` do; tells it what each metric
    /// is. The recorder should have been installed before.
    pub fn new() -> Self {
        Self::with(Sink::Process)
    }

    /// Records with a recorder of its own.
    pub fn with_recorder(recorder: impl Recorder + Send + Sync + 'static) -> Self {
        Self::with(Sink::Given(Arc::new(recorder)))
    }

    fn with(sink: Sink) -> Self {
        let metrics = Self {
            of: Arc::new(Policies {
                sink,
                breakers: Names::default(),
                limiters: Names::default(),
                bulkheads: Names::default(),
                timeouts: Names::default(),
                retries: Names::default(),
                fallbacks: Names::default(),
                guards: Names::default(),
            }),
        };
        metrics.describe();
        metrics
    }

    /// Tells the recorder what each metric is, and its unit. Making an observer does; only for a recorder
    /// that was installed later is it to be done again.
    pub fn describe(&self) {
        self.of.sink.describe();
    }
}

impl fmt::Debug for MetricsObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsObserver").finish_non_exhaustive()
    }
}

impl Policies {
    fn scope(&self, policy: &'static str) -> Scope {
        Scope { sink: self.sink.clone(), policy }
    }

    fn breaker(&self, name: &'static str) -> &Breaker {
        self.breakers.get(name, || Breaker::new(self.scope(name)))
    }

    fn limiter(&self, name: &'static str) -> &Limiter {
        self.limiters.get(name, || Limiter::new(self.scope(name)))
    }

    fn bulkhead(&self, name: &'static str) -> &Bulkhead {
        self.bulkheads.get(name, || Bulkhead::new(self.scope(name)))
    }

    fn timeout(&self, name: &'static str) -> &Timeout {
        self.timeouts.get(name, || Timeout::new(self.scope(name)))
    }

    fn retry(&self, name: &'static str) -> &Retry {
        self.retries.get(name, || Retry::new(self.scope(name)))
    }

    fn fallback(&self, name: &'static str) -> &Fallback {
        self.fallbacks.get(name, || Fallback::new(self.scope(name)))
    }

    fn guard(&self, name: &'static str) -> &CatchPanic {
        self.guards.get(name, || CatchPanic::new(&self.scope(name)))
    }

    fn rejected(&self, name: &'static str, kind: PolicyKind, reason: Reason, shadow: bool) {
        match kind {
            PolicyKind::CircuitBreaker => self.breaker(name).rejected(reason, shadow),
            PolicyKind::RateLimit => self.limiter(name).rejected(reason, shadow),
            PolicyKind::Bulkhead => self.bulkhead(name).rejected(reason, shadow),
            PolicyKind::Timeout => self.timeout(name).rejected(reason, shadow),
            PolicyKind::Retry => self.retry(name).rejected(reason, shadow),
            PolicyKind::Fallback => self.fallback(name).rejected(reason, shadow),
            PolicyKind::CatchPanic => self.guard(name).rejected(reason, shadow),
        }
    }
}

impl Observer for MetricsObserver {
    fn on_event(&self, event: &Event) {
        let of = &*self.of;
        match *event {
            Event::Transition { policy, keyed, transition } => {
                of.breaker(policy).changed(transition, keyed);
            }
            Event::Rejected(rejection) => {
                of.rejected(rejection.policy(), rejection.kind(), rejection.reason(), false);
            }
            Event::WouldReject { policy, kind, reason } => of.rejected(policy, kind, reason, true),
            Event::Settled { policy, outcome, slow } => of.breaker(policy).settled(outcome, slow),
            Event::Abandoned { policy, outcome, slow } => {
                of.breaker(policy).abandoned(outcome, slow);
            }
            Event::Untracked { policy, kind: PolicyKind::RateLimit } => {
                of.limiter(policy).untracked();
            }
            Event::Untracked { policy, .. } => of.breaker(policy).untracked(),
            Event::Evicted { policy, kind: PolicyKind::Fallback } => of.fallback(policy).evicted(),
            Event::Evicted { policy, .. } => of.breaker(policy).evicted(),
            Event::Queued { policy, kind: PolicyKind::RateLimit } => of.limiter(policy).queued(),
            Event::Queued { policy, .. } => of.bulkhead(policy).queued(),
            Event::LeftQueue { policy, kind: PolicyKind::RateLimit } => {
                of.limiter(policy).left_queue();
            }
            Event::LeftQueue { policy, .. } => of.bulkhead(policy).left_queue(),
            Event::Admitted { policy, kind: PolicyKind::RateLimit, waited } => {
                of.limiter(policy).admitted(waited);
            }
            Event::Admitted { policy, waited, .. } => of.bulkhead(policy).admitted(waited),
            Event::Released { policy, .. } => of.bulkhead(policy).released(),
            Event::InTime { policy } => of.timeout(policy).in_time(),
            Event::Retrying { policy, delay, .. } => of.retry(policy).retrying(delay),
            Event::RetryEnded { policy, attempts, end } => of.retry(policy).ended(attempts, end),
            Event::FellBack { policy, source } => {
                of.fallback(policy).answered(source.as_str(), false);
            }
            Event::WouldFallBack { policy, source } => {
                of.fallback(policy).answered(source.as_str(), true);
            }
            Event::Unanswered { policy } => of.fallback(policy).answered("unanswered", false),
        }
    }
}
