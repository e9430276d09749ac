//! Why a policy stands as it does, in values rather than words.

use std::{fmt, time::Duration};

use super::Command;
use crate::error::Rounded;

/// Why a state was entered, or what holds in it: what was observed, and the limit it is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// Too few calls to judge by.
    BelowVolume {
        /// Calls in the window.
        observed: u64,
        /// The volume threshold.
        limit: u64,
    },
    /// The share of failures.
    FailureRate {
        /// Failures over calls.
        observed: f64,
        /// The share that opens, or reopens.
        limit: f64,
    },
    /// The share of slow calls.
    SlowCallRate {
        /// Slow calls over calls.
        observed: f64,
        /// The share that opens, or reopens.
        limit: f64,
    },
    /// Failures in a row.
    ConsecutiveFailures {
        /// The length of the row.
        observed: u64,
        /// The length that opens.
        limit: u64,
    },
    /// Failures in the window.
    Failures {
        /// How many.
        observed: u64,
        /// How many open.
        limit: u64,
    },
    /// Calls in flight that are slow already.
    HungCalls {
        /// How many hang.
        observed: u64,
        /// How many are in flight.
        in_flight: u64,
        /// How many must hang to open.
        limit: u64,
    },
    /// Probes that failed.
    ProbesFailed {
        /// How many.
        observed: u64,
        /// How many reopen.
        limit: u64,
    },
    /// Probes that succeeded.
    ProbesSucceeded {
        /// How many.
        observed: u64,
        /// How many close.
        limit: u64,
    },
    /// Probes are out, or may be sent.
    Probing {
        /// How many have succeeded.
        observed: u64,
        /// How many results it takes.
        limit: u64,
        /// How many are in flight.
        in_flight: u64,
    },
    /// No rule is on that could open the circuit; only a command can.
    NoRule,
    /// A probe did not answer within its lease.
    LeaseExpired {
        /// The lease.
        limit: Duration,
    },
    /// The service's `poll_ready` failed while the circuit was half-open.
    NotReady,
    /// The sleep window is over.
    SleepOver,
    /// The circuit has closed lately and admits a share of calls.
    Recovering {
        /// The share admitted now.
        share: f64,
    },
    /// Someone commanded it.
    Command(Command),
    /// Tokens of a rate limiter.
    Tokens {
        /// How many there are now.
        available: u64,
        /// How many there can be.
        burst: u64,
    },
    /// Keys of a keyed policy.
    Keys {
        /// How many have a state.
        observed: u64,
        /// How many can have one.
        limit: u64,
    },
    /// Calls in a bulkhead.
    InFlight {
        /// How many are in flight.
        observed: u64,
        /// How many may be.
        limit: u64,
        /// How many wait.
        queued: u64,
    },
    /// How long a call may take; `None` where each request says so itself.
    TimeLimit {
        /// The limit.
        limit: Option<Duration>,
    },
    /// How long a body may take; `None` where there is no such limit.
    BodyLimits {
        /// For its next frame.
        idle: Option<Duration>,
        /// For all of it.
        total: Option<Duration>,
    },
    /// What a retry may do.
    Retries {
        /// How many attempts a call may have, the first included.
        attempts: u32,
        /// How many whole tokens the budget has; `None` without a budget.
        tokens: Option<u64>,
    },
    /// Answers that a fallback keeps.
    LastGood {
        /// How many keys have one.
        observed: u64,
        /// How many can have one.
        limit: u64,
    },
    /// Panics that a guard has caught.
    Panics {
        /// How many.
        caught: u64,
    },
    /// Nothing is kept that could change what the policy does.
    Stateless,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BelowVolume { observed, limit } => {
                write!(
                    f,
                    "{} in the window, too few to judge by (needs {limit})",
                    Several(observed, "call")
                )
            }
            Self::FailureRate { observed, limit } => {
                write!(f, "{} of calls failed (limit {})", Percent(observed), Percent(limit))
            }
            Self::SlowCallRate { observed, limit } => {
                write!(f, "{} of calls were slow (limit {})", Percent(observed), Percent(limit))
            }
            Self::ConsecutiveFailures { observed, limit } => {
                write!(f, "{} in a row failed (limit {limit})", Several(observed, "call"))
            }
            Self::Failures { observed, limit } => {
                write!(f, "{} failed (limit {limit})", Several(observed, "call"))
            }
            Self::HungCalls { observed, in_flight, limit } => {
                write!(f, "{observed} of {in_flight} calls in flight hang (limit {limit})")
            }
            Self::ProbesFailed { observed, limit } => {
                write!(f, "{} failed (limit {limit})", Several(observed, "probe"))
            }
            Self::ProbesSucceeded { observed, limit } => {
                write!(f, "{observed} of {limit} probes succeeded")
            }
            Self::Probing { observed, limit, in_flight } => {
                write!(f, "{observed} of {limit} probes succeeded, {in_flight} in flight")
            }
            Self::NoRule => f.write_str("no rule is on that could open it"),
            Self::LeaseExpired { limit } => {
                write!(f, "a probe did not answer within {}", Rounded(limit))
            }
            Self::NotReady => f.write_str("the service failed to become ready"),
            Self::SleepOver => f.write_str("the wait is over"),
            Self::Recovering { share } => {
                write!(f, "{} of calls are admitted while recovering", Percent(share))
            }
            Self::Command(command) => write!(f, "the command `{command}` was given"),
            Self::Tokens { available, burst } => {
                write!(f, "{available} of {} left", Several(burst, "token"))
            }
            Self::Keys { observed, limit } => {
                write!(f, "{observed} of {} in use", Several(limit, "key"))
            }
            Self::InFlight { observed, limit, queued } => {
                write!(f, "{observed} of {} in flight, {queued} waiting", Several(limit, "call"))
            }
            Self::TimeLimit { limit: Some(limit) } => {
                write!(f, "a call may take {}", Rounded(limit))
            }
            Self::TimeLimit { limit: None } => f.write_str("each request sets its own limit"),
            Self::BodyLimits { idle: Some(idle), total: Some(total) } => {
                write!(
                    f,
                    "the next frame of a body may take {}, all of it {}",
                    Rounded(idle),
                    Rounded(total)
                )
            }
            Self::BodyLimits { idle: Some(idle), total: None } => {
                write!(f, "the next frame of a body may take {}", Rounded(idle))
            }
            Self::BodyLimits { idle: None, total: Some(total) } => {
                write!(f, "a body may take {}", Rounded(total))
            }
            Self::BodyLimits { idle: None, total: None } => {
                f.write_str("a body may take until its call's deadline")
            }
            Self::Retries { attempts, tokens: Some(tokens) } => {
                write!(
                    f,
                    "{} a call, {} in the budget",
                    Several(attempts.into(), "attempt"),
                    Several(tokens, "token")
                )
            }
            Self::Retries { attempts, tokens: None } => {
                write!(f, "{} a call, without a budget", Several(attempts.into(), "attempt"))
            }
            Self::LastGood { observed, limit } => {
                write!(f, "{observed} of {} kept", Several(limit, "answer"))
            }
            Self::Panics { caught } => write!(f, "{} caught", Several(caught, "panic")),
            Self::Stateless => f.write_str("nothing is counted"),
        }
    }
}

