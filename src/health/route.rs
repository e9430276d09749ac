//! Which question a path asks.

use std::borrow::Cow;

use http::Uri;
use percent_encoding::percent_decode_str;

use super::{Format, Probe, Query};

/// A question, and how its answer is to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) query: Query,
    pub(super) verbose: bool,
    pub(super) format: Format,
}

/// Reads path and query; `None` for a path that is none of ours. `format` is that of `/health`; the other
/// paths speak text.
pub(super) fn route(uri: &Uri, format: Format) -> Option<Route> {
    let path = uri.path().strip_prefix('/')?;
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let (probe, format, rest) = match (first, rest) {
        ("livez" | "healthz", rest) => (Probe::Liveness, Format::Text, rest),
        ("readyz", rest) => (Probe::Readiness, Format::Text, rest),
        ("startupz", rest) => (Probe::Startup, Format::Text, rest),
        // Spring's names of the groups.
        ("health", "liveness") => (Probe::Liveness, format, ""),
        ("health", "readiness") => (Probe::Readiness, format, ""),
        ("health", rest) => (Probe::Overall, format, rest),
        _ => return None,
    };
    let mut query = Query::new(probe);
    if !rest.is_empty() {
        query = query.only(decoded(rest));
    }
    let mut verbose = false;
    for pair in uri.query().unwrap_or_default().split('&') {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("verbose", _) => verbose = true,
            ("exclude", name) if !name.is_empty() => {
                query = query.exclude(decoded(&name.replace('+', " ")));
            }
            _ => {}
        }
    }
    Some(Route { query, verbose, format })
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asks(uri: &str) -> Option<Route> {
        route(&uri.parse().unwrap(), Format::HealthJson)
    }

    #[test]
    fn paths_ask_what_they_say() {
        let text = |query, verbose| Some(Route { query, verbose, format: Format::Text });
        let json = |query| Some(Route { query, verbose: false, format: Format::HealthJson });
        let (live, ready) = (Query::new(Probe::Liveness), Query::new(Probe::Readiness));
        assert_eq!(asks("/livez"), text(live.clone(), false));
        assert_eq!(asks("/livez/"), text(live.clone(), false));
        assert_eq!(asks("http://host/healthz?verbose=0"), text(live.clone(), true));
        assert_eq!(asks("/startupz?x&"), text(Query::new(Probe::Startup), false));
        assert_eq!(
            asks("/readyz?exclude=a&verbose&exclude=b%26c+d&exclude="),
            text(ready.clone().exclude("a").exclude("b&c d"), true)
        );
        assert_eq!(asks("/readyz/a%2Fb"), text(ready.clone().only("a/b"), false));
        assert_eq!(asks("/readyz/a/b"), text(ready.clone().only("a/b"), false));
        assert_eq!(asks("/readyz/%ff"), text(ready.clone().only("%ff"), false));
        assert_eq!(asks("/health"), json(Query::new(Probe::Overall)));
        assert_eq!(asks("/health/readiness"), json(ready));
        assert_eq!(asks("/health/liveness"), json(live));
        assert_eq!(asks("/health/db"), json(Query::new(Probe::Overall).only("db")));
        for other in ["/", "/livezz", "/x/livez", "//livez", "/LIVEZ", "*"] {
            assert_eq!(asks(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_uri_panics(path in "/(livez|readyz|health)?[a-z/%0-9+]{0,20}", query in "[a-z&=%0-9+]{0,40}") {
            if let Ok(uri) = format!("{path}?{query}&exclude={query}").parse() {
                route(&uri, Format::Text);
            }
        }
    }
}
