//! What is printed: the live timeline, the closing table, and the claims.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use portcullis::{State, policy::breaker::Transition};

use crate::{
    load::{Totals, Vain, WORKERS},
    server::{Book, Phase},
};

/// A change of the circuit's state, and when the observer saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) at: Duration,
    pub(crate) what: Transition,
    /// How many requests of the period that ended the server had answered with success by then.
    pub(crate) answered_ok: u64,
}

/// What happened on one side since the last line, or since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    pub(crate) calls: Totals,
    pub(crate) reached: u64,
}

/// One side of the comparison, when all is over.
#[derive(Debug)]
pub(crate) struct Side<'a> {
    pub(crate) calls: Totals,
    pub(crate) book: &'a Book,
    /// Every call that failed or was refused, the shortest wait first.
    pub(crate) vain: Vec<Vain>,
}

impl Side<'_> {
    /// The waits for calls that were begun while the server was failing.
    fn waits(&self) -> impl Iterator<Item = Duration> {
        let failing = self.vain.iter().filter(|vain| vain.begun == Phase::Failing);
        failing.map(|vain| vain.waited)
    }

    fn mean(&self) -> String {
        let count = u32::try_from(self.waits().count()).unwrap_or(u32::MAX);
        or_dash(self.waits().sum::<Duration>().checked_div(count))
    }

    fn percentile(&self, percent: usize) -> String {
        let rank = (self.waits().count() * percent).div_ceil(100);
        or_dash(rank.checked_sub(1).and_then(|index| self.waits().nth(index)))
    }

    /// The price: whoever still did without after the recovery.
    fn late(&self) -> String {
        self.vain.iter().filter(|vain| vain.begun == Phase::Recovered).count().to_string()
    }

    fn lost(&self) -> String {
        seconds(self.vain.iter().map(|vain| vain.waited).sum())
    }
}

/// Something that this run was to show, and whether it did.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) says: String,
    pub(crate) holds: bool,
}

#[derive(Clone, Copy)]
enum Ink {
    Plain,
    Dim,
    Green,
    Yellow,
    Red,
}

