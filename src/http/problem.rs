//! A refusal as `application/problem+json` (RFC 9457).
//!
//! ```
//! use http::StatusCode;
//! use portcullis::{Reason, Rejection, http::problem};
//!
//! let refusal = Rejection::new(Reason::RateLimited, "api");
//! assert_eq!(
//!     problem::json(&refusal, StatusCode::TOO_MANY_REQUESTS),
//!     r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","#.to_owned()
//!         + r#""title":"Quota exceeded","status":429,"detail":"api: the rate limit is used up","#
//!         + r#""violated-policies":["api"]}"#
//! );
//! ```
//!
//! | status | `type` | `title` | `violated-policies` |
//! |---|---|---|---|
//! | 429 | [`QUOTA_EXCEEDED`] | Quota exceeded | the policy's name |
//! | 503 | [`REDUCED_CAPACITY`] | Temporarily reduced capacity | the policy's name |
//! | any other | none, which means `about:blank` | the status's own words | – |
//!
//! `detail` is the refusal as a sentence. It begins with the name of the policy, which clients then see:
//! for a name that says more than they should know, answer by a [`Shape`](super::Shape) of your own.

use std::fmt::{self, Write};

use http::StatusCode;

use super::json::Quoted;
use crate::error::Rejection;

/// The value of `content-type`.
pub const CONTENT_TYPE: &str = "application/problem+json";
/// The problem type of a client that has used up what it may.
pub const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
/// The problem type of a server that can do less than usual.
pub const REDUCED_CAPACITY: &str =
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// The body that tells of a refusal which is answered with this status.
pub fn json(rejection: &Rejection, status: StatusCode) -> String {
    let of_quotas = match status {
        StatusCode::TOO_MANY_REQUESTS => Some((QUOTA_EXCEEDED, "Quota exceeded")),
        StatusCode::SERVICE_UNAVAILABLE => Some((REDUCED_CAPACITY, "Temporarily reduced capacity")),
        _ => None,
    };
    let mut json = String::with_capacity(256);
    // Nothing that is written to a string fails.
    let _ = write_json(&mut json, rejection, status, of_quotas);
    json
}

fn write_json(
    json: &mut String,
    rejection: &Rejection,
    status: StatusCode,
    of_quotas: Option<(&str, &str)>,
) -> fmt::Result {
    json.write_char('{')?;
    if let Some((uri, _)) = of_quotas {
        write!(json, "\"type\":{},", Quoted(uri))?;
    }
    if let Some(title) = of_quotas.map(|(_, title)| title).or(status.canonical_reason()) {
        write!(json, "\"title\":{},", Quoted(title))?;
    }
    let detail = rejection.to_string();
    write!(json, "\"status\":{},\"detail\":{}", status.as_str(), Quoted(&detail))?;
    if of_quotas.is_some() {
        write!(json, ",\"violated-policies\":[{}]", Quoted(rejection.policy()))?;
    }
    json.write_char('}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Reason, intern};

    fn parsed(rejection: &Rejection, status: u16) -> Value {
        let status = StatusCode::from_u16(status).expect("a status");
        serde_json::from_str(&super::json(rejection, status)).expect("valid JSON")
    }

    #[test]
    fn each_status_has_its_type() {
        let open = Rejection::new(Reason::CircuitOpen, "db");
        assert_eq!(
            parsed(&open, 503),
            json!({
                "type": "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
                "title": "Temporarily reduced capacity",
                "status": 503,
                "detail": "db: the circuit is open",
                "violated-policies": ["db"],
            })
        );
        let late = Rejection::new(Reason::Timeout, "db");
        assert_eq!(
            parsed(&late, 504),
            json!({
                "title": "Gateway Timeout",
                "status": 504,
                "detail": "db: the service did not answer in time",
            })
        );
        assert_eq!(
            parsed(&late, 599),
            json!({ "status": 599, "detail": "db: the service did not answer in time" })
        );
    }

    proptest! {
        #[test]
        fn any_name_comes_out_as_it_went_in(name in any::<String>(), status in 100..1_000_u16) {
            let rejection = Rejection::new(Reason::RateLimited, intern(&name));
            let value = parsed(&rejection, status);
            prop_assert_eq!(&value["status"], &json!(status));
            prop_assert_eq!(&value["detail"], &json!(rejection.to_string()));
            if status == 429 || status == 503 {
                prop_assert_eq!(&value["violated-policies"], &json!([name]));
            }
        }
    }
}
