//! The Markdown that the README quotes.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::available_parallelism,
};

use crate::{
    counted::Counted,
    growth::Curves,
    measure::Cost,
    memory::{SIZES, stores},
    panel::Panel,
    targets::{Nanos, bytes, least, outcomes},
};

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
    /// Allocations per call and bytes per key, where they could be counted.
    pub counted: Counted,
    /// Cost per call against what a policy has gathered.
    pub growth: Vec<Curves>,
}

impl Findings {
    /// All of them together.
    pub fn new(rounds: u32, costs: Vec<Cost>, counted: Counted, growth: Vec<Curves>) -> Self {
        Self { rounds, costs, counted, growth }
    }

    /// The whole report.
    pub fn markdown(&self) -> String {
        let mut out = String::from("# Policies side by side\n");
        // Writing to a `String` cannot fail.
        let _ = self.preface(&mut out);
        let _ = self.ratios(&mut out);
        let _ = self.least(&mut out);
        for panel in Panel::ALL {
            let _ = self.panel(&mut out, panel);
        }
        let _ = self.bytes(&mut out);
        for curves in &self.growth {
            let _ = grown(&mut out, curves);
        }
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

| work | ours | theirs | 1 thread, or the runtime | 2 threads, one instance |
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
        for (ours, peer, keys, ratio) in bytes(&self.counted, &SIZES) {
            let work = format!("keyed: heap bytes per key, {keys} keys");
            writeln!(out, "| {work} | `{ours}` | `{peer}` | {} | – |", verdict(ratio, 1.0))?;
        }
        Ok(())
    }

    fn least(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "
## What the missed targets leave

Nanoseconds: what the target leaves, the least that the work takes when it is written by hand for this one
configuration (the `hand-*` rows below), and what ours takes. Where the second is more than the first, a policy
that does this work cannot be expected to meet the target here; where it is more than the third as well, ours
does that work better than what was written by hand, which then bounds nothing.

| work | 1 thread, or the runtime: target · by hand · ours | 2 threads: target · by hand · ours |
|---|---:|---:|"
        )?;
        let cell = |of: Option<Nanos>| {
            of.map_or_else(
                || "met".into(),
                |of| format!("{} · {} · {}", nanos(of.allowed), nanos(of.by_hand), nanos(of.ours)),
            )
        };
        for least in least(&self.costs) {
            let two = if least.target.two.is_some() { cell(least.two) } else { "–".into() };
            writeln!(out, "| {} | {} | {two} |", least.target.work, cell(least.one))?;
        }
        Ok(())
    }

    fn panel(&self, out: &mut String, panel: Panel) -> std::fmt::Result {
        let costs: Vec<_> = self.costs.iter().filter(|cost| cost.subject.panel == panel).collect();
        if costs.is_empty() {
            return Ok(());
        }
        heading(out, panel.title(), panel.note())?;
        let unit = if panel.in_runtime() { "ns per call" } else { "1 thread, ns" };
        writeln!(
            out,
            "| subject | crate | configuration | {unit} | 2 threads, ns each | allocations |
|---|---|---|---:|---:|---:|"
        )?;
        for cost in costs {
            let subject = cost.subject;
            let allocations = self.counted.calls.get(subject.name);
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

    fn bytes(&self, out: &mut String) -> std::fmt::Result {
        if self.counted.bytes.is_empty() {
            return Ok(());
        }
        heading(
            out,
            "Keyed rate limiter: heap bytes per key",
            "What is held once so many keys have been seen, over their number.",
        )?;
        write!(out, "| store | crate, keys |")?;
        for size in SIZES {
            write!(out, " {size} |")?;
        }
        writeln!(out, "\n|---|---|{}", "---:|".repeat(SIZES.len()))?;
        for store in stores(None) {
            write!(out, "| `{}` | {} |", store.name, store.what)?;
            for size in SIZES {
                let bytes = self.counted.bytes.get(&(store.name.to_owned(), size));
                write!(out, " {} |", bytes.map_or_else(|| "–".into(), |bytes| bytes.to_string()))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn grown(out: &mut String, curves: &Curves) -> std::fmt::Result {
    heading(out, curves.axis.title(), curves.axis.note())?;
    write!(out, "| N |")?;
    for size in &curves.sizes {
        write!(out, " {size} |")?;
    }
    writeln!(out, "\n|---|{}", "---:|".repeat(curves.sizes.len()))?;
    for (series, costs) in &curves.costs {
        write!(out, "| {} |", series.name)?;
        for cost in costs {
            write!(out, " {} |", nanos(*cost))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn heading(out: &mut String, title: &str, note: &str) -> std::fmt::Result {
    writeln!(out, "\n## {title}\n")?;
    if note.is_empty() { Ok(()) } else { writeln!(out, "{note}\n") }
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
    [
        "portcullis",
        "failsafe",
        "governor",
        "recloser",
        "seatbelt",
        "tower",
        "tower-resilience-bulkhead",
        "tower-resilience-circuitbreaker",
        "tower-resilience-fallback",
        "tower-resilience-ratelimiter",
        "tower-resilience-retry",
        "tower-resilience-timelimiter",
        "tower_governor",
    ]
    .into_iter()
    .map(|name| (name, version(name).unwrap_or_else(|| "unknown".into())))
    .collect()
}

fn lock_file(from: &Path) -> Option<String> {
    from.ancestors().find_map(|folder| fs::read_to_string(folder.join("Cargo.lock")).ok())
}
