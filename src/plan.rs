//! What layers say of themselves while a stack is being built.
//!
//! Each of our layers notes itself in its `layer()`, so that whoever [records](record) the building of a
//! stack sees all of them from the innermost to the outermost, with foreign layers left out.

use std::{cell::RefCell, time::Duration};

thread_local! {
    static PARTS: RefCell<Option<Vec<Part>>> = const { RefCell::new(None) };
}

/// One layer of ours, with the numbers that can fight with those of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    ErrorLayer,
    CircuitBreaker {
        name: &'static str,
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
    /// `longest_delays` is the sum of the longest back-offs between all attempts.
    Retry {
        name: &'static str,
        attempts: u32,
        budget: Option<BudgetFacts>,
        longest_delays: Duration,
        retries_refusals: bool,
    },
    Fallback {
        name: &'static str,
    },
    CatchPanic {
        name: &'static str,
    },
}

/// What a retry budget allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BudgetFacts {
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
