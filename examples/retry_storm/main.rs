//! A retry storm, and what keeps it from happening.
//!
//! Ten processes call one service 700 times a second in all. For fifteen seconds it can do only half of
//! that, and then it is well again. The same story is played six times in virtual time, with six ways of
//! calling: without retries, with naive ones, with back-off, with jitter, with a budget, and with a
//! circuit breaker as well. Prints what each makes of one call, draws it, and checks its own claims.
//!
//! ```sh
//! cargo run --release --example retry_storm               # draws target/retry_storm.svg
//! cargo run --release --example retry_storm -- other.svg
//! ```

#![allow(clippy::disallowed_methods, reason = "a program of its own, which plays in virtual time")]

mod fleet;
mod plot;
mod service;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use fleet::{Client, Story, Strategy, play};
use portcullis::{
    Backoff, BoxError, CircuitBreakerConfig, CircuitBreakerLayer, Jitter, RetryConfig, RetryLayer,
    TimeoutConfig, TimeoutLayer,
};
use service::{Backend, END, TROUBLE};
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneService};

/// How long a caller waits for one attempt.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a caller tries at the most.
const ATTEMPTS: u32 = 4;

fn main() -> ExitCode {
    match tell() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nretry_storm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell() -> Result<(), BoxError> {
    let path = std::env::args_os().nth(1);
    let path = path.map_or_else(|| PathBuf::from("target/retry_storm.svg"), PathBuf::from);
    println!(
        "{} processes, {} calls a second in all; from second {} to {} the service can do {} a second \
         instead of {}\n",
        fleet::PROCESSES,
        fleet::PROCESSES as f64 * fleet::RATE,
        TROUBLE.start,
        TROUBLE.end,
        service::TROUBLED,
        service::CAPACITY,
    );
    println!(
        "                 requests per call          calls that succeed       most    well again"
    );
    println!("strategy         trouble   afterwards       trouble   afterwards   a second   after");
    let mut stories = Vec::new();
    for strategy in STRATEGIES {
        let story = play(&strategy)?;
        print(&story);
        stories.push(story);
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    plot::draw(&path, &stories).map_err(|error| error.to_string())?;
    println!("\ndrawn in {}", path.display());
    check(&stories)
}

fn print(story: &Story) {
    let after = TROUBLE.end..END;
    let recovery = story.recovery().map_or("never".to_owned(), |seconds| format!("{seconds} s"));
    println!(
        "{:15} {:8.2} {:12.2} {:12.0} % {:10.0} % {:10} {:>10}",
        story.name,
        story.amplification(TROUBLE),
        story.amplification(after.clone()),
        story.share(TROUBLE) * 100.0,
        story.share(after) * 100.0,
        story.peak(),
        recovery,
    );
}

const STRATEGIES: [Strategy; 6] = [
    Strategy { name: "no retry", client: |backend, seed| with(backend, once(seed)) },
    Strategy { name: "naive", client: |backend, seed| with(backend, naive(seed)) },
    Strategy {
        name: "back-off",
        client: |backend, seed| with(backend, naive(seed).backoff(backoff(Jitter::None))),
    },
    Strategy {
        name: "jitter",
        client: |backend, seed| with(backend, naive(seed).backoff(backoff(Jitter::Full))),
    },
    Strategy { name: "budget", client: |backend, seed| with(backend, budgeted(seed)) },
    Strategy { name: "and breaker", client: with_breaker },
];

fn once(seed: u64) -> RetryConfig {
    naive(seed).attempts(1)
}

/// Again and again, at once.
fn naive(seed: u64) -> RetryConfig {
    RetryConfig::new("storm")
        .attempts(ATTEMPTS)
        .backoff(Backoff::constant(Duration::ZERO))
        .no_budget()
        .seed(seed)
}

fn backoff(jitter: Jitter) -> Backoff {
    Backoff::exponential(Duration::from_millis(200), 2.0).jitter(jitter)
}

/// What the library does unless told otherwise, but for the number of attempts and the first delay.
fn budgeted(seed: u64) -> RetryConfig {
    RetryConfig::new("storm").attempts(ATTEMPTS).backoff(backoff(Jitter::Full)).seed(seed)
}

fn with(backend: Backend, retry: RetryConfig) -> Result<Client, BoxError> {
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(retry)?)
        .layer(TimeoutLayer::new(TimeoutConfig::new("attempt", PATIENCE))?)
        .service(backend.map_err(BoxError::from));
    Ok(BoxCloneService::new(service))
}

fn with_breaker(backend: Backend, seed: u64) -> Result<Client, BoxError> {
    let breaker = CircuitBreakerConfig::new("storm").failure_rate(0.5).seed(seed);
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(budgeted(seed))?)
        .layer(CircuitBreakerLayer::new(breaker)?)
        .layer(TimeoutLayer::new(TimeoutConfig::new("attempt", PATIENCE))?)
        .service(backend.map_err(BoxError::from));
    Ok(BoxCloneService::new(service))
}

/// What this program claims. Whatever does not hold is named, and the program fails.
fn check(stories: &[Story]) -> Result<(), BoxError> {
    let story = |name| stories.iter().find(|story| story.name == name).ok_or("a story is missing");
    let [none, naive, budget, breaker] =
        [story("no retry")?, story("naive")?, story("budget")?, story("and breaker")?];
    // What a budget lets through in a time: its share of the calls of that time and of the ten seconds
    // before, whose tokens are still there, and ten a second for each process besides.
    let trouble = (TROUBLE.end - TROUBLE.start) as f64;
    let allowed = 1.0 + (0.2 + 10.0 / fleet::RATE) * (trouble + 10.0) / trouble;
    let claims = [
        ("without retries one call is one request", none.amplification(0..END + 1) == 1.0),
        ("naive retries make a storm of the trouble", naive.amplification(TROUBLE) > 2.0),
        ("and keep it up when the trouble is over", naive.recovery().is_none()),
        ("a budget holds retries to its share", budget.amplification(TROUBLE) <= allowed),
        ("with a budget the service recovers", budget.recovery().is_some()),
        ("a breaker sends less than there are calls", breaker.amplification(TROUBLE) < 1.0),
        ("with a breaker the service recovers", breaker.recovery().is_some()),
    ];
    println!();
    let mut failed = Vec::new();
    for (claim, holds) in claims {
        println!("{} {claim}", if holds { "holds:" } else { "FAILS:" });
        if !holds {
            failed.push(claim);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
}
