//! What a circuit breaker saves, live: real HTTP servers that break, real clients that call them.
//!
//! `cargo run --example quickstart` takes about eight seconds and needs nothing but this machine.
//! It ends by checking its own claims against what the servers counted, and fails if one is wrong.
#![expect(
    clippy::disallowed_methods,
    reason = "the library reads time in one place only; this story happens in real time"
)]

mod load;
mod report;
mod server;

use std::{
    error::Error as StdError,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use hyper::Uri;
use portcullis::{
    Circuit, CircuitBreakerConfig, ErrorLayer, Event, HalfOpen, Options, Outcome, Sleep, State,
    Window,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tower::ServiceBuilder;

use crate::{
    load::{Answer, CallError, Load, SENT, WORKERS, http_client, mark},
    report::{Change, Claim, Screen, Side, Step},
    server::{Phase, SCRIPT, Server},
};

/// One line of the timeline stands for this long.
const STEP: Duration = Duration::from_millis(500);

/// How many probes a half-open circuit sends; all of them must succeed.
const PROBES: u32 = 3;

/// A breaker for an outage of seconds. In production the defaults are a better start: they think in
/// tens of seconds.
fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("inventory")
        .window(Window::time(Duration::from_millis(500)))
        .minimum_calls(10)
        .failure_rate(0.5)
        .slow_calls(Duration::from_millis(150), 0.5)
        .sleep(Sleep::growing(Duration::from_millis(300), 2.0, Duration::from_millis(600)))
        .half_open(HalfOpen::counts(PROBES, 1))
        .probe_lease(Duration::from_secs(1))
        .seed(7)
}

#[tokio::main]
async fn main() -> ExitCode {
    let complaint = match run().await {
        Ok(claims) => {
            let broken = claims.into_iter().filter(|claim| !claim.holds);
            broken.map(|claim| format!("quickstart: this did not hold: {}\n", claim.says)).collect()
        }
        Err(error) => format!("quickstart: {error}\n"),
    };
    if complaint.is_empty() {
        return ExitCode::SUCCESS;
    }
    // If even this cannot be written, the exit code still says it.
    let _ = io::stderr().write_all(complaint.as_bytes());
    ExitCode::FAILURE
}

async fn run() -> Result<Vec<Claim>, Box<dyn StdError>> {
    let start = Instant::now();
    let screen = Screen::new();
    screen.intro()?;

    let our_server = Server::start(start)?;
    let twin_server = Server::start(start)?;

    // The circuit tells each change as it happens; at that moment the server's book is read.
    let (told, mut changes) = mpsc::unbounded_channel();
    let book = our_server.book.clone();
    let observer = move |event: &Event| {
        if let Event::Transition { transition: what, .. } = *event {
            let answered_ok = book.answered_ok(what.generation.saturating_sub(1));
            // Nobody listens any more only when the run is over.
            let _ = told.send(Change { at: start.elapsed(), what, answered_ok });
        }
    };
    let circuit = Circuit::with(config(), Options::new().observer(observer))?;

    // The stack under test. Between breaker and client, each request that the circuit has let
    // through is marked with the circuit's state, so that the server can keep its own book.
    let sent = circuit.clone();
    let protected = ServiceBuilder::new()
        .layer(circuit.layer().classify(|result: &Result<Answer, CallError>| match result {
            Ok(answer) if answer.status().is_server_error() => Outcome::Failure,
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        }))
        .map_request(move |call| mark(&sent, SENT, call))
        .layer(ErrorLayer::new())
        .service(http_client());
    let unprotected = ServiceBuilder::new().layer(ErrorLayer::new()).service(http_client());

    let uri = |server: &Server| Uri::try_from(format!("http://{}/stock/42", server.address));
    let mut our_load = Load::start(start, &protected, &uri(&our_server)?, Some(&circuit));
    let mut twin_load = Load::start(start, &unprotected, &uri(&twin_server)?, None);

    let mut history = Vec::new();
    let (mut ours, mut twin) = (Step::default(), Step::default());
    let mut at = Duration::ZERO;
    while at < SCRIPT.iter().map(|(_, lasts)| *lasts).sum() {
        let phase = Phase::at(at);
        at += STEP;
        let step_ends = sleep_until(start + at);
        tokio::pin!(step_ends);
        loop {
            tokio::select! {
                biased;
                Some(change) = changes.recv() => {
                    screen.change(&change)?;
                    history.push(change);
                }
                () = &mut step_ends => break,
            }
        }
        let (our_step, twin_step) = (
            advance(&mut ours, &our_load, &our_server),
            advance(&mut twin, &twin_load, &twin_server),
        );
        screen.step(start.elapsed(), phase, circuit.state(), our_step, twin_step)?;
    }

    let our_vain = our_load.stop().await?;
    let twin_vain = twin_load.stop().await?;
    let (our_book, twin_book) = (our_server.book.clone(), twin_server.book.clone());
    our_server.stop().await?;
    twin_server.stop().await?;
    while let Ok(change) = changes.try_recv() {
        history.push(change);
    }

    let ours = Side { calls: our_load.totals(), book: &our_book, vain: our_vain };
    let twin = Side { calls: twin_load.totals(), book: &twin_book, vain: twin_vain };
    let openings = history.iter().filter(|change| change.what.to == State::Open).count();
    screen.table(&ours, &twin, openings)?;
    let claims = check(&history, &ours, &twin);
    screen.claims(&claims)?;
    Ok(claims)
}

/// Moves a reading forward, and gives what happened in between.
fn advance(reading: &mut Step, load: &Load, server: &Server) -> Step {
    let now = Step { calls: load.totals(), reached: server.book.total() };
    let step = Step { calls: now.calls - reading.calls, reached: now.reached - reading.reached };
    *reading = now;
    step
}

/// What this run was to show. Every bound follows from the configuration and from each caller
/// having one call at a time; none depends on how fast the machine is.
fn check(history: &[Change], ours: &Side<'_>, twin: &Side<'_>) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut claim = |holds, says| claims.push(Claim { says, holds });
    let probes = u64::from(PROBES);
    let periods = ours.book.periods();
    let of_state = |state: State| {
        let periods = periods.values().filter(move |period| period.state == state.as_str());
        periods.map(|period| period.inside)
    };
    // A change is noticed at the moment it happens or later, never earlier.
    let since = |phase: Phase| history.iter().filter(move |change| change.at >= phase.begins());

    let opened = since(Phase::Failing)
        .filter(|change| change.at < Phase::Recovered.begins() && change.what.to == State::Open)
        .count();
    claim(opened > 0, format!("the circuit opened during the outage ({opened} times)"));

    let probed = since(Phase::Failing).filter(|change| change.what.to == State::HalfOpen).count();
    claim(probed > 0, format!("it went half-open to probe the server ({probed} times)"));

    let closed: Vec<&Change> = since(Phase::Recovered)
        .filter(|change| (change.what.from, change.what.to) == (State::HalfOpen, State::Closed))
        .collect();
    let earliest = closed.iter().map(|change| change.answered_ok).min();
    claim(
        earliest.is_some_and(|answered| answered >= probes),
        format!("it closed, but not before the server had answered {probes} of its probes"),
    );

    let resumed = closed.iter().any(|change| {
        periods
            .get(&change.what.generation)
            .is_some_and(|period| period.state == "closed" && period.inside > 0)
    });
    claim(resumed, "calls flowed again once it had closed".to_owned());

    let most = of_state(State::HalfOpen).max().unwrap_or(0);
    claim(
        most <= probes,
        format!("no half-open period sent the server more than {probes} probes (at most {most})"),
    );

    let leaked: u64 = of_state(State::Open).sum();
    claim(
        leaked == 0,
        format!("no request let through by an open circuit reached the server ({leaked})"),
    );

    // Whoever was just being let through when a period began was one of the other callers.
    let across = periods.values().map(|period| period.across).max().unwrap_or(0);
    claim(
        across < WORKERS,
        format!(
            "at most the {} other callers were under way at a change (at most {across})",
            WORKERS - 1
        ),
    );

    let (spared, borne) = (ours.book.during(Phase::Failing), twin.book.during(Phase::Failing));
    claim(
        spared < borne,
        format!("the failing server got fewer requests than its twin ({spared} against {borne})"),
    );

    let marked: u64 = periods.values().map(|period| period.inside + period.across).sum();
    let (arrived, borne) = (ours.book.total(), twin.book.total());
    claim(
        marked == arrived && arrived <= ours.calls.sent() && borne <= twin.calls.sent(),
        format!("the servers got no request twice and none unmarked ({arrived} and {borne})"),
    );
    claims
}
