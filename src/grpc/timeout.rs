//! The header `grpc-timeout`: how long a call may still take.
//!
//! ```
//! use std::time::Duration;
//! use http::HeaderValue;
//! use portcullis::grpc::timeout;
//!
//! assert_eq!(timeout::parse(&HeaderValue::from_static("250m")), Some(Duration::from_millis(250)));
//! assert_eq!(timeout::format(Duration::from_millis(250)), "250000u");
//! ```

use std::time::Duration;

use http::{HeaderName, HeaderValue};

/// The header's name.
pub const HEADER: HeaderName = HeaderName::from_static("grpc-timeout");

/// What eight digits say at most.
const MOST: u128 = 99_999_999;

const SECOND: u128 = 1_000_000_000;

/// The units with their nanoseconds, the finest first.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', SECOND),
    (b'M', 60 * SECOND),
    (b'H', 3_600 * SECOND),
];

/// Reads one to eight digits and a unit: `H`, `M`, `S`, or `m`, `u`, `n` for milli-, micro- and
/// nanoseconds. `None` for anything else.
pub fn parse(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    let number = whole(digits, 8)?;
    Some(match unit {
        b'n' => Duration::from_nanos(number),
        b'u' => Duration::from_micros(number),
        b'm' => Duration::from_millis(number),
        b'S' => Duration::from_secs(number),
        // Eight digits of hours are far from what 64 bits hold of seconds.
        b'M' => Duration::from_secs(number * 60),
        b'H' => Duration::from_secs(number * 3_600),
        _ => return None,
    })
}

/// Writes a time in the finest unit in which eight digits are enough, rounded down: never more than it is.
/// Beyond 99 999 999 hours, which is 11 000 years, it says those.
pub fn format(time: Duration) -> HeaderValue {
    let nanos = time.as_nanos();
    let fits = |(_, per): &&(u8, u128)| nanos / per <= MOST;
    let (unit, per) = UNITS.iter().find(fits).copied().unwrap_or(UNITS[5]);
    let mut number = (nanos / per).min(MOST);
    let mut text = [0; 9];
    text[8] = unit;
    let mut first = 8;
    loop {
        first -= 1;
        text[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    HeaderValue::from_bytes(&text[first..]).expect("digits and a letter are a header's value")
}

/// A whole number of one to `most` digits, and nothing else.
pub(crate) fn whole(digits: &[u8], most: usize) -> Option<u64> {
    if digits.is_empty() || digits.len() > most {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
