//! What the two layers are told: plain values, checked once where they are used.

use std::time::Duration;

use super::wire::{Carrier, DeadlineHeader, carriers};
use crate::{
    error::ConfigError,
    policy::check::{Shown, ensure, named},
};

/// Which deadlines are taken from the wire. Every field is plain data, and setters take `self` by value.
///
/// ```
/// use std::time::Duration;
/// use portcullis::http::deadline::DeadlineConfig;
///
/// let config = DeadlineConfig::new("api")
///     .grpc_timeout()
///     .millis("x-timeout-ms")
///     .max(Duration::from_secs(30))
///     .min_remaining(Duration::from_millis(20));
/// # assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct DeadlineConfig {
    /// The name in every rejection and event.
    pub name: &'static str,
    /// The headers that are read; the first that says a time counts.
    pub headers: Vec<DeadlineHeader>,
    /// The longest that a request gets, longer than zero, whatever it says and if it says nothing. `None` is
    /// no maximum.
    pub max: Option<Duration>,
    /// How much earlier than the header says the answer has to be ready, so that it still reaches whoever
    /// waits. Default zero.
    pub margin: Duration,
    /// A request that has less time left than this is refused, at most `max`. Default zero: one is refused
    /// only when no time is left at all.
    pub min_remaining: Duration,
}

impl DeadlineConfig {
    /// No header yet, and no maximum: at least one is required.
    pub const fn new(name: &'static str) -> Self {
        let (margin, min_remaining) = (Duration::ZERO, Duration::ZERO);
        Self { name, headers: Vec::new(), max: None, margin, min_remaining }
    }

    /// Reads `grpc-timeout`, after what is read already.
    pub fn grpc_timeout(self) -> Self {
        self.read(DeadlineHeader::GrpcTimeout)
    }

    /// Reads a header with whole milliseconds, after what is read already.
    pub fn millis(self, name: &str) -> Self {
        self.read(DeadlineHeader::Millis(name.to_owned()))
    }

    /// Reads a header with whole seconds, after what is read already.
    pub fn seconds(self, name: &str) -> Self {
        self.read(DeadlineHeader::Seconds(name.to_owned()))
    }

    /// Reads [Envoy's header](DeadlineHeader::envoy), after what is read already.
    pub fn envoy(self) -> Self {
        self.read(DeadlineHeader::envoy())
    }

    fn read(mut self, header: DeadlineHeader) -> Self {
        self.headers.push(header);
        self
    }

    /// Sets the longest that a request gets.
    pub const fn max(mut self, longest: Duration) -> Self {
        self.max = Some(longest);
        self
    }

    /// Sets how much earlier than the header says the answer has to be ready.
    pub const fn margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// Sets the least time left that a request is served with.
    pub const fn min_remaining(mut self, least: Duration) -> Self {
        self.min_remaining = least;
        self
    }

    /// Checks every value and their combinations.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that cannot work, its value, and what it needs.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.carriers().map(drop)
    }

    pub(super) fn carriers(&self) -> Result<Box<[Carrier]>, ConfigError> {
        named(self.name)?;
        let some = !self.headers.is_empty() || self.max.is_some();
        ensure(
            some,
            "headers",
            "[]",
            "say which header is read, such as `grpc_timeout()`, or `max`",
        )?;
        let carriers = carriers(&self.headers)?;
        let Some(max) = self.max else { return Ok(carriers) };
        let why = "must be longer than zero, or no request could ever start";
        ensure(max > Duration::ZERO, "max", Shown(max), why)?;
        let why = "is longer than `max`, so that no request could ever start";
        ensure(self.min_remaining <= max, "min_remaining", Shown(self.min_remaining), why)?;
        Ok(carriers)
    }
}

/// Which headers tell the deadline to the next service. Every field is plain data, and setters take `self` by
/// value.
///
/// ```
/// use portcullis::http::deadline::ForwardDeadlineConfig;
///
/// let config = ForwardDeadlineConfig::new("payments").grpc_timeout().millis("x-timeout-ms");
/// # assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct ForwardDeadlineConfig {
    /// The name in every rejection and event.
    pub name: &'static str,
    /// The headers that are written.
    pub headers: Vec<DeadlineHeader>,
    /// How much less than what is left is told, for the way there and back. Default 5 ms.
    pub margin: Duration,
}

impl ForwardDeadlineConfig {
    /// No header yet: at least one is required.
    pub const fn new(name: &'static str) -> Self {
        Self { name, headers: Vec::new(), margin: Duration::from_millis(5) }
    }

    /// Writes `grpc-timeout`, too.
    pub fn grpc_timeout(self) -> Self {
        self.write(DeadlineHeader::GrpcTimeout)
    }

    /// Writes a header with whole milliseconds, too.
    pub fn millis(self, name: &str) -> Self {
        self.write(DeadlineHeader::Millis(name.to_owned()))
    }

    /// Writes a header with whole seconds, too: rounded down, so that each hop loses up to one, and a
    /// call that has less than one left is refused.
    pub fn seconds(self, name: &str) -> Self {
        self.write(DeadlineHeader::Seconds(name.to_owned()))
    }

    fn write(mut self, header: DeadlineHeader) -> Self {
        self.headers.push(header);
        self
    }

    /// Sets how much less than what is left is told.
    pub const fn margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// Checks every value.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that cannot work, its value, and what it needs.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.carriers().map(drop)
    }

    pub(super) fn carriers(&self) -> Result<Box<[Carrier]>, ConfigError> {
        named(self.name)?;
        let some = !self.headers.is_empty();
        ensure(some, "headers", "[]", "say which header is written, such as `grpc_timeout()`")?;
        carriers(&self.headers)
    }
}
