//! hyper's client with layers put together one by one: uploads that are sent twice, downloads that stall,
//! and a service with words of its own.
//!
//! `cargo run --example hyper_client` takes about a second and needs nothing but this machine. It ends by
//! checking its own claims against what the servers counted, and fails if one is wrong.

mod server;

use std::{
    io::{self, Write},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use hyper_util::{
    client::legacy::{Client, Error as HyperError, connect::HttpConnector},
    rt::TokioExecutor,
};
use portcullis::{
    Backoff, BoxError, CarryRejection, Circuit, CircuitBreakerConfig, CircuitBreakerLayer,
    Classify, Error, ErrorLayer, Hint, Hints, Jitter, Outcome, Reason, Rejection, RetryConfig,
    RetryLayer, Sleep, State, TimeoutConfig, TimeoutLayer,
    http::{
        BodyTimeoutConfig, BodyTimeoutLayer, HttpClassifier, ReplayBodyLayer, ReplayRequest,
        body_timeout::TimedBody, hold::HeldBody,
    },
    stack::{self, Report},
};
use tower::{Service, ServiceBuilder, ServiceExt};
use wire_examples::{
    claims::{self, Claims, soon},
    told::Told,
};

use crate::server::{BUSY_AFTER, Body, PIECE, PIECES, Server, Sum, piece, written};

type Failed = Error<HyperError>;

/// How long a body may stall.
const IDLE: Duration = Duration::from_millis(400);
/// Failures in a row that open the circuit.
const FAILURES: u32 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    claims::tell("hyper_client", run).await
}

/// What this service's answers mean. It says 529 when it has too much to do, which nobody else does, and then
/// in milliseconds when to come back; all else is as everywhere.
#[derive(Clone, Copy, Debug)]
struct Judge(HttpClassifier);

impl<B, E: CarryRejection> Classify<Response<B>, E> for Judge {
    fn classify(&self, result: &Result<Response<B>, E>) -> Outcome {
        match result {
            Ok(response) if response.status().as_u16() == 529 => Outcome::Failure,
            other => self.0.classify(other),
        }
    }

    fn hint(&self, result: &Result<Response<B>, E>) -> Option<Hint> {
        let said = result.as_ref().ok().and_then(|response| {
            response.headers().get("retry-after-ms")?.to_str().ok()?.parse().ok()
        });
        match said {
            Some(millis) => Some(Hint::After(Duration::from_millis(millis))),
            None => self.0.hint(result),
        }
    }
}

fn client<B>() -> Client<HttpConnector, B>
where
    B: HttpBody<Data = Bytes> + Send,
{
    Client::builder(TokioExecutor::new()).build_http()
}

/// A client behind its layers, what the check says of them, and the circuit, to look at.
struct Protected<S> {
    service: S,
    report: Report,
    circuit: Circuit,
}

/// What the layers make of a response: cut when it stalls, and held to its end by the circuit.
type Answer = Response<HeldBody<TimedBody<Incoming>>>;

/// The layers, the outermost first.
fn protected() -> Result<
    Protected<impl Service<Request<Body>, Response = Answer, Error = Failed> + Clone>,
    BoxError,
> {
    let total = TimeoutLayer::new(TimeoutConfig::new("library", Duration::from_secs(30)))?;
    let backoff = Backoff::constant(Duration::from_millis(10)).jitter(Jitter::None);
    // Exactly when the service says: its milliseconds are worth more than spreading them.
    let retry =
        RetryLayer::new(RetryConfig::new("library").backoff(backoff).hints(Hints::default()))?
            .classify_with(Judge(HttpClassifier::retry()))
            .replay_with(ReplayRequest::new());
    let breaker = CircuitBreakerConfig::new("library")
        .no_failure_rate()
        .consecutive_failures(FAILURES)
        .sleep(Sleep::fixed(Duration::from_secs(30)));
    let breaker =
        CircuitBreakerLayer::new(breaker)?.classify_with(Judge(HttpClassifier::breaker()));
    let circuit = breaker.circuit().clone();
    let stalls = BodyTimeoutLayer::new(BodyTimeoutConfig::new("library.body", IDLE))?;
    let (service, report) = stack::check(|| {
        ServiceBuilder::new()
            .layer(total)
            // All of an upload: more than the 64 KiB that are kept by default.
            .layer(ReplayBodyLayer::new().cap(PIECES * PIECE))
            .layer(retry)
            // To the end of the body: a download that breaks off is a failure of the service.
            .layer(breaker.hold_body())
            .layer(stalls)
            .layer(ErrorLayer::new())
            .service(client())
    });
    Ok(Protected { service, report, circuit })
}

