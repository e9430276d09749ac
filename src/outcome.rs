//! What a result means to a policy: [`Outcome`], the one classifier shape [`Classify`], and the
//! default classifier.

use std::{sync::Arc, time::Duration};

use crate::error::CarryRejection;

/// What one finished call says about the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a fourth outcome would change what every policy means"
)]
pub enum Outcome {
    /// The service did its work.
    Success,
    /// The service failed; for a retry layer, "try again".
    Failure,
    /// Says nothing about the service: it is not recorded, and a probe gives its slot back.
    Ignored,
}

/// What a result asks of whoever would call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Come back after this long, as `Retry-After` says.
    After(Duration),
    /// Do not call again.
    Stop,
}

/// Decides what a result means. Any `Fn(&Result<Res, Err>) -> Outcome` is one.
///
/// ```
/// use portcullis::{Classify, Outcome};
///
/// let by_status = |result: &Result<u16, ()>| match result {
///     Ok(status) if *status >= 500 => Outcome::Failure,
///     Ok(_) => Outcome::Success,
///     Err(_) => Outcome::Failure,
/// };
/// assert_eq!(by_status.classify(&Ok(503)), Outcome::Failure);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not classify a `Result<{Res}, {Err}>`",
    note = "a classifier is any `Fn(&Result<Response, Error>) -> Outcome`; the default one needs an error that can carry a `Rejection`"
)]
pub trait Classify<Res, Err> {
    /// What this result means.
    fn classify(&self, result: &Result<Res, Err>) -> Outcome;

    /// What the result says about when to come back; nothing by default.
    fn hint(&self, result: &Result<Res, Err>) -> Option<Hint> {
        let _ = result;
        None
    }
}

impl<F, Res, Err> Classify<Res, Err> for F
where
    F: Fn(&Result<Res, Err>) -> Outcome,
{
    fn classify(&self, result: &Result<Res, Err>) -> Outcome {
        self(result)
    }
}

/// A classifier that is shared.
impl<C, Res, Err> Classify<Res, Err> for Arc<C>
where
    C: Classify<Res, Err> + ?Sized,
{
    fn classify(&self, result: &Result<Res, Err>) -> Outcome {
        (**self).classify(result)
    }

    fn hint(&self, result: &Result<Res, Err>) -> Option<Hint> {
        (**self).hint(result)
    }
}

/// The classifier that every policy starts with.
///
/// | result | outcome |
/// |---|---|
/// | `Ok` | [`Outcome::Success`] |
/// | a [`Rejection`](crate::Rejection) that never reached the service | [`Outcome::Ignored`] |
/// | any other error, a rejection after an attempt among them | [`Outcome::Failure`] |
///
/// To judge responses too and leave the rest as it is:
///
/// ```
/// use portcullis::{Classify, DefaultClassifier, Error, Outcome};
///
/// let server_errors = |result: &Result<u16, Error<std::io::Error>>| match result {
///     Ok(500..) => Outcome::Failure,
///     other => DefaultClassifier.classify(other),
/// };
/// assert_eq!(server_errors(&Ok(503)), Outcome::Failure);
/// assert_eq!(server_errors(&Ok(404)), Outcome::Success);
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit that users name as a value")]
pub struct DefaultClassifier;

impl<Res, Err: CarryRejection> Classify<Res, Err> for DefaultClassifier {
    fn classify(&self, result: &Result<Res, Err>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(error) => of_error(error),
        }
    }
}

/// What an error means by default.
#[inline]
pub(crate) fn of_error<E: CarryRejection>(error: &E) -> Outcome {
    match error.rejection() {
        Some(rejection) if !rejection.attempted() => Outcome::Ignored,
        _ => Outcome::Failure,
    }
}
