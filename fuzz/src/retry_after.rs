//! Any bytes as a `Retry-After`, and any time as one: what is written is read as no less.

use std::time::{Duration, SystemTime};

use http::HeaderValue;
use portcullis::http::retry_after;

use super::bytes::Bytes;

/// What is longer is so long.
const LONGEST: u64 = u32::MAX as u64;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let received = SystemTime::UNIX_EPOCH.checked_add(bytes.span());
    let received = received.unwrap_or(SystemTime::UNIX_EPOCH);
    let wait = bytes.span();
    let seconds = retry_after::seconds(wait);
    assert!(
        seconds > 0 && (Duration::from_secs(seconds) >= wait || seconds == u64::MAX),
        "{wait:?}"
    );
    let read = retry_after::parse(&HeaderValue::from(seconds), received);
    assert_eq!(read, Some(Duration::from_secs(seconds.min(LONGEST))));

    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    if let Some(wait) = retry_after::parse(&value, received) {
        assert!(wait <= Duration::from_secs(LONGEST), "{value:?} is {wait:?}");
        let digits = value.as_bytes().trim_ascii().iter().all(u8::is_ascii_digit);
        // Digits are the same whenever they come.
        let later = received.checked_add(Duration::from_secs(1)).unwrap_or(received);
        assert!(!digits || retry_after::parse(&value, later) == Some(wait), "{value:?}");
    }
}
