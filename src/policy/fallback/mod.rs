//! The decisions of a fallback: whether a failure is answered in place of the service, and which answers are
//! kept for that.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use portcullis::{LastGoodConfig, policy::fallback::Answers};
//!
//! let start = Instant::now();
//! let second = Duration::from_secs(1);
//! let answers = Answers::new(&LastGoodConfig::new("prices", 60 * second), start)?;
//! answers.remember("tea", 3, start);
//!
//! let (price, age) = answers.recall("tea", start + 59 * second).expect("younger than a minute");
//! assert_eq!((*price, age), (3, 59 * second));
//! assert!(answers.recall("tea", start + 60 * second).is_none());
//! assert!(answers.recall("coffee", start).is_none(), "never another key's answer");
//! # Ok::<(), portcullis::ConfigError>(())
//! ```

mod answers;
pub mod config;
mod words;

pub use self::{
    answers::Answers,
    words::{AnyError, ErrorsWhere, Failed, Served, Snapshot},
};
use super::Mode;
use crate::outcome::Outcome;

/// What becomes of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the answer.
    Pass,
    /// It is the answer, and a good one.
    Good,
    /// The fallback answers in its place.
    FallBack,
    /// It is the answer, where the fallback would have answered.
    Report,
}

/// What becomes of a result with that outcome.
pub(crate) fn verdict(mode: Mode, outcome: Outcome) -> Verdict {
    match (mode, outcome) {
        (Mode::Disabled, _) | (_, Outcome::Ignored) => Verdict::Pass,
        (_, Outcome::Success) => Verdict::Good,
        (Mode::Enforce, Outcome::Failure) => Verdict::FallBack,
        (Mode::Shadow, Outcome::Failure) => Verdict::Report,
    }
}
