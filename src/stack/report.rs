//! What a check has to say.

use std::fmt;

use super::Amplification;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Works as its parts promise; worth knowing.
    Note,
    /// Works, but under load or in an outage not as most would expect.
    Warning,
    /// Some layer cannot do what it is there for.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What a stack can have wrong. The reason for each is told in [`docs::ordering`](crate::docs::ordering).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A retry inside a circuit breaker.
    RetryInsideBreaker,
    /// A fallback inside a retry.
    FallbackInsideRetry,
    /// A fallback inside a circuit breaker.
    FallbackInsideBreaker,
    /// A fallback inside a layer that refuses.
    FallbackInsideRefuser,
    /// An [`ErrorLayer`](crate::ErrorLayer) over another layer of this crate, with no other one below.
    ErrorLayerOverOthers,
    /// An [`ErrorLayer`](crate::ErrorLayer) over a stack that has one of its own.
    NestedStacks,
    /// A layer that lets calls wait inside a circuit breaker.
    QueueInsideBreaker,
    /// A layer that lets calls wait inside a retry.
    QueueInsideRetry,
    /// A layer that lets calls wait outside every timeout.
    QueueOutsideTimeout,
    /// A retry without a timeout over it.
    RetryWithoutTotalTimeout,
    /// A retry without a budget.
    RetryWithoutBudget,
    /// A retry that tries refusals again, over a layer that refuses.
    RetryOfRefusals,
    /// A retry inside a retry.
    NestedRetries,
    /// A layer that catches panics over a retry.
    CatchPanicOverRetry,
    /// A layer that answers for refusals inside others.
    RespondInsideOthers,
    /// A timeout whose limit is no shorter than that of a timeout over it.
    TimeoutNeverFires,
    /// A timeout over a retry that is too short for all attempts.
    TotalTooShort,
    /// A wait that may last longer than a timeout over it.
    QueueOutlastsTimeout,
    /// A minimum of remaining time that a timeout over it never leaves: a refusal of every call.
    MinimumNeverLeft,
    /// A probe lease that ends before the timeouts over and inside the breaker do.
    LeaseBeforeTimeout,
    /// A limit for slow calls that a timeout over or inside the breaker comes before.
    SlowLimitNeverReached,
}

impl Rule {
    /// Every one of them.
    pub const ALL: [Self; 21] = [
        Self::RetryInsideBreaker,
        Self::FallbackInsideRetry,
        Self::FallbackInsideBreaker,
        Self::FallbackInsideRefuser,
        Self::ErrorLayerOverOthers,
        Self::NestedStacks,
        Self::QueueInsideBreaker,
        Self::QueueInsideRetry,
        Self::QueueOutsideTimeout,
        Self::RetryWithoutTotalTimeout,
        Self::RetryWithoutBudget,
        Self::RetryOfRefusals,
        Self::NestedRetries,
        Self::CatchPanicOverRetry,
        Self::RespondInsideOthers,
        Self::TimeoutNeverFires,
        Self::TotalTooShort,
        Self::QueueOutlastsTimeout,
        Self::MinimumNeverLeft,
        Self::LeaseBeforeTimeout,
        Self::SlowLimitNeverReached,
    ];

    /// A stable lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RetryInsideBreaker => "retry_inside_breaker",
            Self::FallbackInsideRetry => "fallback_inside_retry",
            Self::FallbackInsideBreaker => "fallback_inside_breaker",
            Self::FallbackInsideRefuser => "fallback_inside_refuser",
            Self::ErrorLayerOverOthers => "error_layer_over_others",
            Self::NestedStacks => "nested_stacks",
            Self::QueueInsideBreaker => "queue_inside_breaker",
            Self::QueueInsideRetry => "queue_inside_retry",
            Self::QueueOutsideTimeout => "queue_outside_timeout",
            Self::RetryWithoutTotalTimeout => "retry_without_total_timeout",
            Self::RetryWithoutBudget => "retry_without_budget",
            Self::RetryOfRefusals => "retry_of_refusals",
            Self::NestedRetries => "nested_retries",
            Self::CatchPanicOverRetry => "catch_panic_over_retry",
            Self::RespondInsideOthers => "respond_inside_others",
            Self::TimeoutNeverFires => "timeout_never_fires",
            Self::TotalTooShort => "total_too_short",
            Self::QueueOutlastsTimeout => "queue_outlasts_timeout",
            Self::MinimumNeverLeft => "minimum_never_left",
            Self::LeaseBeforeTimeout => "lease_before_timeout",
            Self::SlowLimitNeverReached => "slow_limit_never_reached",
        }
    }

    /// How grave it is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::RetryInsideBreaker
            | Self::FallbackInsideRetry
            | Self::FallbackInsideBreaker
            | Self::ErrorLayerOverOthers
            | Self::TimeoutNeverFires
            | Self::MinimumNeverLeft
            | Self::SlowLimitNeverReached => Severity::Error,
            Self::FallbackInsideRefuser
            | Self::QueueInsideBreaker
            | Self::QueueInsideRetry
            | Self::RetryWithoutTotalTimeout
            | Self::RetryWithoutBudget
            | Self::RetryOfRefusals
            | Self::CatchPanicOverRetry
            | Self::RespondInsideOthers
            | Self::QueueOutlastsTimeout
            | Self::LeaseBeforeTimeout => Severity::Warning,
            Self::NestedStacks
            | Self::QueueOutsideTimeout
            | Self::NestedRetries
            | Self::TotalTooShort => Severity::Note,
        }
    }
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub rule: Rule,
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong, what comes of it, and what to do.
    pub sentence: String,
}

impl Finding {
    pub(super) fn new(rule: Rule, sentence: impl Into<String>) -> Self {
        Self { rule, severity: rule.severity(), sentence: sentence.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.severity, self.rule.as_str(), self.sentence)
    }
}

/// What a [`check`](super::check) found in one stack. Prints as a page for whoever built it.
///
/// ```
/// use portcullis::{RetryConfig, RetryLayer, stack::{self, Rule}};
/// use tower::ServiceBuilder;
///
/// let retry = RetryLayer::new(RetryConfig::new("search").attempts(4).no_budget())?;
/// let (_, report) = stack::check(|| ServiceBuilder::new().layer(retry).service(()));
/// assert!(report.has(Rule::RetryWithoutBudget) && !report.is_sound());
/// println!("{report}");
/// // retry `search` (4 attempts)
/// // one call may become 4 calls of the service
/// // warning (retry_without_total_timeout): retry `search` has no timeout over it: …
/// // warning (retry_without_budget): retry `search` has no budget: while the service is down, …
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The layers of this crate, the outermost first, each with its name and the number it is known by.
    pub layers: Vec<String>,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
    /// How many calls one call may become.
    pub amplification: Amplification,
}

impl Report {
    /// Whether nothing graver than a note was found.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }

    /// Whether a rule was broken.
    pub fn has(&self, rule: Rule) -> bool {
        self.findings.iter().any(|finding| finding.rule == rule)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layers.as_slice() {
            [] => f.write_str("no layer of this crate")?,
            layers => f.write_str(&layers.join(" > "))?,
        }
        write!(f, "\n{}", self.amplification)?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n{finding}"))
    }
}
