//! What a `Retry-After` says.

use std::time::Duration;

use http::HeaderValue;

use crate::clock::WallTime;

/// What is longer is this long, about 136 years: sums of it and any instant of today can be told.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// How long to wait, by the value of a `Retry-After` that was received at `now`.
///
/// | value | answer |
/// |---|---|
/// | digits, `120` | so many seconds |
/// | a date of HTTP in any of its three forms, `Fri, 31 Dec 1999 23:59:59 GMT` | the time from `now` until then; zero if it has passed |
/// | anything else: a sign, a fraction, a unit, a list, a date that does not exist | `None` |
///
/// More than about 136 years are so many. White space around the value is no part of it.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use http::HeaderValue;
/// use portcullis::http::retry_after;
///
/// let parse = |text| retry_after::parse(&HeaderValue::from_static(text), SystemTime::UNIX_EPOCH);
/// assert_eq!(parse("120"), Some(Duration::from_secs(120)));
/// assert_eq!(parse("Thu, 01 Jan 1970 00:01:00 GMT"), Some(Duration::from_secs(60)));
/// assert_eq!(parse("1.5"), None);
/// ```
pub fn parse(value: &HeaderValue, now: WallTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim_matches([' ', '\t']);
    let wait = if text.starts_with(|first: char| first.is_ascii_digit()) {
        seconds(text)?
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(now).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(LONGEST))
}

/// Digits and nothing else, however many.
fn seconds(text: &str) -> Option<Duration> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Digits alone can fail in one way only: there are too many of them.
    Some(text.parse().map_or(LONGEST, Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> WallTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn parsed(text: &str) -> Option<Duration> {
        // One minute before the date that RFC 9110 shows in its three forms.
        parse(&HeaderValue::from_bytes(text.as_bytes()).expect("a header value"), at(784_111_717))
    }

    #[test]
    fn seconds_are_digits_only() {
        for (text, seconds) in [("0", 0), ("1", 1), ("120", 120), ("007", 7), (" 5\t", 5)] {
            assert_eq!(parsed(text), Some(Duration::from_secs(seconds)), "{text:?}");
        }
        let garbage = [
            "", " ", "-1", "+1", "1.5", "1s", "5 s", "0x10", "1e3", "1,2", "1;2", "soon", "∞", "٣",
        ];
        for text in garbage {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_too_large_to_count_is_very_long() {
        for text in ["4294967295", "4294967296", "18446744073709551615", "18446744073709551616"] {
            assert_eq!(parsed(text), Some(LONGEST), "{text}");
        }
        assert_eq!(parsed(&"9".repeat(5_000)), Some(LONGEST));
        assert_eq!(parsed("Fri, 31 Dec 9999 23:59:59 GMT"), Some(LONGEST));
        assert_eq!(parsed("4294967294"), Some(LONGEST - Duration::from_secs(1)));
    }

    #[test]
    fn a_date_is_told_from_now() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parsed(text), Some(Duration::from_secs(60)), "{text}");
        }
        assert_eq!(parsed("Sun, 06 Nov 1994 08:48:37 GMT"), Some(Duration::ZERO), "it is now");
        assert_eq!(parsed("Sun, 06 Nov 1994 08:48:36 GMT"), Some(Duration::ZERO), "it has passed");
        assert_eq!(parsed("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        for text in [
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1894 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), now in 0_u64..1 << 40) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let wait = parse(&value, at(now));
                prop_assert!(wait.is_none_or(|wait| wait <= LONGEST));
            }
        }

        #[test]
        fn nearly_a_date_does_not_make_it_panic(
            text in "(Sun|Mon|Sat|Sunday), ?[0-9]{1,2}[ -][JFMASOND][a-z]{2}[ -][0-9]{2,5} [0-9]{2}:[0-9]{2}:[0-9]{2}( GMT)?",
        ) {
            let _ = parsed(&text);
        }

        #[test]
        fn seconds_come_back(seconds in any::<u32>()) {
            let value = HeaderValue::from(seconds);
            prop_assert_eq!(parse(&value, at(0)), Some(Duration::from_secs(seconds.into())));
        }

        #[test]
        fn dates_come_back(now in 0_u64..4_000_000_000, ahead in 0_u64..4_000_000_000) {
            let date = httpdate::fmt_http_date(at(now + ahead));
            let value = HeaderValue::from_str(&date).expect("a date is ASCII");
            prop_assert_eq!(parse(&value, at(now)), Some(Duration::from_secs(ahead)));
            prop_assert_eq!(parse(&value, at(now + ahead + 1)), Some(Duration::ZERO));
        }
    }
}
