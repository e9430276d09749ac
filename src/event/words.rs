//! The words that events of single policies use.

use std::{fmt, time::Duration};

use crate::error::Rounded;

/// Why a call under a retry has no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryEnd {
    /// An attempt succeeded.
    Success,
    /// The classifier says that this result is not worth another attempt.
    NotRetryable,
    /// As many attempts were made as may be.
    AttemptsExhausted,
    /// The budget had no token for another.
    BudgetExhausted,
    /// The wait before another would have reached the deadline.
    Deadline,
    /// The service said not to come back.
    ToldToStop,
    /// The service asked for a longer wait than the cap on hints.
    HintTooLong,
    /// The request could not be made a second time.
    NotReplayable,
    /// This retry stands inside another one's attempt, which retries for both.
    Nested,
    /// The caller went away.
    Abandoned,
}

impl RetryEnd {
    /// A stable lower-case word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NotRetryable => "not_retryable",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::BudgetExhausted => "budget_exhausted",
            Self::Deadline => "deadline",
            Self::ToldToStop => "told_to_stop",
            Self::HintTooLong => "hint_too_long",
            Self::NotReplayable => "not_replayable",
            Self::Nested => "nested",
            Self::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for RetryEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
