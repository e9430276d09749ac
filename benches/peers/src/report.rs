//! The Markdown that the README quotes.

use std::{
    collections::HashMap,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::available_parallelism,
};

use crate::{Panel, growth::Curve, measure::Cost, targets::outcomes};

/// With fewer rounds a median means little.
const ENOUGH: u32 = 15;

/// Everything that was measured.
#[derive(Debug)]
#[non_exhaustive]
pub struct Findings {
    /// How many batches each subject ran.
    pub rounds: u32,
    /// Nanoseconds per call.
    pub costs: Vec<Cost>,
    /// Allocations per call by subject, where they could be counted.
    pub allocations: HashMap<String, f64>,
    /// The sizes of the growth curves.
    pub sizes: Vec<u32>,
    /// Cost per call against calls in the window.
    pub growth: Vec<Curve>,
}

impl Findings {
    /// All of them together.
    pub fn new(
        rounds: u32,
        costs: Vec<Cost>,
        allocations: HashMap<String, f64>,
        sizes: Vec<u32>,
        growth: Vec<Curve>,
    ) -> Self {
        Self { rounds, costs, allocations, sizes, growth }
    }

    /// The whole report.
    pub fn markdown(&self) -> String {
        let mut out = String::from("# Breakers side by side\n");
        // Writing to a `String` cannot fail.
        let _ = self.preface(&mut out);
        let _ = self.ratios(&mut out);
        for panel in Panel::ALL {
            let _ = self.panel(&mut out, panel);
        }
        let _ = self.growth(&mut out);
        out
    }

    fn preface(&self, out: &mut String) -> std::fmt::Result {
        let cores = available_parallelism().map_or(0, usize::from);
        writeln!(
            out,
            "
Written by `cargo run --release -p peers`: medians of {} rounds, in each of which every subject ran
one batch. {cores} cores, {}, {}, release profile of this workspace. A shared machine is noisy:
only the ratios within one run hold anywhere else.
",
            self.rounds,
            env::consts::ARCH,
            compiler(),
        )?;
        if self.rounds < ENOUGH {
            writeln!(out, "**Too few rounds to mean anything: the machine was busy.**\n")?;
        }
        writeln!(out, "| crate | version |\n|---|---|")?;
        for (name, version) in versions() {
            writeln!(out, "| {name} | {version} |")?;
        }
        Ok(())
    }

    fn ratios(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "
## Ours / theirs

Lower is better. In brackets: the target, and whether this run met it.

| work | ours | theirs | 1 thread, or the runtime | 2 threads, one breaker |
|---|---|---|---:|---:|"
        )?;
        for outcome in outcomes(&self.costs) {
            let target = outcome.target;
            let two = outcome.two.zip(target.two);
            writeln!(
                out,
                "| {} | `{}` | `{}` | {} | {} |",
                target.work,
                target.ours,
                target.peer,
                verdict(outcome.one, target.one),
                two.map_or_else(|| "–".into(), |(ratio, most)| verdict(ratio, most)),
            )?;
        }
        Ok(())
    }

    fn panel(&self, out: &mut String, panel: Panel) -> std::fmt::Result {
        let (unit, note) = match panel {
            Panel::Runtime => (
                "ns per call",
                "2 workers, 64 tasks with a clone each: time passed over calls made.\n\n",
            ),
            _ => ("1 thread, ns", ""),
        };
        let title = panel.title();
        writeln!(
            out,
            "
## {title}

{note}| subject | crate | configuration | {unit} | 2 threads, ns each | allocations |
|---|---|---|---:|---:|---:|"
        )?;
        for cost in self.costs.iter().filter(|cost| cost.subject.panel == panel) {
            let subject = cost.subject;
            let allocations = self.allocations.get(subject.name);
            writeln!(
                out,
                "| `{}` | {} | {} | {} | {} | {} |",
                subject.name,
                subject.origin,
                subject.configuration,
                nanos(cost.one),
                cost.two.map_or_else(|| "–".into(), nanos),
                allocations.map_or_else(|| "–".into(), |count| format!("{count}")),
            )?;
        }
        Ok(())
    }

    fn growth(&self, out: &mut String) -> std::fmt::Result {
        write!(
            out,
            "
## Cost per call against calls in the window

Nanoseconds on one thread; every hundredth call fails. Time windows are an hour long, so that they
hold every call made.

| N |"
        )?;
        for size in &self.sizes {
            write!(out, " {size} |")?;
        }
        writeln!(out, "\n|---|{}", "---:|".repeat(self.sizes.len()))?;
        for curve in &self.growth {
            write!(out, "| {} |", curve.series.name)?;
            for cost in &curve.costs {
                write!(out, " {} |", nanos(*cost))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn nanos(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn verdict(ratio: f64, most: f64) -> String {
    let word = if ratio <= most { "met" } else { "missed" };
    format!("{ratio:.3} (≤ {most}: {word})")
}

/// The folder of this package, where the report goes.
pub fn folder() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("benches/peers"), PathBuf::from)
}

fn compiler() -> String {
    let program = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    // The first two words: the rest is a commit.
    let words = text.unwrap_or_default();
    let words: Vec<_> = words.split_whitespace().take(2).collect();
    if words.is_empty() { "compiler unknown".into() } else { words.join(" ") }
}

/// What was really linked, from the lock file.
fn versions() -> Vec<(&'static str, String)> {
    let lock = lock_file(&folder()).unwrap_or_default();
    let version = |name: &str| {
        let entry = lock.split("[[package]]").find(|entry| {
            entry.lines().any(|line| line.strip_prefix("name = ") == Some(&format!("\"{name}\"")))
        })?;
        let line = entry.lines().find_map(|line| line.strip_prefix("version = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    ["portcullis", "recloser", "failsafe", "seatbelt", "tower-resilience-circuitbreaker"]
        .into_iter()
        .map(|name| (name, version(name).unwrap_or_else(|| "unknown".into())))
        .collect()
}

fn lock_file(from: &Path) -> Option<String> {
    from.ancestors().find_map(|folder| fs::read_to_string(folder.join("Cargo.lock")).ok())
}
