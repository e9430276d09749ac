//! Any bytes as a `grpc-timeout`, and any time as one: what is written is never more than it is, and is
//! read as what it says.

use std::time::Duration;

use http::HeaderValue;
use portcullis::grpc::timeout;

use super::bytes::Bytes;

pub fn run(data: &[u8]) {
    let span = Bytes::new(data).span();
    let written = timeout::format(span);
    let read = timeout::parse(&written).expect("what is written can be read");
    assert!(read <= span, "{span:?} is written {written:?}");
    // In eight digits, no more than a part in ten million is lost, up to the most there can be.
    let lost = span.saturating_sub(read);
    let most = Duration::from_secs(99_999_999 * 3_600);
    assert!(lost.as_nanos() <= span.as_nanos() / 100_000 || span > most, "{span:?} and {read:?}");

    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    if let Some(time) = timeout::parse(&value) {
        assert!((2..=9).contains(&value.len()), "{value:?}");
        assert!(timeout::parse(&timeout::format(time)).is_some_and(|again| again <= time));
    }
}
