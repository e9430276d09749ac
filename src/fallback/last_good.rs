//! [`LastGood`]: the handle of a fallback that keeps answers, for inspection, command, and use without Tower.

use std::{borrow::Borrow, fmt, future::Future, hash::Hash, sync::Arc, time::Duration};

use super::{
    FallbackLayer, FallbackPolicy,
    remembered::{AsServed, Remembered},
    run::{Run, call_under},
};
use crate::{
    error::ConfigError,
    options::Options,
    outcome::Classify,
    policy::{
        Cause, Command, Explanation,
        fallback::{Answers, AnyError, Served, Snapshot, config::LastGoodConfig},
    },
    registry::managed,
    sync::Mutex,
};

/// A fallback that keeps the last good answer of each key. Clones share the answers, as do the layers made
/// from it.
///
/// A key must hold everything that the answer depends on: where answers differ by user, the user too. What
/// is kept of one key is never given for another: see [`Answers`].
///
/// ```
/// use std::time::Duration;
/// use portcullis::{LastGood, LastGoodConfig, Served};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let prices = LastGood::new(LastGoodConfig::new("prices", Duration::from_secs(60)))?;
///
/// let price = prices.run("tea", async { Ok::<_, &str>(3) }).await;
/// assert_eq!(price, Ok(Served::Fresh(3)));
///
/// tokio::time::advance(Duration::from_secs(40)).await;
/// let price = prices.run("tea", async { Err("down") }).await;
/// assert_eq!(price, Ok(Served::LastGood { value: 3, age: Duration::from_secs(40) }));
/// # Ok(())
/// # }
/// ```
pub struct LastGood<K, V> {
    shared: Arc<Shared<K, V>>,
}

struct Shared<K, V> {
    policy: FallbackPolicy,
    answers: Answers<K, V>,
    /// Locked while it is being changed, so that one change does not overtake another.
    config: Mutex<LastGoodConfig>,
}

/// A future under [`LastGood::run`].
pub type RunLastGood<Fut, K, V, E, C = AnyError> =
    Run<Fut, Remembered<K, V, (), AsServed>, Option<K>, V, E, C>;

impl<K, V> Clone for LastGood<K, V> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K, V> LastGood<K, V> {
    pub(super) fn policy(&self) -> &FallbackPolicy {
        &self.shared.policy
    }

    /// The name that its events carry.
    pub fn name(&self) -> &'static str {
        self.shared.policy.name()
    }

    /// The configuration in force.
    pub fn config(&self) -> LastGoodConfig {
        self.shared.config.lock().clone()
    }

    /// A layer that keeps answers here: see [`FallbackLayer::last_good`].
    pub fn layer<Req, F, E>(&self, key: F) -> FallbackLayer<Remembered<K, V, F, AsServed>, E>
    where
        F: Fn(&Req) -> Option<K>,
    {
        FallbackLayer::of(Remembered { last_good: self.clone(), key, serve: AsServed })
    }

    /// Passes every failure on and reports those it would answer, until [`enable`](Self::enable). Good
    /// answers are remembered.
    pub fn shadow(&self) {
        self.policy().shadow();
    }

    /// Passes every failure on, and neither judges, counts nor remembers, until [`enable`](Self::enable).
    pub fn disable(&self) {
        self.policy().disable();
    }

    /// Back to work, with the answers that are kept.
    pub fn enable(&self) {
        self.policy().enable();
    }
}

