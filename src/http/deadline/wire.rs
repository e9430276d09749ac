//! The headers that say how long an answer is waited for.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    error::ConfigError,
    grpc::timeout::{self, whole},
    http::key::header_name,
};

/// A header that says how long an answer is still waited for. All are relative: two clocks that differ do
/// no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadlineHeader {
    /// `grpc-timeout`: see [`grpc::timeout`](crate::grpc::timeout).
    GrpcTimeout,
    /// A header of this name, with whole milliseconds.
    Millis(String),
    /// A header of this name, with whole seconds.
    Seconds(String),
}

impl DeadlineHeader {
    /// `x-envoy-expected-rq-timeout-ms`: what Envoy, where it says so, gives a request with all its retries.
    pub fn envoy() -> Self {
        Self::Millis("x-envoy-expected-rq-timeout-ms".to_owned())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Grpc,
    Millis,
    Seconds,
}

/// A header with the way in which it is read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carrier {
    name: HeaderName,
    unit: Unit,
}

/// Reads the names of headers.
pub(super) fn carriers(headers: &[DeadlineHeader]) -> Result<Box<[Carrier]>, ConfigError> {
    let carrier = |header: &DeadlineHeader| {
        Ok(match header {
            DeadlineHeader::GrpcTimeout => Carrier { name: timeout::HEADER, unit: Unit::Grpc },
            DeadlineHeader::Millis(name) => Carrier { name: named(name)?, unit: Unit::Millis },
            DeadlineHeader::Seconds(name) => Carrier { name: named(name)?, unit: Unit::Seconds },
        })
    };
    headers.iter().map(carrier).collect()
}

fn named(name: &str) -> Result<HeaderName, ConfigError> {
    let name = header_name("headers", name)?;
    if name == timeout::HEADER {
        return Err(ConfigError::new(
            "headers",
            name,
            "has units of its own: say `grpc_timeout()`",
        ));
    }
    Ok(name)
}

impl Carrier {
    /// The shortest time of all lines that say one.
    pub(super) fn read(&self, headers: &HeaderMap) -> Option<Duration> {
        headers.get_all(&self.name).into_iter().filter_map(|line| self.parse(line)).min()
    }

    /// Takes all lines away.
    pub(super) fn remove(&self, headers: &mut HeaderMap) {
        headers.remove(&self.name);
    }

    /// Sees to it that the header says no more than `left`. Where it would say nothing is left, no request is to
    /// be sent: `false`.
    pub(super) fn write(&self, headers: &mut HeaderMap, left: Duration) -> bool {
        let said = self.read(headers).filter(|said| *said <= left);
        let Some(value) = self.format(said.unwrap_or(left)) else { return false };
        // What several lines say at the least, or garbage, becomes one line.
        if said.is_none() || headers.get_all(&self.name).into_iter().nth(1).is_some() {
            // Without room among tens of thousands of headers, it is left out.
            let _ = headers.try_insert(&self.name, value);
        }
        true
    }

    fn parse(&self, value: &HeaderValue) -> Option<Duration> {
        match self.unit {
            Unit::Grpc => timeout::parse(value),
            Unit::Millis => whole(value.as_bytes(), 20).map(Duration::from_millis),
            Unit::Seconds => whole(value.as_bytes(), 20).map(Duration::from_secs),
        }
    }

    fn format(&self, left: Duration) -> Option<HeaderValue> {
        let number = match self.unit {
            Unit::Grpc => return (!left.is_zero()).then(|| timeout::format(left)),
            Unit::Millis => u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            Unit::Seconds => left.as_secs(),
        };
        (number > 0).then(|| number.into())
    }
}
