//! Which checks a report is about.

use std::fmt;

/// The question that a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Probe {
    /// Does the process itself work, or is it to be started anew? Asks the checks made for it, and neither
    /// policies nor draining.
    Liveness,
    /// Is it to be sent requests? Asks the checks made for it, policies, the startup gate and draining.
    Readiness,
    /// Has it started? Asks the startup gate alone.
    Startup,
    /// How is everything? Asks all that there is. For people and dashboards, not for machines that act on it.
    Overall,
}

impl Probe {
    /// A stable lower-case word: `livez`, `readyz`, `startupz` or `health`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Liveness => "livez",
            Self::Readiness => "readyz",
            Self::Startup => "startupz",
            Self::Overall => "health",
        }
    }

    /// Whether the startup gate and draining are part of the answer.
    pub(super) const fn asks_for_traffic(self) -> bool {
        matches!(self, Self::Readiness | Self::Overall)
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which checks a report is about: those of one probe, without some, or one alone.
///
/// ```
/// use portcullis::health::{Probe, Query};
///
/// let all_but_one = Query::new(Probe::Readiness).exclude("search");
/// let one = Query::new(Probe::Readiness).only("search");
/// # let _ = (all_but_one, one);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Query {
    pub(super) probe: Probe,
    pub(super) exclude: Vec<String>,
    pub(super) only: Option<String>,
}

impl Query {
    /// All checks of one probe.
    pub const fn new(probe: Probe) -> Self {
        Self { probe, exclude: Vec::new(), only: None }
    }

    /// Leaves one check out. Draining and the startup gate cannot be left out.
    pub fn exclude(mut self, name: impl Into<String>) -> Self {
        self.exclude.push(name.into());
        self
    }

    /// Asks for one check alone. The report then fails when it does, critical or not, and says nothing of
    /// draining unless asked for `drain`.
    pub fn only(mut self, name: impl Into<String>) -> Self {
        self.only = Some(name.into());
        self
    }

    /// Whether a check of that name is asked for.
    pub(super) fn wants(&self, name: &str) -> bool {
        match &self.only {
            Some(only) => only == name,
            None => !self.exclude.iter().any(|excluded| excluded == name),
        }
    }

    /// Every name that the query speaks of.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.exclude.iter().chain(&self.only)
    }
}

impl From<Probe> for Query {
    fn from(probe: Probe) -> Self {
        Self::new(probe)
    }
}