fn request(
    server: &Server,
    method: Method,
    path: &str,
    body: Body,
) -> Result<Request<Body>, BoxError> {
    let uri = format!("http://{}{path}", server.address);
    Ok(Request::builder().method(method).uri(uri).body(body)?)
}

fn get(server: &Server, path: &str) -> Result<Request<Body>, BoxError> {
    request(server, Method::GET, path, Empty::new().boxed())
}

/// Sends an upload, whose pieces come as a stream that nobody could make anew. Its later ones come when the
/// server has said that it is busy, and has got as many attempts as it is going to.
async fn upload<S, B>(service: &S, server: &Server, attempts: usize) -> Result<StatusCode, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Failed> + Clone,
{
    let (writer, body) = written();
    let busy = server.clone();
    let writing = tokio::spawn(async move {
        for number in 0..PIECES {
            if number == BUSY_AFTER {
                let told = |seen: &server::Seen| {
                    seen.uploads.len() == attempts && seen.uploads[0].answered.is_some()
                };
                busy.until("an early answer", told).await?;
            }
            if writer.send(Ok(Frame::data(piece(number)))).await.is_err() {
                // Nobody wants the rest.
                break;
            }
        }
        Ok::<_, BoxError>(())
    });
    let answer = service.clone().oneshot(request(server, Method::PUT, "/upload", body)?).await?;
    let status = answer.status();
    drop(answer);
    // A client that gives up may leave the rest unread.
    if status.is_success() {
        writing.await??;
    } else {
        writing.abort();
    }
    Ok(status)
}

/// Reads what comes of a body: how many bytes, and why there are no more.
async fn read<B>(body: B) -> (usize, Result<(), BoxError>)
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    // Its timer is a part of it, and stays where it is.
    let mut body = pin!(body);
    let mut bytes = 0;
    loop {
        match body.frame().await {
            None => return (bytes, Ok(())),
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(error)) => return (bytes, Err(error.into())),
        }
    }
}

async fn run(claims: &mut Claims) -> Result<(), BoxError> {
    let mut out = io::stdout();
    let told = Told::listen()?;
    let Protected { service, report, circuit } = protected()?;
    let bare = ServiceBuilder::new().layer(ErrorLayer::new()).service(client::<Body>());
    let (ours, twin) = (Server::start().await?, Server::start().await?);
    writeln!(out, "hyper's client, its layers put together one by one. What they do:\n")?;
    let line = report.to_string().lines().next().unwrap_or_default().to_owned();
    claims.claim(report.is_sound(), format!("the check has nothing against this order: {line}"));

    uploads(claims, (&service, &ours), (&bare, &twin)).await?;
    claims.same(told.delays(), vec![Duration::from_millis(10)], "after the back-off, once");

    let quote = service.clone().oneshot(get(&ours, "/quote")?).await?.status();
    let missed = bare.clone().oneshot(get(&twin, "/quote")?).await?.status();
    claims.claim(
        (quote.as_u16(), missed.as_u16(), ours.seen().quotes) == (200, 529, 2),
        "the service's own word for busy was understood, and the call tried again",
    );
    claims.same(
        told.delays().last().copied(),
        Some(Duration::from_millis(30)),
        "and its own header for when, to the millisecond",
    );
    claims.same(circuit.state(), State::Closed, "neither failure has opened the circuit");

    downloads(claims, (&service, &ours), (&bare, &twin), &circuit).await?;
    claims.same(
        told.states(),
        vec![State::Open],
        "it opened once, and nothing else was told of it",
    );
    Ok(())
}

