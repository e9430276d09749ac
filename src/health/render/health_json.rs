//! `application/health+json`.

use std::{fmt, time::Duration};

use super::{Detail, separated, time::Rfc3339};
use crate::{
    health::{Item, Report, Status},
    http::json::Quoted,
};

pub(super) struct HealthJson<'a>(pub(super) &'a Report, pub(super) Detail);

impl fmt::Display for HealthJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report, detail) = *self;
        write!(f, "{{\"status\":{}", Quoted(report.status().as_str()))?;
        if let Some(out) = report.out_of_service() {
            write!(f, ",\"output\":{}", Quoted(out.as_str()))?;
        }
        if detail > Detail::Summary {
            f.write_str(",\"checks\":{")?;
            separated(f, report.items(), |f, item| check(f, item, detail))?;
            f.write_str("}")?;
        }
        f.write_str("}")
    }
}

/// The key names the component and what was measured of it; a policy's name says both.
fn check(f: &mut fmt::Formatter<'_>, item: &Item, detail: Detail) -> fmt::Result {
    match item.took() {
        Some(_) => write!(f, "{}:[{{", Quoted(&format!("{}:responseTime", item.name())))?,
        None => write!(f, "{}:[{{", Quoted(item.name()))?,
    }
    write!(f, "\"componentType\":{}", Quoted(item.component))?;
    if let Some(took) = item.took() {
        write!(f, ",\"observedValue\":{},\"observedUnit\":\"ms\"", millis(took))?;
    }
    if let Some(state) = item.state() {
        write!(f, ",\"observedValue\":{}", Quoted(state))?;
    }
    write!(f, ",\"status\":{}", Quoted(item.status().as_str()))?;
    write!(f, ",\"time\":\"{}\"", Rfc3339(item.recorded()))?;
    let shown = item.output().filter(|_| detail == Detail::Full && item.status() != Status::Pass);
    if let Some(output) = shown {
        write!(f, ",\"output\":{}", Quoted(output))?;
    }
    f.write_str("}]")
}

/// Milliseconds with what there is of microseconds.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
