//! A tonic client behind a standard stack, and the same calls without it: what callers get, and what the server
//! sees.
//!
//! `cargo run --example tonic_client` takes about a second and needs nothing but this machine, no compiler
//! for protocol buffers either. It ends by checking its own claims against what the servers counted, and fails
//! if one is wrong.
#![expect(
    clippy::disallowed_methods,
    reason = "the library reads time in one place only; this story happens in real time"
)]

mod server;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use bytes::Bytes;
use portcullis::{
    Backoff, BoxError, CarryRejection, Circuit, CircuitBreakerConfig, HalfOpen, Hint, Jitter,
    Reason, RetryConfig, RetryEnd, Sleep, State,
    grpc::{PeekTrailersLayer, pushback},
    http::ReplayBodyLayer,
    stack,
};
use tokio::time::sleep;
use tonic::{
    Code, Request, Status,
    body::Body,
    client::GrpcService,
    codegen::Body as HttpBody,
    transport::{Channel, Error as TransportError},
};
use tower::ServiceBuilder;
use wire_examples::{
    claims::{self, Claims},
    stock::StockClient,
    told::Told,
};

use crate::server::{PUSHBACK, Server};

/// Failures in a row that open the circuit, and how long it stays open.
const FAILURES: u32 = 5;
const OPEN: Duration = Duration::from_secs(1);
/// Calls while the service is ill, and once it is well again.
const CALLS: usize = 12;
/// Between attempts, if the service does not say.
const BACKOFF: Duration = Duration::from_millis(20);

#[tokio::main]
async fn main() -> ExitCode {
    claims::tell("tonic_client", run).await
}

/// A channel behind its stack, and the circuit, to look at.
struct Protected<S> {
    service: S,
    circuit: Circuit,
}

/// The stack under test, quick to open and to close. Its own numbers are a better start in production, which
/// thinks in tens of seconds.
fn protected(
    channel: Channel,
) -> Result<
    Protected<
        impl GrpcService<
            Body,
            ResponseBody: HttpBody<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static,
            Error = Status,
        > + Clone,
    >,
    BoxError,
> {
    let breaker = CircuitBreakerConfig::default()
        .no_failure_rate()
        .consecutive_failures(FAILURES)
        .sleep(Sleep::fixed(OPEN))
        .half_open(HalfOpen::counts(1, 1));
    let backoff = Backoff::constant(BACKOFF).jitter(Jitter::None);
    let layers = stack::client("stock")
        .retry(RetryConfig::default().backoff(backoff))
        .circuit_breaker(breaker)
        .build()?
        .without_error()
        .grpc()
        // Every answer here is short: its end may be waited for, however busy the machine is.
        .map_error(|edge| edge.peek(PeekTrailersLayer::new().limit(Duration::MAX)));
    let circuit = layers.circuit_breaker().circuit().clone();
    let service = ServiceBuilder::new()
        .layer(ReplayBodyLayer::new())
        .layer(layers)
        // A status can carry a refusal, so no error layer is needed, and code and pushback stay what they are.
        .map_err(|error: TransportError| Status::from_error(error.into()))
        .map_request(|request: http::Request<_>| request.map(Body::new))
        .service(channel);
    Ok(Protected { service, circuit })
}

type Got = Result<String, Status>;

fn code(got: &Got) -> Code {
    got.as_ref().err().map_or(Code::Ok, Status::code)
}

/// How long a status says to stay away.
fn told_to_wait(status: &Status) -> Option<Duration> {
    match pushback::find(&status.metadata().clone().into_headers())? {
        Hint::After(wait) => Some(wait),
        _ => None,
    }
}

/// One side, when all is over.
struct Side {
    server: Server,
    /// An answer for each item of the script.
    items: Vec<(&'static str, Got)>,
    outage: Vec<Got>,
    well: Vec<Got>,
}

impl Side {
    fn refused(&self) -> impl Iterator<Item = &Status> + Clone {
        let failed = self.outage.iter().filter_map(|got| got.as_ref().err());
        failed.filter(|status| status.rejection().is_some())
    }
}

/// The same calls for either side.
async fn story<T>(server: Server, mut client: StockClient<T>) -> Result<Side, BoxError>
where
    T: GrpcService<Body>,
    T::Error: Into<BoxError>,
    T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <T::ResponseBody as HttpBody>::Error: Into<BoxError> + Send,
{
    let mut ask = async |item: &str| {
        let answer = client.count(Request::new(item.to_owned())).await;
        answer.map(tonic::Response::into_inner)
    };
    let mut items = Vec::new();
    for (item, _) in server::ITEMS {
        items.push((item, ask(item).await));
    }
    server.is_ill(true);
    let mut outage = Vec::new();
    for _ in 0..CALLS {
        outage.push(ask("pears").await);
    }
    server.is_ill(false);
    // Whoever is told when to come back does so.
    let last = outage.last().and_then(|got| got.as_ref().err());
    if let Some(wait) = last.and_then(told_to_wait) {
        sleep(wait).await;
    }
    let mut well = Vec::new();
    for _ in 0..CALLS {
        well.push(ask("plums").await);
    }
    Ok(Side { server, items, outage, well })
}

async fn run(claims: &mut Claims) -> Result<(), BoxError> {
    writeln!(
        io::stdout(),
        "A gRPC service that has its moods; the same calls reach it through a stack and without.\n\
         What the stack does:\n"
    )?;
    let told = Told::listen()?;
    let server = Server::start().await?;
    let Protected { service, circuit } = protected(server.channel().await?)?;
    let ours = story(server, StockClient::new(service)).await?;
    let server = Server::start().await?;
    let channel = server.channel().await?;
    let bare = story(server, StockClient::new(channel)).await?;
    table(&ours, &bare)?;
    check(claims, &ours, &bare, &told, &circuit);
    ours.server.stop().await?;
    bare.server.stop().await?;
    Ok(())
}

fn table(ours: &Side, bare: &Side) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n  {:<52} {:>22} {:>22}", "", "with the stack", "without")?;
    let mut row = |what: &str, of: &dyn Fn(&Side) -> String| {
        writeln!(out, "  {what:<52} {:>22} {:>22}", of(ours), of(bare))
    };
    for (nth, (item, mood)) in server::ITEMS.into_iter().enumerate() {
        row(mood, &|side| format!("{:?}", code(&side.items[nth].1)))?;
        row("  the server got it so often", &|side| side.server.asked(item).len().to_string())?;
    }
    let failed = |side: &Side| side.outage.iter().filter(|got| got.is_err()).count();
    row("while it is ill: failed", &|side| (failed(side) - side.refused().count()).to_string())?;
    row("  refused by the open circuit", &|side| side.refused().count().to_string())?;
    row("  the server got so many", &|side| side.server.asked("pears").len().to_string())?;
    row("when it is well again: answered", &|side| {
        side.well.iter().filter(|got| got.is_ok()).count().to_string()
    })?;
    if let Some(refusal) = ours.refused().next() {
        let wait = told_to_wait(refusal).unwrap_or_default().as_millis();
        writeln!(
            out,
            "\n  what the first call that is refused gets:  {:?}, pushback {wait} ms, {:?}",
            refusal.code(),
            refusal.message()
        )?;
    }
    Ok(())
}

