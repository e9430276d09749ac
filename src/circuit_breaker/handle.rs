//! [`Circuit`]: the handle of one circuit, for inspection, command, and use without Tower.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    CircuitBreakerLayer, StateWatch,
    core::{Core, CoreRef},
    permit::{Held, Permit, hint},
};
use crate::{
    error::{CarryRejection, ConfigError, PolicyKind, Rejection},
    guard::{Guarded, Settle, attended, settle},
    options::Options,
    outcome::{Classify, DefaultClassifier, Hint, Outcome},
    policy::{
        Command, Explanation, PolicySnapshot,
        breaker::{Breaker, Plain, Snapshot, State, config::CircuitBreakerConfig},
    },
    registry::Managed,
};

/// One circuit. Clones share it, as do the layers and services made from it.
///
/// ```
/// use portcullis::{Circuit, CircuitBreakerConfig, Error, Reason};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let circuit = Circuit::new(CircuitBreakerConfig::new("db").consecutive_failures(1))?;
///
/// async fn query() -> Result<u32, std::io::Error> {
///     Err(std::io::ErrorKind::ConnectionRefused.into())
/// }
///
/// // The error must be able to carry a refusal: `Error::Inner` wraps one that cannot.
/// let first = circuit.run(async { query().await.map_err(Error::Inner) }).await;
/// assert!(matches!(first, Err(Error::Inner(_))));
///
/// let second = circuit.run(async { query().await.map_err(Error::Inner) }).await;
/// let Err(Error::Rejected(refusal)) = second else { panic!("the circuit is open") };
/// assert_eq!(refusal.reason(), Reason::CircuitOpen);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Circuit {
    pub(super) core: CoreRef,
}

