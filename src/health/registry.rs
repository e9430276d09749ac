//! [`HealthRegistry`]: everything that the health of a process is made of.

use std::{fmt, sync::Arc};

use super::{
    Check, Drain, PolicyCheck, Query, Reporting, Startup, check::Asked, query::Probe, startup::Gate,
};
use crate::{error::ConfigError, registry::Registry, sync::Mutex};

/// One thing that was added.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Check(Asked),
    Policy(PolicyCheck),
    /// All policies that are in it when a probe comes.
    Policies(Registry),
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    entries: Mutex<Vec<Entry>>,
    pub(super) drain: Drain,
    pub(super) gate: Arc<Gate>,
}

/// Checks, policies, the startup gate and draining: what liveness and readiness are made of. Clones share it.
///
/// ```
/// use portcullis::health::{Check, Detail, Format, HealthRegistry, Probe, render};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let health = HealthRegistry::new();
/// health.add(Check::new("database", || async { Err::<(), _>("no route to host") }))?;
///
/// let report = health.report(Probe::Readiness).await;
/// let response = render(&report, Format::Text, Detail::Full);
/// assert_eq!(response.status(), 503);
/// assert_eq!(response.body(), "[-]database failed: no route to host\nreadyz check failed\n");
/// # Ok(())
/// # }
/// ```
///
/// A [`HealthService`](super::HealthService) answers a server's probes with it.
#[derive(Clone, Default)]
pub struct HealthRegistry {
    pub(super) shared: Arc<Shared>,
}

impl HealthRegistry {
    /// Nothing to check: alive, started and ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that another's drain makes unready.
    pub fn with_drain(drain: &Drain) -> Self {
        let shared = Shared { drain: drain.clone(), ..Shared::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Adds a check.
    ///
    /// # Errors
    /// [`ConfigError`] for `name` when it is empty, added already, `drain` or `startup`; for a `timeout` of
    /// zero; for an empty `component_type`.
    pub fn add(&self, check: Check) -> Result<(), ConfigError> {
        let check = check.start()?;
        let mut entries = self.shared.entries.lock();
        let is_there = entries.iter().any(|entry| match entry {
            Entry::Check(other) => other.name == check.name,
            Entry::Policy(_) | Entry::Policies(_) => false,
        });
        if is_there {
            return Err(ConfigError::new("name", check.name, "is added already"));
        }
        entries.push(Entry::Check(check));
        Ok(())
    }

    /// Adds a policy.
    ///
    /// # Errors
    /// [`ConfigError`] for `name` when one of its name and kind is added already; for
    /// `fail_readiness_when_open` when it is no circuit.
    pub fn add_policy(&self, policy: PolicyCheck) -> Result<(), ConfigError> {
        policy.validate()?;
        let mut entries = self.shared.entries.lock();
        let is_there = entries.iter().any(|entry| match entry {
            Entry::Policy(other) => other.key == policy.key,
            Entry::Check(_) | Entry::Policies(_) => false,
        });
        if is_there {
            return Err(ConfigError::new("name", policy.name(), "is added already"));
        }
        entries.push(Entry::Policy(policy));
        Ok(())
    }

    /// Adds every policy of a [`Registry`], also those that will be registered there later. One that is added
    /// by itself as well counts as added by itself.
    pub fn add_policies(&self, policies: &Registry) {
        self.shared.entries.lock().push(Entry::Policies(policies.clone()));
    }

    /// Takes a check out; whether there was one. A run that goes on ends for those who wait for it.
    pub fn remove(&self, name: &str) -> bool {
        let mut entries = self.shared.entries.lock();
        let at = entries.iter().position(|entry| match entry {
            Entry::Check(check) => check.name == name,
            Entry::Policy(_) | Entry::Policies(_) => false,
        });
        let gone = at.map(|at| entries.remove(at));
        // What goes with a check may run code: not under the lock.
        drop(entries);
        gone.is_some()
    }

    /// The handle that makes the process unready when it is about to end.
    pub fn drain(&self) -> &Drain {
        &self.shared.drain
    }

    /// Closes the startup gate, if it was never asked for: from now on the process is neither started nor
    /// ready until [`Startup::finish`]. Without it, a process has started from the beginning.
    pub fn startup(&self) -> Startup {
        Startup::close(&self.shared.gate)
    }

    /// Asks all checks of a probe, at the same time, and waits for their answers: no longer than the longest
    /// of their timeouts. Draining is looked at when they are there, and a process that drains already is
    /// told to be so at once. Dropping the future stops the runs that nobody else waits for.
    pub fn report(&self, query: impl Into<Query>) -> Reporting {
        Reporting::new(self, query.into())
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.shared.entries.lock().clone()
    }

    /// Every policy that is there now, once.
    pub(super) fn policies(entries: &[Entry]) -> Vec<PolicyCheck> {
        let mut policies: Vec<PolicyCheck> = Vec::new();
        let own = entries.iter().filter_map(|entry| match entry {
            Entry::Policy(policy) => Some(policy.clone()),
            Entry::Check(_) | Entry::Policies(_) => None,
        });
        policies.extend(own);
        for entry in entries {
            let Entry::Policies(registry) = entry else { continue };
            for managed in registry.all() {
                let policy = PolicyCheck::shared(managed);
                if policies.iter().all(|known| known.key != policy.key) {
                    policies.push(policy);
                }
            }
        }
        policies
    }

    /// Names of all checks and policies that a probe asks.
    pub fn names(&self, probe: Probe) -> Vec<String> {
        let entries = self.entries();
        let checks = entries.iter().filter_map(|entry| match entry {
            Entry::Check(check) if check.asked_by(probe) => Some(check.name.to_owned()),
            _ => None,
        });
        let mut names: Vec<String> = checks.collect();
        if probe.asks_for_traffic() {
            names.extend(Self::policies(&entries).iter().map(PolicyCheck::name));
        }
        names
    }
}

impl fmt::Debug for HealthRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthRegistry")
            .field("entries", &self.entries())
            .field("drain", &self.shared.drain)
            .finish_non_exhaustive()
    }
}
