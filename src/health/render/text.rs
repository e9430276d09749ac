//! Text, as Kubernetes' own servers write it.

use std::fmt;

use super::Detail;
use crate::health::{Item, OutOfService, Report, Status};

pub(super) struct Text<'a>(pub(super) &'a Report, pub(super) Detail);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report, detail) = *self;
        if detail == Detail::Summary {
            let out = report.out_of_service().map(OutOfService::as_str);
            return f.write_str(if report.is_ok() { "ok" } else { out.unwrap_or("failed") });
        }
        for item in report.items() {
            line(f, item, detail)?;
        }
        for name in report.unknown() {
            writeln!(f, "warn: there is no check {name:?}")?;
        }
        let ends = if report.is_ok() { "passed" } else { "failed" };
        writeln!(f, "{} check {ends}", report.probe())
    }
}

/// `[+]` is well, `[!]` is not and fails nothing, `[-]` fails the whole.
fn line(f: &mut fmt::Formatter<'_>, item: &Item, detail: Detail) -> fmt::Result {
    let name = item.name();
    let (mark, word) = match item.status() {
        Status::Pass => return writeln!(f, "[+]{name} ok"),
        Status::Warn => ("[!]", "degraded"),
        Status::Fail if item.is_critical() => ("[-]", "failed"),
        Status::Fail => ("[!]", "failed"),
    };
    match item.output() {
        _ if detail < Detail::Full => writeln!(f, "{mark}{name} {word}: reason withheld"),
        // A line stays a line.
        Some(output) => {
            let lines = output.lines().map(str::trim_end).collect::<Vec<_>>();
            writeln!(f, "{mark}{name} {word}: {}", lines.join(" "))
        }
        None => writeln!(f, "{mark}{name} {word}"),
    }
}