impl Circuit {
    /// A closed circuit on tokio's clock.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: CircuitBreakerConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// A closed circuit with a clock or an observer of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: CircuitBreakerConfig, options: Options) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { core: CoreRef::new(Core::new(Arc::new(config), options)) })
    }

    /// This circuit, kept for as long as the process lives: its handles, layers and calls then count
    /// no references, which saves two atomic operations per call of a layer and keeps threads that call
    /// at once from meeting on one counter. For circuits that a program makes once, where it starts;
    /// what is leaked is never freed.
    ///
    /// ```
    /// use portcullis::{Circuit, CircuitBreakerConfig};
    ///
    /// let layer = Circuit::new(CircuitBreakerConfig::new("payments"))?.leak().layer();
    /// # let _ = layer;
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn leak(&self) -> Self {
        Self { core: self.core.leak() }
    }

    /// A layer on this circuit, with the default classifier.
    pub fn layer(&self) -> CircuitBreakerLayer {
        CircuitBreakerLayer::of(self.clone())
    }

    /// The name that its rejections and events carry.
    pub fn name(&self) -> &'static str {
        self.core.name
    }

    /// The state, by one atomic load. Reading moves nothing: see [`Breaker::state`].
    pub fn state(&self) -> State {
        self.breaker().state()
    }

    /// Everything at one moment, computed for now.
    pub fn snapshot(&self) -> Snapshot {
        self.breaker().snapshot(self.core.clock)
    }

    /// Why the circuit answers as it does, what would let a call in, and when.
    pub fn explain(&self) -> Explanation {
        self.breaker().explain(self.core.clock)
    }

    /// The configuration in force.
    pub fn config(&self) -> CircuitBreakerConfig {
        self.breaker().config()
    }

    /// Follows the state: the receiver sees the newest one, not every one in between.
    pub fn subscribe(&self) -> StateWatch {
        self.core.watch()
    }

    /// Leave to make one call by hand. Settle the permit with the call's outcome; dropping it says that
    /// the call was abandoned.
    ///
    /// # Errors
    /// The [`Rejection`], when the circuit refuses.
    pub fn try_acquire(&self) -> Result<Permit, Rejection> {
        self.core.admit().map(|permit| Permit(Held::new(self.core.clone(), (), permit)))
    }

    /// Runs a closure under the circuit. A panic in it counts as a failure and goes on.
    ///
    /// # Errors
    /// The closure's own error, or the refusal in it.
    #[inline]
    pub fn call<T, E: CarryRejection>(&self, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.call_classified(&DefaultClassifier, run)
    }

    /// [`call`](Self::call) with a classifier of its own.
    ///
    /// # Errors
    /// The closure's own error, or the refusal in it.
    #[inline]
    pub fn call_classified<T, E: CarryRejection>(
        &self,
        classify: &impl Classify<T, E>,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        // The usual case by itself, small enough to be inlined: a closed circuit that nobody listens to,
        // and a success that changes no decision.
        let core: &Core = &self.core;
        if let Some(plain) = core.admit_simply() {
            let mut permit = Some(Simple { core, classify, plain });
            let result = attended(&mut permit, run);
            let outcome = classify.classify(&result);
            if outcome == Outcome::Success && core.breaker.succeeds_at_once(plain) {
                return result;
            }
            // Takes the result along, so that the usual case keeps nothing for after this.
            return Simple { core, classify, plain }.settle_with(outcome, result);
        }
        self.call_unusually(classify, run)
    }

    /// Kept out of the usual case, which stays short for it.
    #[inline(never)]
    fn call_unusually<T, E: CarryRejection>(
        &self,
        classify: &impl Classify<T, E>,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        match self.core.refuse_at_once() {
            Some(rejection) => Err(rejection.into()),
            None => self.call_attentively(classify, run),
        }
    }

    fn call_attentively<T, E: CarryRejection>(
        &self,
        classify: &impl Classify<T, E>,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        // Nothing drops a call that runs on this stack, so no deadline matters.
        let permit = self.core.admit_until(None)?;
        let mut permit = Some(Held::new(self.core.clone(), ByRef(classify), permit));
        let result = attended(&mut permit, run);
        settle(&mut permit, &result);
        result
    }

    /// Runs a future under the circuit. The decision is taken now, not at the first poll; dropping the
    /// future returned abandons the call.
    ///
    /// The future's error must be able to carry a refusal; wrap one that cannot by
    /// `.map_err(Error::Inner)`.
    pub fn run<F, T, E>(&self, future: F) -> Run<F>
    where
        F: Future<Output = Result<T, E>>,
        E: CarryRejection,
    {
        self.run_classified(DefaultClassifier, future)
    }

    /// [`run`](Self::run) with a classifier of its own.
    pub fn run_classified<C, F, T, E>(&self, classify: C, future: F) -> Run<F, C>
    where
        C: Classify<T, E>,
        F: Future<Output = Result<T, E>>,
        E: CarryRejection,
    {
        let guarded = match self.core.admit() {
            Ok(permit) => Guarded::Calling {
                future,
                permit: Some(Held::new(self.core.clone(), classify, permit)),
            },
            Err(rejection) => Guarded::Refused { rejection: Some(rejection) },
        };
        Run { guarded }
    }

    /// Opens as if a rule had tripped: for the sleep window, then half-open.
    pub fn open(&self) {
        self.command(Command::Open);
    }

    /// Opens for exactly this long, then half-open.
    pub fn open_for(&self, wait: Duration) {
        self.command(Command::OpenFor(wait));
    }

    /// Sends probes now.
    pub fn half_open(&self) {
        self.command(Command::HalfOpen);
    }

    /// Closes, with an empty window.
    pub fn close(&self) {
        self.command(Command::Close);
    }

    /// Refuses everything until commanded otherwise.
    pub fn force_open(&self) {
        self.command(Command::ForceOpen);
    }

    /// Admits everything and records nothing until commanded otherwise.
    pub fn disable(&self) {
        self.command(Command::Disable);
    }

    /// Decides and reports, but never refuses, until [`enable`](Self::enable).
    pub fn shadow(&self) {
        self.command(Command::Shadow);
    }

    /// Back to work from any state, closed.
    pub fn enable(&self) {
        self.command(Command::Enable);
    }

    /// Closes and forgets everything, in every state.
    pub fn reset(&self) {
        self.command(Command::Reset);
    }

    /// Does what an operator says; each command starts a new period with an empty window.
    pub fn command(&self, command: Command) {
        self.breaker().command(command, self.core.clock);
        self.core.after();
        // Opening what is open already is no change of state, but its wait begins anew.
        self.core.wake_parked();
    }

    /// Changes the configuration live and keeps state, generation and results: see
    /// [`Breaker::reconfigure`].
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work, or `name` if it differs: a circuit keeps
    /// its name. Nothing has changed then.
    pub fn reconfigure(&self, config: CircuitBreakerConfig) -> Result<(), ConfigError> {
        if config.name != self.core.name {
            let why = format!("a circuit keeps its name, which is `{}`", self.core.name);
            return Err(ConfigError::new("name", config.name, why));
        }
        self.breaker().reconfigure(config, self.core.clock)?;
        self.core.after();
        Ok(())
    }

    fn breaker(&self) -> &Breaker {
        &self.core.breaker
    }
}

