//! The words of a breaker: states, transitions, verdicts, and what it shows of itself.

use std::{fmt, time::Duration};

use crate::{error::Reason, outcome::Outcome, policy::Cause};

/// What a circuit does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Admits calls and records their results.
    Closed,
    /// Refuses calls until its wait is over.
    Open,
    /// Admits probes, and decides by their results.
    HalfOpen,
    /// Refuses calls until commanded otherwise.
    ForcedOpen,
    /// Admits calls and records nothing until commanded otherwise.
    Disabled,
}

impl State {
    /// A stable lower-case word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change of what a circuit does with calls.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// The period that this began; later transitions have greater numbers.
    pub generation: u64,
    /// How long the circuit will stay open, where it opened for a time.
    pub sleep: Option<Duration>,
    /// Whether the circuit only reports what it would do.
    pub shadow: bool,
}

/// Why a breaker refuses a call, and when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The time until the circuit sends probes again, where it is known.
    pub retry_after: Option<Duration>,
}

/// How a call was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// Its outcome; for a dropped call, whether the drop is a failure or ignored.
    pub outcome: Outcome,
    /// Whether it took longer than the slow limit, where there is one.
    pub slow: bool,
}

/// A circuit at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state.
    pub state: State,
    /// Whether the circuit only reports what it would do.
    pub shadow: bool,
    /// The number of the present period.
    pub generation: u64,
    /// Results that count: of the window, or of the probes while half-open. While open, those that
    /// opened it, as long as the window holds them. Ignored results are in none of these numbers, and
    /// a count window never holds more than its size.
    pub calls: u64,
    /// Failures among them.
    pub failures: u64,
    /// Successes among them.
    pub successes: u64,
    /// Slow ones among them, failed or not.
    pub slow: u64,
    /// Calls refused since the last change of state other than opening; in shadow, those that would
    /// have been.
    pub rejected: u64,
    /// Failures over calls; `None` below the volume threshold, or without a call while half-open.
    pub failure_rate: Option<f64>,
    /// Slow calls over calls; `None` below the volume threshold, or without a call while half-open.
    pub slow_rate: Option<f64>,
    /// Failures in a row, up to now.
    pub consecutive_failures: u32,
    /// Probes in flight.
    pub probes_in_flight: u32,
    /// Openings since the circuit last closed.
    pub consecutive_openings: u32,
    /// The time until the circuit sends probes; `None` unless it is open for a time.
    pub time_to_half_open: Option<Duration>,
}
