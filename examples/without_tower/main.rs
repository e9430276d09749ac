//! Every policy without Tower: by its handle, around plain closures and async functions.
//!
//! `cargo run --example without_tower` takes less than a second and needs nothing but this machine. It
//! reads a file that vanishes, calls a plugin that panics, sends more mails than it may and asks a database
//! that fails, each through the policy for it; then an operator looks, and switches the database off by
//! name. It ends by checking its own claims against what disk and database counted.
#![expect(
    clippy::disallowed_methods,
    reason = "the library reads time in one place only; this story happens in real time"
)]

mod world;

use std::{
    error::Error as StdError,
    io::{self, Write},
    panic,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis::{
    Backoff, Bulkhead, BulkheadConfig, CatchPanicConfig, Circuit, CircuitBreakerConfig, Error,
    FallbackConfig, FallbackPolicy, LastGood, LastGoodConfig, PanicGuard, RateLimitConfig,
    RateLimiter, Reason, Registry, RetryConfig, RetryPolicy, Served, Sleep, State, TimeLimit,
    TimeoutConfig, catch_panic,
};
use tokio::task::JoinSet;

use crate::world::{Database, Disk, plugin};

type Failed = Box<dyn StdError + Send + Sync>;

/// The error of a policy around code that knows nothing of it: the code's own, or a refusal.
type Refusable = Error<io::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let mut claims = Claims::default();
    let complaint = match run(&mut claims).await {
        Ok(()) => claims
            .broken
            .iter()
            .map(|says| format!("without_tower: this did not hold: {says}\n"))
            .collect(),
        Err(error) => format!("without_tower: {error}\n"),
    };
    if complaint.is_empty() {
        return ExitCode::SUCCESS;
    }
    // If even this cannot be written, the exit code still says it.
    let _ = io::stderr().write_all(complaint.as_bytes());
    ExitCode::FAILURE
}

async fn run(claims: &mut Claims) -> Result<(), Failed> {
    // For the operators: every policy of the program, by name.
    let registry = Registry::new();
    a_file(&registry, claims)?;
    a_plugin(&registry, claims)?;
    mails(&registry, claims).await?;
    let database = Arc::new(Guarded::new(&registry)?);
    a_database(&database, claims).await?;
    operators(&registry, &database, claims).await
}

/// Sync code: a closure runs under a policy, or not at all. Nothing here needs a runtime.
fn a_file(registry: &Registry, claims: &mut Claims) -> Result<(), Failed> {
    claims.about("a file: Circuit, LastGood and FallbackPolicy around closures")?;
    let disk = Disk::new()?;
    let circuit = Circuit::new(
        CircuitBreakerConfig::new("disk")
            .consecutive_failures(3)
            .sleep(Sleep::fixed(Duration::from_secs(60))),
    )?;
    let kept = LastGood::new(LastGoodConfig::new("settings", Duration::from_secs(3600)))?;
    let defaults = FallbackPolicy::new(FallbackConfig::new("defaults"))?;
    registry.add(&circuit)?;
    registry.add(&kept)?;
    registry.add(&defaults)?;

    let read = |name: &'static str| circuit.call(|| disk.read(name).map_err(Error::Inner));
    let settings = || kept.call("settings.txt", || read("settings.txt"));

    disk.write("settings.txt", "colour = blue")?;
    let before: Result<_, Refusable> = settings();
    disk.remove("settings.txt")?;
    let after: Vec<_> = (0..10).map(|_| settings()).collect();
    claims.add(
        before.is_ok_and(|answer| answer == Served::Fresh("colour = blue".to_owned()))
            && after.iter().all(|answer| {
                matches!(answer, Ok(Served::LastGood { value, .. }) if value == "colour = blue")
            }),
        "ten reads of a file that is gone gave its last content, marked as such",
    )?;
    claims.add(
        disk.reads() == 1 + 3 && circuit.state() == State::Open,
        "the disk was tried three times more, then the circuit opened",
    )?;

    let theme = defaults.call(|| read("theme.txt"), |_failed| Ok("colour = grey".to_owned()));
    claims.add(
        theme.is_ok_and(|text| text == "colour = grey") && disk.reads() == 4,
        "what was never read has a default, and an open circuit asked no disk for it",
    )?;

    // Where a closure does not fit: leave is taken and settled by hand. Dropping it says "abandoned".
    circuit.close();
    let permit = circuit.try_acquire()?;
    match disk.write("settings.txt", "colour = red") {
        Ok(()) => permit.success(),
        Err(_) => permit.failure(),
    }
    claims.add(
        circuit.snapshot().successes == 1
            && settings().is_ok_and(|answer| answer == Served::Fresh("colour = red".to_owned())),
        "closed again, the circuit lets through what is new",
    )
}

