//! A retry storm, and what keeps it from happening.
//!
//! Ten processes call one service 700 times a second in all. For fifteen seconds it can do only half of
//! that, and then it is well again. The same story is played six times in virtual time, with six ways of
//! calling: without retries, with naive ones, with back-off, with jitter, with a budget, and with a
//! circuit breaker as well. Prints what each makes of one call, draws it, and checks its own claims.
//!
//! What to look for: back-off and jitter put retries off and spread them, but make them no fewer, so this
//! storm feeds itself for ever. A budget bounds them; those of one bad moment are forgotten ten seconds
//! later and may be spent once more, which is the second hump. Only the breaker takes load away, so that
//! some calls succeed although the service can do half of them.
//!
//! `cargo run --example retry_storm` takes about five seconds and draws `target/retry_storm.svg`. Another
//! file, and another run of luck, can be named:
//!
//! ```sh
//! cargo run --example retry_storm -- storm.svg 7
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "the library reads time in one place only; this story has a clock of its own"
)]

mod fleet;
mod plot;
mod service;
mod strategies;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use fleet::{PROCESSES, RATE, Story, play};
use portcullis::BoxError;
use service::{CAPACITY, END, QUEUE, TROUBLE, TROUBLED};
use strategies::{ATTEMPTS, PATIENCE, STRATEGIES};

fn main() -> ExitCode {
    let complaint = match run() {
        Ok(claims) => {
            let broken = claims.into_iter().filter(|claim| !claim.holds);
            broken
                .map(|claim| format!("retry_storm: this did not hold: {}\n", claim.says))
                .collect()
        }
        Err(error) => format!("\nretry_storm: {error}\n"),
    };
    if complaint.is_empty() {
        return ExitCode::SUCCESS;
    }
    // If even this cannot be written, the exit code still says it.
    let _ = io::stderr().write_all(complaint.as_bytes());
    ExitCode::FAILURE
}

fn run() -> Result<Vec<Claim>, BoxError> {
    let (path, seed) = arguments()?;
    writable(&path).map_err(|error| format!("cannot write to {}: {error}", path.display()))?;
    intro()?;
    let mut stories = Vec::new();
    for strategy in STRATEGIES {
        let story = play(&strategy, seed, progress(strategy.name))?;
        row(&story)?;
        stories.push(story);
    }
    fs::write(&path, plot::draw(&stories)?)?;
    writeln!(io::stdout(), "\nDrawn in {}", path.display())?;
    let claims = check(&stories)?;
    print(&claims)?;
    Ok(claims)
}

/// The picture's file and the seed.
fn arguments() -> Result<(PathBuf, u64), BoxError> {
    let mut given = std::env::args_os().skip(1);
    let path = given.next().unwrap_or_else(|| "target/retry_storm.svg".into());
    let seed = match given.next() {
        Some(seed) => seed.to_str().and_then(|seed| seed.parse().ok()),
        None => Some(0),
    };
    match (seed, given.next()) {
        (Some(seed), None) if !path.as_encoded_bytes().starts_with(b"-") => Ok((path.into(), seed)),
        _ => Err("usage: retry_storm [picture.svg [seed]], where the seed is a number".into()),
    }
}

/// Finds out before the story and not after it whether the picture can be drawn there.
fn writable(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    File::options().append(true).create(true).open(path).map(drop)
}

fn intro() -> io::Result<()> {
    let (begins, ends) = (TROUBLE.start, TROUBLE.end);
    writeln!(
        io::stdout().lock(),
        "{PROCESSES} processes make {} calls a second in all and wait {PATIENCE:?} for an answer. The service can\n\
         do {CAPACITY} a second, but from second {begins} to {ends} only {TROUBLED}; up to {QUEUE} requests wait in its queue.\n\
         Whoever retries makes at most {ATTEMPTS} attempts. Virtual time; {END} seconds of it, six times.\n\n\
         {:12} {:>21} {:>23} {:>10} {:>12}\n\
         {:12} {:>10} {:>10} {:>12} {:>10} {:>10} {:>12}",
        PROCESSES as f64 * RATE,
        "",
        "requests per call",
        "calls that succeed",
        "most in",
        "well again",
        "",
        "trouble",
        "afterwards",
        "trouble",
        "afterwards",
        "a second",
        "after",
    )
}

