//! The shapes of HTTP.

use std::time::Duration;

use http::{Response, StatusCode};
use portcullis::{
    Reason, Rejection,
    http::{
        Http, Shape, rejection_of,
        respond::{self, response},
    },
    intern,
};
use serde_json::{Value, json};

use crate::{REASONS, field, in_ms, refusal};

fn empty(rejection: &Rejection, http: &Http) -> Response<String> {
    let response = response::<String>(rejection, http);
    assert_eq!(response.body(), "");
    assert_eq!(field(&response, "content-type"), None);
    assert_eq!(rejection_of(&response), Some(rejection));
    response
}

fn status(reason: Reason, http: &Http) -> u16 {
    empty(&refusal(reason), http).status().as_u16()
}

#[test]
fn every_reason_has_its_status_and_tells_the_time_it_knows() {
    for (reason, expected, _) in REASONS {
        let untimed = empty(&refusal(reason), &Http::new());
        assert_eq!(untimed.status(), expected, "{reason}");
        assert_eq!(untimed.headers().len(), 0, "{reason}");
        assert_eq!(respond::status(&refusal(reason)), expected);

        let timed = empty(&in_ms(reason, 4_200), &Http::new());
        assert_eq!((timed.status().as_u16(), timed.headers().len()), (expected, 1), "{reason}");
        assert_eq!(field(&timed, "retry-after"), Some("5"), "{reason}");
        // The refusal in the extensions is exact.
        let exact = rejection_of(&timed).unwrap().retry_after();
        assert_eq!(exact, Some(Duration::from_millis(4_200)));
    }
}

#[test]
fn retry_after_is_rounded_up_and_never_zero() {
    for (millis, told) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (1_500, "2")] {
        let timed = empty(&in_ms(Reason::CircuitOpen, millis), &Http::new());
        assert_eq!(field(&timed, "retry-after"), Some(told), "{millis} ms");
    }
    let never = refusal(Reason::CircuitOpen).with_retry_after(Duration::MAX);
    assert_eq!(field(&empty(&never, &Http::new()), "retry-after"), Some("18446744073709551615"));
}

#[test]
fn one_reason_is_overridden_and_the_others_stay() {
    for (overridden, before, _) in REASONS {
        let http = Http::new().status_of(overridden, StatusCode::IM_A_TEAPOT);
        for (reason, default, _) in REASONS {
            let expected = if reason == overridden { 418 } else { default };
            assert_eq!(status(reason, &http), expected, "{reason} with another {overridden}");
        }
        // The last word counts, also back to what it was.
        let back = StatusCode::from_u16(before).unwrap();
        assert_eq!(status(overridden, &http.status_of(overridden, back)), before);
    }
}

#[test]
fn all_are_overridden_by_a_function() {
    let by_name = |rejection: &Rejection| match rejection.policy() {
        "api" => StatusCode::SERVICE_UNAVAILABLE,
        _ => respond::status(rejection),
    };
    let http = Http::new().status_of(Reason::RateLimited, StatusCode::IM_A_TEAPOT).status(by_name);
    for (reason, default, _) in REASONS {
        assert_eq!(status(reason, &http), 503, "{reason}");
        let other = empty(&Rejection::new(reason, "other"), &http);
        assert_eq!(other.status(), default, "{reason}: what was said before is gone");
    }
    // And refined afterwards.
    let http = http.status_of(Reason::Timeout, StatusCode::IM_A_TEAPOT);
    assert_eq!((status(Reason::Timeout, &http), status(Reason::Panicked, &http)), (418, 503));
}

#[test]
fn timeouts_are_503_where_that_is_asked_for() {
    let http = Http::new().timeout_status(StatusCode::SERVICE_UNAVAILABLE);
    for (reason, default, _) in REASONS {
        let expected = if default == 504 { 503 } else { default };
        assert_eq!(status(reason, &http), expected, "{reason}");
    }
}

