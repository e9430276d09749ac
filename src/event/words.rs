//! The words that events of single policies use.

use std::{fmt, time::Duration};

use crate::error::Rounded;

/// Where a fallback's answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AnswerSource {
    /// A value that was configured.
    Value,
    /// A function of the error, or of the request and the error.
    Function,
    /// Another service.
    Service,
    /// The last good answer.
    LastGood {
        /// How old it is.
        age: Duration,
    },
}

impl AnswerSource {
    /// A stable lower-case word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Function => "function",
            Self::Service => "service",
            Self::LastGood { .. } => "last_good",
        }
    }
}

impl fmt::Display for AnswerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value => f.write_str("a value"),
            Self::Function => f.write_str("a function"),
            Self::Service => f.write_str("another service"),
            Self::LastGood { age } => write!(f, "the last good answer, {} old", Rounded(*age)),
        }
    }
}
