//! What a breaker is told: plain values with defaults, checked once where they are used.

use std::time::Duration;

use crate::{error::ConfigError, policy::window::Window};

/// How a circuit breaker behaves. Every field is plain data; [`Default`] gives the values of the
/// table in [`circuit_breaker`](crate::circuit_breaker), and setters take `self` by value.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{CircuitBreakerConfig, HalfOpen, Window};
///
/// let config = CircuitBreakerConfig::new("payments")
///     .window(Window::count(100))
///     .failure_rate(0.25)
///     .slow_calls(Duration::from_secs(2), 0.8)
///     .half_open(HalfOpen::counts(5, 1));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub struct CircuitBreakerConfig {
    /// The policy's name in every rejection, event and metric. Default `"circuit"`.
    pub name: &'static str,
    /// Which results count. Default the last 10 s in 10 buckets.
    pub window: Window,
    /// Opens at this share of failures, `0.0 < rate <= 1.0`. Default `Some(0.5)`.
    pub failure_rate: Option<f64>,
    /// A call that takes strictly longer than this is slow. Default `None`.
    pub slow_call_after: Option<Duration>,
    /// Opens at this share of slow calls, `0.0 < rate <= 1.0`. Needs `slow_call_after`. Default `None`.
    pub slow_call_rate: Option<f64>,
    /// Opens after this many failures in a row. Default `None`.
    pub consecutive_failures: Option<u32>,
    /// Opens at this many failures in the window. Default `None`.
    pub failures: Option<u32>,
    /// The number of calls below which [`failures`](Self::failures) does not open. Default 0.
    pub failures_minimum_calls: u32,
    /// Opens while calls hang: see [`Hung`]. Needs `slow_call_after`. Default `None`.
    pub hung: Option<Hung>,
    /// The number of calls below which no rate opens the circuit. A count window smaller than this
    /// is judged once it is full. Default 20.
    pub minimum_calls: u32,
    /// How long the circuit stays open. Default 5 s, ×2 up to 60 s, plus 0..20 % jitter.
    pub sleep: Sleep,
    /// How recovery is tried. Default 3 probes in total, all of which must succeed.
    pub half_open: HalfOpen,
    /// How long one probe may go unanswered before the circuit opens again. Default 30 s.
    pub probe_lease: Duration,
    /// After closing, admit a share of calls that rises from 10 to 100 % over this time.
    /// Default `None`: all at once.
    pub recovery_ramp: Option<Duration>,
    /// Whether a dropped call is a failure in every case. Default `false`: it is ignored, except past
    /// the ambient deadline seen at admission (a failure) or past `slow_call_after` (slow).
    pub drops_are_failures: bool,
    /// Seeds jitter and the recovery ramp, so that a run can be repeated. Default: drawn once.
    pub seed: Option<u64>,
}

/// The sleep window: how long a circuit stays open before it lets a probe through.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub struct Sleep {
    /// The first wait. Zero means that the very next call is a probe. Default 5 s.
    pub base: Duration,
    /// What each further opening without a closing in between multiplies the wait by, `>= 1.0`;
    /// 1.0 keeps it fixed. Default 2.0.
    pub multiplier: f64,
    /// The longest wait before jitter, also for hints. Default 60 s.
    pub max: Duration,
    /// Up to this share of the wait is added at random, never taken away, `0.0..=1.0`. Default 0.2.
    pub jitter: f64,
    /// Whether a longer wait asked for by the service (a [`Hint::After`](crate::Hint) on the result
    /// that opens the circuit) replaces ours, up to `max`. Default `true`.
    pub hints: bool,
}

impl Default for Sleep {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(5),
            multiplier: 2.0,
            max: Duration::from_secs(60),
            jitter: 0.2,
            hints: true,
        }
    }
}

impl Sleep {
    /// The same wait every time, without jitter.
    pub const fn fixed(wait: Duration) -> Self {
        Self { base: wait, multiplier: 1.0, max: wait, jitter: 0.0, hints: true }
    }

    /// A wait that grows: `base` × `multiplier` per consecutive opening, up to `max`, with 20 % jitter.
    pub const fn growing(base: Duration, multiplier: f64, max: Duration) -> Self {
        Self { base, multiplier, max, jitter: 0.2, hints: true }
    }

    /// Sets the share that is added at random.
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Sets whether the service may ask for a longer wait.
    pub const fn hints(mut self, on: bool) -> Self {
        self.hints = on;
        self
    }
}

/// How a half-open circuit decides.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
#[must_use]
pub struct HalfOpen {
    /// What it takes to close or to reopen.
    pub decide: Decide,
    /// At most this many probes per half-open period, not counting those that gave their slot back.
    /// `None` bounds them by `concurrent` alone.
    pub total: Option<u32>,
    /// At most this many probes at once. `None` bounds them by `total` alone.
    pub concurrent: Option<u32>,
}

/// What closes or reopens a half-open circuit.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Decide {
    /// Whichever number is reached first. A slow success counts as a failure where a slow-call rate
    /// is configured.
    Counts {
        /// Closes at this many successful probes.
        successes: u32,
        /// Reopens at this many failed probes.
        failures: u32,
    },
    /// After `calls` results: reopens if a rate is at or above its limit, closes otherwise.
    Rate {
        /// How many results to wait for.
        calls: u32,
        /// The share of failures that reopens.
        failure_rate: f64,
        /// The share of slow probes that reopens; `None` takes the breaker's `slow_call_rate`.
        slow_rate: Option<f64>,
    },
}

impl Default for HalfOpen {
    fn default() -> Self {
        Self::counts(3, 1)
    }
}

