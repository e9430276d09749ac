//! `reqwest::Client` behind a standard stack, and the same calls without it: what callers get, and what the
//! server sees.
//!
//! `cargo run --example reqwest_client` takes about two seconds and needs nothing but this machine. It ends
//! by checking its own claims against what the servers counted, and fails if one is wrong.
#![expect(
    clippy::disallowed_methods,
    reason = "the library reads time in one place only; this story happens in real time"
)]

mod shop;

use std::{
    fmt,
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use portcullis::{
    Backoff, BoxError, Circuit, CircuitBreakerConfig, Error, ErrorLayer, HalfOpen, Jitter, Reason,
    Rejection, RetryConfig, Sleep, State, stack,
};
use reqwest::{Client, Method, Request, Response};
use tokio::time::sleep;
use tower::{Service, ServiceBuilder, ServiceExt};
use wire_examples::{
    claims::{self, Claims},
    told::Told,
};

use crate::shop::Shop;

/// Failures in a row that open the circuit, and how long it stays open.
const FAILURES: u32 = 5;
const OPEN: Duration = Duration::from_secs(1);
/// Probes that close it again.
const PROBES: u32 = 2;
/// Calls while the shop is ill, and once it is well again.
const CALLS: usize = 20;

type Failed = Error<reqwest::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    claims::tell("reqwest_client", run).await
}

/// The stack under test, quick to open and to close. Its own numbers are a better start in production, which
/// thinks in tens of seconds.
fn protected()
-> Result<(impl Service<Request, Response = Response, Error = Failed> + Clone, Circuit), BoxError> {
    let backoff = Backoff::constant(Duration::from_millis(20)).jitter(Jitter::None);
    let breaker = CircuitBreakerConfig::default()
        .no_failure_rate()
        .consecutive_failures(FAILURES)
        .sleep(Sleep::fixed(OPEN))
        .half_open(HalfOpen::counts(PROBES, 1));
    let layers = stack::client("shop")
        .retry(RetryConfig::default().backoff(backoff))
        .circuit_breaker(breaker)
        .build()?
        .http();
    let circuit = layers.circuit_breaker().circuit().clone();
    Ok((ServiceBuilder::new().layer(layers).service(client()?), circuit))
}

/// The same client as it is.
fn bare() -> Result<impl Service<Request, Response = Response, Error = Failed> + Clone, BoxError> {
    Ok(ServiceBuilder::new().layer(ErrorLayer::new()).service(client()?))
}

/// One client is enough that tries again: reqwest's own retries are off.
fn client() -> Result<Client, reqwest::Error> {
    Client::builder().no_proxy().retry(reqwest::retry::never()).build()
}

/// What became of a call.
enum Got {
    Answer(u16),
    Refusal(Rejection),
    Failure(reqwest::Error),
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(status) => status.fmt(f),
            Self::Refusal(refusal) => refusal.fmt(f),
            Self::Failure(error) => error.fmt(f),
        }
    }
}

impl Got {
    fn is(&self, status: u16) -> bool {
        matches!(self, Self::Answer(answer) if *answer == status)
    }

    fn refusal(&self) -> Option<&Rejection> {
        match self {
            Self::Refusal(refusal) => Some(refusal),
            _ => None,
        }
    }
}