/// Tells whoever has waited for two seconds how far it is. Virtual time takes what the machine needs.
fn progress(name: &'static str) -> impl FnMut(u64) {
    let mut told = Instant::now();
    move |second| {
        if told.elapsed() >= Duration::from_secs(2) {
            told = Instant::now();
            // Somebody who does not look misses nothing.
            let _ = writeln!(io::stderr(), "  ... {name}: second {second} of {END}");
        }
    }
}

fn row(story: &Story) -> io::Result<()> {
    let after = TROUBLE.end..END;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    writeln!(
        io::stdout().lock(),
        "{:12} {:10.2} {:10.2} {:>12} {:>10} {:10} {:>12}",
        story.name,
        story.amplification(TROUBLE),
        story.amplification(after.clone()),
        percent(story.calls(TROUBLE).share()),
        percent(story.calls(after).share()),
        story.peak(),
        story.recovery().map_or("never".to_owned(), |seconds| format!("{seconds} s")),
    )
}

/// Something that this run was to show, and whether it did.
struct Claim {
    says: String,
    holds: bool,
}

fn print(claims: &[Claim]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out)?;
    for claim in claims {
        writeln!(out, "  {}  {}", if claim.holds { "    ok" } else { "NOT SO" }, claim.says)?;
    }
    Ok(())
}

/// What this run was to show. Each bound follows from the numbers of the story.
fn check(stories: &[Story]) -> Result<Vec<Claim>, BoxError> {
    let story = |name| stories.iter().find(|story| story.name == name).ok_or("a story is missing");
    let mut claims = Vec::new();
    let mut claim = |holds, says| claims.push(Claim { says, holds });

    let none = story("no retry")?;
    let (requests, calls) = (none.came(0..END + 1), none.calls(0..END + 1).made);
    claim(requests == calls, format!("without retries {calls} calls are {requests} requests"));

    // At the best the service answers half of the calls, and those that fail take every attempt: 2.5.
    // Less than 2 would need more than a quarter of the attempts to come when the trouble is over.
    let naive = story("naive")?;
    let requests = naive.amplification(TROUBLE);
    claim(
        requests > 2.0,
        format!("naive retries make {requests:.1} requests of a call in trouble"),
    );

    // Four requests a call are more than the service can do on its best day: its queue stays full, and
    // what comes out of a full queue comes after two seconds, when nobody waits for it any more.
    for name in ["naive", "back-off", "jitter"] {
        claim(
            story(name)?.recovery().is_none(),
            format!(
                "with {name} retries alone the storm goes on by itself when the trouble is over"
            ),
        );
    }

    // At every retry of a process, its retries of the last ten seconds are at most a fifth of its calls of
    // the same ten seconds, and ten a second besides. So many such times, one after the other, hold every
    // retry of the trouble; the first of them begins ten seconds before it at the earliest.
    let budget = story("budget")?;
    let times = (TROUBLE.end - TROUBLE.start).div_ceil(10);
    let calls = budget.calls(TROUBLE.start - 10..TROUBLE.end).made;
    let retries = budget.came(TROUBLE) - budget.calls(TROUBLE).made;
    let allowed = 0.2 * f64::from(calls) + (10 * PROCESSES * 10 * times) as f64;
    claim(
        f64::from(retries) <= allowed,
        format!("a budget makes {retries} retries in trouble, of {allowed:.0} at most"),
    );
    // So in the long run there are 940 requests a second, which is less than the service can do.
    claim(budget.recovery().is_some(), "with a budget the storm ends after the trouble".to_owned());

    // Half of the calls fail at the least, which opens the circuits, and an open one sends nothing.
    let breaker = story("and breaker")?;
    let requests = breaker.amplification(TROUBLE);
    claim(
        requests < 1.0,
        format!("a circuit breaker makes {requests:.2} requests of a call in trouble"),
    );
    // Whoever asks too much of the service gets nothing from it; circuits that are open leave it time.
    let (with, without) = (breaker.calls(TROUBLE).share(), none.calls(TROUBLE).share());
    claim(
        with > without,
        format!(
            "so {:.0} % of calls succeed in trouble, against {:.0} % without retries",
            with * 100.0,
            without * 100.0
        ),
    );
    claim(breaker.recovery().is_some(), "with a breaker the storm ends as well".to_owned());
    Ok(claims)
}
