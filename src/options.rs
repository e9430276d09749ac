//! What a policy is given besides numbers: where time comes from, and who is told.

use std::sync::Arc;

use crate::{
    clock::{Clock, ClockFn},
    event::{Observer, Observers},
};

/// A policy's clock and observer. The defaults suit a service: tokio's clock, and no observer besides
/// `tracing` and the process's own (see [`event::observe`](crate::event::observe)).
///
/// ```
/// use portcullis::{Circuit, CircuitBreakerConfig, Event, Options};
///
/// let options = Options::new().observer(|event: &Event| println!("{event}"));
/// let circuit = Circuit::with(CircuitBreakerConfig::new("db"), options)?;
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(crate) clock: Clock,
    pub(crate) observers: Observers,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Clock::Tokio, observers: Observers::default() }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the time from `clock`. Timers and deadlines stay tokio's, and are compared with this clock, so
    /// the two should run together. What a policy reads it for is told in its module; a bulkhead and a panic
    /// guard have no use for it.
    pub fn clock(mut self, clock: ClockFn) -> Self {
        self.clock = Clock::of(clock);
        self
    }

    /// Tells `observer` of every event of this policy.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.own = Some(Arc::new(observer));
        self
    }
}
