//! How many calls one call may become.

use std::fmt;

use crate::plan::Part;

/// How many calls of the service one call of the stack may cause, and how many in the long run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Amplification {
    /// At the most, for a single call that fails again and again.
    pub worst: u64,
    /// Calls of the service per call of the stack while every call fails, as far as budgets hold it
    /// down; besides what they allow a second.
    pub sustained: f64,
    /// Retries a second that budgets allow besides.
    pub per_second: f64,
}

impl Amplification {
    pub(super) fn of(parts: &[Part]) -> Self {
        let mut all = Self { worst: 1, sustained: 1.0, per_second: 0.0 };
        let mut inside_retry = false;
        for part in parts {
            let Part::Retry { attempts, budget, nested, .. } = *part else { continue };
            // Inside another retry's attempt a retry makes one attempt, unless told otherwise.
            if inside_retry && !nested {
                continue;
            }
            inside_retry = true;
            all.worst = all.worst.saturating_mul(attempts.into());
            let ratio = budget.map_or(f64::INFINITY, |budget| budget.ratio);
            // What the retries further out add, the budget further in gets to see as calls.
            all.per_second = all.per_second * (1.0 + ratio.min(f64::from(attempts) - 1.0))
                + budget.map_or(0.0, |budget| budget.per_second);
            all.sustained *= 1.0 + ratio.min(f64::from(attempts) - 1.0);
        }
        all
    }
}

impl fmt::Display for Amplification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.worst == 1 {
            return f.write_str("one call is one call of the service");
        }
        write!(f, "one call may become {} calls of the service", self.worst)?;
        if self.sustained < self.worst as f64 {
            let sustained = (self.sustained * 100.0).round() / 100.0;
            write!(f, "; while all fail, budgets hold it to {sustained} calls per call")?;
        }
        if self.per_second > 0.0 {
            write!(f, " and {} more a second", self.per_second)?;
        }
        Ok(())
    }
}