/// So many of a thing, in words that agree.
struct Several(u64, &'static str);

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, thing) = self;
        write!(f, "{number} {thing}{}", if *number == 1 { "" } else { "s" })
    }
}

/// A share as a percentage with as few digits as it needs, one at the most.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 1000.0).round();
        write!(f, "{} %", tenths / 10.0)
    }
}

/// Why a policy answers as it does, what would let a call in, and when. Prints as one sentence.
///
/// ```
/// use portcullis::{Circuit, CircuitBreakerConfig};
///
/// let circuit = Circuit::new(CircuitBreakerConfig::new("payments"))?;
/// circuit.force_open();
/// let why = circuit.explain();
/// assert!(!why.admits);
/// assert_eq!(
///     why.to_string(),
///     "payments is forced open and refuses calls: the command `force_open` was given",
/// );
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The policy's name.
    pub policy: &'static str,
    /// The state's stable name.
    pub state: &'static str,
    /// Whether the policy only reports what it would do, and admits every call.
    pub shadow: bool,
    /// Whether a call made now would be admitted.
    pub admits: bool,
    /// The same, if the policy were not in shadow.
    pub would_admit: bool,
    /// What holds: the observed value and the limit it is held against.
    pub cause: Cause,
    /// The time left until something changes by itself; `None` when nothing does.
    pub until: Option<Duration>,
    /// What opened the circuit, while it has not closed since.
    pub opened_by: Option<Cause>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            "shadow" => "in shadow".to_owned(),
            state => state.replace('_', " "),
        };
        let does = match (self.would_admit, self.admits) {
            (true, _) => "admits calls",
            (false, false) => "refuses calls",
            (false, true) => "would refuse calls, but admits them",
        };
        let shadow = if self.shadow && self.state != "shadow" { " (in shadow)" } else { "" };
        write!(f, "{}{shadow} is {state} and {does}: {}", self.policy, self.cause)?;
        if let Some(opened_by) = self.opened_by.filter(|by| *by != self.cause) {
            write!(f, "; it opened because {opened_by}")?;
        }
        match self.until {
            Some(until) => write!(f, "; this changes in {}", Rounded(until)),
            None => Ok(()),
        }
    }
}
