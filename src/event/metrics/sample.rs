//! What no event says: read from the policies when metrics are scraped.

use super::MetricsObserver;
use crate::{
    error::PolicyKind,
    policy::{PolicySnapshot, breaker::State},
    registry::{Managed, Registry},
};

impl MetricsObserver {
    /// Reads what no event says from every policy of the registry: limits, keys, tokens, and the rates in
    /// circuits' windows. Also sets circuits' states, so that one that has never changed shows its own; and
    /// registers what usually happens under each policy, so that it is there, at zero, before it does. For
    /// the moment before metrics are scraped, or every few seconds, as an exporter's upkeep runs.
    ///
    /// It takes a snapshot of each policy, and may be called from several threads.
    pub fn sample(&self, registry: &Registry) {
        registry.all().iter().for_each(|policy| self.sample_policy(&**policy));
    }

    /// The same for one policy.
    pub fn sample_policy(&self, policy: &dyn Managed) {
        let (of, name) = (&*self.of, policy.name());
        // Read before the snapshot is taken: a change that is told in between is newer than that.
        let circuit = policy.kind() == PolicyKind::CircuitBreaker;
        let told = if circuit { of.breaker(name).told() } else { 0 };
        match policy.snapshot() {
            PolicySnapshot::CircuitBreaker(found) => of.breaker(name).sampled(&found, told),
            PolicySnapshot::RateLimit(found) => of.limiter(name).sampled(&found),
            PolicySnapshot::KeyedRateLimit(found) => of.limiter(name).sampled_keys(&found),
            PolicySnapshot::Bulkhead(found) => of.bulkhead(name).sampled(&found),
            PolicySnapshot::Retry(found) => of.retry(name).sampled(&found),
            PolicySnapshot::Fallback(found) => of.fallback(name).sampled(&found),
            // Events say everything of these; but what is registered is seen before there is one.
            PolicySnapshot::Timeout(_) => _ = of.timeout(name),
            PolicySnapshot::CatchPanic(_) => _ = of.guard(name),
            PolicySnapshot::BodyTimeout(_) => _ = of.body(name),
        }
    }

    /// The same for circuits by key, with what [`Circuits::states`](crate::Circuits::states) says.
    ///
    /// ```
    /// # use portcullis::{CircuitBreakerConfig, Circuits, Options, event::MetricsObserver};
    /// # let metrics = MetricsObserver::new();
    /// let circuits: Circuits<u32> =
    ///     Circuits::new(CircuitBreakerConfig::new("shards"), 100, Options::new())?;
    /// metrics.sample_circuits(circuits.name(), circuits.states());
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn sample_circuits(
        &self,
        name: &'static str,
        states: impl IntoIterator<Item = (State, usize)>,
    ) {
        self.of.breaker(name).counted(states);
    }
}
