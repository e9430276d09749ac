//! Permits that give themselves back.

use std::{fmt, time::Duration};

use super::core::CoreRef;
use crate::{
    guard::Settle,
    outcome::{Classify, Hint, Outcome},
    policy::breaker,
};

/// What a result means, and how long a failing service asks to be left alone.
#[inline]
pub(super) fn judge<T, E>(
    classify: &impl Classify<T, E>,
    result: &Result<T, E>,
) -> (Outcome, Option<Duration>) {
    let outcome = classify.classify(result);
    (outcome, hint(classify, outcome, result))
}

/// How long a failing service asks to be left alone. Only a failure can open the circuit, so only a
/// failure's hint is asked for.
#[inline]
pub(super) fn hint<T, E>(
    classify: &impl Classify<T, E>,
    outcome: Outcome,
    result: &Result<T, E>,
) -> Option<Duration> {
    match outcome {
        Outcome::Failure => match classify.hint(result) {
            Some(Hint::After(wait)) => Some(wait),
            _ => None,
        },
        _ => None,
    }
}

/// A permit in the hands of one call, with the classifier that judges its result. Dropping it abandons
/// the call.
pub(super) struct Held<C> {
    core: CoreRef,
    classify: C,
    /// There until it is given back.
    permit: Option<breaker::Permit>,
}

impl<C> Held<C> {
    #[inline(always)]
    pub(super) fn new(core: CoreRef, classify: C, permit: breaker::Permit) -> Self {
        Self { core, classify, permit: Some(permit) }
    }

    #[inline(always)]
    pub(super) fn give_back(&mut self, outcome: Outcome, hint: Option<Duration>) {
        if let Some(permit) = self.permit.take() {
            self.core.settle(permit, outcome, hint);
        }
    }
}

impl<C> Drop for Held<C> {
    #[inline]
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.core.abandon(permit);
        }
    }
}

impl<C: Classify<T, E>, T, E> Settle<T, E> for Held<C> {
    #[inline(always)]
    fn settle(&mut self, result: &Result<T, E>) {
        let (outcome, hint) = judge(&self.classify, result);
        self.give_back(outcome, hint);
    }

    #[cold]
    fn panicked(&mut self) {
        self.give_back(Outcome::Failure, None);
    }
}

impl<C> fmt::Debug for Held<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("policy", &self.core.name).finish()
    }
}

/// Leave for one call, made by hand: see [`Circuit::try_acquire`](super::Circuit::try_acquire).
///
/// ```
/// use portcullis::{Circuit, CircuitBreakerConfig};
///
/// let circuit = Circuit::new(CircuitBreakerConfig::new("db"))?;
/// let permit = circuit.try_acquire().expect("a new circuit is closed");
/// // … the call …
/// permit.success();
/// assert_eq!(circuit.snapshot().successes, 1);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a permit says that the call was abandoned"]
pub struct Permit(pub(super) Held<()>);

impl Permit {
    /// The service did its work.
    pub fn success(self) {
        self.settle(Outcome::Success);
    }

    /// The service failed.
    pub fn failure(self) {
        self.settle(Outcome::Failure);
    }

    /// The call ended like this.
    pub fn settle(mut self, outcome: Outcome) {
        self.0.give_back(outcome, None);
    }

    /// The service failed and asks to be left alone for `wait`.
    pub fn failure_with_hint(mut self, wait: Duration) {
        self.0.give_back(Outcome::Failure, Some(wait));
    }
}