/// Code that nobody can trust.
fn a_plugin(registry: &Registry, claims: &mut Claims) -> Result<(), Failed> {
    claims.about("a plugin: PanicGuard around a closure")?;
    let guard = PanicGuard::new(CatchPanicConfig::new("plugin"))?.on_panic(|thrown| {
        let says = catch_panic::message(thrown).unwrap_or("nothing");
        // An operator's log, here. It is no matter of the plugin's caller if nobody can read it.
        let _ = writeln!(io::stdout(), "    the plugin says: {says}");
    });
    registry.add(&guard)?;

    // The guard reports it; without this, so would Rust.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let count = |text: &str| guard.call(|| Ok::<_, Refusable>(plugin(text)));
    let (bad, good) = (count("colour"), count("colour = blue"));
    panic::set_hook(hook);

    claims.add(
        matches!(bad, Err(Error::Rejected(refusal)) if refusal.reason() == Reason::Panicked),
        "its panic became an error of its caller",
    )?;
    claims.add(good.is_ok_and(|letters| letters == 4), "and its next call was answered")
}

/// So many in so long: refused, or in their turn.
async fn mails(registry: &Registry, claims: &mut Claims) -> Result<(), Failed> {
    claims.about("mails: RateLimiter, asked before each")?;
    let limiter =
        RateLimiter::new(RateLimitConfig::new("mail", 3, Duration::from_secs(3600)).burst(3))?;
    registry.add(&limiter)?;

    let refused: Vec<_> = (0..5).filter_map(|_| limiter.try_acquire().err()).collect();
    let soon = Duration::from_secs(3600 / 3);
    claims.add(
        refused.len() == 2
            && refused.iter().all(|no| no.retry_after().is_some_and(|after| after <= soon)),
        "three mails an hour: of five at once two were refused, with the time to come back",
    )?;

    // Its numbers change live, and what has been used stays used.
    limiter.reconfigure(RateLimitConfig::per_second("mail", 100).burst(3))?;
    let begun = Instant::now();
    for _ in 0..10 {
        limiter.acquire().await?;
    }
    // Three may have been there to begin with, on a machine that takes its time; the others were not.
    claims.add(
        begun.elapsed() >= Duration::from_millis(70),
        "a hundred a second from now on: ten waited for their turn, and took as long as they must",
    )
}

/// A database, with all that stands in front of it.
struct Guarded {
    database: Database,
    limit: TimeLimit,
    slots: Bulkhead,
    retry: RetryPolicy,
    circuit: Circuit,
}

impl Guarded {
    fn new(registry: &Registry) -> Result<Self, Failed> {
        let guarded = Self {
            database: Database::default(),
            limit: TimeLimit::new(TimeoutConfig::new("database", Duration::from_secs(10)))?,
            slots: Bulkhead::new(
                BulkheadConfig::new("database", 2).queue(100).max_wait(Duration::from_secs(10)),
            )?,
            retry: RetryPolicy::new(
                RetryConfig::new("database").backoff(Backoff::constant(Duration::from_millis(5))),
            )?,
            circuit: Circuit::new(CircuitBreakerConfig::new("database"))?,
        };
        registry.add(&guarded.limit)?;
        registry.add(&guarded.slots)?;
        registry.add(&guarded.retry)?;
        registry.add(&guarded.circuit)?;
        Ok(guarded)
    }

