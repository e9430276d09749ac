//! [`Registry`]: policies by name, for whoever operates them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    circuit_breaker::Circuit,
    error::ConfigError,
    policy::{
        Explanation,
        breaker::{Command, Snapshot},
    },
    sync::Mutex,
};

/// Lists, explains and commands policies by name. Clones share it; it keeps what is registered alive.
///
/// The circuits of a keyed table share one name and are not listed here: use
/// [`Circuits::list`](crate::Circuits::list).
///
/// ```
/// use portcullis::{Circuit, CircuitBreakerConfig, Registry, Command};
///
/// let registry = Registry::new();
/// let circuit = Circuit::new(CircuitBreakerConfig::new("payments"))?;
/// registry.add(&circuit)?;
///
/// registry.command("payments", Command::ForceOpen)?;
/// for why in registry.explain() {
///     println!("{why}");
/// }
/// assert!(!circuit.explain().admits);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    circuits: Arc<Mutex<BTreeMap<&'static str, Circuit>>>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a circuit under its name.
    ///
    /// # Errors
    /// [`ConfigError`] for `name` when another is registered under it; that one stays.
    pub fn add(&self, circuit: &Circuit) -> Result<(), ConfigError> {
        let mut circuits = self.circuits.lock();
        if circuits.contains_key(circuit.name()) {
            return Err(ConfigError::new("name", circuit.name(), "is registered already"));
        }
        circuits.insert(circuit.name(), circuit.clone());
        Ok(())
    }

    /// Takes a circuit out.
    pub fn remove(&self, name: &str) -> Option<Circuit> {
        self.circuits.lock().remove(name)
    }

    /// The circuit of that name.
    pub fn circuit(&self, name: &str) -> Option<Circuit> {
        self.circuits.lock().get(name).cloned()
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        self.circuits.lock().keys().copied().collect()
    }

    /// Every circuit by name, at one moment each.
    pub fn snapshot(&self) -> Vec<(&'static str, Snapshot)> {
        self.all().into_iter().map(|circuit| (circuit.name(), circuit.snapshot())).collect()
    }

    /// Why each answers as it does.
    pub fn explain(&self) -> Vec<Explanation> {
        self.all().iter().map(Circuit::explain).collect()
    }

    /// Tells the circuit of that name what to do.
    ///
    /// # Errors
    /// [`ConfigError`] for `name` when none is registered under it.
    pub fn command(&self, name: &str, command: Command) -> Result<(), ConfigError> {
        let circuit = self.circuit(name);
        let circuit = circuit.ok_or_else(|| ConfigError::new("name", name, "is not registered"))?;
        circuit.command(command);
        Ok(())
    }

    /// Handles of all of them, so that nothing is asked under the lock.
    fn all(&self) -> Vec<Circuit> {
        self.circuits.lock().values().cloned().collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}
