//! [`Rejection`]: who refused, why, and when to come back.

use std::{error::Error as StdError, fmt, io, time::Duration};

use super::{PolicyKind, Reason, Rounded};

/// This library's answer in place of the service's: who refused, why, and when to come back.
///
/// Small, `Copy`, and free of allocation. It prints as a sentence an operator understands:
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Reason, Rejection};
///
/// let r = Rejection::new(Reason::CircuitOpen, "payments")
///     .with_retry_after(Duration::from_millis(4_200));
/// assert_eq!(r.to_string(), "payments: the circuit is open; retry after 4.2s");
/// assert!(!r.attempted());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    policy: &'static str,
    retry_after: Option<Duration>,
    reason: Reason,
    kind: PolicyKind,
    attempted: bool,
}

impl Rejection {
    /// A refusal by the policy of that name. [`attempted`](Self::attempted) follows from the reason.
    pub const fn new(reason: Reason, policy: &'static str) -> Self {
        let (kind, attempted) = (reason.usual_kind(), reason.attempted());
        Self { policy, retry_after: None, reason, kind, attempted }
    }

    /// Says what kind of policy refused, where it is not the one that usually does for this reason.
    #[must_use]
    pub const fn with_kind(mut self, kind: PolicyKind) -> Self {
        self.kind = kind;
        self
    }

    /// Says when the same request could pass.
    #[must_use]
    pub const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Marks that the service may have seen the request.
    #[must_use]
    pub const fn with_attempted(mut self) -> Self {
        self.attempted = true;
        self
    }

    /// Why the call was refused.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// How long to wait before the same request could pass; `None` when no time is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The name its user gave to the policy that refused.
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// What kind of policy refused.
    pub const fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// Whether the service may have seen the request. When `false`, sending it again is safe.
    pub const fn attempted(&self) -> bool {
        self.attempted
    }

    /// Finds a rejection in an error or anywhere in its chain of sources.
    ///
    /// ```
    /// use portcullis::{BoxError, Reason, Rejection};
    ///
    /// let boxed: BoxError = Rejection::new(Reason::CircuitOpen, "search").into();
    /// assert_eq!(Rejection::find(&*boxed).unwrap().policy(), "search");
    ///
    /// let wrapped: BoxError = std::io::Error::other(boxed).into();
    /// assert_eq!(Rejection::find(&*wrapped).unwrap().policy(), "search");
    /// ```
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            // An `io::Error` passes over what it wraps: its source is that one's source.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = match wrapped {
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        None
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.policy, self.reason.sentence())?;
        match self.retry_after {
            Some(after) => write!(f, "; retry after {}", Rounded(after)),
            None => Ok(()),
        }
    }
}

impl StdError for Rejection {}
