//! One circuit per key, in a bounded table.

mod layer;

use std::{borrow::Borrow, fmt, hash::Hash, sync::Arc};

pub use self::layer::{KeyedCircuitBreaker, KeyedCircuitBreakerLayer, ResponseFuture};
use super::{
    Circuit,
    core::{Core, CoreRef, part},
};
use crate::{
    error::{ConfigError, PolicyKind},
    event::Event,
    options::Options,
    plan::Part,
    policy::{
        breaker::{Command, State, config::CircuitBreakerConfig},
        table::{MOST_KEYS, Table},
    },
    sync::Mutex,
};

/// Circuits by key: one configuration, one name, and a state for each key.
///
/// At most `max_keys` are kept. When a further key comes, an idle one is forgotten: the least recently
/// used that is closed and not in shadow. A circuit that is open, half-open or commanded is never
/// forgotten; where no other can go, the call is admitted without a circuit of its own, and
/// [`Event::Untracked`] says so. A key that is forgotten and comes back starts closed, with an empty
/// window. A key whose circuit is open stays until it is called again or [removed](Self::remove): remove
/// keys that are gone for good, or they will fill the table.
///
/// Finding a key takes the lock of its part of the table for a moment. From 1024 keys on the table has 16
/// parts with a bound of their own, and the sixteen least recently used of a part are looked at to find one
/// that can go.
///
/// ```
/// use portcullis::{CircuitBreakerConfig, Circuits, Options};
///
/// let config = CircuitBreakerConfig::new("tenants").consecutive_failures(1);
/// let circuits = Circuits::new(config, 10_000, Options::new())?;
/// let acme = circuits.circuit("acme").expect("there is room");
/// let _ = acme.call(|| Err::<(), _>(portcullis::Error::Inner("down")));
/// assert!(!circuits.get("acme").unwrap().explain().admits);
/// assert!(circuits.get("umbrella").is_none());
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
pub struct Circuits<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    /// Held while all circuits are being changed, so that one change does not overtake another.
    reconfiguring: Mutex<()>,
    /// What a new circuit is made of.
    config: Mutex<Arc<CircuitBreakerConfig>>,
    options: Options,
    table: Table<K, CoreRef>,
    /// Admits whatever finds no room, and records nothing.
    untracked: CoreRef,
}

impl<K> Clone for Circuits<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K> Circuits<K> {
    /// The name that all these circuits' rejections and events carry.
    pub fn name(&self) -> &'static str {
        self.shared.untracked.name
    }

    fn part(&self) -> Part {
        part(&self.shared.config.lock())
    }
}

impl<K: Hash + Eq + Clone> Circuits<K> {
    /// No circuits yet, and never more than `max_keys`.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work; `max_keys` must be in `1..=16_777_216`.
    pub fn new(
        config: CircuitBreakerConfig,
        max_keys: usize,
        options: Options,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        if !(1..=MOST_KEYS).contains(&max_keys) {
            return Err(ConfigError::new("max_keys", max_keys, "must be in 1..=16777216"));
        }
        let config = Arc::new(config);
        let untracked = CoreRef::new(Core::of_key(config.clone(), options.clone()));
        untracked.breaker.command(Command::Disable, untracked.clock);
        untracked.breaker.deliver(|_| {});
        let table = Table::new(max_keys);
        let config = Mutex::new(config);
        Ok(Self {
            shared: Arc::new(Shared {
                reconfiguring: Mutex::default(),
                config,
                options,
                table,
                untracked,
            }),
        })
    }

    /// The circuit of a key, made if there is none; `None` when there is no room and none can go.
    pub fn circuit(&self, key: K) -> Option<Circuit> {
        self.core(key).map(|core| Circuit { core })
    }

    /// The circuit of a key, if there is one. Looking does not count as using it.
    pub fn get<Q>(&self, key: &Q) -> Option<Circuit>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.table.place(key).value().cloned().map(|core| Circuit { core })
    }

    /// Forgets a key, whatever the state of its circuit. Calls in flight end as they would; their
    /// results are lost with the circuit.
    pub fn remove<Q>(&self, key: &Q) -> Option<Circuit>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.table.place(key).remove().map(|(_, core)| Circuit { core })
    }

    /// How many keys have a circuit.
    pub fn len(&self) -> usize {
        self.shared.table.len()
    }

    /// Whether no key has a circuit.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys and circuits at one moment, part by part, in no particular order. Keys are cloned, as
    /// they are hashed and compared elsewhere, under the table's lock: they must not use the table.
    pub fn list(&self) -> Vec<(K, Circuit)> {
        let mut list = Vec::new();
        self.shared.table.for_each(|key, core| {
            list.push((key.clone(), Circuit { core: core.clone() }));
        });
        list
    }

    /// How many circuits are in each state, counted part by part; of a state that none is in, none.
    pub fn states(&self) -> Vec<(State, usize)> {
        let mut counts = Vec::new();
        self.shared.table.for_each(|_, core| {
            let state = core.breaker.state();
            match counts.iter_mut().find(|(known, _)| *known == state) {
                Some((_, number)) => *number += 1,
                None => counts.push((state, 1)),
            }
        });
        counts
    }

    /// Changes the configuration of every circuit, those to come included: see
    /// [`Circuit::reconfigure`].
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work; nothing has changed then.
    pub fn reconfigure(&self, config: CircuitBreakerConfig) -> Result<(), ConfigError> {
        config.validate()?;
        if config.name != self.name() {
            let why = format!("these circuits keep their name, which is `{}`", self.name());
            return Err(ConfigError::new("name", config.name, why));
        }
        let config = Arc::new(config);
        let _turn = self.shared.reconfiguring.lock();
        // New circuits first: one that is made meanwhile has the new configuration either way.
        *self.shared.config.lock() = config.clone();
        let mut cores = Vec::new();
        self.shared.table.for_each(|_, core| cores.push(core.clone()));
        for core in cores {
            core.breaker.reconfigure_valid(config.clone(), core.clock);
            core.after();
        }
        Ok(())
    }

    fn core(&self, key: K) -> Option<CoreRef> {
        let Shared { config, options, table, .. } = &*self.shared;
        let mut place = table.place(&key);
        if let Some(core) = place.used() {
            return Some(core.clone());
        }
        let Ok(evicted) = place.make_room(is_idle) else {
            return None;
        };
        let core = CoreRef::new(Core::of_key(config.lock().clone(), options.clone()));
        place.insert(key, core.clone());
        // What went is dropped outside the lock.
        if evicted.is_some() {
            options
                .observers
                .tell(|| Event::Evicted { policy: self.name(), kind: PolicyKind::CircuitBreaker });
        }
        Some(core)
    }

    /// The circuit of a key, or the one that admits everything.
    fn core_or_untracked(&self, key: K) -> CoreRef {
        self.core(key).unwrap_or_else(|| {
            self.shared.options.observers.tell(|| Event::Untracked {
                policy: self.name(),
                kind: PolicyKind::CircuitBreaker,
            });
            self.shared.untracked.clone()
        })
    }
}

impl<K: Hash + Eq + Clone> fmt::Debug for Circuits<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuits").field("name", &self.name()).field("len", &self.len()).finish()
    }
}

/// Whether a circuit can be forgotten: nothing but its window is lost.
fn is_idle(core: &CoreRef) -> bool {
    core.breaker.state() == State::Closed && !core.breaker.is_shadow()
}
