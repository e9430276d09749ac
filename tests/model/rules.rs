//! What a case configures, in plain numbers of nanoseconds, and how that is told to the library.

use std::time::Duration;

use portcullis::{CircuitBreakerConfig, Decide, HalfOpen, Hung, Sleep, Window};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    Count(u32),
    Time { length: u64, buckets: u32 },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Decision {
    Counts { successes: u32, failures: u32 },
    Rate { calls: u32, failure_rate: f64, slow_rate: Option<f64> },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) base: u64,
    /// A fraction, so that the reference can be exact.
    pub(crate) multiplier: (u64, u64),
    pub(crate) max: u64,
    pub(crate) hints: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) shape: Shape,
    pub(crate) failure_rate: Option<f64>,
    pub(crate) slow_after: Option<u64>,
    pub(crate) slow_rate: Option<f64>,
    pub(crate) consecutive: Option<u32>,
    /// So many failures, among at least so many calls.
    pub(crate) failures: Option<(u32, u32)>,
    pub(crate) hung: Option<(u32, f64)>,
    pub(crate) minimum: u32,
    pub(crate) wait: Wait,
    pub(crate) decision: Decision,
    pub(crate) total: Option<u32>,
    pub(crate) concurrent: Option<u32>,
    pub(crate) lease: u64,
    pub(crate) drops_are_failures: bool,
}

impl Rules {
    /// How many results a half-open period may need before it is decided.
    pub(crate) fn probes_needed(&self) -> u32 {
        match self.decision {
            Decision::Counts { successes, failures } => successes + failures - 1,
            Decision::Rate { calls, .. } => calls,
        }
    }

    pub(crate) fn config(&self) -> CircuitBreakerConfig {
        let ns = Duration::from_nanos;
        let mut config = CircuitBreakerConfig::new("model")
            .window(match self.shape {
                Shape::Count(size) => Window::count(size),
                Shape::Time { length, buckets } => Window::Time { length: ns(length), buckets },
            })
            .minimum_calls(self.minimum)
            .probe_lease(ns(self.lease))
            .drops_are_failures(self.drops_are_failures);
        config.failure_rate = self.failure_rate;
        config.slow_call_after = self.slow_after.map(ns);
        config.slow_call_rate = self.slow_rate;
        config.consecutive_failures = self.consecutive;
        if let Some((count, minimum)) = self.failures {
            config = config.failures_of(count, minimum);
        }
        config.hung = self.hung.map(|(calls, share)| {
            let mut hung = Hung::default();
            hung.calls = calls;
            hung.share = share;
            hung
        });
        let (over, under) = self.wait.multiplier;
        let multiplier = over as f64 / under as f64;
        let sleep = Sleep::growing(ns(self.wait.base), multiplier, ns(self.wait.max));
        config = config.sleep(sleep.jitter(0.0).hints(self.wait.hints));
        config.half_open = match self.decision {
            Decision::Counts { successes, failures } => HalfOpen::counts(successes, failures),
            Decision::Rate { calls, failure_rate, slow_rate } => {
                let mut half_open = HalfOpen::rate(calls, failure_rate);
                half_open.decide = Decide::Rate { calls, failure_rate, slow_rate };
                half_open
            }
        };
        config.half_open.total = self.total;
        config.half_open.concurrent = self.concurrent;
        config
    }
}
