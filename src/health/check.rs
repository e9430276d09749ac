//! [`Check`]: what is asked, and what it counts for.

use std::{
    fmt::{self, Display},
    future::Future,
    sync::Arc,
    time::Duration,
};

use super::{
    flight::Flight,
    query::Probe,
    run::{self, PinnedRun},
};
use crate::{
    error::ConfigError,
    policy::check::{self, Shown, ensure},
};

/// What a check that did not fail has found. `()` is one that all is well.
///
/// ```
/// use portcullis::health::{Check, Found};
///
/// let check = Check::new("replica", || async {
///     let lag = 40;
///     Ok::<_, std::io::Error>(if lag < 30 { Found::ok() } else { Found::degraded(format!("{lag} s behind")) })
/// });
/// # let _ = check;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found(pub(super) Option<String>);

impl Found {
    /// All is well.
    pub const fn ok() -> Self {
        Self(None)
    }

    /// It works, but not as it should: the report warns, and nothing fails.
    pub fn degraded(what: impl Into<String>) -> Self {
        Self(Some(what.into()))
    }
}

impl From<()> for Found {
    fn from((): ()) -> Self {
        Self::ok()
    }
}

/// Which probes ask a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedBy {
    Liveness,
    Readiness,
    Both,
}

impl AskedBy {
    const fn asks(self, probe: Probe) -> bool {
        match probe {
            Probe::Liveness => matches!(self, Self::Liveness | Self::Both),
            Probe::Readiness => matches!(self, Self::Readiness | Self::Both),
            Probe::Startup => false,
            Probe::Overall => true,
        }
    }
}

/// A question to something that this process needs, asked when a probe comes and at most as often as
/// [`ttl`](Self::ttl) says.
///
/// ```
/// use std::time::Duration;
/// use portcullis::health::{Check, HealthRegistry};
///
/// # async fn ping() -> Result<(), std::io::Error> { Ok(()) }
/// let health = HealthRegistry::new();
/// health.add(Check::new("database", ping).component_type("datastore"))?;
/// health.add(Check::new("search", || async { ping().await }).critical(false).timeout(Duration::from_millis(300)))?;
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
///
/// | setting | default | meaning |
/// |---|---|---|
/// | [`critical`](Self::critical) | `true` | a failure fails the probe; otherwise it only warns |
/// | [`liveness`](Self::liveness), [`liveness_and_readiness`](Self::liveness_and_readiness) | readiness | which probes ask it |
/// | [`timeout`](Self::timeout) | 1 s | longer is a failure |
/// | [`ttl`](Self::ttl) | 1 s | for how long an answer serves other probes |
/// | [`component_type`](Self::component_type) | `"component"` | in `health+json` |
#[must_use]
pub struct Check {
    name: &'static str,
    asked_by: AskedBy,
    critical: bool,
    timeout: Duration,
    ttl: Duration,
    component: &'static str,
    make: Box<dyn FnOnce(Duration) -> PinnedRun + Send>,
}

impl Check {
    /// A check by that name: of readiness, critical. `ask` is called for each run; runs of one check never
    /// overlap, and an error's text is what is wrong. A panic is a failure.
    ///
    /// A run is polled by whichever probes wait for it, and dropped when all of them are gone.
    pub fn new<M, F, T, E>(name: &'static str, ask: M) -> Self
    where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Found> + 'static,
        E: Display + 'static,
    {
        Self {
            name,
            asked_by: AskedBy::Readiness,
            critical: true,
            timeout: Duration::from_secs(1),
            ttl: Duration::from_secs(1),
            component: "component",
            make: Box::new(|timeout| run::pinned(ask, timeout)),
        }
    }

    /// Whether a failure fails the probe (the default), or only degrades it.
    pub fn critical(mut self, critical: bool) -> Self {
        self.critical = critical;
        self
    }

    /// Asks it for liveness instead of readiness. A failure has the process killed and started anew: ask
    /// only what that would mend, never a dependency.
    pub fn liveness(mut self) -> Self {
        self.asked_by = AskedBy::Liveness;
        self
    }

    /// Asks it for liveness as well as for readiness; see [`liveness`](Self::liveness).
    pub fn liveness_and_readiness(mut self) -> Self {
        self.asked_by = AskedBy::Both;
        self
    }

    /// How long a run may take; longer is a failure, and the run is dropped. 1 s by default. Keep it below
    /// the probe's own timeout. The check sees it as its [deadline](crate::deadline).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// For how long an answer serves every probe that comes; 1 s by default. At zero each probe asks, unless
    /// it comes while a run goes on, which it shares.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// What kind of thing it is, for `health+json`: `"component"` by default; that format knows `"datastore"`
    /// and `"system"` as well.
    pub fn component_type(mut self, component: &'static str) -> Self {
        self.component = component;
        self
    }

    /// The check at work.
    pub(super) fn start(self) -> Result<Asked, ConfigError> {
        let Self { name, asked_by, critical, timeout, ttl, component, make } = self;
        check::named(name)?;
        ensure(!super::RESERVED.contains(&name), "name", name, "is the registry's own")?;
        ensure(!timeout.is_zero(), "timeout", Shown(timeout), "a run needs some time")?;
        ensure(!component.is_empty(), "component_type", "\"\"", "must not be empty")?;
        let flight = Arc::new(Flight::new(make(timeout), timeout, ttl));
        Ok(Asked { name, asked_by, critical, component, flight })
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("asked_by", &self.asked_by)
            .field("critical", &self.critical)
            .field("timeout", &self.timeout)
            .field("ttl", &self.ttl)
            .field("component_type", &self.component)
            .finish_non_exhaustive()
    }
}

/// A registered check.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) name: &'static str,
    asked_by: AskedBy,
    pub(super) critical: bool,
    pub(super) component: &'static str,
    pub(super) flight: Arc<Flight>,
}

impl Asked {
    pub(super) const fn asked_by(&self, probe: Probe) -> bool {
        self.asked_by.asks(probe)
    }
}
