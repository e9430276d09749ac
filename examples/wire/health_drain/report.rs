//! The timeline, the closing table and the claims, as text.

use std::{
    io::{self, Write},
    time::Duration,
};

use wire_examples::{Ink, Paint};

use crate::{
    Told,
    balancer::{CALLERS, Load},
    server::Server,
};

/// A reading of what was counted; the difference of two is one line of the timeline.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    answers: u64,
    errors: u64,
    old: u64,
    new: u64,
}

impl Line {
    pub(crate) fn read(load: &Load, old: &Server, new: Option<&Server>) -> Self {
        Self {
            answers: load.answers(),
            errors: load.errors(),
            old: old.book().arrived(),
            new: new.map_or(0, |new| new.book().arrived() + new.book().too_early()),
        }
    }

    pub(crate) fn since(self, earlier: &Self) -> Self {
        Self {
            answers: self.answers - earlier.answers,
            errors: self.errors - earlier.errors,
            old: self.old - earlier.old,
            new: self.new - earlier.new,
        }
    }
}

/// Standard output, in colour where somebody sees it.
#[derive(Debug)]
pub(crate) struct Screen {
    paint: Paint,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { paint: Paint::new() }
    }

    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    fn ink(&self, ink: Ink, padded: String) -> String {
        self.paint.ink(ink, padded)
    }

    /// A number of a column, which catches the eye only if it is not zero.
    fn number(&self, ink: Ink, number: u64) -> String {
        self.ink(if number == 0 { Ink::Dim } else { ink }, format!("{number:>7}"))
    }

    pub(crate) fn intro(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "Two fleets on this machine are updated at the same moments, each under {CALLERS} callers: a new\n\
             server starts, the old one ends. One asks /readyz and drains; its twin does neither.\n",
        )?;
        writeln!(
            out,
            "{:>7} |{:^14} |{:^30} |{:^30}",
            "", "/readyz says", "asks, and drains", "its twin"
        )?;
        writeln!(out, "{:>7} |{:>6} {:>6}  |{} |{}", "time", "old", "new", COLUMNS, COLUMNS)
    }

    /// One line of the timeline: what was counted since the line before.
    pub(crate) fn step(&self, at: Duration, sees: &[u64], lines: (Line, Line)) -> io::Result<()> {
        let says = |number: usize| {
            let (ink, text) = match sees.get(number) {
                Some(200) => (Ink::Green, "200".to_owned()),
                Some(0) | None => (Ink::Dim, "-".to_owned()),
                Some(status) => (Ink::Yellow, status.to_string()),
            };
            self.ink(ink, format!("{text:>6}"))
        };
        writeln!(
            io::stdout().lock(),
            "{:>5.2} s |{} {}  |{} |{}",
            at.as_secs_f64(),
            says(0),
            says(1),
            self.side(lines.0),
            self.side(lines.1),
        )
    }

    fn side(&self, Line { answers, errors, old, new }: Line) -> String {
        let (answers, errors) = (self.number(Ink::Green, answers), self.number(Ink::Red, errors));
        format!("{answers} {errors} {old:>6} {new:>6} ")
    }

    /// Something that happened.
    pub(crate) fn note(&self, what: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{}", self.ink(Ink::Yellow, format!("{:>7} > {what}", "")))
    }

    pub(crate) fn table(&self, ours: &Told, twin: &Told) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "\n  {:<54} {:>16} {:>9}", "", "asks, and drains", "its twin")?;
        let mut row = |what: &str, count: &dyn Fn(&Told) -> u64| {
            writeln!(out, "  {what:<54} {:>16} {:>9}", count(ours), count(twin))
        };
        row("calls that were answered", &|told| told.load.answers())?;
        row("calls that failed", &|told| told.load.errors())?;
        row("requests that the old server got (its own count)", &|told| told.old.arrived())?;
        row("  and answered", &|told| told.old.answered())?;
        row("requests that the new server got (its own count)", &|told| told.new.arrived())?;
        row("  and some before it had started", &|told| told.new.too_early())?;
        row("parts of a download that came", &|told| told.parts)?;
        row("probes", &|told| told.probed.len() as u64)
    }
}

/// What a line tells of one side.
const COLUMNS: &str = "answers  errors at old at new ";
