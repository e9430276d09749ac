//! Where metrics are registered.

use std::sync::{Arc, OnceLock};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};

use super::{
    chain::Chain,
    names::{self, Kind, Metric},
};
use crate::error::{PolicyKind, Reason};

const METADATA: Metadata<'static> =
    Metadata::new("portcullis", Level::INFO, Some("portcullis::event"));

/// A recorder that was given, or whichever the thread or the process has.
#[derive(Clone)]
pub(super) enum Sink {
    Process,
    Given(Arc<dyn Recorder + Send + Sync>),
}

impl Sink {
    fn with<R>(&self, run: impl FnOnce(&dyn Recorder) -> R) -> R {
        match self {
            Self::Process => metrics::with_recorder(run),
            Self::Given(recorder) => run(&**recorder),
        }
    }

    /// Says what each metric is.
    pub(super) fn describe(&self) {
        self.with(|recorder| {
            for Metric { name, kind, unit, text } in names::ALL {
                let (name, unit, text) = ((*name).into(), Some(*unit), (*text).into());
                match kind {
                    Kind::Counter => recorder.describe_counter(name, unit, text),
                    Kind::Gauge => recorder.describe_gauge(name, unit, text),
                    Kind::Histogram => recorder.describe_histogram(name, unit, text),
                }
            }
        });
    }
}

/// A label and its value.
type Pair = (&'static str, &'static str);

/// The metrics of one policy: each has its name as the first label.
#[derive(Clone)]
pub(super) struct Scope {
    pub(super) sink: Sink,
    pub(super) policy: &'static str,
}

impl Scope {
    fn key<const N: usize>(&self, metric: &Metric, pairs: [Pair; N]) -> Key {
        let name = [("name", self.policy)].into_iter();
        let labels = name.chain(pairs).map(|(key, value)| Label::from_static_parts(key, value));
        Key::from_parts(metric.name, labels.collect::<Vec<_>>())
    }

    pub(super) fn counter<const N: usize>(&self, metric: &Metric, pairs: [Pair; N]) -> Counter {
        let key = self.key(metric, pairs);
        self.sink.with(|recorder| recorder.register_counter(&key, &METADATA))
    }

    pub(super) fn gauge<const N: usize>(&self, metric: &Metric, pairs: [Pair; N]) -> Gauge {
        let key = self.key(metric, pairs);
        self.sink.with(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    pub(super) fn histogram(&self, metric: &Metric) -> Histogram {
        let key = self.key(metric, []);
        self.sink.with(|recorder| recorder.register_histogram(&key, &METADATA))
    }

    /// A counter of few policies, made when it is first needed.
    pub(super) fn late_counter<'a>(
        &self,
        late: &'a OnceLock<Counter>,
        metric: &Metric,
    ) -> &'a Counter {
        late.get_or_init(|| self.counter(metric, []))
    }

    /// The same for a gauge.
    pub(super) fn late_gauge<'a>(&self, late: &'a OnceLock<Gauge>, metric: &Metric) -> &'a Gauge {
        late.get_or_init(|| self.gauge(metric, []))
    }
}

/// Refusals of one policy, whatever its kind. Those of shadow are apart: they did not happen.
pub(super) struct Rejections {
    scope: Scope,
    kind: PolicyKind,
    counters: Chain<(Reason, bool), Counter>,
}

impl Rejections {
    pub(super) fn new(scope: &Scope, kind: PolicyKind) -> Self {
        Self { scope: scope.clone(), kind, counters: Chain::default() }
    }

    pub(super) fn add(&self, reason: Reason, shadow: bool) {
        let register = || {
            let pairs =
                [("kind", self.kind.as_str()), ("reason", reason.as_str()), shadow_pair(shadow)];
            self.scope.counter(&names::REJECTIONS, pairs)
        };
        self.counters.get((reason, shadow), register).increment(1);
    }
}

/// Whether a policy only reports what it would have done.
pub(super) fn shadow_pair(shadow: bool) -> Pair {
    ("shadow", if shadow { "true" } else { "false" })
}
