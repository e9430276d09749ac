//! [`Report`]: what a probe found, before it is written in any format.

use std::{borrow::Cow, fmt, time::Duration};

use super::query::Probe;

/// How one part is, or all of it. The worse is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Status {
    /// All is well.
    Pass,
    /// It works, but not as it should.
    Warn,
    /// It does not work.
    Fail,
}

impl Status {
    /// A stable lower-case word: `pass`, `warn` or `fail`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One part of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub(super) name: Cow<'static, str>,
    pub(super) component: &'static str,
    pub(super) status: Status,
    pub(super) critical: bool,
    pub(super) state: Option<&'static str>,
    /// Whether it is a circuit, whose states some formats know.
    pub(super) circuit: bool,
    pub(super) took: Option<Duration>,
    pub(super) recorded: Duration,
    pub(super) output: Option<String>,
}

impl Item {
    /// The name of the check; of a policy, with its kind: `payments:circuit_breaker`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is by itself.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Whether its failure fails the whole; asked for alone, it does.
    pub const fn is_critical(&self) -> bool {
        self.critical
    }

    /// The state of a policy, as its explanation names it.
    pub const fn state(&self) -> Option<&'static str> {
        self.state
    }

    /// How long the check took to answer; `None` for what is only read.
    pub const fn took(&self) -> Option<Duration> {
        self.took
    }

    /// When it answered, since the beginning of 1970 by the system's clock. An answer may be as old as its
    /// check's [`ttl`](super::Check::ttl).
    pub const fn recorded(&self) -> Duration {
        self.recorded
    }

    /// What is wrong, or how a policy stands, in words. It may hold anything that an error says.
    pub fn output(&self) -> Option<&str> {
        self.output.as_deref()
    }

    /// What it makes of the whole.
    fn weighs(&self) -> Status {
        if self.critical { self.status } else { self.status.min(Status::Warn) }
    }
}

/// Why a process that may be well is sent no requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutOfService {
    /// It has not started yet.
    Starting,
    /// It is about to end.
    Draining,
}

impl OutOfService {
    /// A stable lower-case word: `starting` or `draining`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Draining => "draining",
        }
    }

    /// The name of its part in reports.
    pub(super) const fn part(self) -> &'static str {
        match self {
            Self::Starting => super::STARTUP,
            Self::Draining => super::DRAIN,
        }
    }
}

impl fmt::Display for OutOfService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a probe found: [`render`](super::render) writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub(super) probe: Probe,
    pub(super) status: Status,
    pub(super) items: Vec<Item>,
    pub(super) out_of_service: Option<OutOfService>,
    pub(super) unknown: Vec<String>,
}

impl Report {
    pub(super) fn new(
        probe: Probe,
        alone: bool,
        mut items: Vec<Item>,
        out_of_service: Option<OutOfService>,
        unknown: Vec<String>,
    ) -> Self {
        // Whoever asks for one part alone wants to know how that is, whatever it weighs in the whole.
        items.iter_mut().for_each(|item| item.critical |= alone);
        let status = items.iter().map(Item::weighs).max().unwrap_or(Status::Pass);
        Self { probe, status, items, out_of_service, unknown }
    }

    /// What was asked.
    pub const fn probe(&self) -> Probe {
        self.probe
    }

    /// The whole: `Fail` when something critical failed, or the process is out of service and was asked for
    /// that; `Warn` when anything else is not well.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Whether the answer is yes: anything but `Fail`.
    pub fn is_ok(&self) -> bool {
        self.status != Status::Fail
    }

    /// Its parts: the startup gate and draining where they were asked for, then the checks as they were
    /// added.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Why the process is sent no requests, if that was asked for and is so.
    pub const fn out_of_service(&self) -> Option<OutOfService> {
        self.out_of_service
    }

    /// Names that the query spoke of and that no check has.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }
}
