//! The timeline, the closing table and the claims, as text.

use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use portcullis::State;

use crate::{
    load::{CALLERS, Got, Tally},
    server::{Book, Phase},
};

/// Something that this run was to show, and whether it did.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) says: String,
    pub(crate) holds: bool,
}

/// A reading of what was counted; the difference of two is one line of the timeline.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    fresh: u64,
    stale: u64,
    errors: u64,
    reached: u64,
    oldest: Duration,
}

impl Line {
    pub(crate) fn read(tally: &Tally, book: &Book) -> Self {
        Self {
            fresh: tally.fresh.load(Relaxed),
            stale: tally.stale.load(Relaxed),
            errors: tally.errors.load(Relaxed),
            reached: book.total(),
            oldest: Duration::from_micros(tally.oldest.swap(0, Relaxed)),
        }
    }

    pub(crate) fn since(self, earlier: &Self) -> Self {
        Self {
            fresh: self.fresh - earlier.fresh,
            stale: self.stale - earlier.stale,
            errors: self.errors - earlier.errors,
            reached: self.reached - earlier.reached,
            oldest: self.oldest,
        }
    }
}

#[derive(Clone, Copy)]
enum Ink {
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
            Ink::Dim => 2,
            Ink::Green => 32,
            Ink::Yellow => 33,
            Ink::Red => 31,
        };
        format!("\x1b[{code}m{padded}\x1b[0m")
    }

    /// A number of a column, which catches the eye only if it is not zero.
    fn number(&self, ink: Ink, number: u64) -> String {
        self.ink(if number == 0 { Ink::Dim } else { ink }, format!("{number:>7}"))
    }

    pub(crate) fn intro(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "A price server on this machine fails, closes its port and recovers, while {CALLERS} callers\n\
             keep asking for prices through a fallback on the last good price over a circuit breaker.\n",
        )?;
        writeln!(
            out,
            "{:>7}  {:<14} {:<10} {:>7} {:>7} {:>7} {:>8}  {:>9}",
            "time", "server", "circuit", "fresh", "stale", "errors", "reached", "stalest"
        )
    }

    /// One line of the timeline: what was counted since the line before.
    pub(crate) fn step(
        &self,
        at: Duration,
        phase: Phase,
        state: State,
        line: Line,
    ) -> io::Result<()> {
        let ink = match state {
            State::Closed => Ink::Green,
            State::HalfOpen => Ink::Yellow,
            _ => Ink::Red,
        };
        let oldest = if line.oldest.is_zero() {
            "-".to_owned()
        } else {
            format!("{} old", seconds(line.oldest))
        };
        writeln!(
            io::stdout().lock(),
            "{:>7}  {:<14} {} {} {} {} {:>8}  {:>9}",
            seconds(at),
            phase.name(),
            self.ink(ink, format!("{:<10}", state.as_str())),
            self.number(Ink::Green, line.fresh),
            self.number(Ink::Yellow, line.stale),
            self.number(Ink::Red, line.errors),
            line.reached,
            oldest,
        )
    }

    pub(crate) fn table(&self, callers: &[Vec<Got>], book: &Book, refused: u64) -> io::Result<()> {
        let all = || callers.iter().flatten();
        let count = |which: fn(&Got) -> bool| all().filter(|got| which(got)).count().to_string();
        let oldest = all().filter_map(Got::age).max().unwrap_or_default();
        let outage = book.during(Phase::Failing) + book.during(Phase::PortClosed);
        let mut out = io::stdout().lock();
        writeln!(out, "\n  What callers got")?;
        let mut row = |what: &str, number: String| writeln!(out, "  {what:<58} {number:>11}");
        row("calls made", all().count().to_string())?;
        row("  answered by the server", count(Got::is_fresh))?;
        row("  answered by the last good price", count(|got| got.age().is_some()))?;
        row("  errors", count(|got| got.result.is_err()))?;
        row("the oldest price that was given", seconds(oldest))?;
        row("prices that the server quoted (its own count)", book.good().to_string())?;
        row("requests that reached it during the outage (its own count)", outage.to_string())?;
        row("calls that the circuit spared it", refused.to_string())
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

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
