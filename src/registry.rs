//! [`Registry`]: policies by name, for whoever operates them.

use std::{any::Any, collections::BTreeMap, fmt, sync::Arc};

use crate::{
    error::{ConfigError, PolicyKind},
    policy::{Command, Explanation, PolicySnapshot},
    sync::Mutex,
};

/// A handle that a [`Registry`] can hold: every handle of this crate is one.
pub trait Managed: Any + fmt::Debug + Send + Sync {
    /// The name that its user gave the policy.
    fn name(&self) -> &'static str;

    /// What kind of policy it is.
    fn kind(&self) -> PolicyKind;

    /// Everything at one moment.
    fn snapshot(&self) -> PolicySnapshot;

    /// Why it answers as it does.
    fn explain(&self) -> Explanation;

    /// Does what an operator says.
    ///
    /// # Errors
    /// [`ConfigError`] for `command` when a policy of this kind does not know it. Nothing has changed then.
    fn command(&self, command: Command) -> Result<(), ConfigError>;
}

/// Makes a handle [`Managed`] by its own methods of the same names.
macro_rules! managed {
    ($handle:ty: $kind:ident, $snapshot:ident $(, for[$($generics:tt)*])?) => {
        impl$(<$($generics)*>)? $crate::registry::Managed for $handle {
            fn name(&self) -> &'static str {
                self.name()
            }

            fn kind(&self) -> $crate::error::PolicyKind {
                $crate::error::PolicyKind::$kind
            }

            fn snapshot(&self) -> $crate::policy::PolicySnapshot {
                $crate::policy::PolicySnapshot::$snapshot(self.snapshot())
            }

            fn explain(&self) -> $crate::policy::Explanation {
                self.explain()
            }

            fn command(&self, command: $crate::policy::Command) -> Result<(), $crate::error::ConfigError> {
                self.command(command)
            }
        }
    };
}
pub(crate) use managed;

/// The commands that every policy knows as methods of a handle, each with what it does to that one.
macro_rules! commands {
    ($($(#[$doc:meta])* $method:ident: $command:ident;)+) => {
        $(
            $(#[$doc])*
            pub fn $method(&self) {
                let known = self.command($crate::policy::Command::$command);
                debug_assert!(known.is_ok(), "every policy knows {}", $crate::policy::Command::$command);
            }
        )+
    };
}
pub(crate) use commands;

/// One handle, to be asked as any other, and to be had back as what it is.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    managed: Arc<dyn Managed>,
    any: Arc<dyn Any + Send + Sync>,
}

impl Entry {
    pub(crate) fn of<H: Managed + Clone>(handle: &H) -> Self {
        let handle = Arc::new(handle.clone());
        Self { managed: handle.clone(), any: handle }
    }

    fn key(&self) -> (&'static str, PolicyKind) {
        (self.managed.name(), self.managed.kind())
    }
}

/// Lists, explains and commands policies by name. Clones share it; it keeps what is registered alive.
///
/// One name may stand for several policies of different kinds, as in a standard stack. The circuits of a
/// keyed table share one name and are not listed here: use [`Circuits::list`](crate::Circuits::list).
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
/// assert!(registry.get::<Circuit>("payments").is_some());
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    handles: Arc<Mutex<BTreeMap<(&'static str, PolicyKind), Entry>>>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a policy under its name.
    ///
    /// # Errors
    /// [`ConfigError`] for `name` when another of its kind is registered under it; that one stays.
    pub fn add<H: Managed + Clone>(&self, handle: &H) -> Result<(), ConfigError> {
        self.add_all([Entry::of(handle)])
    }

    /// Registers all of these, or none.
    pub(crate) fn add_all(&self, new: impl Into<Vec<Entry>>) -> Result<(), ConfigError> {
        // A handle of somebody else's may use this registry when it is asked.
        let new: Vec<_> = new.into().into_iter().map(|entry| (entry.key(), entry)).collect();
        let mut handles = self.handles.lock();
        for (at, (key, _)) in new.iter().enumerate() {
            let twice = new[..at].iter().any(|(other, _)| other == key);
            if twice || handles.contains_key(key) {
                return Err(ConfigError::new("name", key.0, "is registered already"));
            }
        }
        handles.extend(new);
        Ok(())
    }

    /// Takes every policy of that name out; whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        let mut handles = self.handles.lock();
        let keys: Vec<_> = handles.keys().filter(|(other, _)| *other == name).copied().collect();
        let gone: Vec<_> = keys.iter().filter_map(|key| handles.remove(key)).collect();
        // What goes with a handle may run code: not under the lock.
        drop(handles);
        !gone.is_empty()
    }

    /// The policy of that name whose handle is an `H`.
    pub fn get<H: Managed + Clone>(&self, name: &str) -> Option<H> {
        self.named(name).iter().find_map(|entry| entry.any.downcast_ref::<H>().cloned())
    }

    /// Name and kind of each, sorted.
    pub fn names(&self) -> Vec<(&'static str, PolicyKind)> {
        self.handles.lock().keys().copied().collect()
    }

    /// Every policy by name, at one moment each.
    pub fn snapshot(&self) -> Vec<(&'static str, PolicySnapshot)> {
        self.all().iter().map(|handle| (handle.name(), handle.snapshot())).collect()
    }

    /// Why each answers as it does.
    pub fn explain(&self) -> Vec<Explanation> {
        self.all().iter().map(|handle| handle.explain()).collect()
    }

    /// Tells every policy of that name that knows the command what to do.
    ///
    /// # Errors
    /// [`ConfigError`] for `name` when none is registered under it, for `command` when none of those
    /// that are knows it.
    pub fn command(&self, name: &str, command: Command) -> Result<(), ConfigError> {
        let mut answer = Err(ConfigError::new("name", name, "is not registered"));
        for entry in self.named(name) {
            let said = entry.managed.command(command);
            // One that knows it is enough.
            if answer.is_err() {
                answer = said;
            }
        }
        answer
    }

    /// Handles of those of one name, so that nothing is asked under the lock.
    fn named(&self, name: &str) -> Vec<Entry> {
        let handles = self.handles.lock();
        let named = handles.iter().filter(|((other, _), _)| *other == name);
        named.map(|(_, entry)| entry.clone()).collect()
    }

    /// Handles of all of them.
    pub(crate) fn all(&self) -> Vec<Arc<dyn Managed>> {
        self.handles.lock().values().map(|entry| entry.managed.clone()).collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}