impl Managed for Circuit {
    fn name(&self) -> &'static str {
        self.name()
    }

    fn kind(&self) -> PolicyKind {
        PolicyKind::CircuitBreaker
    }

    fn snapshot(&self) -> PolicySnapshot {
        PolicySnapshot::CircuitBreaker(self.snapshot())
    }

    fn explain(&self) -> Explanation {
        self.explain()
    }

    fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.command(command);
        Ok(())
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuit").field("name", &self.name()).field("state", &self.state()).finish()
    }
}

/// A classifier that a call on this stack borrows.
struct ByRef<'a, C>(&'a C);

impl<C: Classify<T, E>, T, E> Classify<T, E> for ByRef<'_, C> {
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        self.0.classify(result)
    }

    fn hint(&self, result: &Result<T, E>) -> Option<Hint> {
        self.0.hint(result)
    }
}

/// Leave for a call that cannot be dropped, of a circuit that times nothing: its period is all it needs.
struct Simple<'a, C> {
    core: &'a Core,
    classify: &'a C,
    plain: Plain,
}

impl<C> Simple<'_, C> {
    /// Settles by hint, clock and machine, as it needs them.
    #[inline(never)]
    fn settle_with<T, E>(self, outcome: Outcome, result: Result<T, E>) -> Result<T, E>
    where
        C: Classify<T, E>,
    {
        self.settle_as(outcome, &result);
        result
    }

    #[inline]
    fn settle_as<T, E>(&self, outcome: Outcome, result: &Result<T, E>)
    where
        C: Classify<T, E>,
    {
        let &Self { core, classify, plain } = self;
        if outcome != Outcome::Success || !core.breaker.succeeds_plainly(plain, core.clock) {
            core.settle_specially(plain.into(), outcome, hint(classify, outcome, result), false);
        }
    }
}

impl<T, E, C: Classify<T, E>> Settle<T, E> for Simple<'_, C> {
    fn settle(&mut self, result: &Result<T, E>) {
        let outcome = self.classify.classify(result);
        self.settle_as(outcome, result);
    }

    #[cold]
    fn panicked(&mut self) {
        self.core.settle_specially(self.plain.into(), Outcome::Failure, None, false);
    }
}

pin_project! {
    /// The future of [`Circuit::run`]. Dropping it abandons the call and gives a probe's slot back.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<F, C = DefaultClassifier> {
        #[pin]
        guarded: Guarded<F, Held<C>>,
    }
}

impl<F, C, T, E> Future for Run<F, C>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
    E: CarryRejection,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().guarded.poll(cx)
    }
}