/// Standard output, in colour where somebody sees it.
#[derive(Debug)]
pub(crate) struct Screen {
    colour: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        // By convention the variable counts only if it is not empty.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: io::stdout().is_terminal() && !plain }
    }

    /// Pads first and paints then, since a terminal gives colours no width.
    fn ink(&self, ink: Ink, padded: String) -> String {
        let code = match ink {
            _ if !self.colour => return padded,
            Ink::Plain => return padded,
            Ink::Dim => 2,
            Ink::Green => 32,
            Ink::Yellow => 33,
            Ink::Red => 31,
        };
        format!("\x1b[{code}m{padded}\x1b[0m")
    }

    fn state(&self, state: State, width: usize) -> String {
        let ink = match state {
            State::Closed => Ink::Green,
            State::HalfOpen => Ink::Yellow,
            State::Open => Ink::Red,
            _ => Ink::Plain,
        };
        self.ink(ink, format!("{:<width$}", state.as_str()))
    }

    /// A number of a column, which catches the eye only if it is not zero.
    fn number(&self, ink: Ink, number: u64) -> String {
        self.ink(if number == 0 { Ink::Dim } else { ink }, format!("{number:>7}"))
    }

    pub(crate) fn intro(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "Two HTTP servers on this machine fall ill, close their port and recover at the same\n\
             moments, while {WORKERS} callers keep calling each of them. The calls to one go through a\n\
             circuit breaker and the calls to its twin do not: see what that spares both ends.\n",
        )?;
        writeln!(
            out,
            "{:<24}|{:^47} |{:^33}",
            "", "through the circuit breaker", "its unprotected twin"
        )?;
        writeln!(
            out,
            "{:>7}  {:<15}|  {:<9} {:>7} {:>7} {:>7} {:>7}   |{:>7} {:>7} {:>7}  {:>9}",
            "time",
            "script",
            "circuit",
            "ok",
            "failed",
            "refused",
            "reached",
            "ok",
            "failed",
            "reached",
            "mean wait",
        )
    }

    /// One line of the timeline: what was counted since the line before.
    pub(crate) fn step(
        &self,
        at: Duration,
        phase: Phase,
        state: State,
        ours: Step,
        twin: Step,
    ) -> io::Result<()> {
        writeln!(
            io::stdout().lock(),
            "{:>7}  {:<15}|  {} {} {} {} {}   |{} {} {}  {:>9}",
            seconds(at),
            phase.name(),
            self.state(state, 9),
            self.number(Ink::Green, ours.calls.ok),
            self.number(Ink::Red, ours.calls.failed),
            self.number(Ink::Yellow, ours.calls.refused),
            self.number(Ink::Plain, ours.reached),
            self.number(Ink::Green, twin.calls.ok),
            self.number(Ink::Red, twin.calls.failed),
            self.number(Ink::Plain, twin.reached),
            or_dash(twin.calls.mean_wait()),
        )
    }

    /// A change of state with its reason, between the lines and as it happens.
    pub(crate) fn change(&self, change: &Change) -> io::Result<()> {
        let Transition { from, to, cause, sleep, .. } = change.what;
        let stays = sleep.map(|time| format!("; refuses for {}", millis(time))).unwrap_or_default();
        writeln!(
            io::stdout().lock(),
            "{:>7}  {:<15}|  {from} -> {}: {cause}{stays}",
            seconds(change.at),
            "",
            self.state(to, 0),
        )
    }

    /// Both sides next to each other.
    pub(crate) fn table(
        &self,
        ours: &Side<'_>,
        twin: &Side<'_>,
        openings: usize,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "\n  What the circuit breaker saved")?;
        let mut row = |what: &str, ours: String, twin: String| {
            writeln!(out, "  {what:<58} {ours:>11} {twin:>12}")
        };
        let count = |n: u64| n.to_string();
        row("", "protected".to_owned(), "unprotected".to_owned())?;
        row("calls made", count(ours.calls.calls()), count(twin.calls.calls()))?;
        row("  answered", count(ours.calls.ok), count(twin.calls.ok))?;
        row("  failed", count(ours.calls.failed), count(twin.calls.failed))?;
        row("  refused at once by the circuit", count(ours.calls.refused), "-".to_owned())?;
        for (what, phase) in [
            ("requests that reached the server (its own count)", None),
            ("  of these, while it was failing and slow", Some(Phase::Failing)),
        ] {
            let of = |book: &Book| count(phase.map_or(book.total(), |phase| book.during(phase)));
            row(what, of(ours.book), of(twin.book))?;
        }
        row("calls without an answer though it was healthy again", ours.late(), twin.late())?;
        row(
            "calls that ran into the closed port",
            count(ours.calls.port_closed),
            count(twin.calls.port_closed),
        )?;
        row("time that callers waited for nothing, in total", ours.lost(), twin.lost())?;
        row("  per such call while the server was failing, mean", ours.mean(), twin.mean())?;
        for (what, percent) in [
            ("  per such call while the server was failing, median", 50),
            ("  per such call while the server was failing, 99 % within", 99),
        ] {
            row(what, ours.percentile(percent), twin.percentile(percent))?;
        }
        row("times the circuit opened", openings.to_string(), "-".to_owned())
    }

    /// The claims, each with whether it held.
    pub(crate) fn claims(&self, claims: &[Claim]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out)?;
        for claim in claims {
            let (ink, word) = if claim.holds { (Ink::Green, "ok") } else { (Ink::Red, "NOT SO") };
            writeln!(out, "  {}  {}", self.ink(ink, format!("{word:>6}")), claim.says)?;
        }
        Ok(())
    }
}

fn or_dash(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), millis)
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn millis(time: Duration) -> String {
    match time.as_micros() {
        0 => "< 1 us".to_owned(),
        micros @ 1..1000 => format!("{micros} us"),
        _ => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
    }
}
