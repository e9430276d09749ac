//! [`BodyError`]: what a body under a timeout fails with.

use std::fmt;

use crate::error::{BoxError, CarryRejection, Rejection};

/// The error of a body that may be cut: the refusal, or the body's own error.
///
/// It becomes a boxed error, as servers ask of a body, whether the body's own error is one already or not. To be
/// an error itself it would have to know that the body's own is one, which a boxed error is not.
///
/// ```
/// use portcullis::{BoxError, Reason, Rejection, http::BodyError};
///
/// let cut: BodyError<BoxError> = Rejection::new(Reason::Timeout, "downloads").into();
/// let boxed = BoxError::from(cut);
/// assert_eq!(Rejection::find(&*boxed).unwrap().reason(), Reason::Timeout);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "matching both arms without a wildcard is the point")]
pub enum BodyError<E> {
    /// The body was cut.
    Rejected(Rejection),
    /// The body's own error.
    Inner(E),
}

impl<E> From<Rejection> for BodyError<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<E> CarryRejection for BodyError<E> {
    fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Inner(_) => None,
        }
    }
}

impl<E: Into<Self>> From<BodyError<E>> for BoxError {
    fn from(error: BodyError<E>) -> Self {
        match error {
            BodyError::Rejected(rejection) => rejection.into(),
            BodyError::Inner(error) => error.into(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for BodyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}