async fn call<S>(
    service: &S,
    shop: SocketAddr,
    (method, path, key): (Method, &str, Option<&'static str>),
) -> Result<Got, BoxError>
where
    S: Service<Request, Response = Response, Error = Failed> + Clone,
{
    let mut request = Request::new(method, format!("http://{shop}{path}").parse()?);
    if let Some(key) = key {
        request.headers_mut().insert("idempotency-key", key.parse()?);
    }
    Ok(match service.clone().oneshot(request).await {
        Ok(response) => {
            let status = response.status().as_u16();
            // To its end, so that its connection can be used again.
            response.bytes().await?;
            Got::Answer(status)
        }
        Err(Error::Rejected(refusal)) => Got::Refusal(refusal),
        Err(Error::Inner(error)) => Got::Failure(error),
    })
}

/// One side, when all is over.
struct Side {
    shop: Shop,
    report: Got,
    order: Got,
    keyed: Got,
    outage: Vec<Got>,
    /// What the shop had seen of the calls above when it was well again.
    ill: u32,
    well: Vec<Got>,
}

impl Side {
    /// How many of these calls were refused, for a time that they name.
    fn refused(&self) -> usize {
        let refused = self.outage.iter().filter_map(Got::refusal);
        refused.filter(|refusal| refusal.reason() == Reason::CircuitOpen).count()
    }
}

/// The same calls for either side.
async fn story<S>(service: S) -> Result<Side, BoxError>
where
    S: Service<Request, Response = Response, Error = Failed> + Clone,
{
    let shop = Shop::open().await?;
    let stock = || call(&service, shop.address, (Method::GET, "/stock", None));
    let order = |key| call(&service, shop.address, (Method::POST, "/orders", key));

    let report = call(&service, shop.address, (Method::GET, "/report", None)).await?;
    let (unkeyed, keyed) = (order(None).await?, order(Some("8e03978e")).await?);

    shop.is_ill(true);
    let mut outage = Vec::new();
    for _ in 0..CALLS {
        outage.push(stock().await?);
    }
    let ill = shop.stock();
    shop.is_ill(false);
    // Whoever is told when to come back does so.
    if let Some(after) = outage.last().and_then(Got::refusal).and_then(Rejection::retry_after) {
        sleep(after).await;
    }
    let mut well = Vec::new();
    for _ in 0..CALLS {
        well.push(stock().await?);
    }
    Ok(Side { shop, report, order: unkeyed, keyed, outage, ill, well })
}

async fn run(claims: &mut Claims) -> Result<(), BoxError> {
    writeln!(
        io::stdout(),
        "A shop is busy, loses answers and falls ill; the same calls reach it through a stack and without.\n\
         What the stack does:\n"
    )?;
    let told = Told::listen()?;
    let (service, circuit) = protected()?;
    let ours = story(service).await?;
    let bare = story(bare()?).await?;
    table(&ours, &bare)?;
    check(claims, &ours, &bare, &told, &circuit);
    Ok(())
}

fn table(ours: &Side, bare: &Side) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n  {:<56} {:>14} {:>8}", "", "with the stack", "without")?;
    let mut row = |what: &str, of: &dyn Fn(&Side) -> String| {
        writeln!(out, "  {what:<56} {:>14} {:>8}", of(ours), of(bare))
    };
    let counts = |(arrived, made): (u32, u32)| format!("{arrived}, {made}");
    let answered =
        |calls: &[Got], status| calls.iter().filter(|got| got.is(status)).count().to_string();
    row("GET /report, told to come back in a second", &|side| side.report.to_string())?;
    row("  the shop got it so often", &|side| side.shop.reports().to_string())?;
    row("POST /orders, whose answer is lost", &|side| side.order.to_string())?;
    row("  the shop got it so often, and made orders", &|side| counts(side.shop.orders(false)))?;
    row("POST /orders with an Idempotency-Key, likewise", &|side| side.keyed.to_string())?;
    row("  the shop got it so often, and made orders", &|side| counts(side.shop.orders(true)))?;
    row("GET /stock while the shop is ill: 500", &|side| answered(&side.outage, 500))?;
    row("  refused by the open circuit", &|side| side.refused().to_string())?;
    row("  the shop got them so often", &|side| side.ill.to_string())?;
    row("GET /stock when it is well again: 200", &|side| answered(&side.well, 200))?;
    row("  the shop got them so often", &|side| (side.shop.stock() - side.ill).to_string())?;
    if let Some(refusal) = ours.outage.iter().find_map(Got::refusal) {
        writeln!(out, "\n  what the first call that is refused gets:  {refusal}")?;
    }
    Ok(())
}

/// What this run was to show. Nothing here depends on how fast the machine is, as long as it makes some calls
/// that are refused at once within the second in which the circuit is open.
fn check(claims: &mut Claims, ours: &Side, bare: &Side, told: &Told, circuit: &Circuit) {
    let calls = u32::try_from(CALLS).unwrap_or(u32::MAX);
    let delays = told.delays();

    claims.claim(
        ours.report.is(200) && ours.shop.reports() == 2 && bare.report.is(503),
        "a 503 was tried again and became a 200, by one further request",
    );
    let second = Duration::from_secs(1);
    claims.claim(
        delays.first().is_some_and(|delay| (second..=second + second / 10).contains(delay)),
        "not before the second was over that Retry-After asks for, and up to a tenth later",
    );
    claims.claim(
        ours.order.is(503) && ours.shop.orders(false) == (1, 1),
        "a POST without a key was sent once: nobody knows whether it has made an order, and it has",
    );
    claims.claim(
        ours.keyed.is(201) && ours.shop.orders(true) == (2, 1) && bare.keyed.is(503),
        "with an Idempotency-Key it was sent twice, and there is one order",
    );
    claims.same(
        delays.get(1..),
        Some(&[Duration::from_millis(20)][..]),
        "that and nothing else was tried again: a 500 is not, in which the shop itself gives up",
    );
    let failed = ours.outage.iter().take_while(|got| got.is(500)).count();
    claims.same(failed, FAILURES as usize, "the circuit opened at the fifth failure in a row");
    claims.claim(
        ours.refused() == CALLS - failed && ours.ill == FAILURES && bare.ill == calls,
        format!(
            "all further calls were refused, and did not reach the shop: it got {} requests, and {} without a stack",
            ours.ill, bare.ill
        ),
    );
    let whys = ours.outage.iter().filter_map(Got::refusal);
    let mut last = OPEN;
    claims.claim(
        whys.clone().all(|refusal| {
            let after = refusal.retry_after().filter(|after| *after <= last);
            last = after.unwrap_or_default();
            refusal.policy() == "shop" && !refusal.attempted() && !last.is_zero()
        }) && whys.count() > 0,
        "each refusal says who refused, that nothing was sent, and when to come back: ever sooner",
    );
    claims.claim(
        ours.well.iter().all(|got| got.is(200)) && ours.shop.stock() - ours.ill == calls,
        "whoever came back then got an answer, and so did everybody after",
    );
    claims.same(
        (told.states(), circuit.state()),
        (vec![State::Open, State::HalfOpen, State::Closed], State::Closed),
        "the circuit opened, probed and closed, once each",
    );
}
