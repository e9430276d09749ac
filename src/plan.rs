//! What layers say of themselves while a stack is being built.
//!
//! Each of our layers notes itself in its `layer()`, so that whoever [records](record) the building of a
//! stack sees all of them from the innermost to the outermost, with foreign layers left out.

use std::{cell::RefCell, fmt, time::Duration};

thread_local! {
    static PARTS: RefCell<Option<Vec<Part>>> = const { RefCell::new(None) };
}

/// One layer of ours, with the numbers that can fight with those of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    ErrorLayer,
    /// `slow_after` is `None` where slowness counts for nothing.
    CircuitBreaker {
        name: &'static str,
        slow_after: Option<Duration>,
        lease: Duration,
    },
    /// `max_wait` is `None` where it refuses at once.
    RateLimit {
        name: &'static str,
        max_wait: Option<Duration>,
    },
    /// `max_wait` is `None` where it refuses at once.
    Bulkhead {
        name: &'static str,
        limit: usize,
        max_wait: Option<Duration>,
    },
    /// `limit` is `None` where each request says it.
    Timeout {
        name: &'static str,
        limit: Option<Duration>,
        min_remaining: Duration,
    },
    /// `attempts` is `u32::MAX` where nothing but time and budget limits them. `longest_delays` is the sum
    /// of the longest back-offs between all attempts, `longest_hint` the longest delay that a service may
    /// ask for, if the cap on hints is what limits it. `nested` is whether it also retries inside another
    /// retry's attempt.
    Retry {
        name: &'static str,
        attempts: u32,
        budget: Option<BudgetFacts>,
        longest_delays: Duration,
        longest_hint: Option<Duration>,
        retries_refusals: bool,
        nested: bool,
    },
    Fallback {
        name: &'static str,
    },
    CatchPanic {
        name: &'static str,
    },
    /// Turns refusals into answers.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "its layer is one of HTTP's"))]
    Respond,
}

impl Part {
    /// How long a call may wait in it; `None` where it does not.
    pub(crate) fn longest_wait(&self) -> Option<Duration> {
        match self {
            Self::RateLimit { max_wait, .. } | Self::Bulkhead { max_wait, .. } => *max_wait,
            _ => None,
        }
    }

    /// Whether it refuses calls before the service sees them.
    pub(crate) fn refuses(&self) -> bool {
        matches!(self, Self::CircuitBreaker { .. } | Self::RateLimit { .. } | Self::Bulkhead { .. })
    }

    /// Whether it makes more than one attempt.
    pub(crate) fn retries(&self) -> bool {
        matches!(self, Self::Retry { attempts: 2.., .. })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::ErrorLayer => return f.write_str("error layer"),
            Self::Respond => return f.write_str("respond layer"),
            Self::CircuitBreaker { name, .. } => ("circuit breaker", name),
            Self::RateLimit { name, .. } => ("rate limit", name),
            Self::Bulkhead { name, .. } => ("bulkhead", name),
            Self::Timeout { name, .. } => ("timeout", name),
            Self::Retry { name, .. } => ("retry", name),
            Self::Fallback { name } => ("fallback", name),
            Self::CatchPanic { name } => ("catch panic", name),
        };
        write!(f, "{kind} `{name}`")
    }
}

/// What a retry budget allows while every call fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BudgetFacts {
    /// Tells one budget from another: several retries may share one.
    pub(crate) id: usize,
    /// Retries per call.
    pub(crate) ratio: f64,
    /// Retries a second besides.
    pub(crate) per_second: f64,
}

/// Notes a layer, if somebody records.
pub(crate) fn note(part: impl FnOnce() -> Part) {
    // Nothing of a user runs inside, and a thread in teardown builds no stack that is checked.
    let _ = PARTS.try_with(|parts| {
        if let Some(parts) = parts.borrow_mut().as_mut() {
            parts.push(part());
        }
    });
}

/// Runs `build` and gives what was noted meanwhile, the innermost first. Recordings nest: what an inner
/// one hears, the outer one does not.
pub(crate) fn record<R>(build: impl FnOnce() -> R) -> (R, Vec<Part>) {
    /// Puts back what was recorded outside, also when `build` panics.
    struct Outer(Option<Vec<Part>>);
    impl Drop for Outer {
        fn drop(&mut self) {
            let _ = PARTS.try_with(|parts| parts.replace(self.0.take()));
        }
    }
    let outer = Outer(PARTS.with(|parts| parts.replace(Some(Vec::new()))));
    let built = build();
    let parts = PARTS.with(RefCell::take).unwrap_or_default();
    drop(outer);
    (built, parts)
}
