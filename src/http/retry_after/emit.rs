//! `Retry-After` as a server says it.

use std::time::Duration;

/// The whole seconds that `Retry-After` says for a time: rounded up, so that who waits for them has waited
/// long enough, and never zero, which would ask for the next call at once.
///
/// ```
/// use std::time::Duration;
/// use portcullis::http::retry_after::seconds;
///
/// assert_eq!(seconds(Duration::from_millis(1_500)), 2);
/// assert_eq!(seconds(Duration::from_secs(2)), 2);
/// assert_eq!(seconds(Duration::ZERO), 1);
/// ```
pub fn seconds(after: Duration) -> u64 {
    let begun = u64::from(after.subsec_nanos() > 0);
    after.as_secs().saturating_add(begun).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seconds_are_rounded_up_and_never_zero() {
        for (after, told) in [
            (Duration::ZERO, 1),
            (Duration::from_nanos(1), 1),
            (Duration::from_secs(1), 1),
            (Duration::new(1, 1), 2),
            (Duration::new(59, 999_999_999), 60),
            (Duration::from_secs(u64::MAX), u64::MAX),
            (Duration::MAX, u64::MAX),
        ] {
            assert_eq!(seconds(after), told, "{after:?}");
        }
    }

    proptest! {
        #[test]
        fn whoever_waits_as_told_has_waited_long_enough(
            secs in 0..u64::MAX, nanos in 0..1_000_000_000_u32,
        ) {
            let after = Duration::new(secs, nanos);
            let told = Duration::from_secs(seconds(after));
            prop_assert!(told >= after && told.saturating_sub(after) <= Duration::from_secs(1));
        }
    }
}
