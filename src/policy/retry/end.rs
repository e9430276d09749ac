//! Why a call has no further attempt.

use std::fmt;

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
    /// There would have been another attempt, had the policy not been in shadow.
    Shadow,
}

impl RetryEnd {
    /// Every one of them.
    pub const ALL: [Self; 11] = [
        Self::Success,
        Self::NotRetryable,
        Self::AttemptsExhausted,
        Self::BudgetExhausted,
        Self::Deadline,
        Self::ToldToStop,
        Self::HintTooLong,
        Self::NotReplayable,
        Self::Nested,
        Self::Abandoned,
        Self::Shadow,
    ];

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
            Self::Shadow => "shadow",
        }
    }
}

impl fmt::Display for RetryEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