    /// One policy around the other, the outermost first. Each decides when its `run` is called: the
    /// `async` blocks are there so that one inside is called when it is its turn, and not before.
    async fn query(&self, id: u32) -> Result<String, Refusable> {
        let attempt = || async { self.database.query(id).await.map_err(Error::Inner) };
        let attempts = async { self.retry.run(|| self.circuit.run(attempt())).await };
        let in_a_slot = async { self.slots.run(attempts).await };
        self.limit.run(in_a_slot).await
    }
}

/// Async code: a future runs under a policy, a retry makes one per attempt.
async fn a_database(guarded: &Arc<Guarded>, claims: &mut Claims) -> Result<(), Failed> {
    claims.about("a database: TimeLimit > Bulkhead > RetryPolicy > Circuit around an async fn")?;
    let database = &guarded.database;

    let mut callers = JoinSet::new();
    for id in 0..20 {
        let guarded = Arc::clone(guarded);
        callers.spawn(async move { guarded.query(id).await });
    }
    let answers = callers.join_all().await;
    claims.add(
        answers.iter().all(Result::is_ok) && database.most_inside() == 2,
        "twenty queries at once: two at a time were in the database, and all were answered",
    )?;

    let before = database.asked();
    database.fail_next(2);
    let answer = guarded.query(7).await;
    claims.add(
        answer.is_ok_and(|row| row == "row 7") && database.asked() - before == 3,
        "a query whose first two attempts failed was answered by the third",
    )?;

    let stuck = async { database.lock_up().await.map_err(Error::Inner) };
    let cut = guarded.limit.run_within(Duration::from_millis(20), stuck).await;
    claims.add(
        matches!(cut, Err(Error::Rejected(refusal))
            if refusal.reason() == Reason::Timeout && refusal.attempted()),
        "a query that is never answered was cut",
    )
}

/// What somebody at a console can see and do, who knows the names and nothing else.
async fn operators(
    registry: &Registry,
    guarded: &Guarded,
    claims: &mut Claims,
) -> Result<(), Failed> {
    claims.about("operators: Registry, explain(), snapshots and commands by name")?;
    let mut out = io::stdout();
    for (why, (_, kind)) in registry.explain().into_iter().zip(registry.names()) {
        writeln!(out, "    {kind}: {why}")?;
    }
    claims
        .add(registry.snapshot().len() == 9, "nine policies are registered, each has a snapshot")?;

    // Commands come as words, as they do from a console or an endpoint. Those that know it obey.
    let asked = guarded.database.asked();
    registry.command("database", "force_open".parse()?)?;
    writeln!(out, "    {}", guarded.circuit.explain())?;
    let answer = guarded.query(1).await;
    claims.add(
        matches!(answer, Err(Error::Rejected(refusal)) if refusal.reason() == Reason::ForcedOpen)
            && guarded.database.asked() == asked,
        "the database was switched off by name: a query was refused and did not reach it",
    )?;
    registry.command("database", "enable".parse()?)?;
    claims.add(guarded.query(1).await.is_ok(), "and switched on again")?;
    claims.add(
        registry.command("datebase", "enable".parse()?).is_err()
            && registry.command("mail", "force_open".parse()?).is_err(),
        "a name that nobody has is an error, as is a command that nobody of that name knows",
    )?;
    let snapshot = guarded.retry.snapshot();
    claims.add(
        (snapshot.calls, snapshot.retried_successes) == (23, 1),
        "23 calls were counted by the database's retry, one of which was answered late",
    )
}

/// What this run was to show, told as it happens.
#[derive(Debug, Default)]
struct Claims {
    broken: Vec<&'static str>,
}

impl Claims {
    fn about(&self, what: &str) -> Result<(), Failed> {
        Ok(writeln!(io::stdout(), "\n  {what}")?)
    }

    fn add(&mut self, holds: bool, says: &'static str) -> Result<(), Failed> {
        if !holds {
            self.broken.push(says);
        }
        let word = if holds { "ok" } else { "NOT SO" };
        Ok(writeln!(io::stdout(), "  {word:>6}  {says}")?)
    }
}
