//! [`FallbackPolicy`]: the handle of a fallback that keeps nothing, for inspection, command, and use without
//! Tower.

use std::{fmt, future::Future, sync::Arc};

use tower_service::Service;

use super::{
    FallbackLayer,
    backup::Backup,
    core::Core,
    functions::{AsyncOfFailure, AsyncOfRequest, Function, Nothing, OfFailure, OfRequest},
    run::{Run, call_under},
    source::{Value, WithTheCall},
};
use crate::{
    error::ConfigError,
    options::Options,
    outcome::Classify,
    policy::{
        Cause, Command, Explanation,
        fallback::{AnyError, Failed, Snapshot, config::FallbackConfig},
    },
    registry::{commands, managed},
};

/// A fallback that keeps nothing. Clones share its counts and its mode, as do the layers made from it.
///
/// ```
/// use portcullis::{Failed, FallbackConfig, FallbackPolicy};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let fallback = FallbackPolicy::new(FallbackConfig::new("greeting"))?;
///
/// async fn greet() -> Result<String, std::io::Error> {
///     Err(std::io::ErrorKind::ConnectionRefused.into())
/// }
///
/// let greeting = fallback.run(greet(), |_failed| Ok("Hello".to_owned())).await;
/// assert_eq!(greeting.unwrap(), "Hello");
/// assert_eq!(fallback.snapshot().by_function, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FallbackPolicy {
    pub(super) core: Arc<Core>,
}

impl FallbackPolicy {
    /// A fallback of that name.
    ///
    /// # Errors
    /// [`ConfigError`] for an empty name.
    pub fn new(config: FallbackConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// A fallback with an observer of its own.
    ///
    /// # Errors
    /// [`ConfigError`] for an empty name.
    pub fn with(config: FallbackConfig, options: Options) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self::of(config.name, options))
    }

    pub(super) fn of(name: &'static str, options: Options) -> Self {
        Self { core: Arc::new(Core::new(name, options)) }
    }

    /// A layer that answers a value: see [`FallbackLayer::value`].
    pub fn value<T: Clone, E>(&self, value: T) -> FallbackLayer<Value<T>, E> {
        FallbackLayer::of(Value { policy: self.clone(), value })
    }

    /// A layer that answers by a function of the failure: see [`FallbackLayer::function`].
    pub fn function<F, T, E>(&self, answer: F) -> FallbackLayer<Function<Nothing, OfFailure<F>>, E>
    where
        F: Fn(Failed<T, E>) -> Result<T, E>,
    {
        self.by(Nothing, OfFailure(answer))
    }

    /// A layer that answers by a function of request and failure: see [`FallbackLayer::with_request`].
    pub fn with_request<Req, K, G, F, T, E>(
        &self,
        keep: G,
        answer: F,
    ) -> FallbackLayer<Function<G, OfRequest<F>>, E>
    where
        G: Fn(&Req) -> K,
        F: Fn(K, Failed<T, E>) -> Result<T, E>,
    {
        self.by(keep, OfRequest(answer))
    }

    /// A layer that answers by an async function of the failure: see [`FallbackLayer::async_function`].
    pub fn async_function<F, Fut, T, E>(
        &self,
        answer: F,
    ) -> FallbackLayer<Function<Nothing, AsyncOfFailure<F>>, E>
    where
        F: Fn(Failed<T, E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.by(Nothing, AsyncOfFailure(answer))
    }

    /// A layer that answers by an async function of request and failure: see
    /// [`FallbackLayer::async_with_request`].
    pub fn async_with_request<Req, K, G, F, Fut, T, E>(
        &self,
        keep: G,
        answer: F,
    ) -> FallbackLayer<Function<G, AsyncOfRequest<F>>, E>
    where
        G: Fn(&Req) -> K,
        F: Fn(K, Failed<T, E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.by(keep, AsyncOfRequest(answer))
    }

    /// A layer that asks another service: see [`FallbackLayer::service`].
    pub fn service<B, Req, K, G, E>(&self, backup: B, keep: G) -> FallbackLayer<Backup<B, G>, E>
    where
        G: Fn(&Req) -> K,
        B: Service<K> + Clone,
        B::Error: Into<E>,
    {
        FallbackLayer::of(Backup { policy: self.clone(), service: backup, keep })
    }

    fn by<G, F, E>(&self, keep: G, answer: F) -> FallbackLayer<Function<G, F>, E> {
        FallbackLayer::of(Function { policy: self.clone(), keep, answer })
    }

    /// The name that its events carry.
    pub fn name(&self) -> &'static str {
        self.core.name
    }

    /// Mode and counts at one moment.
    pub fn snapshot(&self) -> Snapshot {
        self.core.snapshot()
    }

    /// What it does with failures now. A fallback refuses nothing.
    pub fn explain(&self) -> Explanation {
        self.core.explain(Cause::Stateless)
    }

    /// The configuration.
    pub fn config(&self) -> FallbackConfig {
        FallbackConfig::new(self.core.name)
    }

    /// Runs a closure and answers its error by `answer`.
    ///
    /// # Errors
    /// What `answer` gives; the closure's own error while the policy is disabled or in shadow.
    pub fn call<T, E>(
        &self,
        run: impl FnOnce() -> Result<T, E>,
        answer: impl FnOnce(Failed<T, E>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.call_classified(&AnyError, run, answer)
    }

    /// [`call`](Self::call) with a classifier that says what is a failure.
    ///
    /// # Errors
    /// What `answer` gives; the closure's own error where it is no failure.
    pub fn call_classified<T, E>(
        &self,
        classify: &impl Classify<T, E>,
        run: impl FnOnce() -> Result<T, E>,
        answer: impl FnOnce(Failed<T, E>) -> Result<T, E>,
    ) -> Result<T, E> {
        call_under(&WithTheCall { policy: self.clone() }, classify, answer, run)
    }

    /// Runs a future and answers its error by `answer`. Dropping the future returned drops it.
    pub fn run<Fut, F, T, E>(&self, future: Fut, answer: F) -> Run<Fut, WithTheCall, F, T, E>
    where
        Fut: Future<Output = Result<T, E>>,
        F: FnOnce(Failed<T, E>) -> Result<T, E>,
    {
        self.run_classified(AnyError, future, answer)
    }

    /// [`run`](Self::run) with a classifier that says what is a failure.
    pub fn run_classified<C, Fut, F, T, E>(
        &self,
        classify: C,
        future: Fut,
        answer: F,
    ) -> Run<Fut, WithTheCall, F, T, E, C>
    where
        Fut: Future<Output = Result<T, E>>,
        F: FnOnce(Failed<T, E>) -> Result<T, E>,
        C: Classify<T, E>,
    {
        Run::new(WithTheCall { policy: self.clone() }, classify, answer, future)
    }

    commands! {
        /// Passes every failure on and reports it, until [`enable`](Self::enable).
        shadow: Shadow;

        /// Passes every failure on, and neither judges nor counts, until [`enable`](Self::enable).
        disable: Disable;

        /// Back to work.
        enable: Enable;
    }

    /// Does what an operator says: shadow, enable, disable; there is nothing to reset.
    ///
    /// # Errors
    /// [`ConfigError`] for `command` when it is one for circuits.
    pub fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.core.command(command)
    }
}

managed!(FallbackPolicy: Fallback, Fallback);

impl fmt::Debug for FallbackPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackPolicy")
            .field("name", &self.name())
            .field("mode", &self.core.mode())
            .finish()
    }
}
