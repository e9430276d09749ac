//! `google.rpc.RetryInfo` among the details of a status: how services that follow Google's errors, and
//! collectors of OTLP, say when to come back.
//!
//! Written and read by hand: three messages of a field or two each are not worth a code generator among
//! everyone's dependencies.

use std::time::Duration;

use http::HeaderMap;

use crate::outcome::Hint;

/// The header, or trailer, that holds the details: a `google.rpc.Status` in base 64.
const DETAILS: &str = "grpc-status-details-bin";
/// How the type ends, whatever host stands before it.
const TYPE: &[u8] = b"/google.rpc.RetryInfo";

/// When these headers or trailers say to come back, if their details do.
pub(super) fn find(headers: &HeaderMap) -> Option<Hint> {
    let details = from_base64(headers.get(DETAILS)?.as_bytes())?;
    read(&details).map(Hint::After)
}

/// The delay in the details of a status; `None` if there is none, or what is there is no such message.
pub(super) fn read(details: &[u8]) -> Option<Duration> {
    let is_retry_info = |any: &&[u8]| bytes(any, 1).next().is_some_and(|name| name.ends_with(TYPE));
    let any = bytes(details, 3).find(is_retry_info)?;
    let delay = bytes(bytes(any, 2).next()?, 1).next()?;
    let number = |field| {
        let numbers = Fields(delay).filter_map(|(number, value)| match value {
            Value::Number(value) if number == field => Some(value as i64),
            _ => None,
        });
        // The last one counts, and none is zero.
        u64::try_from(numbers.last().unwrap_or(0)).ok()
    };
    Duration::from_secs(number(1)?).checked_add(Duration::from_nanos(number(2)?))
}

/// The details of a status that say to come back after so long.
#[cfg(feature = "tonic")]
pub(super) fn write(code: super::Code, message: &str, delay: Duration) -> Vec<u8> {
    let mut duration = Vec::new();
    put_number(&mut duration, 1, delay.as_secs().min(i64::MAX as u64));
    put_number(&mut duration, 2, delay.subsec_nanos().into());
    let mut retry_info = Vec::new();
    put_bytes(&mut retry_info, 1, &duration);
    let mut any = Vec::new();
    put_bytes(&mut any, 1, &[b"type.googleapis.com", TYPE].concat());
    put_bytes(&mut any, 2, &retry_info);
    let mut status = Vec::new();
    put_number(&mut status, 1, code as u64);
    put_bytes(&mut status, 2, message.as_bytes());
    put_bytes(&mut status, 3, &any);
    status
}

#[cfg(feature = "tonic")]
fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(feature = "tonic")]
fn put_number(message: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(message, field << 3);
    put_varint(message, value);
}

#[cfg(feature = "tonic")]
fn put_bytes(message: &mut Vec<u8>, field: u64, value: &[u8]) {
    put_varint(message, field << 3 | 2);
    put_varint(message, value.len() as u64);
    message.extend_from_slice(value);
}

/// The fields of a message with their numbers, up to the first that is none.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

/// What a message has in a field of texts, bytes or messages.
fn bytes(message: &[u8], field: u64) -> impl Iterator<Item = &[u8]> {
    Fields(message).filter_map(move |(number, value)| match value {
        Value::Bytes(value) if number == field => Some(value),
        _ => None,
    })
}

/// Base 64 with or without padding.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let text = &text[..text.len() - padding];
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut word, mut bits) = (0_u32, 0);
    for byte in text {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        word = word << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// Made by the reference implementation: `RESOURCE_EXHAUSTED`, "slow", with a `DebugInfo` whose detail is
    /// "x", and a `RetryInfo` of 2.5 s.
    const DETAILS_OF_OTHERS: &str = concat!(
        "CAgSBHNsb3caLwoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLkRlYnVnSW5mbxIDEgF4",
        "GjYKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SCgoICAIQgMq17gE",
    );

    #[test]
    fn what_others_write_is_read() {
        for padding in ["", "=", "=="] {
            let mut headers = HeaderMap::new();
            assert_eq!(find(&headers), None);
            let value = format!("{DETAILS_OF_OTHERS}{padding}");
            headers.insert(DETAILS, HeaderValue::from_str(&value).expect("ASCII"));
            assert_eq!(find(&headers), Some(Hint::After(Duration::from_millis(2_500))));
        }
        let details = from_base64(DETAILS_OF_OTHERS.as_bytes()).expect("base 64");
        // Cut anywhere, it says the same or nothing.
        for end in 0..details.len() {
            assert_eq!(read(&details[..end]), None, "{end}");
        }
        for garbage in ["", "=", "===", "CAg*", "-_-_", "é"] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(garbage.as_bytes()).expect("a value");
            headers.insert(DETAILS, value);
            assert_eq!(find(&headers), None, "{garbage}");
        }
    }

    /// Byte for byte what the reference implementation makes of the same.
    #[test]
    #[cfg(feature = "tonic")]
    fn others_can_read_what_is_written() {
        let message = "users: the circuit is open; retry after 1.5s";
        let written = write(crate::grpc::Code::Unavailable, message, Duration::from_millis(1_500));
        let mut expected = b"\x08\x0e\x12\x2c".to_vec();
        expected.extend_from_slice(message.as_bytes());
        expected.extend_from_slice(b"\x1a\x36\x0a\x28type.googleapis.com/google.rpc.RetryInfo");
        expected.extend_from_slice(b"\x12\x0a\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01");
        assert_eq!(written, expected);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(details in any::<Vec<u8>>()) {
            let _ = read(&details);
            let _ = from_base64(&details);
        }

        #[test]
        fn nearly_a_message_does_not_make_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut details = from_base64(DETAILS_OF_OTHERS.as_bytes()).expect("base 64");
            let at = at.index(details.len());
            details[at] = byte;
            let _ = read(&details);
        }

        #[test]
        #[cfg(feature = "tonic")]
        fn what_is_written_is_read(seconds in 0..=i64::MAX as u64, nanos in 0..1_000_000_000_u32, message in ".*") {
            let delay = Duration::new(seconds, nanos);
            let details = write(crate::grpc::Code::Unavailable, &message, delay);
            prop_assert_eq!(read(&details), Some(delay));
        }
    }
}