impl<K: Hash + Eq, V> LastGood<K, V> {
    /// No answers yet, on tokio's clock.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: LastGoodConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// No answers yet, with a clock or an observer of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: LastGoodConfig, mut options: Options) -> Result<Self, ConfigError> {
        let (clock, now) = options.clock.start();
        options.clock = clock;
        let answers = Answers::new(&config, now)?;
        let policy = FallbackPolicy::of(config.name, options);
        let config = Mutex::new(config);
        Ok(Self { shared: Arc::new(Shared { policy, answers, config }) })
    }

    /// Keeps an answer in place of the key's last one, as if the service had given it now: to begin with
    /// some. In every mode.
    pub fn put(&self, key: K, value: V) {
        let core = &self.policy().core;
        if self.shared.answers.remember(key, value, core.clock) {
            core.forgot();
        }
    }

    /// The answer that is kept for a key and its age, however old it is. Looking does not count as using it.
    pub fn get<Q>(&self, key: &Q) -> Option<(Arc<V>, Duration)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.answers.peek(key, self.policy().core.clock)
    }

    /// Forgets a key's answer and hands it out.
    pub fn remove<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.answers.remove(key)
    }

    /// Forgets every answer.
    pub fn clear(&self) {
        self.shared.answers.clear();
    }

    /// How many keys have an answer, whatever its age.
    pub fn len(&self) -> usize {
        self.shared.answers.len()
    }

    /// Whether no key has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn recall(&self, key: &K) -> Option<(Arc<V>, Duration)> {
        self.shared.answers.recall(key, self.policy().core.clock)
    }

    pub(super) fn young(&self, key: &K) -> Option<Duration> {
        self.shared.answers.young(key, self.policy().core.clock)
    }

    /// Mode, counts and how much is kept at one moment.
    pub fn snapshot(&self) -> Snapshot {
        let Shared { policy, answers, .. } = &*self.shared;
        Snapshot {
            keys: answers.len(),
            max_keys: answers.max_keys(),
            max_age: Some(answers.max_age()),
            ..policy.core.snapshot()
        }
    }

    /// What it does with failures now, and how much is kept. A fallback refuses nothing.
    pub fn explain(&self) -> Explanation {
        let Shared { policy, answers, .. } = &*self.shared;
        policy.core.explain(Cause::LastGood {
            observed: answers.len() as u64,
            limit: answers.max_keys() as u64,
        })
    }

    /// Changes age and bound live and keeps the answers, as many as there is room for: see
    /// [`Answers::reconfigure`]. A longer age also brings back answers that were too old, which helps in an
    /// outage that lasts.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work, or `name` if it differs: a fallback keeps
    /// its name. Nothing has changed then.
    pub fn reconfigure(&self, config: LastGoodConfig) -> Result<(), ConfigError> {
        if config.name != self.name() {
            let why = format!("a fallback keeps its name, which is `{}`", self.name());
            return Err(ConfigError::new("name", config.name, why));
        }
        let mut current = self.shared.config.lock();
        let gone = self.shared.answers.reconfigure(&config)?;
        *current = config;
        drop(current);
        // What had to go may run code of its own: not under the lock.
        drop(gone);
        Ok(())
    }

    /// Runs a closure, remembers its answer for the key, and answers its error by the last good one.
    ///
    /// # Errors
    /// The closure's own error, when no answer for the key is young enough.
    pub fn call<E>(&self, key: K, run: impl FnOnce() -> Result<V, E>) -> Result<Served<V>, E>
    where
        V: Clone,
    {
        self.call_classified(&AnyError, key, run)
    }

    /// [`call`](Self::call) with a classifier that says what is a failure, and what is good enough to be
    /// remembered.
    ///
    /// # Errors
    /// The closure's own error, when it is no failure or no answer for the key is young enough.
    pub fn call_classified<E>(
        &self,
        classify: &impl Classify<V, E>,
        key: K,
        run: impl FnOnce() -> Result<V, E>,
    ) -> Result<Served<V>, E>
    where
        V: Clone,
    {
        call_under(&self.without_requests(), classify, Some(key), run)
    }

    /// Runs a future, remembers its answer for the key, and answers its error by the last good one.
    /// Dropping the future returned drops it, and remembers nothing.
    pub fn run<Fut, E>(&self, key: K, future: Fut) -> RunLastGood<Fut, K, V, E>
    where
        V: Clone,
        Fut: Future<Output = Result<V, E>>,
    {
        self.run_classified(AnyError, key, future)
    }

    /// [`run`](Self::run) with a classifier that says what is a failure, and what is good enough to be
    /// remembered.
    pub fn run_classified<C, Fut, E>(
        &self,
        classify: C,
        key: K,
        future: Fut,
    ) -> RunLastGood<Fut, K, V, E, C>
    where
        V: Clone,
        Fut: Future<Output = Result<V, E>>,
        C: Classify<V, E>,
    {
        Run::new(self.without_requests(), classify, Some(key), future)
    }

    fn without_requests(&self) -> Remembered<K, V, (), AsServed> {
        Remembered { last_good: self.clone(), key: (), serve: AsServed }
    }

    /// Forgets every answer; what was counted stays.
    pub fn reset(&self) {
        self.clear();
    }

    /// Does what an operator says: shadow, enable, disable, reset.
    ///
    /// # Errors
    /// [`ConfigError`] for `command` when it is one for circuits.
    pub fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.policy().command(command)?;
        if command == Command::Reset {
            self.reset();
        }
        Ok(())
    }
}

managed!(LastGood<K, V>: Fallback, Fallback, for[K: Hash + Eq + Send + 'static, V: Send + Sync + 'static]);

impl<K, V> fmt::Debug for LastGood<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGood")
            .field("name", &self.name())
            .field("mode", &self.policy().core.mode())
            .finish_non_exhaustive()
    }
}
