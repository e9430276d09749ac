//! Reads conformance files and replays each scenario on the policy it is about.

mod backoff;
mod breaker;
mod bulkhead;
mod config;
mod rate_limiter;
mod retry;
mod retry_budget;
mod retry_stack;
mod window;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The kinds that belong to policies which do not exist yet.
const NOT_BUILT: [&str; 2] = ["hedge", "adaptive"];

/// Why a replay ended before its last step.
#[derive(Debug)]
enum Stop {
    /// The scenario needs something that this library does not have; the text names it.
    Skip(String),
    /// The library did something else than the scenario says.
    Fail(String),
}

type Replay<T = ()> = Result<T, Stop>;

fn skip<T>(reason: impl Into<String>) -> Replay<T> {
    Err(Stop::Skip(reason.into()))
}

fn fail<T>(what: impl Into<String>) -> Replay<T> {
    Err(Stop::Fail(what.into()))
}

/// What became of one scenario.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Passed { notes: Vec<String> },
    Failed(String),
    Skipped(String),
}

/// What became of one file.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) file: String,
    pub(crate) scenarios: Vec<(String, Verdict)>,
    /// Set if nothing in the file could be read as scenarios.
    pub(crate) unreadable: Option<String>,
    /// How many scenarios the file says it has.
    pub(crate) announced: Option<u64>,
}

impl Report {
    fn unreadable(file: String, why: String) -> Self {
        Self { file, scenarios: Vec::new(), unreadable: Some(why), announced: None }
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.scenarios.iter().filter_map(|(id, verdict)| match verdict {
            Verdict::Failed(why) => Some((id.as_str(), why.as_str())),
            _ => None,
        })
    }

    pub(crate) fn skipped(&self) -> impl Iterator<Item = (&str, &str)> {
        self.scenarios.iter().filter_map(|(id, verdict)| match verdict {
            Verdict::Skipped(why) => Some((id.as_str(), why.as_str())),
            _ => None,
        })
    }

    /// The summary line, then one line per reason, note and failure.
    pub(crate) fn print(&self) -> String {
        let (failed, skipped) = (self.failures().count(), self.skipped().count());
        let passed = self.scenarios.len() - failed - skipped;
        let mut out =
            format!("{}: passed {passed} / failed {failed} / skipped {skipped}\n", self.file);
        if let Some(why) = &self.unreadable {
            let _ = writeln!(out, "  skipped whole file: {why}");
        }
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (id, why) in self.skipped() {
            by_reason.entry(why).or_default().push(id);
        }
        for (why, ids) in by_reason {
            let _ = writeln!(out, "  skipped {} ({why}): {}", ids.len(), ids.join(", "));
        }
        for (id, verdict) in &self.scenarios {
            if let Verdict::Passed { notes } = verdict {
                for note in notes {
                    let _ = writeln!(out, "  note {id}: {note}");
                }
            }
        }
        for (id, why) in self.failures() {
            let _ = writeln!(out, "  FAILED {id}: {why}");
        }
        out
    }
}

