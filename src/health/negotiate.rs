//! Which format a request asks for.

use http::{HeaderMap, header::ACCEPT};

use super::Format;

/// What the header prefers among what there is; `None` where it has no opinion, or wants something else. That
/// is answered all the same: a probe reads the status.
pub(super) fn format(headers: &HeaderMap, default: Format) -> Option<Format> {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = values.flat_map(|value| value.split(','));
    let mut best = (0, None);
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let wanted = parts.next().and_then(|name| named(&name.to_ascii_lowercase(), default));
        let quality = parts.find_map(quality).unwrap_or(1000);
        // Of equals the first.
        if wanted.is_some() && quality > best.0 {
            best = (quality, wanted);
        }
    }
    best.1
}

fn named(range: &str, default: Format) -> Option<Format> {
    match range {
        "text/plain" | "text/*" => Some(Format::Text),
        "application/health+json" => Some(Format::HealthJson),
        "application/vnd.spring-boot.actuator.v3+json"
        | "application/vnd.spring-boot.actuator.v2+json" => Some(Format::Spring),
        // Whichever JSON is spoken here.
        "application/json" | "application/*" => match default {
            Format::Text => Some(Format::HealthJson),
            json => Some(json),
        },
        _ => None,
    }
}

/// A quality in thousandths, `None` where the parameter is another; what is no number counts as 0.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value: f64 = value.trim().parse().unwrap_or(0.0);
    // Between 0 and 1000 whatever it was; the cast makes zero of NaN.
    Some((value.clamp(0.0, 1.0) * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn asks(accept: &str) -> Option<Format> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_bytes(accept.as_bytes()).ok()?);
        format(&headers, Format::Text)
    }

    #[test]
    fn the_best_known_wins() {
        for (accept, wanted) in [
            ("*/*", None),
            ("text/html", None),
            ("text/plain", Some(Format::Text)),
            ("Application/Health+JSON", Some(Format::HealthJson)),
            ("application/json;charset=utf-8", Some(Format::HealthJson)),
            ("text/plain;q=0.5, application/health+json", Some(Format::HealthJson)),
            (
                "text/plain ; q=0.5 ,application/vnd.spring-boot.actuator.v3+json;Q=0.4",
                Some(Format::Text),
            ),
            ("text/plain, application/json", Some(Format::Text)),
            ("application/json;q=0", None),
            ("application/json;q=NaN", None),
            ("application/json;q=-1, text/plain;q=0.001", Some(Format::Text)),
        ] {
            assert_eq!(asks(accept), wanted, "{accept}");
        }
        assert_eq!(format(&HeaderMap::new(), Format::Spring), None);
    }

    #[test]
    fn plain_json_is_the_json_that_is_spoken() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        assert_eq!(format(&headers, Format::Spring), Some(Format::Spring));
    }

    proptest! {
        #[test]
        fn no_header_panics(accept in "[a-z*/+;,=q0-9. \u{80}-\u{ff}-]{0,60}") {
            asks(&accept);
        }
    }
}
