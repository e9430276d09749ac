//! One error type through a whole stack: [`Rejection`], [`CarryRejection`], [`Error`], and
//! [`ConfigError`] for values that cannot work.

mod config;
mod name;
mod reason;
mod rejection;

use std::{error::Error as StdError, fmt};

pub(crate) use self::name::Rounded;
pub use self::{
    config::ConfigError,
    name::intern,
    reason::{PolicyKind, Reason},
    rejection::Rejection,
};

/// A boxed error, the same type as `tower::BoxError`.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// An error type that a refusal can travel in.
///
/// Every layer keeps the error type of the service below it, so a stack has one error type however
/// many layers it has and in whatever order they stand. `From<Rejection>` lets a layer refuse;
/// [`rejection`](Self::rejection) lets an outer layer see that what it got was a refusal and not the
/// service's own failure.
///
/// Implemented for [`Error<E>`], for [`BoxError`] (which walks `source()`), for [`Rejection`] itself,
/// and by users for an error of their own:
///
/// ```
/// use portcullis::{CarryRejection, Rejection};
///
/// enum AppError {
///     Refused(Rejection),
///     Io(std::io::Error),
/// }
/// impl From<Rejection> for AppError {
///     fn from(r: Rejection) -> Self { AppError::Refused(r) }
/// }
/// impl CarryRejection for AppError {
///     fn rejection(&self) -> Option<&Rejection> {
///         match self { AppError::Refused(r) => Some(r), AppError::Io(_) => None }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a `Rejection`",
    label = "this error type has no place for a refusal",
    note = "add `.layer(ErrorLayer::new())` right above the service; in an axum Router also `.layer(RespondLayer::new())` outermost",
    note = "without Tower, wrap the error: `.map_err(portcullis::Error::Inner)`"
)]
pub trait CarryRejection: From<Rejection> {
    /// The refusal inside this error, if it is one.
    fn rejection(&self) -> Option<&Rejection>;
}

impl CarryRejection for Rejection {
    fn rejection(&self) -> Option<&Rejection> {
        Some(self)
    }
}

impl CarryRejection for BoxError {
    fn rejection(&self) -> Option<&Rejection> {
        Rejection::find(&**self)
    }
}

/// The flat error of a stack over a service whose own error is `E`.
///
/// [`ErrorLayer`](crate::ErrorLayer) lifts the service's error into it once; from there up there is
/// one type. `Display` and `source()` pass through to what is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "matching both arms without a wildcard is the point")]
pub enum Error<E> {
    /// A policy answered in place of the service.
    Rejected(Rejection),
    /// The service's own error.
    Inner(E),
}

impl<E> Error<E> {
    /// The service's own error, if that is what it is.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Inner(error) => Some(error),
            Self::Rejected(_) => None,
        }
    }

    /// Whether a policy answered in place of the service.
    pub const fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }
}

impl<E> From<Rejection> for Error<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<E> CarryRejection for Error<E> {
    fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Inner(_) => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for Error<E> {
    /// The rejection or the service's error itself, so that either is found after boxing.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Inner(error) => Some(error),
        }
    }
}
