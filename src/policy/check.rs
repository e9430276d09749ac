//! Checks that every configuration shares: each names the field and the value that cannot work.

use std::{borrow::Cow, fmt, fmt::Display, time::Duration};

use crate::error::ConfigError;

/// Fine, or the first value that is not.
pub(crate) type Check = Result<(), ConfigError>;

pub(crate) fn ensure(
    holds: bool,
    field: &'static str,
    value: impl Display,
    why: impl Into<Cow<'static, str>>,
) -> Check {
    if holds { Ok(()) } else { Err(ConfigError::new(field, value, why)) }
}

pub(crate) fn optional_share(field: &'static str, value: Option<f64>) -> Check {
    value.map_or(Ok(()), |value| share(field, value))
}

pub(crate) fn share(field: &'static str, value: f64) -> Check {
    // A comparison with NaN is false.
    ensure(value > 0.0 && value <= 1.0, field, value, "must be a share above 0.0, at most 1.0")
}

pub(crate) fn at_least_one(field: &'static str, value: Option<u32>) -> Check {
    ensure(value != Some(0), field, 0, "must be at least 1")
}

/// A duration as users write it.
pub(crate) struct Shown(pub(crate) Duration);

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

pub(crate) fn named(name: &str) -> Check {
    ensure(!name.is_empty(), "name", "\"\"", "a policy needs a name")
}
