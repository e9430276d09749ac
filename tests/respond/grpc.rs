//! The shape of gRPC.

use std::time::Duration;

use http::Response;
use portcullis::{
    Reason, Rejection,
    grpc::{Grpc, respond::code},
    http::{rejection_of, respond::response},
    intern,
};

use crate::{REASONS, field, in_ms, refusal};

fn told(rejection: &Rejection, grpc: &Grpc) -> Response<String> {
    let response = response::<String>(rejection, grpc);
    // All of it is in the head: gRPC calls that trailers-only.
    assert_eq!((response.status().as_u16(), &response.body()[..]), (200, ""));
    assert_eq!(field(&response, "content-type"), Some("application/grpc"));
    assert_eq!(field(&response, "retry-after"), None);
    assert_eq!(rejection_of(&response), Some(rejection));
    response
}

fn code_told(reason: Reason, grpc: &Grpc) -> i32 {
    field(&told(&refusal(reason), grpc), "grpc-status").unwrap().parse().unwrap()
}

#[test]
fn every_reason_has_its_code_and_tells_the_time_it_knows() {
    for (reason, _, expected) in REASONS {
        assert_eq!(code_told(reason, &Grpc::new()), expected, "{reason}");
        assert_eq!(code(&refusal(reason)), expected, "{reason}");
        let untimed = told(&refusal(reason), &Grpc::new());
        let sentence = refusal(reason).to_string();
        assert_eq!(field(&untimed, "grpc-message"), Some(&sentence[..]), "{reason}");
        let timed = told(&in_ms(reason, 4_200), &Grpc::new());
        let pushback = |response| field(response, "grpc-retry-pushback-ms").map(str::to_owned);
        if reason.is_permanent() {
            assert_eq!(pushback(&untimed).as_deref(), Some("-1"), "never");
            assert_eq!(pushback(&timed).as_deref(), Some("-1"), "never");
        } else {
            assert_eq!(pushback(&untimed), None, "{reason}");
            assert_eq!(pushback(&timed).as_deref(), Some("4200"), "{reason}");
        }
    }
}

#[test]
fn pushback_is_rounded_up_and_never_zero_and_fits() {
    for (after, ms) in [
        (Duration::ZERO, "1"),
        (Duration::from_nanos(1), "1"),
        (Duration::from_millis(1), "1"),
        (Duration::from_nanos(1_000_001), "2"),
        (Duration::MAX, "2147483647"),
    ] {
        let timed = told(&refusal(Reason::RateLimited).with_retry_after(after), &Grpc::new());
        assert_eq!(field(&timed, "grpc-retry-pushback-ms"), Some(ms), "{after:?}");
    }
}

#[test]
fn codes_and_times_are_overridden() {
    for (overridden, ..) in REASONS {
        let grpc = Grpc::new().code_of(overridden, 10);
        for (reason, _, default) in REASONS {
            let expected = if reason == overridden { 10 } else { default };
            assert_eq!(code_told(reason, &grpc), expected, "{reason} with another {overridden}");
        }
        let grpc = grpc.code(|rejection| if rejection.attempted() { 2 } else { code(rejection) });
        for (reason, _, default) in REASONS {
            let expected = if reason.attempted() { 2 } else { default };
            assert_eq!(code_told(reason, &grpc), expected, "{reason}");
        }
    }
    let grpc = Grpc::new().retry_after(|rejection| match rejection.reason() {
        Reason::BulkheadFull | Reason::OverBurst => Some(Duration::from_millis(250)),
        _ => None,
    });
    let pushback = |rejection: Rejection| {
        field(&told(&rejection, &grpc), "grpc-retry-pushback-ms").map(str::to_owned)
    };
    assert_eq!(pushback(refusal(Reason::BulkheadFull)).as_deref(), Some("250"));
    assert_eq!(pushback(in_ms(Reason::RateLimited, 1)), None);
    assert_eq!(pushback(refusal(Reason::OverBurst)).as_deref(), Some("-1"), "it can never pass");
}

#[cfg(feature = "tonic")]
#[test]
fn a_code_of_tonics_is_a_code() {
    let grpc =
        Grpc::new().code(|_| tonic::Code::Aborted).code_of(Reason::Timeout, tonic::Code::Cancelled);
    let codes = (code_told(Reason::CircuitOpen, &grpc), code_told(Reason::Timeout, &grpc));
    assert_eq!(codes, (10, 1));
}

#[test]
fn a_name_may_hold_anything() {
    let name = intern("100 % \"b\"\\ \u{7}\n straße");
    let response = told(&Rejection::new(Reason::BulkheadFull, name), &Grpc::new());
    assert_eq!(
        field(&response, "grpc-message"),
        Some("100 %25 \"b\"\\ %07%0A stra%C3%9Fe: the bulkhead and its queue are full")
    );
    #[cfg(feature = "tonic")]
    {
        let status = tonic::Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert_eq!(status.message(), format!("{name}: the bulkhead and its queue are full"));
    }
}
