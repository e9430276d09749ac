//! Refusals as responses: every reason in every shape, with every override; what passes by untouched; and the
//! fields that tell of quotas.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

#[path = "respond/fields.rs"]
mod fields;
#[path = "respond/grpc.rs"]
mod grpc;
#[path = "respond/service.rs"]
mod service;
#[path = "respond/shapes.rs"]
mod shapes;

use std::time::Duration;

use http::Response;
use portcullis::{Reason, Rejection};

/// Each with the status and the code that it has by default.
const REASONS: [(Reason, u16, i32); 12] = [
    (Reason::CircuitOpen, 503, 14),
    (Reason::ForcedOpen, 503, 14),
    (Reason::ProbeLimit, 503, 14),
    (Reason::Recovering, 503, 14),
    (Reason::RateLimited, 429, 8),
    (Reason::OverBurst, 429, 8),
    (Reason::KeysFull, 429, 8),
    (Reason::BulkheadFull, 503, 8),
    (Reason::QueueTimeout, 503, 8),
    (Reason::DeadlineTooShort, 504, 4),
    (Reason::Timeout, 504, 4),
    (Reason::Panicked, 500, 13),
];

fn refusal(reason: Reason) -> Rejection {
    Rejection::new(reason, "api")
}

fn in_ms(reason: Reason, millis: u64) -> Rejection {
    refusal(reason).with_retry_after(Duration::from_millis(millis))
}

/// The one value of a field; `None` if there is none.
#[track_caller]
fn field<'a, B>(response: &'a Response<B>, name: &str) -> Option<&'a str> {
    let mut all = response.headers().get_all(name).iter();
    let value = all.next()?.to_str().expect("ASCII");
    assert_eq!(all.next(), None, "{name} is there once");
    Some(value)
}

/// Every value of a field, in order.
fn lines<'a, B>(response: &'a Response<B>, name: &str) -> Vec<&'a str> {
    response.headers().get_all(name).iter().map(|value| value.to_str().expect("ASCII")).collect()
}
