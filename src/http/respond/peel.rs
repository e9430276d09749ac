//! [`Peel`]: takes a refusal out of an error.

use std::convert::Infallible;

use crate::error::{BoxError, Error, Rejection};

/// An error that is a refusal or something else, and gives the one or the other.
///
/// | error | without refusals it is |
/// |---|---|
/// | [`Error<E>`](crate::Error) | `E` |
/// | [`BoxError`] | `BoxError`; a refusal is found anywhere in its sources |
/// | [`Rejection`] | `Infallible` |
/// | `tonic::Status`, with feature `tonic` | `tonic::Status`; a refusal is found among its sources |
///
/// For an error of your own:
///
/// ```
/// use portcullis::{Rejection, http::Peel};
///
/// enum AppError {
///     Refused(Rejection),
///     Io(std::io::Error),
/// }
/// impl Peel for AppError {
///     type Error = std::io::Error;
///     fn peel(self) -> Result<Rejection, std::io::Error> {
///         match self { AppError::Refused(refusal) => Ok(refusal), AppError::Io(error) => Err(error) }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no `Rejection` that could be answered",
    label = "the service under a `RespondLayer` must fail with an error that refusals travel in",
    note = "add `.layer(ErrorLayer::new())` right above the service, or implement `portcullis::http::Peel` for an error of your own"
)]
pub trait Peel {
    /// What is left when refusals are answered.
    type Error;

    /// The refusal, if it is one.
    ///
    /// # Errors
    /// What it is otherwise.
    fn peel(self) -> Result<Rejection, Self::Error>;
}

impl<E> Peel for Error<E> {
    type Error = E;

    fn peel(self) -> Result<Rejection, E> {
        match self {
            Self::Rejected(rejection) => Ok(rejection),
            Self::Inner(error) => Err(error),
        }
    }
}

impl Peel for BoxError {
    type Error = Self;

    fn peel(self) -> Result<Rejection, Self> {
        Rejection::find(&*self).copied().ok_or(self)
    }
}

impl Peel for Rejection {
    type Error = Infallible;

    fn peel(self) -> Result<Rejection, Infallible> {
        Ok(self)
    }
}

#[cfg(feature = "tonic")]
impl Peel for tonic::Status {
    type Error = Self;

    fn peel(self) -> Result<Rejection, Self> {
        Rejection::find(&self).copied().ok_or(self)
    }
}
