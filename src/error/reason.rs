//! Why a policy answered in place of the service, and what kind of policy it was.

use std::fmt;

/// What kind of policy it is that refuses, tells or explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PolicyKind {
    /// A circuit breaker.
    CircuitBreaker,
    /// A rate limiter.
    RateLimit,
    /// A bulkhead.
    Bulkhead,
    /// A timeout.
    Timeout,
    /// A timeout for bodies.
    BodyTimeout,
    /// A retry.
    Retry,
    /// A fallback.
    Fallback,
    /// A layer that catches panics.
    CatchPanic,
}

impl PolicyKind {
    /// A stable lower-case word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CircuitBreaker => "circuit_breaker",
            Self::RateLimit => "rate_limit",
            Self::Bulkhead => "bulkhead",
            Self::Timeout => "timeout",
            Self::BodyTimeout => "body_timeout",
            Self::Retry => "retry",
            Self::Fallback => "fallback",
            Self::CatchPanic => "catch_panic",
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
    /// A retry layer can set the flag on any rejection, see [`Rejection::attempted`](crate::Rejection::attempted).
    pub const fn attempted(self) -> bool {
        matches!(self, Self::Timeout | Self::Panicked)
    }

    /// Whether the same request can never pass, however long it waits.
    pub const fn is_permanent(self) -> bool {
        matches!(self, Self::OverBurst)
    }

    /// The kind of policy that usually refuses for this reason.
    pub(super) const fn usual_kind(self) -> PolicyKind {
        match self {
            Self::CircuitOpen | Self::ForcedOpen | Self::ProbeLimit | Self::Recovering => {
                PolicyKind::CircuitBreaker
            }
            Self::RateLimited | Self::OverBurst | Self::KeysFull => PolicyKind::RateLimit,
            Self::BulkheadFull | Self::QueueTimeout => PolicyKind::Bulkhead,
            Self::DeadlineTooShort | Self::Timeout => PolicyKind::Timeout,
            Self::Panicked => PolicyKind::CatchPanic,
        }
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
    pub(super) const fn sentence(self) -> &'static str {
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
