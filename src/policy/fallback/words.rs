//! The words that fallbacks use: what failed, what was served, and which errors qualify.

use std::time::Duration;

use crate::{
    outcome::{Classify, Outcome},
    policy::Mode,
};

/// What a fallback answers in place of: an error, or a response that its classifier calls a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a result is one or the other")]
pub enum Failed<T, E> {
    /// The service answered, and the classifier says that this is a failure. Not with the default
    /// classifier nor with `when`, which only look at errors.
    Response(T),
    /// The service failed, was not ready, or a policy refused.
    Error(E),
}

impl<T, E> Failed<T, E> {
    /// What the caller would have got without a fallback.
    ///
    /// # Errors
    /// The error that it was.
    pub fn into_result(self) -> Result<T, E> {
        self.into()
    }

    /// The error, if it was one.
    pub const fn error(&self) -> Option<&E> {
        match self {
            Self::Error(error) => Some(error),
            Self::Response(_) => None,
        }
    }

    /// The failed response, if it was one.
    pub const fn response(&self) -> Option<&T> {
        match self {
            Self::Response(response) => Some(response),
            Self::Error(_) => None,
        }
    }
}

impl<T, E> From<Result<T, E>> for Failed<T, E> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(response) => Self::Response(response),
            Err(error) => Self::Error(error),
        }
    }
}

impl<T, E> From<Failed<T, E>> for Result<T, E> {
    fn from(failed: Failed<T, E>) -> Self {
        match failed {
            Failed::Response(response) => Ok(response),
            Failed::Error(error) => Err(error),
        }
    }
}

/// An answer, and whether it is the service's own or the last good one.
///
/// ```
/// use std::time::Duration;
/// use portcullis::Served;
///
/// let served = Served::LastGood { value: 3, age: Duration::from_secs(40) };
/// assert_eq!(served.age(), Some(Duration::from_secs(40)));
/// assert_eq!(served.into_inner(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an answer is one or the other")]
pub enum Served<T> {
    /// The service's own answer to this call.
    Fresh(T),
    /// The last good answer for the same key, in place of a failure.
    LastGood {
        /// The answer.
        value: T,
        /// How long ago the service gave it.
        age: Duration,
    },
}

impl<T> Served<T> {
    /// The answer, whatever its age.
    pub fn into_inner(self) -> T {
        match self {
            Self::Fresh(value) | Self::LastGood { value, .. } => value,
        }
    }

    /// The answer, whatever its age.
    pub const fn get(&self) -> &T {
        match self {
            Self::Fresh(value) | Self::LastGood { value, .. } => value,
        }
    }

    /// How long ago the service gave it, if it is not the service's own answer to this call.
    pub const fn age(&self) -> Option<Duration> {
        match self {
            Self::Fresh(_) => None,
            Self::LastGood { age, .. } => Some(*age),
        }
    }

    /// Whether it is the service's own answer to this call.
    pub const fn is_fresh(&self) -> bool {
        matches!(self, Self::Fresh(_))
    }

    /// Changes the answer and keeps where it came from.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Served<U> {
        match self {
            Self::Fresh(value) => Served::Fresh(change(value)),
            Self::LastGood { value, age } => Served::LastGood { value: change(value), age },
        }
    }
}

/// The classifier that every fallback starts with: every error is a failure, a refusal by another policy and
/// an error from `poll_ready` among them; every response is a success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a unit that users name as a value")]
pub struct AnyError;

impl<T, E> Classify<T, E> for AnyError {
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        }
    }
}

/// Errors for which a function says so are failures, others are passed on; every response is a success.
#[derive(Clone, Copy, Debug)]
pub struct ErrorsWhere<F>(pub(crate) F);

impl<F, T, E> Classify<T, E> for ErrorsWhere<F>
where
    F: Fn(&E) -> bool,
{
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(error) if (self.0)(error) => Outcome::Failure,
            Err(_) => Outcome::Ignored,
        }
    }
}

/// A fallback at one moment. Calls are counted since it was made; what is told of them is told by
/// [`Event::FellBack`](crate::Event) and [`Event::WouldFallBack`](crate::Event).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// What it does with its verdicts.
    pub mode: Mode,
    /// Failures answered by a value that was configured.
    pub by_value: u64,
    /// Failures answered by a function.
    pub by_function: u64,
    /// Failures answered by another service.
    pub by_service: u64,
    /// Failures answered by the last good answer.
    pub by_last_good: u64,
    /// Failures that qualified and were not answered: the function or the other service failed as well,
    /// or nothing young enough was kept.
    pub unanswered: u64,
    /// Failures that would have been answered, had the policy not been in shadow.
    pub in_shadow: u64,
    /// How many keys have an answer kept, whatever its age; zero where none are.
    pub keys: usize,
    /// How many keys can have one.
    pub max_keys: usize,
    /// The age from which on an answer is too old; `None` where none are kept.
    pub max_age: Option<Duration>,
}

impl Snapshot {
    /// All failures that were answered in place of the service.
    pub const fn answered(&self) -> u64 {
        self.by_value
            .wrapping_add(self.by_function)
            .wrapping_add(self.by_service)
            .wrapping_add(self.by_last_good)
    }
}
