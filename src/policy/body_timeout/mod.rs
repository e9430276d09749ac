//! How long a body may stall, and how long all of it may take.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use portcullis::policy::body_timeout::cut_at;
//!
//! let asked = Instant::now();
//! let [idle, total] = [5, 60].map(Duration::from_secs);
//! let end = asked + total;
//! assert_eq!(cut_at(Some(idle), Some(end), asked), Some(asked + idle));
//! // The last frame has less time.
//! let late = end - Duration::from_secs(1);
//! assert_eq!(cut_at(Some(idle), Some(end), late), Some(end));
//! ```

pub mod config;
#[cfg(feature = "http")]
mod live;

use std::time::{Duration, Instant};

#[cfg(feature = "http")]
pub(crate) use self::live::{Limits, Live};
use super::Mode;

/// When a body is cut whose next frame is asked for at `asked`, and which must be whole at `end`. A time
/// after every instant there is never comes.
pub fn cut_at(idle: Option<Duration>, end: Option<Instant>, asked: Instant) -> Option<Instant> {
    let idle = idle.and_then(|idle| asked.checked_add(idle));
    match (idle, end) {
        (Some(idle), Some(end)) => Some(idle.min(end)),
        (only, None) | (None, only) => only,
    }
}

/// A timeout for bodies at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Whether it acts on what it decides.
    pub mode: Mode,
    /// How long the next frame may take.
    pub idle: Option<Duration>,
    /// How long all of a body may take.
    pub total: Option<Duration>,
    /// Bodies that ran out of time, since the timeout was made or reset; those that it only reported in
    /// shadow among them.
    pub timed_out: u64,
}
