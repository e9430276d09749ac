//! Calls whose answer has begun and is not whole yet.

use super::{Breaker, Permit, permit::Kind};
use crate::policy::{Now, Once};

impl Breaker {
    /// Notes that the answer of a call has begun, of which more is to come: a stream, or the body of a
    /// response. From here on the call hangs no more, it is slow if it took longer than the slow limit up to
    /// now, and its deadline is met. [`settle`](Self::settle) the permit with how the answer ends, or
    /// [`abandon`](Self::abandon) it, in which case the drop says nothing, unless every drop is a failure.
    ///
    /// A probe keeps its slot and its lease: one whose answer may go on for long is better settled here.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use portcullis::{CircuitBreakerConfig, Outcome, policy::breaker::Breaker};
    ///
    /// # fn main() -> Result<(), portcullis::ConfigError> {
    /// let start = Instant::now();
    /// let config = CircuitBreakerConfig::new("db").slow_calls(Duration::from_secs(1), 0.5);
    /// let breaker = Breaker::new(config, start)?;
    /// let permit = breaker.admit(start).unwrap();
    /// let permit = breaker.answered(permit, start);
    /// // A minute of data follows.
    /// let end = start + Duration::from_secs(60);
    /// assert!(!breaker.settle(permit, Outcome::Success, None, end).slow);
    /// # Ok(())
    /// # }
    /// ```
    pub fn answered(&self, permit: Permit, now: impl Now) -> Permit {
        let mut now = Once::new(now);
        let slow = self.is_slow(&permit, &mut now);
        if permit.kind() == Kind::Listed {
            let now = now.since(self.origin);
            self.lock().answered(permit.generation(), permit.slot(), now);
        }
        permit.answered(slow)
    }
}
