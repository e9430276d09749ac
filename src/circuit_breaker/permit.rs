//! Permits that give themselves back.

use std::{fmt, sync::Arc, time::Duration};

use super::core::Core;
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
    // Only a failure can open the circuit, so only a failure's hint is asked for.
    match outcome {
        Outcome::Failure => match classify.hint(result) {
            Some(Hint::After(wait)) => (outcome, Some(wait)),
            _ => (outcome, None),
        },
        _ => (outcome, None),
    }
}

/// Whatever keeps a circuit alive for a call.
pub(super) trait WithCore {
    type Classifier;

    fn core(&self) -> &Core;

    fn classifier(&self) -> &Self::Classifier;
}

impl WithCore for Arc<Core> {
    type Classifier = ();

    fn core(&self) -> &Core {
        self
    }

    fn classifier(&self) -> &() {
        &()
    }
}

/// A permit in the hands of one call. Dropping it abandons the call.
pub(super) struct Held<H: WithCore> {
    circuit: H,
    /// There until it is given back.
    permit: Option<breaker::Permit>,
}

impl<H: WithCore> Held<H> {
    #[inline]
    pub(super) fn new(circuit: H, permit: breaker::Permit) -> Self {
        Self { circuit, permit: Some(permit) }
    }

    #[inline]
    pub(super) fn give_back(mut self, outcome: Outcome, hint: Option<Duration>) {
        self.give_back_once(outcome, hint);
    }

    #[inline(always)]
    fn give_back_once(&mut self, outcome: Outcome, hint: Option<Duration>) {
        if let Some(permit) = self.permit.take() {
            self.circuit.core().settle(permit, outcome, hint);
        }
    }
}

impl<H: WithCore> Drop for Held<H> {
    #[inline]
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.circuit.core().abandon(permit);
        }
    }
}

impl<H, T, E> Settle<T, E> for Held<H>
where
    H: WithCore,
    H::Classifier: Classify<T, E>,
{
    #[inline]
    fn settle(mut self, result: &Result<T, E>) {
        let (outcome, hint) = judge(self.circuit.classifier(), result);
        self.give_back_once(outcome, hint);
    }

    fn panicked(self) {
        self.give_back(Outcome::Failure, None);
    }
}

impl<H: WithCore> fmt::Debug for Held<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("policy", &self.circuit.core().name).finish()
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
pub struct Permit(pub(super) Held<Arc<Core>>);

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
    pub fn settle(self, outcome: Outcome) {
        self.0.give_back(outcome, None);
    }

    /// The service failed and asks to be left alone for `wait`.
    pub fn failure_with_hint(self, wait: Duration) {
        self.0.give_back(Outcome::Failure, Some(wait));
    }
}
