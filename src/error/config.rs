//! [`ConfigError`]: a value that cannot work.

use std::{borrow::Cow, error::Error as StdError, fmt};

/// A configuration value that cannot work: which field, which value, and why.
///
/// ```
/// use portcullis::{Circuit, CircuitBreakerConfig};
///
/// let error = Circuit::new(CircuitBreakerConfig::new("db").failure_rate(f64::NAN)).unwrap_err();
/// assert_eq!(error.field(), "failure_rate");
/// assert_eq!(error.value(), "NaN");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    value: String,
    why: Cow<'static, str>,
}

impl ConfigError {
    /// A complaint about one field.
    pub fn new(
        field: &'static str,
        value: impl fmt::Display,
        why: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field, value: value.to_string(), why: why.into() }
    }

    /// The same complaint about a value that its user knows by another field.
    pub(crate) fn about(self, field: &'static str) -> Self {
        Self { field, ..self }
    }

    /// The field's name as it is spelled in the configuration.
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// The value as it was given.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What the field needs instead.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` = {}: {}", self.field, self.value, self.why)
    }
}

impl StdError for ConfigError {}