/// Every `*.json` in a folder and the folders in it, by name.
pub(crate) fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_in(&path)?);
        } else if path.extension().is_some_and(|ext| ext == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Replays one file. A file that is not of the known schema is reported, not an error: the folder
/// may hold something else.
pub(crate) fn replay_file(path: &Path) -> Report {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parsed = fs::read_to_string(path)
        .map_err(|e| e.to_string())
        .and_then(|text| serde_json::from_str::<Value>(&text).map_err(|e| e.to_string()));
    match parsed {
        Ok(document) => replay_document(file, &document),
        Err(why) => Report::unreadable(file, why),
    }
}

pub(crate) fn replay_document(file: String, document: &Value) -> Report {
    if document["schema"] != "resilience-vectors/1" {
        return Report::unreadable(file, format!("unknown schema {}", document["schema"]));
    }
    let Some(scenarios) = document["scenarios"].as_array() else {
        return Report::unreadable(file, "no scenarios".into());
    };
    let replay_one = |(at, scenario): (usize, &Value)| {
        let id = scenario["id"].as_str().map_or_else(|| format!("#{at}"), str::to_owned);
        let kind = scenario["kind"].as_str().or_else(|| document["kind"].as_str());
        let verdict = catch_unwind(AssertUnwindSafe(|| replay(kind.unwrap_or(""), scenario)))
            .unwrap_or_else(|panic| Verdict::Failed(format!("panicked: {}", message(&*panic))));
        (id, verdict)
    };
    Report {
        file,
        scenarios: scenarios.iter().enumerate().map(replay_one).collect(),
        unreadable: None,
        announced: document["count"].as_u64(),
    }
}

fn replay(kind: &str, scenario: &Value) -> Verdict {
    match kind {
        "circuit_breaker" => breaker::replay(scenario),
        "rate_limiter" => rate_limiter::replay(scenario),
        "bulkhead" => bulkhead::replay(scenario),
        "sliding_window" => window::replay(scenario),
        "backoff" => backoff::replay(scenario),
        "retry" | "composition" => retry::replay(scenario),
        "retry_budget" => retry_budget::replay(scenario),
        kind if NOT_BUILT.contains(&kind) => {
            Verdict::Skipped(format!("kind {kind}: not built yet"))
        }
        kind => Verdict::Skipped(format!("unknown kind `{kind}`")),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".into())
}

/// The virtual clock: starts at 0 and moves only when a step says so.
#[derive(Clone, Copy, Debug)]
struct VirtualClock {
    origin: Instant,
    now_ms: u64,
}

impl VirtualClock {
    fn new() -> Self {
        // An `Instant` cannot be made from a number, so one reading serves as the zero; nothing
        // depends on which.
        Self { origin: portcullis::clock::tokio_now(), now_ms: 0 }
    }

    fn now(&self) -> Replay<Instant> {
        match self.origin.checked_add(Duration::from_millis(self.now_ms)) {
            Some(now) => Ok(now),
            None => skip("a time that does not fit the platform's clock"),
        }
    }

    fn advance(&mut self, ms: u64) {
        self.now_ms = self.now_ms.saturating_add(ms);
    }
}

/// The members of a JSON object.
fn members<'a>(value: &'a Value, what: &str) -> Replay<&'a serde_json::Map<String, Value>> {
    value.as_object().map_or_else(|| skip(format!("unknown shape of {what}: {value}")), Ok)
}

/// Words to a reader, wherever they stand: they ask nothing of the library.
const REMARKS: [&str; 6] = ["note", "notes", "desc", "description", "comment", "why"];

/// What any scenario may say about itself.
const ABOUT: [&str; 9] = [
    "id",
    "kind",
    "source",
    "features",
    "sensitive_to",
    "reference_model",
    "fails_under",
    "tags",
    "config",
];

/// Refuses what the schema does not have, so that nothing a scenario says is silently ignored.
fn only(value: &Value, what: &str, known: &[&str]) -> Replay {
    let known = |key: &&String| known.contains(&key.as_str()) || REMARKS.contains(&key.as_str());
    match members(value, what)?.keys().find(|key| !known(key)) {
        Some(key) => skip(format!("unknown element `{key}` in {what}")),
        None => Ok(()),
    }
}

/// [`only`] for a whole scenario: these parts, and what it says about itself.
fn parts(scenario: &Value, parts: &[&str]) -> Replay {
    only(scenario, "scenario", &[&ABOUT[..], parts].concat())
}

/// Times are given in whole milliseconds. One of ours that is none may have been rounded either way.
fn same_ms(found: Duration, expected: f64) -> bool {
    let off = (found.as_secs_f64() * 1e3 - expected).abs();
    let whole = found.subsec_nanos() % 1_000_000 == 0;
    off < if whole { 1e-3 } else { 1.0 }
}

/// Which of several limiters or circuits a step is about.
fn key_of(step: &Value) -> String {
    match &step["key"] {
        Value::Null => String::new(),
        Value::String(key) => key.clone(),
        other => other.to_string(),
    }
}

fn number(value: &Value, key: &str, what: &str) -> Replay<u64> {
    optional(value, key, what)?.map_or_else(|| skip(format!("no `{key}` in {what}")), Ok)
}

fn optional(value: &Value, key: &str, what: &str) -> Replay<Option<u64>> {
    match &value[key] {
        Value::Null => Ok(None),
        given => given
            .as_u64()
            .map_or_else(|| skip(format!("unknown `{key}` in {what}: {given}")), |n| Ok(Some(n))),
    }
}

fn small(value: &Value, key: &str, what: &str) -> Replay<u32> {
    let given = number(value, key, what)?;
    u32::try_from(given).or_else(|_| skip(format!("`{key}` in {what} is too large: {given}")))
}

fn fraction(value: &Value, key: &str, what: &str) -> Replay<f64> {
    value[key].as_f64().map_or_else(|| skip(format!("unknown `{key}` in {what}")), Ok)
}

fn word<'a>(value: &'a Value, key: &str, what: &str) -> Replay<&'a str> {
    value[key].as_str().map_or_else(|| skip(format!("no `{key}` in {what}")), Ok)
}

/// How often a step is repeated.
fn times(step: &Value) -> Replay<u64> {
    Ok(optional(step, "times", "a step")?.unwrap_or(1))
}
