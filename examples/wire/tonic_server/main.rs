//! A tonic server behind a standard stack: what callers are told when it is too busy, when time runs out, and
//! when a handler panics.
//!
//! `cargo run --example tonic_server` takes about a second and needs nothing but this machine, no compiler
//! for protocol buffers either. The server calls itself as its clients would, ends when they are gone, and then
//! checks its own claims; it fails if one is wrong.

mod server;

use std::{
    io::{self, Write},
    panic,
    process::ExitCode,
    time::Duration,
};

use portcullis::{
    Backoff, BoxError, Event, Hint, Jitter, Reason, RetryConfig, grpc::pushback,
    http::ReplayBodyLayer, stack,
};
use tonic::{
    Code, Request, Status,
    body::Body,
    transport::{Channel, Error as TransportError},
};
use tower::ServiceBuilder;
use wire_examples::{
    claims::{self, Claims, soon},
    stock::StockClient,
    told::Told,
};

use crate::server::{LIMIT, MARGIN, PUSHBACK, SLOTS, Server};

/// How long callers wait for something that never comes, and for what does.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    claims::tell("tonic_server", run).await
}

type Got = Result<String, Status>;

/// A call of a client as it is, which waits for so long.
async fn ask(channel: &Channel, item: &str, patience: Duration) -> Got {
    let mut request = Request::new(item.to_owned());
    request.set_timeout(patience);
    let answer = StockClient::new(channel.clone()).count(request).await;
    answer.map(tonic::Response::into_inner)
}

/// A call of one that comes back when it is told to, and waits far longer if it is not.
async fn ask_again(channel: &Channel, item: &str) -> Result<Got, BoxError> {
    let backoff = Backoff::constant(LONG).jitter(Jitter::None);
    let layers = stack::client("shop")
        .retry(RetryConfig::default().attempts(10).backoff(backoff))
        .build()?
        .without_error()
        .grpc();
    let service = ServiceBuilder::new()
        .layer(ReplayBodyLayer::new())
        .layer(layers)
        .map_err(|error: TransportError| Status::from_error(error.into()))
        .map_request(|request: http::Request<_>| request.map(Body::new))
        .service(channel.clone());
    let answer = StockClient::new(service).count(Request::new(item.to_owned())).await;
    Ok(answer.map(tonic::Response::into_inner))
}

/// How a call ended, in a line.
fn line(got: &Got) -> String {
    match got {
        Ok(number) => format!("OK: {number}"),
        Err(status) => match told_to_wait(status) {
            Some(wait) => {
                format!("{:?}: {:?}, pushback {wait:?}", status.code(), status.message())
            }
            None => format!("{:?}: {:?}", status.code(), status.message()),
        },
    }
}

fn code(got: &Got) -> Code {
    got.as_ref().err().map_or(Code::Ok, Status::code)
}

fn told_to_wait(status: &Status) -> Option<Duration> {
    match pushback::find(&status.metadata().clone().into_headers())? {
        Hint::After(wait) => Some(wait),
        _ => None,
    }
}

fn show(what: &str, got: &Got) -> io::Result<()> {
    writeln!(io::stdout(), "  {what:<66}{}", line(got))
}

async fn run(claims: &mut Claims) -> Result<(), BoxError> {
    let told = Told::listen()?;
    let server = Server::start("127.0.0.0/8").await?;
    let strangers = Server::start("10.0.0.0/8").await?;
    let bare = Server::bare().await?;
    writeln!(
        io::stdout(),
        "A tonic server with {SLOTS} slots, behind a stack, and the same server without.\n"
    )?;
    time(claims, &server, &strangers, &bare).await?;
    room(claims, &server, &told).await?;
    panics(claims, &server).await?;
    for server in [server, strangers, bare] {
        server.stop().await?;
    }
    claims.claim(true, "every server ended when its clients were gone");
    Ok(())
}

