//! Spring Boot's health endpoint.

use std::fmt;

use super::{Detail, separated};
use crate::{
    health::{DRAIN, Item, Report, STARTUP, Status},
    http::json::Quoted,
};

pub(super) struct Spring<'a>(pub(super) &'a Report, pub(super) Detail);

impl fmt::Display for Spring<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report, detail) = *self;
        let status = match (report.is_ok(), report.out_of_service()) {
            (true, _) => "UP",
            (false, Some(_)) => "OUT_OF_SERVICE",
            (false, None) => "DOWN",
        };
        write!(f, "{{\"status\":{}", Quoted(status))?;
        if detail > Detail::Summary {
            f.write_str(",\"components\":{")?;
            separated(f, report.items(), |f, item| component(f, item, detail))?;
            f.write_str("}")?;
        }
        f.write_str("}")
    }
}

fn component(f: &mut fmt::Formatter<'_>, item: &Item, detail: Detail) -> fmt::Result {
    let status = match (item.status(), item.state()) {
        (Status::Pass, _) => "UP",
        (Status::Fail, _) if matches!(item.name(), DRAIN | STARTUP) => "OUT_OF_SERVICE",
        (Status::Fail, _) => "DOWN",
        (Status::Warn, Some("half_open")) if item.circuit => "CIRCUIT_HALF_OPEN",
        (Status::Warn, Some("forced_open")) if item.circuit => "CIRCUIT_FORCED_OPEN",
        (Status::Warn, Some(_)) if item.circuit => "CIRCUIT_OPEN",
        (Status::Warn, _) => "UNKNOWN",
    };
    write!(f, "{}:{{\"status\":{}", Quoted(item.name()), Quoted(status))?;
    if detail == Detail::Full {
        let word = if item.status() == Status::Fail { "error" } else { "description" };
        let state = item.state().map(|state| ("state", state));
        let output = item.output().map(|output| (word, output));
        let mut details = state.into_iter().chain(output).peekable();
        if details.peek().is_some() {
            f.write_str(",\"details\":{")?;
            separated(f, details, |f, (key, value)| {
                write!(f, "{}:{}", Quoted(key), Quoted(value))
            })?;
            f.write_str("}")?;
        }
    }
    f.write_str("}")
}
