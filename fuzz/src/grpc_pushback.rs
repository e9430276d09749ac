//! Any bytes as a `grpc-retry-pushback-ms`, alone and among others: it says a time that fits, or to stop.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use portcullis::{Hint, grpc::pushback};

use super::bytes::Bytes;

pub fn run(data: &[u8]) {
    let wait = Bytes::new(data).span();
    let Hint::After(read) = pushback::parse(&pushback::value(wait)) else {
        panic!("{wait:?} is written as no time");
    };
    let most = Duration::from_millis(i32::MAX as u64);
    assert!(read >= wait.min(most) && read <= most && read > Duration::ZERO);

    let mut headers = HeaderMap::new();
    for (count, line) in data.split(|byte| *byte == b'\n').take(8).enumerate() {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        if let Hint::After(wait) = pushback::parse(&value) {
            assert!(wait <= most, "{value:?}");
        }
        let alone = pushback::parse(&value);
        headers.append(pushback::NAME, value);
        let found = pushback::find(&headers);
        assert_eq!(found, Some(if count == 0 { alone } else { Hint::Stop }));
    }
}
