//! [`Code`]: the status of a gRPC call.

use std::fmt;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::error::{Reason, Rejection};

/// The header, or trailer, that holds the code.
pub(super) const STATUS: &str = "grpc-status";

/// Each code with its number, its value in a header and its name: the numbers count up from zero.
macro_rules! codes {
    ($($(#[$docs:meta])+ $code:ident = $number:literal, $digits:literal, $name:literal;)+) => {
        /// The status of a gRPC call: the seventeen codes of the protocol.
        ///
        /// ```
        /// use portcullis::grpc::Code;
        ///
        /// assert_eq!(Code::from_i32(14), Code::Unavailable);
        /// assert_eq!(Code::from_bytes(b"8"), Code::ResourceExhausted);
        /// assert_eq!(Code::Unavailable.to_string(), "UNAVAILABLE");
        /// // What the protocol does not know is `UNKNOWN`.
        /// assert_eq!(Code::from_i32(99), Code::Unknown);
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(clippy::exhaustive_enums, reason = "the protocol has these and no others")]
        pub enum Code {
            $($(#[$docs])+ $code = $number,)+
        }

        impl Code {
            /// All of them, by their numbers.
            pub const ALL: [Self; 17] = [$(Self::$code),+];

            /// The name in the protocol, such as `UNAVAILABLE`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => $name),+ }
            }

            /// The value of the header `grpc-status`.
            pub fn to_header_value(self) -> HeaderValue {
                HeaderValue::from_static(match self { $(Self::$code => $digits),+ })
            }
        }
    };
}

codes! {
    /// The call succeeded.
    Ok = 0, "0", "OK";
    /// It was cancelled; on a client that did not cancel it, by the other side.
    Cancelled = 1, "1", "CANCELLED";
    /// An error that says no more, or a code that the protocol does not know.
    Unknown = 2, "2", "UNKNOWN";
    /// The request is wrong, whatever the state of the service.
    InvalidArgument = 3, "3", "INVALID_ARGUMENT";
    /// The deadline passed before the call ended.
    DeadlineExceeded = 4, "4", "DEADLINE_EXCEEDED";
    /// What was asked for does not exist.
    NotFound = 5, "5", "NOT_FOUND";
    /// What was to be made exists.
    AlreadyExists = 6, "6", "ALREADY_EXISTS";
    /// The caller is known and may not.
    PermissionDenied = 7, "7", "PERMISSION_DENIED";
    /// A quota is used up, or the service sheds load.
    ResourceExhausted = 8, "8", "RESOURCE_EXHAUSTED";
    /// The service is not in a state in which it could do this.
    FailedPrecondition = 9, "9", "FAILED_PRECONDITION";
    /// Two calls stood in each other's way.
    Aborted = 10, "10", "ABORTED";
    /// It was tried past the end of something.
    OutOfRange = 11, "11", "OUT_OF_RANGE";
    /// The service has no such method.
    Unimplemented = 12, "12", "UNIMPLEMENTED";
    /// Something that must hold does not.
    Internal = 13, "13", "INTERNAL";
    /// The service cannot be reached, or does not take the call, for now.
    Unavailable = 14, "14", "UNAVAILABLE";
    /// Data is lost for good.
    DataLoss = 15, "15", "DATA_LOSS";
    /// It is not known who the caller is.
    Unauthenticated = 16, "16", "UNAUTHENTICATED";
}

impl Code {
    /// The code of that number; [`Unknown`](Self::Unknown) for a number that is none.
    pub const fn from_i32(number: i32) -> Self {
        if number < 0 || number as usize >= Self::ALL.len() {
            return Self::Unknown;
        }
        Self::ALL[number as usize]
    }

    /// The number in the protocol.
    pub const fn as_i32(self) -> i32 {
        self as i32
    }

    /// The code in the value of a header or trailer `grpc-status`; [`Unknown`](Self::Unknown) for what is
    /// no code.
    pub const fn from_bytes(value: &[u8]) -> Self {
        let number = match *value {
            [digit @ b'0'..=b'9'] => digit - b'0',
            [b'1', digit @ b'0'..=b'9'] => 10 + digit - b'0',
            _ => return Self::Unknown,
        };
        Self::from_i32(number as i32)
    }

    /// The code of an answer without a `grpc-status`, as one that a proxy gave has none, by its HTTP status.
    ///
    /// | HTTP | gRPC |
    /// |---|---|
    /// | 400 | `INTERNAL` |
    /// | 401 | `UNAUTHENTICATED` |
    /// | 403 | `PERMISSION_DENIED` |
    /// | 404 | `UNIMPLEMENTED` |
    /// | 429, 502, 503, 504 | `UNAVAILABLE` |
    /// | any other, 200 as well | `UNKNOWN` |
    pub const fn from_http(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::Internal,
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::NOT_FOUND => Self::Unimplemented,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// The code that tells a refusal of ours to a caller.
    ///
    /// | refusal | code | why |
    /// |---|---|---|
    /// | the circuit is open, forced open, half-open or recovering | `UNAVAILABLE` | not processed, and another instance may take it |
    /// | rate limit, more than the burst, keys full | `RESOURCE_EXHAUSTED` | a quota |
    /// | bulkhead, its queue | `RESOURCE_EXHAUSTED` | shed; most clients would retry `UNAVAILABLE` at once |
    /// | timeout, too little time left | `DEADLINE_EXCEEDED` | |
    /// | panic | `INTERNAL` | |
    pub const fn of_refusal(refusal: &Rejection) -> Self {
        match refusal.reason() {
            Reason::CircuitOpen | Reason::ForcedOpen | Reason::ProbeLimit | Reason::Recovering => {
                Self::Unavailable
            }
            Reason::RateLimited
            | Reason::OverBurst
            | Reason::KeysFull
            | Reason::BulkheadFull
            | Reason::QueueTimeout => Self::ResourceExhausted,
            Reason::DeadlineTooShort | Reason::Timeout => Self::DeadlineExceeded,
            Reason::Panicked => Self::Internal,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The code in the trailers that end a response, or in the head of one that consists of trailers only;
/// `None` if there is none.
///
/// ```
/// use http::HeaderMap;
/// use portcullis::grpc::{Code, code_of_trailers};
///
/// let mut trailers = HeaderMap::new();
/// assert_eq!(code_of_trailers(&trailers), None);
/// trailers.insert("grpc-status", Code::Unavailable.to_header_value());
/// assert_eq!(code_of_trailers(&trailers), Some(Code::Unavailable));
/// ```
pub fn code_of_trailers(trailers: &HeaderMap) -> Option<Code> {
    trailers.get(STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_code_is_its_number_everywhere() {
        for (number, code) in (0..).zip(Code::ALL) {
            assert_eq!(code.as_i32(), number);
            assert_eq!(Code::from_i32(number), code);
            let value = code.to_header_value();
            assert_eq!(value, number.to_string());
            assert_eq!(Code::from_bytes(value.as_bytes()), code);
        }
        for number in [-1, 17, 99, i32::MIN, i32::MAX] {
            assert_eq!(Code::from_i32(number), Code::Unknown);
        }
        for bytes in [&b""[..], b"00", b"01", b"17", b"19", b"20", b"140", b"x", b" 1", b"-1"] {
            assert_eq!(Code::from_bytes(bytes), Code::Unknown, "{bytes:?}");
        }
    }

    #[test]
    fn names_are_the_protocols() {
        assert_eq!(
            Code::ALL.map(Code::as_str)[8..11],
            ["RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED"]
        );
        for code in Code::ALL {
            // `DeadlineExceeded` and `DEADLINE_EXCEEDED` are one word.
            let name = code.as_str().replace('_', "");
            assert!(name.eq_ignore_ascii_case(&format!("{code:?}")), "{code:?} {name}");
        }
    }

    proptest! {
        #[test]
        fn only_a_code_is_a_code(bytes in any::<Vec<u8>>()) {
            let code = Code::from_bytes(&bytes);
            prop_assert!(code == Code::Unknown || code.to_header_value().as_bytes() == &bytes[..]);
        }
    }
}
