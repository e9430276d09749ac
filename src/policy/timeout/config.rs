//! What a timeout is told: plain values, checked once where they are used.

use std::time::Duration;

use crate::{
    error::ConfigError,
    policy::check::{Shown, ensure, named},
};

/// How long calls may take. Every field is plain data, and setters take `self` by value. There is no
/// default limit: only you know how long an answer stays useful.
///
/// ```
/// use std::time::Duration;
/// use portcullis::TimeoutConfig;
///
/// let config = TimeoutConfig::new("payments", Duration::from_secs(2))
///     .min_remaining(Duration::from_millis(50));
/// # assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct TimeoutConfig {
    /// The policy's name in every rejection, event and metric.
    pub name: &'static str,
    /// How long a call may take, measured from `call`, where its request does not say so itself; longer
    /// than zero. `None` is no limit of its own: then only the ambient deadline and the requests' own
    /// limits count. One that ends after every instant there is, such as [`Duration::MAX`], is none.
    pub limit: Option<Duration>,
    /// A call that would start with less time left than this is refused, at most `limit`. Default zero:
    /// one is refused only when no time is left at all.
    pub min_remaining: Duration,
}

impl TimeoutConfig {
    /// The same limit for every call.
    pub const fn new(name: &'static str, limit: Duration) -> Self {
        Self { name, limit: Some(limit), min_remaining: Duration::ZERO }
    }

    /// No limit but those of the requests: see
    /// [`TimeoutLayer::limit_from`](crate::TimeoutLayer::limit_from). Where those say none either, the
    /// ambient deadline still holds.
    pub const fn per_request(name: &'static str) -> Self {
        Self { name, limit: None, min_remaining: Duration::ZERO }
    }

    /// Sets the name.
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets how long a call may take.
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Removes the limit.
    pub const fn no_limit(mut self) -> Self {
        self.limit = None;
        self
    }

    /// Sets the least time left that a call is started with.
    pub const fn min_remaining(mut self, least: Duration) -> Self {
        self.min_remaining = least;
        self
    }

    /// Checks every value and their combinations.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that cannot work, its value, and what it needs.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name)?;
        let Some(limit) = self.limit else { return Ok(()) };
        ensure(
            limit > Duration::ZERO,
            "limit",
            Shown(limit),
            "must be longer than zero, or no call could ever start",
        )?;
        ensure(
            self.min_remaining <= limit,
            "min_remaining",
            Shown(self.min_remaining),
            "is longer than `limit`, so that no call could ever start",
        )
    }
}