/// Callers' deadlines, of callers that are believed and of others.
async fn time(
    claims: &mut Claims,
    server: &Server,
    strangers: &Server,
    bare: &Server,
) -> Result<(), BoxError> {
    let mut lefts = Vec::new();
    for (what, at) in [("a peer's", server), ("a stranger's", strangers), ("nobody's", bare)] {
        let got = ask(&at.channel, "apples", LONG).await;
        let left = at.seen().begun.last().and_then(|(_, left)| *left);
        let says = left.map_or("nothing".to_owned(), |left| format!("{:.1} s", left.as_secs_f64()));
        show(&format!("{what} 20 s to wait: the handler knows of {says}"), &got)?;
        lefts.push(left);
    }
    claims.claim(
        matches!(lefts[0], Some(left) if left <= LONG - MARGIN),
        "the handler knows how long its caller waits, less the margin",
    );
    claims.claim(
        matches!(lefts[1], Some(left) if left > LONG && left <= LIMIT),
        "a stranger's word counts for nothing: the server's own limit holds",
    );
    claims.claim(lefts[2].is_none(), "without the stack nobody told the handler");

    let late = ask(&server.channel, "never", SHORT).await;
    show("a call that takes too long", &late)?;
    let cancelled = ask(&bare.channel, "never", SHORT / 4).await;
    show("  without the stack", &cancelled)?;
    let too_short = ask(&server.channel, "never", MARGIN).await;
    show("a call with no more time than the margin", &too_short)?;
    claims.same(
        (code(&late), code(&cancelled), code(&too_short)),
        (Code::DeadlineExceeded, Code::Cancelled, Code::DeadlineExceeded),
        "a call out of time is DEADLINE_EXCEEDED, where tonic by itself says CANCELLED",
    );
    let seen = server.until("the call that is cut", |seen| seen.dropped == 1).await?;
    claims.same(
        (seen.begun.len(), seen.dropped),
        (2, 1),
        "the handler was dropped when it was cut, and not called where no time was left",
    );
    Ok(())
}

/// A bulkhead that is full, and a caller that comes back.
async fn room(claims: &mut Claims, server: &Server, told: &Told) -> Result<(), BoxError> {
    let before = server.seen().begun.len();
    let busy: Vec<_> = (0..SLOTS)
        .map(|_| {
            let channel = server.channel.clone();
            tokio::spawn(async move { ask(&channel, "slow", LONG).await })
        })
        .collect();
    server.until("calls in every slot", |seen| seen.begun.len() == before + SLOTS).await?;
    let shed = ask(&server.channel, "apples", LONG).await;
    show("a call that finds no room", &shed)?;
    let pushed = shed.as_ref().err().and_then(told_to_wait);
    claims.same(
        (code(&shed), pushed, server.seen().begun.len()),
        (Code::ResourceExhausted, Some(PUSHBACK), before + SLOTS),
        "a full bulkhead is RESOURCE_EXHAUSTED with a pushback, and the handler is not called",
    );
    let channel = server.channel.clone();
    let again = tokio::spawn(async move { ask_again(&channel, "apples").await });
    let retries = |event: &Event| matches!(event, Event::Retrying { .. });
    told.until("a caller that will come back", retries).await?;
    server.go_on(SLOTS);
    let again = soon("the answer to who came back", again).await???;
    show("a call that comes back as it is told", &again)?;
    let mut answered = again.is_ok();
    for busy in busy {
        answered &= soon("the answer to who came first", busy).await??.is_ok();
    }
    let full = told.each(|event| match event {
        Event::Rejected(refusal) if refusal.reason() == Reason::BulkheadFull => Some(()),
        _ => None,
    });
    let delays = told.delays();
    claims.claim(
        answered && full.len() == 1 + delays.len() && delays.iter().all(|delay| *delay == PUSHBACK),
        "who comes back after exactly the pushback is let in once there is room, and nobody is cut",
    );
    claims.same(
        server.seen().begun.len(),
        before + SLOTS + 1,
        "the handler was called once for each call that it answered",
    );
    Ok(())
}

async fn panics(claims: &mut Claims, server: &Server) -> Result<(), BoxError> {
    // What it says is known here.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let bug = ask(&server.channel, "bug", LONG).await;
    panic::set_hook(hook);
    show("a handler that panics", &bug)?;
    let after = ask(&server.channel, "apples", LONG).await;
    show("  and the next call", &after)?;
    claims.same(
        (code(&bug), code(&after)),
        (Code::Internal, Code::Ok),
        "a panic is INTERNAL for its caller, and nothing to the next",
    );
    Ok(())
}