async fn uploads<S, T, B, C>(
    claims: &mut Claims,
    (service, ours): (&S, &Server),
    (bare, twin): (&T, &Server),
) -> Result<(), BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Failed> + Clone,
    T: Service<Request<Body>, Response = Response<C>, Error = Failed> + Clone,
{
    let taken = soon("an answer to the upload", upload(service, ours, 2)).await??;
    let refused = soon("an answer to the bare upload", upload(bare, twin, 1)).await??;
    let ended = |seen: &server::Seen| seen.uploads.iter().all(|upload| upload.whole.is_some());
    let seen = ours.until("the end of each upload", ended).await?;

    let mut sum = Sum::of_nothing();
    (0..PIECES).for_each(|number| sum.add(&piece(number)));
    let mut out = io::stdout();
    writeln!(
        out,
        "\n  an upload of {} bytes with the sum {:016x}, as the servers saw it:",
        PIECES * PIECE,
        sum.0
    )?;
    for (whose, uploads) in [("with the layers", &seen.uploads), ("without", &twin.seen().uploads)]
    {
        for (number, upload) in uploads.iter().enumerate() {
            writeln!(
                out,
                "    {whose:<16} attempt {}  {:>7} bytes  {:016x}  answered {}",
                number + 1,
                upload.bytes,
                upload.sum.0,
                upload.answered.map_or("-".to_owned(), |status| status.to_string()),
            )?;
        }
    }
    writeln!(out)?;
    let (first, second) = match seen.uploads[..] {
        [first, second] => (first, second),
        _ => return Err(format!("there were {} attempts", seen.uploads.len()).into()),
    };
    claims.claim(
        (first.bytes, first.answered, first.whole) == (BUSY_AFTER * PIECE, Some(503), Some(false)),
        "the server was busy while the upload came in, and got no more of that attempt",
    );
    claims.claim(
        (taken.as_u16(), second.bytes, second.sum, second.whole)
            == (201, PIECES * PIECE, sum, Some(true)),
        "the second attempt began from the first byte, and brought each byte once and in order",
    );
    claims.claim(
        (refused.as_u16(), twin.seen().uploads.len()) == (503, 1),
        "the bare client got the 503, and has no upload any more to send again",
    );
    Ok(())
}

async fn downloads<S, T, B, C>(
    claims: &mut Claims,
    (service, ours): (&S, &Server),
    (bare, twin): (&T, &Server),
    circuit: &Circuit,
) -> Result<(), BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Failed> + Clone,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
    T: Service<Request<Body>, Response = Response<C>, Error = Failed> + Clone,
    C: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut out = io::stdout();
    writeln!(out, "  two downloads stall after {PIECE} bytes:")?;
    let stalled = bare.clone().oneshot(get(twin, "/film")?).await?.into_body();
    let waits = tokio::spawn(read(stalled));
    for failures in 1..=u64::from(FAILURES) {
        let film = service.clone().oneshot(get(ours, "/film")?).await?;
        let (status, before) = (film.status(), circuit.snapshot().failures);
        let (bytes, end) = soon("the end of a stalled body", read(film.into_body())).await?;
        let cut = end.as_ref().err().and_then(|error| Rejection::find(&**error)).copied();
        if let Some(cut) = cut {
            writeln!(out, "    {status} and {bytes} bytes, then  {cut}")?;
        }
        claims.claim(
            status == StatusCode::OK
                && bytes == PIECE
                && cut.is_some_and(|cut| {
                    (cut.reason(), cut.policy()) == (Reason::Timeout, "library.body")
                }),
            format!("stalled download {failures} was cut after what had come of it"),
        );
        if failures == 1 {
            claims.claim(
                circuit.snapshot().failures == before + 1,
                "its head was a 200, and yet the circuit counts a failure",
            );
        }
    }
    let refused = service.clone().oneshot(get(ours, "/film")?).await;
    let refusal = refused.as_ref().err().and_then(CarryRejection::rejection).copied();
    claims.claim(
        circuit.state() == State::Open
            && refusal.is_some_and(|refusal| refusal.reason() == Reason::CircuitOpen),
        format!(
            "the next is refused at once: {}",
            refusal.map_or("no".to_owned(), |refusal| refusal.to_string())
        ),
    );
    let seen = ours.until("downloads that nobody reads", |seen| seen.gone == FAILURES).await?;
    claims.same(seen.downloads, FAILURES, "the server got the two, and is rid of them");
    let waiting = !waits.is_finished() && twin.seen().gone == 0;
    claims.claim(waiting, "the bare client still waits for the rest, and would for ever");
    waits.abort();
    twin.until("the end of the bare download", |seen| seen.gone == 1).await?;
    Ok(())
}