/// What this run was to show. Nothing here depends on how fast the machine is, as long as it makes some calls
/// that are refused at once within the second in which the circuit is open.
fn check(claims: &mut Claims, ours: &Side, bare: &Side, told: &Told, circuit: &Circuit) {
    let codes = |side: &Side| side.items.iter().map(|(_, got)| code(got)).collect::<Vec<_>>();
    let asked = |item| ours.server.asked(item);

    claims.same(
        codes(ours),
        vec![Code::Ok, Code::Ok, Code::Unavailable, Code::NotFound],
        "what may pass was tried until it had passed, and what does not was passed on",
    );
    let failures =
        vec![Code::Unavailable, Code::ResourceExhausted, Code::Unavailable, Code::NotFound];
    claims.same(codes(bare), failures, "without the stack each was the caller's to deal with");
    claims.same(
        asked("apples"),
        vec![None, Some("1".to_owned())],
        "UNAVAILABLE was tried again, and the server told that an attempt went before",
    );
    claims.same(
        (asked("figs").len(), told.delays()),
        (2, vec![BACKOFF, PUSHBACK, BACKOFF, BACKOFF, BACKOFF, BACKOFF]),
        "RESOURCE_EXHAUSTED was tried again after exactly the pushback, the others after the back-off",
    );
    let once = |item| asked(item) == [None];
    claims.claim(once("grapes"), "a pushback of -1 says no, and the call had one attempt");
    claims.claim(once("kiwis"), "what is not there is not asked for again");
    let ends = told.each(|event| match event {
        portcullis::Event::RetryEnded { end, .. } => Some(*end),
        _ => None,
    });
    claims.same(
        ends.get(..4),
        Some(&[RetryEnd::Success, RetryEnd::Success, RetryEnd::ToldToStop, RetryEnd::Success][..]),
        "and the retry says why: two successes, told to stop, and an answer that is as good as any",
    );

    // Three attempts of the first call, and two of the second, whose third the circuit refuses already.
    claims.same(
        (ours.server.asked("pears").len(), bare.server.asked("pears").len()),
        (FAILURES as usize, CALLS),
        "while it was ill it got five requests, and all of them without a stack",
    );
    let seen: Vec<_> = ours.outage.iter().filter(|got| got.is_err()).map(code).collect();
    claims.same(
        (seen, ours.refused().count()),
        (vec![Code::Unavailable; CALLS], CALLS - 1),
        "callers saw UNAVAILABLE: the first from the service, the others from the open circuit",
    );
    let sent = ours.refused().filter_map(CarryRejection::rejection);
    claims.same(
        sent.map(portcullis::Rejection::attempted).collect::<Vec<_>>(),
        [vec![true], vec![false; CALLS - 2]].concat(),
        "a refusal says whether the service may have seen the call: of one it has, by two attempts",
    );
    let mut last = OPEN + Duration::from_millis(1);
    let whole = ours.refused().all(|status| {
        let refusal = status.rejection().copied();
        let wait = told_to_wait(status).filter(|wait| *wait <= last);
        last = wait.unwrap_or_default();
        !last.is_zero()
            && refusal.is_some_and(|refusal| {
                (refusal.reason(), refusal.policy()) == (Reason::CircuitOpen, "stock")
                    && status.message() == refusal.to_string()
            })
    });
    claims.claim(
        whole,
        "the refusal itself is found in the status, and a pushback says when to come back",
    );
    let well = ours.well.iter().all(Result::is_ok);
    claims.claim(
        well && ours.server.asked("plums").len() == CALLS,
        "whoever came back then got an answer, and so did everybody after",
    );
    claims.same(
        (told.states(), circuit.state()),
        (vec![State::Open, State::HalfOpen, State::Closed], State::Closed),
        "the circuit opened, probed and closed, once each",
    );
}
