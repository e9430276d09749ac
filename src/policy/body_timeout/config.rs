//! What a timeout for bodies is told: plain values, checked once where they are used.

use std::time::Duration;

use crate::{
    error::ConfigError,
    policy::check::{Shown, ensure, named},
};

/// How long bodies may take. Every field is plain data, and setters take `self` by value.
///
/// ```
/// use std::time::Duration;
/// use portcullis::policy::body_timeout::config::BodyTimeoutConfig;
///
/// let config = BodyTimeoutConfig::new("downloads", Duration::from_secs(15))
///     .total(Duration::from_secs(600));
/// # assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct BodyTimeoutConfig {
    /// The policy's name in every rejection, event and metric.
    pub name: &'static str,
    /// How long the next frame may take, from the poll that first finds the body waiting for it; longer than
    /// zero. `None` lets a body stall for as long as the other limits allow.
    pub idle: Option<Duration>,
    /// How long all of a body may take, from the head; longer than zero. Default `None`: as long as it moves.
    pub total: Option<Duration>,
    /// Whether the ambient [deadline](crate::deadline) that holds when a call is made holds for its body, too.
    /// Default `false`: a deadline is for the head.
    pub until_deadline: bool,
}

impl BodyTimeoutConfig {
    /// Cuts bodies whose next frame takes longer than `idle`.
    pub const fn new(name: &'static str, idle: Duration) -> Self {
        Self { name, idle: Some(idle), total: None, until_deadline: false }
    }

    /// Sets the name.
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets how long the next frame may take.
    pub const fn idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Lets bodies stall.
    pub const fn no_idle(mut self) -> Self {
        self.idle = None;
        self
    }

    /// Sets how long all of a body may take.
    pub const fn total(mut self, total: Duration) -> Self {
        self.total = Some(total);
        self
    }

    /// Lets bodies take as long as they move.
    pub const fn no_total(mut self) -> Self {
        self.total = None;
        self
    }

    /// Says whether the deadline that holds when a call is made holds for its body.
    pub const fn until_deadline(mut self, on: bool) -> Self {
        self.until_deadline = on;
        self
    }

    /// Checks every value and their combinations.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that cannot work, its value, and what it needs.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name)?;
        for (field, limit) in [("idle", self.idle), ("total", self.total)] {
            if let Some(limit) = limit {
                let why = "must be longer than zero, or no body could ever be read";
                ensure(limit > Duration::ZERO, field, Shown(limit), why)?;
            }
        }
        let limits = self.idle.is_some() || self.total.is_some() || self.until_deadline;
        ensure(
            limits,
            "idle",
            "none",
            "is needed where there is neither `total` nor `until_deadline`",
        )
    }
}
