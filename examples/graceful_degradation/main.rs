//! Graceful degradation, live: a price server fails, closes its port and recovers, and its callers never see
//! an error. While it is away they get the last good price of their item, marked with its age.
//!
//! `cargo run --example graceful_degradation` takes about seven seconds and needs nothing but this machine.
//! It ends by checking its own claims against what the server counted, and fails if one is wrong.
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
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use portcullis::{
    Circuit, CircuitBreakerConfig, Event, HalfOpen, LastGood, LastGoodConfig, Options, Sleep,
    State, Window,
};
use tokio::time::{Instant, sleep_until};
use tower::ServiceBuilder;

use crate::{
    load::{Got, Load, Quote, price_client},
    report::{Claim, Line, Screen},
    server::{Book, Phase, Server},
};

/// One line of the timeline stands for this long.
const STEP: Duration = Duration::from_millis(500);
/// How many steps the story goes on once the circuit has closed again.
const EPILOGUE: u32 = 3;
/// More steps than any machine needs.
const LONGEST: u32 = 40;

/// A breaker for an outage of seconds. In production the defaults are a better start.
fn breaker() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("prices")
        .window(Window::time(Duration::from_millis(500)))
        .minimum_calls(8)
        .sleep(Sleep::growing(Duration::from_millis(300), 2.0, Duration::from_millis(600)))
        .half_open(HalfOpen::counts(3, 1))
        .seed(7)
}

#[tokio::main]
async fn main() -> ExitCode {
    let complaint = match run().await {
        Ok(claims) => {
            let broken = claims.into_iter().filter(|claim| !claim.holds);
            broken
                .map(|claim| format!("graceful_degradation: this did not hold: {}\n", claim.says))
                .collect()
        }
        Err(error) => format!("graceful_degradation: {error}\n"),
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
    let server = Server::start()?;
    let book = Arc::clone(&server.book);

    // Both policies tell what they do.
    let (fell_back, refused) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let counts = (Arc::clone(&fell_back), Arc::clone(&refused));
    let observer = Arc::new(move |event: &Event| match event {
        Event::FellBack { .. } => drop(counts.0.fetch_add(1, Relaxed)),
        Event::Rejected(_) => drop(counts.1.fetch_add(1, Relaxed)),
        _ => {}
    });
    let told = || {
        let observer = Arc::clone(&observer);
        Options::new().observer(move |event: &Event| observer(event))
    };

    // The stack: the last good price over a circuit breaker over the client. Prices up to half a minute
    // old are better than none.
    let config = LastGoodConfig::new("prices", Duration::from_secs(30));
    let prices: LastGood<u32, Quote> = LastGood::with(config, told())?;
    let circuit = Circuit::with(breaker(), told())?;
    let service = ServiceBuilder::new()
        .layer(
            prices
                .layer(|item: &u32| Some(*item))
                .mark(|quote: Quote, age| Quote { age: Some(age), ..quote }),
        )
        .layer(circuit.layer())
        .service(price_client(format!("http://{}", server.address)));

    let mut load = Load::start(&service);
    let mut closed_again = None;
    let (mut steps, mut last) = (0, 0);
    let mut before = Line::default();
    loop {
        steps += 1;
        let phase = book.phase();
        sleep_until(start + STEP * steps).await;
        let now = Line::read(&load.tally, &book);
        screen.step(start.elapsed(), phase, circuit.state(), now.since(&before))?;
        before = now;
        if closed_again.is_none()
            && book.phase() == Phase::Recovered
            && circuit.state() == State::Closed
        {
            closed_again = Some(Instant::now());
            last = steps + EPILOGUE;
        }
        if closed_again.is_some() && steps == last || steps == LONGEST {
            break;
        }
    }
    let callers = load.stop().await?;
    server.stop().await?;

    screen.table(&callers, &book, refused.load(Relaxed))?;
    let claims = check(&callers, &book, &prices, fell_back.load(Relaxed), closed_again);
    screen.claims(&claims)?;
    Ok(claims)
}

/// What this run was to show. Nothing here depends on how fast the machine is.
fn check(
    callers: &[Vec<Got>],
    book: &Book,
    prices: &LastGood<u32, Quote>,
    told: u64,
    closed_again: Option<Instant>,
) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut claim = |says: &str, holds| claims.push(Claim { says: says.to_owned(), holds });
    let all = || callers.iter().flatten();

    let after_first_good = callers.iter().map(|got| got.iter().skip_while(|got| !got.is_fresh()));
    claim(
        "callers never saw an error after the first good answer",
        callers.iter().all(|got| got.iter().any(Got::is_fresh))
            && after_first_good.flatten().all(|got| got.result.is_ok()),
    );

    // The outage by the server's own watch: calls that lie in it as a whole.
    let outage = book.began(Phase::Failing).zip(book.began(Phase::Recovered));
    let inside = |got: &&Got| outage.is_some_and(|(from, to)| from <= got.begun && got.ended <= to);
    let during = callers.iter().map(|got| got.iter().filter(inside).collect::<Vec<_>>());
    let grows = |got: &Vec<&Got>| got.windows(2).all(|two| two[0].age() < two[1].age());
    claim(
        "every answer during the outage was marked stale with a growing age",
        during
            .clone()
            .all(|got| got.len() > 1 && got.iter().all(|got| got.age().is_some()) && grows(&got)),
    );
    claim(
        "every stale answer during the outage was the last price the server quoted for that item",
        during.flatten().all(|got| {
            got.result.as_ref().ok().map(|quote| quote.price) == book.last_before_outage(got.item)
        }),
    );

    let mut late = all().filter(|got| closed_again.is_some_and(|at| at <= got.begun)).peekable();
    claim(
        "after recovery answers are fresh again",
        late.peek().is_some() && late.all(Got::is_fresh),
    );
    let count = |which: fn(&Got) -> bool| all().filter(|got| which(got)).count() as u64;
    claim(
        "callers got every price that the server counts, and no other as fresh",
        count(Got::is_fresh) == book.good(),
    );
    let stale = count(|got| got.age().is_some());
    claim(
        "each stale answer was told to the observer and counted once",
        stale == told && stale == prices.snapshot().by_last_good,
    );
    claims
}