#[test]
fn the_time_is_overridden() {
    let http = Http::new().retry_after(|rejection| match rejection.reason() {
        Reason::BulkheadFull => Some(Duration::from_secs(1)),
        Reason::CircuitOpen => None,
        _ => rejection.retry_after(),
    });
    let told =
        |rejection: Rejection| field(&empty(&rejection, &http), "retry-after").map(str::to_owned);
    assert_eq!(told(refusal(Reason::BulkheadFull)).as_deref(), Some("1"));
    assert_eq!(told(in_ms(Reason::CircuitOpen, 5_000)), None);
    assert_eq!(told(in_ms(Reason::RateLimited, 5_000)).as_deref(), Some("5"));
}

fn problem(rejection: &Rejection, shape: &impl Shape<String>) -> (u16, Value) {
    let response = response::<String>(rejection, shape);
    assert_eq!(field(&response, "content-type"), Some("application/problem+json"));
    assert_eq!(rejection_of(&response), Some(rejection));
    (response.status().as_u16(), serde_json::from_str(response.body()).expect("valid JSON"))
}

#[test]
fn every_reason_is_a_problem() {
    const TYPES: &str = "https://iana.org/assignments/http-problem-types#";
    let shape = Http::new().problem_json();
    for (reason, expected, _) in REASONS {
        let rejection = in_ms(reason, 1_500);
        let (status, problem) = problem(&rejection, &shape);
        assert_eq!(status, expected, "{reason}");
        let detail = rejection.to_string();
        let quota = |which: &str, title: &str| {
            json!({
                "type": format!("{TYPES}{which}"), "title": title, "status": status,
                "detail": detail, "violated-policies": ["api"],
            })
        };
        let other = |title: &str| json!({ "title": title, "status": status, "detail": detail });
        let whole = match expected {
            429 => quota("quota-exceeded", "Quota exceeded"),
            503 => quota("temporary-reduced-capacity", "Temporarily reduced capacity"),
            504 => other("Gateway Timeout"),
            _ => other("Internal Server Error"),
        };
        assert_eq!(problem, whole, "{reason}");
        let response = response::<String>(&rejection, &shape);
        assert_eq!(field(&response, "retry-after"), Some("2"), "{reason}");
    }
}

#[test]
fn a_problem_follows_what_is_overridden() {
    let shape = Http::new()
        .status_of(Reason::RateLimited, StatusCode::SERVICE_UNAVAILABLE)
        .problem_json()
        .status_of(Reason::OverBurst, StatusCode::PAYLOAD_TOO_LARGE)
        .retry_after(|_| None);
    let (status, value) = problem(&in_ms(Reason::RateLimited, 1), &shape);
    assert_eq!((status, &value["title"]), (503, &json!("Temporarily reduced capacity")));
    let (status, value) = problem(&refusal(Reason::OverBurst), &shape);
    assert_eq!((status, &value["status"]), (413, &json!(413)));
    assert_eq!(value.get("type"), None);
    let untimed = response::<String>(&in_ms(Reason::RateLimited, 1), &shape);
    assert_eq!(field(&untimed, "retry-after"), None);
}

#[test]
fn a_name_may_hold_anything() {
    let name = intern("a \"b\"\\ \u{7}\n\u{0} straße ☕");
    let rejection = Rejection::new(Reason::BulkheadFull, name);
    let (_, problem) = problem(&rejection, &Http::new().problem_json());
    assert_eq!(problem["violated-policies"], json!([name]));
    assert_eq!(problem["detail"], json!(rejection.to_string()));
}

#[test]
fn any_function_is_a_shape() {
    let shape = |rejection: &Rejection| {
        Response::builder().status(599).body(rejection.to_string()).expect("a response")
    };
    for (reason, ..) in REASONS {
        let response = response(&refusal(reason), &shape);
        assert_eq!(
            (response.status().as_u16(), response.body()),
            (599, &refusal(reason).to_string())
        );
        assert_eq!(rejection_of(&response), Some(&refusal(reason)));
    }
    assert_eq!(rejection_of(&Response::new(())), None);
}