impl HalfOpen {
    /// Closes at `successes`, reopens at `failures`; in total as many probes as that can take.
    pub const fn counts(successes: u32, failures: u32) -> Self {
        let total = successes.saturating_add(failures.saturating_sub(1));
        Self {
            decide: Decide::Counts { successes, failures },
            total: Some(total),
            concurrent: None,
        }
    }

    /// Waits for `calls` results and compares their failure rate.
    pub const fn rate(calls: u32, failure_rate: f64) -> Self {
        Self {
            decide: Decide::Rate { calls, failure_rate, slow_rate: None },
            total: Some(calls),
            concurrent: None,
        }
    }

    /// At most `n` probes in the whole period.
    pub const fn total(mut self, n: u32) -> Self {
        self.total = Some(n);
        self
    }

    /// At most `n` probes at once.
    pub const fn concurrent(mut self, n: u32) -> Self {
        self.concurrent = Some(n);
        self
    }

    /// No bound on the probes of a period, only on those at once: `n`.
    pub const fn only_concurrent(mut self, n: u32) -> Self {
        self.total = None;
        self.concurrent = Some(n);
        self
    }

    /// The share of slow probes that reopens, for [`HalfOpen::rate`].
    pub const fn slow_rate(mut self, rate: f64) -> Self {
        if let Decide::Rate { calls, failure_rate, .. } = self.decide {
            self.decide = Decide::Rate { calls, failure_rate, slow_rate: Some(rate) };
        }
        self
    }
}

/// The in-flight rule: open while calls hang, before any of them has answered.
///
/// Trips when at least `calls` calls of this period have been in flight for longer than
/// `slow_call_after`, and they are at least `share` of all in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hung {
    /// At least this many hanging calls. Default 10.
    pub calls: u32,
    /// At least this share of the calls in flight, `0.0 < share <= 1.0`. Default 0.5.
    pub share: f64,
}

impl Hung {
    /// At least `calls` hanging calls that are at least `share` of those in flight.
    pub const fn new(calls: u32, share: f64) -> Self {
        Self { calls, share }
    }
}

impl Default for Hung {
    fn default() -> Self {
        Self { calls: 10, share: 0.5 }
    }
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            name: "circuit",
            window: Window::time(Duration::from_secs(10)),
            failure_rate: Some(0.5),
            slow_call_after: None,
            slow_call_rate: None,
            consecutive_failures: None,
            failures: None,
            failures_minimum_calls: 0,
            hung: None,
            minimum_calls: 20,
            sleep: Sleep::default(),
            half_open: HalfOpen::default(),
            probe_lease: Duration::from_secs(30),
            recovery_ramp: None,
            drops_are_failures: false,
            seed: None,
        }
    }
}

impl CircuitBreakerConfig {
    /// The defaults under a name. A name known only at run time goes through [`intern`](crate::intern).
    pub fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// Sets the name.
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets which results count.
    pub fn window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// Opens at this share of failures (`>=`), once `minimum_calls` is reached.
    pub fn failure_rate(mut self, rate: f64) -> Self {
        self.failure_rate = Some(rate);
        self
    }

    /// Removes the failure-rate rule. A circuit without any rule opens by command only.
    pub fn no_failure_rate(mut self) -> Self {
        self.failure_rate = None;
        self
    }

    /// Opens at this share (`>=`) of calls that take longer than `after` (`>`).
    pub fn slow_calls(mut self, after: Duration, rate: f64) -> Self {
        self.slow_call_after = Some(after);
        self.slow_call_rate = Some(rate);
        self
    }

    /// Says what slow means without opening on a rate: for [`hung_calls`](Self::hung_calls).
    pub fn slow_call_after(mut self, after: Duration) -> Self {
        self.slow_call_after = Some(after);
        self
    }

    /// Opens after `count` failures in a row, whatever the volume.
    pub fn consecutive_failures(mut self, count: u32) -> Self {
        self.consecutive_failures = Some(count);
        self
    }

    /// Opens at `count` failures in the window, whatever the volume.
    pub fn failures(mut self, count: u32) -> Self {
        self.failures = Some(count);
        self
    }

    /// Opens at `count` failures in the window once it holds `minimum_calls` results.
    pub fn failures_of(mut self, count: u32, minimum_calls: u32) -> Self {
        self.failures = Some(count);
        self.failures_minimum_calls = minimum_calls;
        self
    }

    /// Opens while calls hang for longer than `after`, by the default [`Hung`] rule.
    pub fn hung_calls(mut self, after: Duration) -> Self {
        self.slow_call_after = Some(after);
        self.hung = Some(Hung::default());
        self
    }

    /// Sets the in-flight rule; it needs `slow_call_after`.
    pub fn hung(mut self, hung: Hung) -> Self {
        self.hung = Some(hung);
        self
    }

    /// Sets the volume below which no rate opens the circuit.
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.minimum_calls = calls;
        self
    }

    /// Sets how long the circuit stays open.
    pub fn sleep(mut self, sleep: Sleep) -> Self {
        self.sleep = sleep;
        self
    }

    /// Sets how recovery is tried.
    pub fn half_open(mut self, half_open: HalfOpen) -> Self {
        self.half_open = half_open;
        self
    }

    /// Sets how long one probe may go unanswered.
    pub fn probe_lease(mut self, lease: Duration) -> Self {
        self.probe_lease = lease;
        self
    }

    /// Admits a growing share of calls for this long after closing.
    pub fn recovery_ramp(mut self, over: Duration) -> Self {
        self.recovery_ramp = Some(over);
        self
    }

    /// Makes every dropped call a failure.
    pub fn drops_are_failures(mut self, on: bool) -> Self {
        self.drops_are_failures = on;
        self
    }

    /// Seeds jitter and the recovery ramp.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Checks every value and their combinations.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that cannot work, its value, and what it needs.
    pub fn validate(&self) -> Result<(), ConfigError> {
        super::validate::validate(self)
    }
}
