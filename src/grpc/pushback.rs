//! The header or trailer `grpc-retry-pushback-ms`: how a service says when to come back, if at all.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::{error::Rejection, outcome::Hint};

/// The header's, or trailer's, name.
pub const NAME: &str = "grpc-retry-pushback-ms";

/// What a value says: a signed number of 32 bits, in milliseconds. One that is negative, or no such number,
/// says that there is to be no further attempt.
///
/// ```
/// use std::time::Duration;
/// use http::HeaderValue;
/// use portcullis::{Hint, grpc::pushback};
///
/// let parse = |text| pushback::parse(&HeaderValue::from_static(text));
/// assert_eq!(parse("250"), Hint::After(Duration::from_millis(250)));
/// assert_eq!(parse("0"), Hint::After(Duration::ZERO));
/// assert_eq!(parse("-1"), Hint::Stop);
/// assert_eq!(parse("soon"), Hint::Stop);
/// ```
pub fn parse(value: &HeaderValue) -> Hint {
    let number = value.to_str().ok().and_then(|text| text.parse::<i32>().ok());
    match number.and_then(|number| u64::try_from(number).ok()) {
        Some(millis) => Hint::After(Duration::from_millis(millis)),
        None => Hint::Stop,
    }
}

/// What these headers or trailers say, if anything. More than one value is no number: it stops.
pub fn find(headers: &HeaderMap) -> Option<Hint> {
    let mut values = headers.get_all(NAME).iter();
    let value = values.next()?;
    Some(if values.next().is_some() { Hint::Stop } else { parse(value) })
}

/// The value that tells a caller to wait for so long: whole milliseconds, rounded up, and never zero; what
/// is longer than 24 days is so many.
///
/// ```
/// use std::time::Duration;
/// use portcullis::grpc::pushback;
///
/// assert_eq!(pushback::value(Duration::from_micros(1_001)), "2");
/// assert_eq!(pushback::value(Duration::MAX), i32::MAX.to_string());
/// ```
pub fn value(wait: Duration) -> HeaderValue {
    let millis = wait.as_nanos().div_ceil(1_000_000).max(1);
    HeaderValue::from(i32::try_from(millis).unwrap_or(i32::MAX))
}

/// The value that tells a caller about a refusal: the time that it names, or to stop where the same
/// request can never pass. `None` if no time is known.
pub fn of_refusal(refusal: &Rejection) -> Option<HeaderValue> {
    told(refusal, Rejection::retry_after)
}

/// The same with a time that somebody else may know. Of a refusal that can never pass nobody is asked.
pub(super) fn told(
    refusal: &Rejection,
    after: impl FnOnce(&Rejection) -> Option<Duration>,
) -> Option<HeaderValue> {
    if refusal.reason().is_permanent() {
        return Some(HeaderValue::from_static("-1"));
    }
    after(refusal).map(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Reason;

    #[test]
    fn what_is_no_number_of_32_bits_stops() {
        let millis = |millis| Hint::After(Duration::from_millis(millis));
        for (text, hint) in [
            ("1", millis(1)),
            ("2147483647", millis(2_147_483_647)),
            ("2147483648", Hint::Stop),
            ("-0", millis(0)),
            ("-2147483648", Hint::Stop),
            ("99999999999999999999", Hint::Stop),
            ("", Hint::Stop),
            (" 1", Hint::Stop),
            ("1.0", Hint::Stop),
            ("1ms", Hint::Stop),
        ] {
            assert_eq!(parse(&HeaderValue::from_static(text)), hint, "{text:?}");
        }
    }

    #[test]
    fn there_is_one_value_or_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(find(&headers), None);
        headers.append(NAME, HeaderValue::from_static("7"));
        assert_eq!(find(&headers), Some(Hint::After(Duration::from_millis(7))));
        headers.append(NAME, HeaderValue::from_static("7"));
        assert_eq!(find(&headers), Some(Hint::Stop));
    }

    #[test]
    fn a_refusal_says_when_or_never() {
        let refusal = |reason| Rejection::new(reason, "api");
        assert_eq!(of_refusal(&refusal(Reason::BulkheadFull)), None);
        let wait = Duration::from_micros(12_300);
        let told = of_refusal(&refusal(Reason::RateLimited).with_retry_after(wait));
        assert_eq!(told.as_ref().map(HeaderValue::as_bytes), Some(&b"13"[..]));
        let never = refusal(Reason::OverBurst).with_retry_after(wait);
        assert_eq!(of_refusal(&never).as_ref().map(parse), Some(Hint::Stop));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse::<i32>().ok());
                let waits = matches!(parse(&value), Hint::After(_));
                prop_assert_eq!(waits, number.is_some_and(|number| number >= 0));
            }
        }

        /// Never earlier than was meant, and less than a millisecond later.
        #[test]
        fn what_is_told_is_heard(nanos in 1..2_147_483_647_000_000_u64) {
            let wait = Duration::from_nanos(nanos);
            let Hint::After(heard) = parse(&value(wait)) else { panic!("a number") };
            prop_assert!(heard >= wait && heard - wait < Duration::from_millis(1));
        }
    }
}
