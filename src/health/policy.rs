//! [`PolicyCheck`]: a policy as a part of the health, as it stands when a probe comes.

use std::{borrow::Cow, sync::Arc};

use super::report::{Item, Status};
use crate::{
    clock,
    error::{ConfigError, PolicyKind},
    policy::check::ensure,
    registry::Managed,
};

/// A policy of this crate as a part of readiness. Asking it is reading it: it never waits.
///
/// Only circuits degrade: one that is open or half-open warns, and fails nothing unless told to. A limiter
/// or a bulkhead that refuses does its work, and so does a circuit in shadow or disabled.
///
/// ```
/// use portcullis::{Circuit, CircuitBreakerConfig, health::{HealthRegistry, PolicyCheck}};
///
/// let payments = Circuit::new(CircuitBreakerConfig::new("payments"))?;
/// let database = Circuit::new(CircuitBreakerConfig::new("database"))?;
/// let health = HealthRegistry::new();
/// health.add_policy(PolicyCheck::of(&payments))?;
/// // Nothing can be served without it.
/// health.add_policy(PolicyCheck::of(&database).fail_readiness_when_open())?;
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
///
/// In reports its name is `payments:circuit_breaker`.
#[derive(Clone, Debug)]
#[must_use]
pub struct PolicyCheck {
    managed: Arc<dyn Managed>,
    /// Its name and kind.
    pub(super) key: (&'static str, PolicyKind),
    fails: bool,
}

impl PolicyCheck {
    /// The policy of a handle.
    pub fn of<H: Managed + Clone>(handle: &H) -> Self {
        Self::shared(Arc::new(handle.clone()))
    }

    pub(super) fn shared(managed: Arc<dyn Managed>) -> Self {
        let key = (managed.name(), managed.kind());
        Self { managed, key, fails: false }
    }

    /// Fails readiness while the circuit is open, for a dependency without which there is nothing to serve.
    ///
    /// One that is half-open, or whose wait is over, only warns: it needs calls to find out whether it can
    /// close, and they come only to who is ready. While *every* replica's circuit is open, nobody is ready,
    /// and callers get the errors of whatever stands in front instead of this process's own.
    pub fn fail_readiness_when_open(mut self) -> Self {
        self.fails = true;
        self
    }

    pub(super) fn name(&self) -> String {
        let (name, kind) = self.key;
        format!("{name}:{kind}")
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let can = !self.fails || self.is_circuit();
        ensure(can, "fail_readiness_when_open", self.key.1, "only a circuit can be open")
    }

    fn is_circuit(&self) -> bool {
        self.key.1 == PolicyKind::CircuitBreaker
    }

    pub(super) fn item(&self) -> Item {
        let why = self.managed.explain();
        let degrades = self.is_circuit()
            && !why.shadow
            && (!why.admits || matches!(why.state, "open" | "half_open" | "forced_open"));
        // Half-open with all probes out refuses as well, for a moment.
        let open = degrades && !why.admits && why.state != "half_open";
        let status = match (open && self.fails, degrades) {
            (true, _) => Status::Fail,
            (false, true) => Status::Warn,
            (false, false) => Status::Pass,
        };
        Item {
            name: Cow::Owned(self.name()),
            component: "component",
            status,
            critical: self.fails,
            state: Some(why.state),
            circuit: self.is_circuit(),
            took: None,
            recorded: clock::since_epoch(),
            output: Some(why.to_string()),
        }
    }
}
