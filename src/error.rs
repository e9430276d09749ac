//! One error type through a whole stack: [`Rejection`], [`CarryRejection`], [`Error`], and
//! [`ConfigError`] for values that cannot work.

use std::{
    borrow::Cow,
    collections::HashSet,
    error::Error as StdError,
    fmt, io,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

/// A boxed error, the same type as `tower::BoxError`.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a policy answered in place of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The circuit is open and its wait has not ended.
    CircuitOpen,
    /// An operator forced the circuit open; only a command lets calls through again.
    ForcedOpen,
    /// The circuit is half-open and every probe it may send is taken.
    ProbeLimit,
    /// The circuit has just closed and admits only a growing share of calls.
    Recovering,
    /// The rate limit is used up for now.
    RateLimited,
    /// One request asks for more than the limiter's burst: it can never pass.
    OverBurst,
    /// A keyed policy holds as many keys as it may and was told to refuse new ones.
    KeysFull,
    /// The bulkhead and its queue are full.
    BulkheadFull,
    /// The call waited in a queue for as long as it may.
    QueueTimeout,
    /// The time left until the deadline is too short to be worth starting.
    DeadlineTooShort,
    /// The service was called and did not answer in time.
    Timeout,
    /// The service was called and panicked.
    Panicked,
}

impl Reason {
    /// Whether a refusal for this reason implies that the service may have seen the request.
    ///
    /// A retry layer can set the flag on any rejection, see [`Rejection::attempted`].
    pub const fn attempted(self) -> bool {
        matches!(self, Self::Timeout | Self::Panicked)
    }

    /// Whether the same request can never pass, however long it waits.
    pub const fn is_permanent(self) -> bool {
        matches!(self, Self::OverBurst)
    }

    /// A stable lower-case word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::ForcedOpen => "forced_open",
            Self::ProbeLimit => "probe_limit",
            Self::Recovering => "recovering",
            Self::RateLimited => "rate_limited",
            Self::OverBurst => "over_burst",
            Self::KeysFull => "keys_full",
            Self::BulkheadFull => "bulkhead_full",
            Self::QueueTimeout => "queue_timeout",
            Self::DeadlineTooShort => "deadline_too_short",
            Self::Timeout => "timeout",
            Self::Panicked => "panicked",
        }
    }

    /// What happened, as the end of a sentence that begins with the policy's name.
    const fn sentence(self) -> &'static str {
        match self {
            Self::CircuitOpen => "the circuit is open",
            Self::ForcedOpen => "the circuit was forced open by an operator",
            Self::ProbeLimit => "the circuit is half-open and its probes are all in use",
            Self::Recovering => "the circuit is recovering and admits only a share of calls",
            Self::RateLimited => "the rate limit is used up",
            Self::OverBurst => "the request costs more than the limiter's burst and can never pass",
            Self::KeysFull => "the policy holds as many keys as it may",
            Self::BulkheadFull => "the bulkhead and its queue are full",
            Self::QueueTimeout => "the wait in the queue took too long",
            Self::DeadlineTooShort => "too little time is left before the deadline",
            Self::Timeout => "the service did not answer in time",
            Self::Panicked => "the service panicked",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
    attempted: bool,
}

impl Rejection {
    /// A refusal by the policy of that name. [`attempted`](Self::attempted) follows from the reason.
    pub const fn new(reason: Reason, policy: &'static str) -> Self {
        Self { policy, retry_after: None, reason, attempted: reason.attempted() }
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
    note = "add `.layer(ErrorLayer::new())` right above the service; in an axum Router also a `HandleErrorLayer` outermost, which turns refusals into responses",
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

/// A configuration value that cannot work: which field, which value, and why.
///
/// ```
/// use portcullis::{Circuit, CircuitBreakerConfig};
///
/// let error = Circuit::new(CircuitBreakerConfig::new("db").failure_rate(f64::NAN)).unwrap_err();
/// assert_eq!(error.field(), "failure_rate");
/// assert_eq!(error.value(), "NaN");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    value: String,
    why: Cow<'static, str>,
}

impl ConfigError {
    /// A complaint about one field.
    pub fn new(
        field: &'static str,
        value: impl fmt::Display,
        why: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field, value: value.to_string(), why: why.into() }
    }

    /// The field's name as it is spelled in the configuration.
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// The value as it was given.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What the field needs instead.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` = {}: {}", self.field, self.value, self.why)
    }
}

impl StdError for ConfigError {}

/// A duration for people: rounded up to tenths of a second, or to milliseconds below one second.
pub(crate) struct Rounded(pub(crate) Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = if self.0 >= Duration::from_secs(1) { 100_000_000 } else { 1_000_000 };
        let up = self.0.subsec_nanos().next_multiple_of(step);
        let whole = Duration::from_secs(self.0.as_secs());
        fmt::Debug::fmt(&whole.saturating_add(Duration::from_nanos(up.into())), f)
    }
}

/// Turns a name that is known only at run time into the `&'static str` that policies carry.
///
/// Each distinct name is stored once and never freed: intern names from configuration, never names
/// from requests.
///
/// ```
/// let from_file = String::from("payments");
/// let name: &'static str = portcullis::intern(&from_file);
/// assert!(std::ptr::eq(name, portcullis::intern("payments")));
/// ```
pub fn intern(name: &str) -> &'static str {
    static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    match names.get(name) {
        Some(known) => known,
        None => {
            let kept: &'static str = Box::leak(name.into());
            names.insert(kept);
            kept
        }
    }
}
