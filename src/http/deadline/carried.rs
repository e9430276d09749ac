//! [`Deadline`]: a deadline that a request carries along.

use std::time::{Duration, Instant};

use http::Extensions;

use crate::{
    clock,
    deadline::{self, Scoped},
};

/// A request's deadline, as one of its extensions: it goes where the request goes, also to another task,
/// which the [ambient](crate::deadline) one does not.
///
/// ```
/// use portcullis::http::deadline::Deadline;
///
/// # async fn handle<B>(_: http::Request<B>) {}
/// # fn spawn<B: Send + 'static>(request: http::Request<B>) {
/// // On a task of its own, a request's work is put under its deadline again.
/// let deadline = Deadline::of(request.extensions());
/// tokio::spawn(async move {
///     match deadline {
///         Some(deadline) => deadline.scope(handle(request)).await,
///         None => handle(request).await,
///     }
/// });
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline at this moment of tokio's clock, to be put among a request's extensions.
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The one that a request carries.
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Self>().copied()
    }

    /// When it is.
    pub const fn instant(self) -> Instant {
        self.0
    }

    /// The time left until then; zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(clock::tokio_now())
    }

    /// Runs `future` under it, or under the ambient one if that is earlier.
    pub fn scope<F>(self, future: F) -> Scoped<F> {
        deadline::scope(self.0, future)
    }
}

/// The earlier of the one that holds here and the one that a request carries.
pub(super) fn holding(carried: Option<Deadline>) -> Option<Instant> {
    let carried = carried.map(Deadline::instant);
    match (deadline::current(), carried) {
        (Some(ambient), Some(carried)) => Some(ambient.min(carried)),
        (ambient, carried) => ambient.or(carried),
    }
}
