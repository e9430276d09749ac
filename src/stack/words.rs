//! How a check puts parts and times into words.

use std::{fmt, time::Duration};

use crate::{error::Rounded, plan::Part};

/// The part with the number that it is known by.
pub(super) fn with_number(part: &Part) -> String {
    let number = match part {
        Part::Bulkhead { limit, .. } => format!("{limit} at once"),
        Part::Timeout { limit: Some(limit), .. } => Long(*limit).to_string(),
        Part::Timeout { limit: None, .. } => "as requests say".into(),
        Part::Retry { attempts: u32::MAX, .. } => "any number of attempts".into(),
        Part::Retry { attempts: 1, .. } => "1 attempt".into(),
        Part::Retry { attempts, .. } => format!("{attempts} attempts"),
        _ => return part.to_string(),
    };
    format!("{part} ({number})")
}

/// A time that may be without an end.
pub(super) struct Long(pub(super) Duration);

impl fmt::Display for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A century: what is longer has no end that anybody waits for.
        const AGES: Duration = Duration::from_secs(100 * 365 * 86_400);
        if self.0 >= AGES { f.write_str("any time") } else { Rounded(self.0).fmt(f) }
    }
}
