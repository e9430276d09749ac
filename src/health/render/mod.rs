//! How a report is written.

mod health_json;
mod spring;
mod text;
mod time;

use std::fmt;

use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};

use super::Report;

/// How a report is written. Whatever the format, the status is 200 where the report
/// [is ok](Report::is_ok) and 503 where it is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// As Kubernetes' own servers do: `ok`, or a line for each check. The default.
    #[default]
    Text,
    /// `application/health+json`, as draft-inadarei-api-health-check-06 has it.
    HealthJson,
    /// As Spring Boot's health endpoint does: `UP`, `DOWN` or `OUT_OF_SERVICE`. An open circuit that fails
    /// nothing is `CIRCUIT_OPEN`, as resilience4j has it; another part that only warns is `UNKNOWN`.
    Spring,
}

impl Format {
    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::HealthJson => "application/health+json",
            Self::Spring => "application/vnd.spring-boot.actuator.v3+json",
        }
    }
}

/// How much of a report is written. More is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Detail {
    /// The whole in one word. The default.
    #[default]
    Summary,
    /// Each part's name, whether it is well, and how long it took.
    Parts,
    /// What each says as well, which may be anything that an error says.
    Full,
}

/// Writes a report as a response that no cache keeps.
///
/// ```
/// use portcullis::health::{Check, Detail, Format, HealthRegistry, Probe, render};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let health = HealthRegistry::new();
/// health.add(Check::new("database", || async { Err::<(), _>("no route to host") }))?;
///
/// let report = health.report(Probe::Readiness).await;
/// let response = render(&report, Format::Spring, Detail::Full);
/// assert_eq!(
///     response.body(),
///     r#"{"status":"DOWN","components":{"database":{"status":"DOWN","details":{"error":"no route to host"}}}}"#,
/// );
/// # Ok(())
/// # }
/// ```
pub fn render(report: &Report, format: Format, detail: Detail) -> Response<String> {
    let body = match format {
        Format::Text => text::Text(report, detail).to_string(),
        Format::HealthJson => health_json::HealthJson(report, detail).to_string(),
        Format::Spring => spring::Spring(report, detail).to_string(),
    };
    let status = if report.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, format, body)
}

pub(super) fn respond(status: StatusCode, format: Format, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The parts of a list, with commas in between.
fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    parts: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (at, part) in parts.into_iter().enumerate() {
        if at > 0 {
            f.write_str(",")?;
        }
        write(f, part)?;
    }
    Ok(())
}
