//! What a fallback is told: plain values, checked once where they are used.

use std::time::Duration;

use crate::{
    error::ConfigError,
    policy::{
        check::{Shown, ensure, named},
        table::MOST_KEYS,
    },
};

/// How a fallback that keeps nothing is called. What it answers is said by the function that makes the layer.
///
/// ```
/// use portcullis::{FallbackConfig, FallbackLayer};
/// # use portcullis::Error;
///
/// let layer = FallbackLayer::value(FallbackConfig::new("recommendations"), Vec::<u32>::new())?;
/// # let layer: FallbackLayer<_, Error<std::io::Error>> = layer;
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct FallbackConfig {
    /// The policy's name in every event and metric. Default `"fallback"`.
    pub name: &'static str,
}

impl Default for FallbackConfig {
    fn default() -> Self {
        Self { name: "fallback" }
    }
}

impl FallbackConfig {
    /// The defaults under a name. A name known only at run time goes through [`intern`](crate::intern).
    pub fn new(name: &'static str) -> Self {
        Self { name }
    }

    /// Sets the name.
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Checks every value.
    ///
    /// # Errors
    /// A [`ConfigError`] for an empty name.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name)
    }
}

/// How long and how many last good answers are kept.
///
/// The maximum age has no default: only who knows what the answers are used for knows how old they may be.
///
/// ```
/// use std::time::Duration;
/// use portcullis::LastGoodConfig;
///
/// let config = LastGoodConfig::new("prices", Duration::from_secs(300)).max_keys(10_000);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct LastGoodConfig {
    /// The policy's name in every event and metric.
    pub name: &'static str,
    /// An answer is given again while it is younger than this: `age < max_age`. `Duration::MAX` is for
    /// ever.
    pub max_age: Duration,
    /// The most keys of which an answer is kept, `1..=16_777_216`; beyond that the least recently used
    /// one is forgotten. Default 1024.
    pub max_keys: usize,
}

impl LastGoodConfig {
    /// The defaults under a name, with the age from which on an answer is too old to be given again. A
    /// name known only at run time goes through [`intern`](crate::intern).
    pub fn new(name: &'static str, max_age: Duration) -> Self {
        Self { name, max_age, max_keys: 1024 }
    }

    /// Sets the name.
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets the age from which on an answer is too old.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Sets the most keys of which an answer is kept.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// Checks every value.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that cannot work, its value, and what it needs.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name)?;
        ensure(
            self.max_age > Duration::ZERO,
            "max_age",
            Shown(self.max_age),
            "must be longer than zero, or no answer would ever be young enough",
        )?;
        ensure(
            (1..=MOST_KEYS).contains(&self.max_keys),
            "max_keys",
            self.max_keys,
            "must be in 1..=16777216",
        )
    }
}
