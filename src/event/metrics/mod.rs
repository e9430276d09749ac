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
    calls::{Fallback, Retry, Timeout, Wrongs},
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
#[doc = include_str!("../../docs/metrics.md")]
///
/// ## Cost
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
    guards: Names<Wrongs>,
    bodies: Names<Wrongs>,
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
                bodies: Names::default(),
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

    fn guard(&self, name: &'static str) -> &Wrongs {
        let (metric, kind) = (&names::CATCH_PANIC_PANICS, PolicyKind::CatchPanic);
        self.guards.get(name, || Wrongs::new(&self.scope(name), metric, kind))
    }

    fn body(&self, name: &'static str) -> &Wrongs {
        let (metric, kind) = (&names::BODY_TIMEOUT_CUTS, PolicyKind::BodyTimeout);
        self.bodies.get(name, || Wrongs::new(&self.scope(name), metric, kind))
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
            PolicyKind::BodyTimeout => self.body(name).rejected(reason, shadow),
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
            // Nothing is counted of a body that was not cut, but what could be is there from now on.
            Event::InTime { policy, kind: PolicyKind::BodyTimeout } => _ = of.body(policy),
            Event::InTime { policy, .. } => of.timeout(policy).in_time(),
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
