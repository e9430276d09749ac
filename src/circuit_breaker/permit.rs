//! Permits that give themselves back.

use std::{fmt, ops::Deref, time::Duration};

use super::core::{Core, CoreRef};
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

/// A permit in the hands of one call, with the classifier that judges its result and what keeps the
/// circuit alive. Dropping it abandons the call.
pub(super) struct Held<C, R: Deref<Target = Core> = CoreRef> {
    pub(super) core: R,
    pub(super) classify: C,
    /// There until it is given back.
    pub(super) permit: Option<breaker::Permit>,
}

impl<C, R: Deref<Target = Core>> Held<C, R> {
    #[inline(always)]
    pub(super) fn new(core: R, classify: C, permit: breaker::Permit) -> Self {
        Self { core, classify, permit: Some(permit) }
    }

    #[inline(always)]
    pub(super) fn give_back(&mut self, outcome: Outcome, hint: Option<Duration>) {
        if let Some(permit) = self.permit.take() {
            self.core.settle(permit, outcome, hint);
        }
    }

    /// Apart from `drop`, which every settled permit goes through as well, and which is inlined only
    /// while it is small.
    #[cold]
    #[inline(never)]
    fn abandon(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.core.abandon(permit);
        }
    }
}

impl<C, R: Deref<Target = Core>> Drop for Held<C, R> {
    #[inline]
    fn drop(&mut self) {
        if self.permit.is_some() {
            self.abandon();
        }
    }
}

impl<C: Classify<T, E>, R: Deref<Target = Core>, T, E> Settle<T, E> for Held<C, R> {
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

impl<C, R: Deref<Target = Core>> fmt::Debug for Held<C, R> {
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
