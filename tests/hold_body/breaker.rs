//! What a breaker makes of bodies in each of its states.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use http::{HeaderMap, Response, StatusCode};
use portcullis::{
    CircuitBreakerConfig, CircuitBreakerLayer, Circuits, Error, Event, HalfOpen, Hint, Hung,
    KeyedCircuitBreakerLayer, Options, Outcome, Sleep, State, deadline,
    grpc::{Code, GrpcClassifier, pushback},
    http::hold::{ClassifyTrailers, HeldBody, HoldBody},
};
use tokio::time::advance;
use tower::{Layer, Service};

use super::script::{
    Ask, Head, Left, Says, Script, Server,
    Step::{self, Data, Trailers},
    frame, poll, read,
};
use crate::support::{Fault, Told, panic_of};

const SECOND: Duration = Duration::from_secs(1);
const ALL: usize = 20;

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("db")
        .no_failure_rate()
        .consecutive_failures(2)
        .sleep(Sleep::fixed(10 * SECOND))
        .half_open(HalfOpen::counts(1, 1))
}

type Judge = fn(&Result<Response<Script>, Error<Fault>>) -> Outcome;

fn layer(config: CircuitBreakerConfig) -> HoldBody<CircuitBreakerLayer<Judge>> {
    let judge: Judge = |result| match result {
        Ok(response) if response.status().is_server_error() => Outcome::Failure,
        Ok(response) if response.status().is_client_error() => Outcome::Ignored,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure,
    };
    CircuitBreakerLayer::new(config).expect("a valid config").classify(judge).hold_body()
}

fn begin<S, T>(service: &mut S, ask: &Ask) -> HeldBody<Script, T>
where
    S: Service<Ask, Response = Response<HeldBody<Script, T>>, Error = Error<Fault>>,
{
    match poll(service.call(ask.clone())) {
        Poll::Ready(Ok(response)) => response.into_body(),
        Poll::Ready(Err(error)) => panic!("refused: {error}"),
        Poll::Pending => panic!("no head"),
    }
}

fn stream() -> Ask {
    Ask::new(&[Data("a"), Data("b"), Data("c")])
}

fn breaks() -> Ask {
    Ask::new(&[Data("a"), Step::Error])
}

#[tokio::test(start_paused = true)]
async fn failures_in_bodies_open_the_circuit() {
    let layer = layer(config());
    let mut service = layer.layer(Server::default());
    for _ in 0..2 {
        assert_eq!(layer.circuit().state(), State::Closed);
        assert_eq!(read(begin(&mut service, &breaks()), ALL), Left::Failed);
    }
    assert_eq!(layer.circuit().state(), State::Open);
    assert!(matches!(poll(service.call(stream())), Poll::Ready(Err(Error::Rejected(_)))));
}

#[tokio::test(start_paused = true)]
async fn an_ignored_head_is_ignored_unless_its_body_fails() {
    let layer = layer(config());
    let mut service = layer.layer(Server::default());
    let missing = |ask: Ask| ask.head(Head::Is(StatusCode::NOT_FOUND));
    assert_eq!(read(begin(&mut service, &missing(stream())), ALL), Left::Ended);
    assert_eq!(layer.circuit().snapshot().calls, 0);
    assert_eq!(read(begin(&mut service, &missing(breaks())), ALL), Left::Failed);
    assert_eq!(layer.circuit().snapshot().failures, 1);
}

fn grpc(trailers: &HeaderMap) -> Outcome {
    match trailers["grpc-status"].to_str() {
        Ok("0") => Outcome::Success,
        Ok("5") => Outcome::Ignored,
        _ => Outcome::Failure,
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_are_judged_where_somebody_judges_them() {
    let circuits = Circuits::new(config(), 8, Options::new()).expect("a valid config");
    let keyed = KeyedCircuitBreakerLayer::of(circuits.clone(), |_: &Ask| 7);
    let mut keyed = keyed.hold_body().classify_trailers(grpc).layer(Server::default());
    let layer = layer(config()).classify_trailers(grpc);
    let mut service = layer.layer(Server::default());

    let head = |status| move |ask: Ask| ask.head(Head::Is(status));
    let (ok, missing) = (head(StatusCode::OK), head(StatusCode::NOT_FOUND));
    // What the trailers say, after a head that is a success and one that is ignored.
    for (status, successes, failures) in [("0", 1, 0), ("5", 0, 0), ("14", 0, 1)] {
        for head in [&ok as &dyn Fn(Ask) -> Ask, &missing] {
            for frames in [&[Data("a"), Trailers(status)][..], &[Trailers(status)]] {
                layer.circuit().reset();
                let left = read(begin(&mut service, &head(Ask::new(frames))), ALL);
                assert_eq!(left, Left::Ended);
                let now = layer.circuit().snapshot();
                assert_eq!((now.successes, now.failures), (successes, failures), "{status}");
            }
        }
        circuits.circuit(7).expect("there is room").reset();
        let left = read(begin(&mut keyed, &Ask::new(&[Trailers(status)])), ALL);
        assert_eq!(left, Left::Ended);
        let now = circuits.get(&7).expect("used").snapshot();
        assert_eq!((now.successes, now.failures), (successes, failures), "by key, {status}");
    }

    // Without any, the head's outcome stands; and an error is one, whoever judges.
    layer.circuit().reset();
    assert_eq!(read(begin(&mut service, &stream()), ALL), Left::Ended);
    assert_eq!(read(begin(&mut service, &breaks()), ALL), Left::Failed);
    let now = layer.circuit().snapshot();
    assert_eq!((now.successes, now.failures), (1, 1));
}

/// A classifier with a name, which sees the head's outcome and asks to be left alone.
#[derive(Clone, Copy, Debug)]
struct Pushback;

impl ClassifyTrailers for Pushback {
    fn classify(&self, head: Outcome, trailers: &HeaderMap) -> Outcome {
        assert_eq!(head, Outcome::Success);
        grpc(trailers)
    }

    fn hint(&self, _: &HeaderMap) -> Option<Hint> {
        Some(Hint::After(40 * SECOND))
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_can_ask_for_a_longer_wait() {
    let config = config().consecutive_failures(1).sleep(Sleep::default());
    let layer = layer(config).classify_trailers_with(Pushback);
    let mut service = layer.layer(Server::default());
    read(begin(&mut service, &Ask::new(&[Trailers("14")])), ALL);
    let wait = layer.circuit().snapshot().time_to_half_open.expect("it is open");
    assert!(wait >= 40 * SECOND, "{wait:?}");
}

/// The classifier of heads is one of trailers as well, and hears what they ask for.
#[tokio::test(start_paused = true)]
async fn trailers_are_judged_as_heads_are() {
    let judge = GrpcClassifier::breaker();
    let layer = layer(config()).classify_trailers_with(judge);
    let mut service = layer.layer(Server::default());
    for (status, successes, failures) in [("0", 1, 0), ("5", 2, 0), ("8", 2, 1), ("0", 3, 1)] {
        read(begin(&mut service, &Ask::new(&[Trailers(status)])), ALL);
        let now = layer.circuit().snapshot();
        assert_eq!((now.successes, now.failures), (successes, failures), "{status}");
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", Code::Unavailable.to_header_value());
    trailers.insert(pushback::NAME, pushback::value(SECOND));
    assert_eq!(ClassifyTrailers::hint(&judge, &trailers), Some(Hint::After(SECOND)));
}

#[test]
fn a_classifier_of_trailers_that_panics_abandons_the_call() {
    let layer = layer(config()).classify_trailers(|_: &HeaderMap| -> Outcome { panic!("no") });
    let mut body = begin(&mut layer.layer(Server::default()), &Ask::new(&[Trailers("0")]));
    assert_eq!(panic_of(|| frame(&mut body)), "no");
    assert!(!body.is_held());
    assert_eq!(layer.circuit().snapshot().calls, 0);
}

/// A call whose head is two seconds in coming.
async fn late<S>(service: &mut S) -> HeldBody<Script>
where
    S: Service<Ask, Response = Response<HeldBody<Script>>, Error = Error<Fault>>,
{
    let future = service.call(stream());
    advance(2 * SECOND).await;
    future.await.expect("a head").into_body()
}

#[tokio::test(start_paused = true)]
async fn slow_means_time_to_the_head() {
    let told = Told::default();
    let config = config().slow_calls(SECOND, 0.9);
    let layer =
        CircuitBreakerLayer::with(config, told.options()).expect("a valid config").hold_body();
    let mut service = layer.layer(Server::default());
    let settled = |slow| Event::Settled { policy: "db", outcome: Outcome::Success, slow };

    // A stream that lasts is not slow.
    let body = begin(&mut service, &stream());
    advance(60 * SECOND).await;
    assert_eq!(read(body, ALL), Left::Ended);
    assert_eq!(told.take(), [settled(false)]);

    // A head that was long in coming is, however its body ends.
    assert_eq!(read(late(&mut service).await, ALL), Left::Ended);
    assert_eq!(told.take(), [settled(true)]);
    drop(late(&mut service).await);
    assert_eq!(
        told.take(),
        [Event::Abandoned { policy: "db", outcome: Outcome::Ignored, slow: true }]
    );
    assert_eq!(layer.circuit().snapshot().slow, 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_does_not_hang() {
    let mut rule = Hung::default();
    rule.calls = 2;
    let layer = layer(config().hung_calls(SECOND).hung(rule));
    let mut service = layer.layer(Server::default());
    let streams: Vec<_> = (0..5).map(|_| begin(&mut service, &stream())).collect();
    advance(60 * SECOND).await;
    drop(begin(&mut service, &stream()));
    assert_eq!(layer.circuit().state(), State::Closed);
    // Calls without a head do, whatever streams there are besides.
    let hanging: Vec<_> = (0..2).map(|_| service.call(stream().head(Head::Hangs))).collect();
    advance(2 * SECOND).await;
    assert!(poll(service.call(stream())).is_ready());
    assert_eq!(layer.circuit().state(), State::Open);
    drop((streams, hanging));
}

/// The deadline covered the head; a body that is dropped after it says nothing.
#[tokio::test(start_paused = true)]
async fn a_drop_of_a_body_is_ignored_also_past_the_deadline() {
    let layer = layer(config());
    let mut service = layer.layer(Server::default());
    let body = deadline::within(SECOND, async { begin(&mut service, &stream()) }).await;
    advance(5 * SECOND).await;
    drop(body);
    assert_eq!(layer.circuit().snapshot().calls, 0);
}

#[tokio::test(start_paused = true)]
async fn every_drop_is_a_failure_where_one_line_says_so() {
    let layer = layer(config().drops_are_failures(true));
    let mut service = layer.layer(Server::default());
    drop(begin(&mut service, &stream()));
    assert_eq!(layer.circuit().snapshot().failures, 1);
    // It is not dropped half-way if all that it announced was read.
    assert_eq!(read(begin(&mut service, &stream().says(Says::Length)), 3), Left::Dropped);
    assert_eq!(layer.circuit().snapshot().successes, 1);
}

#[tokio::test(start_paused = true)]
async fn probes_settle_at_the_head() {
    let layer = layer(config().half_open(HalfOpen::counts(2, 1)));
    let circuit = layer.circuit().clone();
    let mut service = layer.layer(Server::default());
    circuit.half_open();
    let first = begin(&mut service, &stream());
    assert!(!first.is_held());
    assert_eq!((circuit.snapshot().successes, circuit.snapshot().probes_in_flight), (1, 0));
    // No body of a probe is waited for, nor can it fail it any more.
    let second = begin(&mut service, &breaks());
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(read(second, ALL), Left::Failed);
    assert_eq!(circuit.snapshot().failures, 0);
    drop(first);

    // A head that fails reopens, and a probe that is dropped before it gives its slot back.
    circuit.half_open();
    drop(service.call(stream()));
    assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (State::HalfOpen, 0));
    drop(begin(&mut service, &stream().head(Head::Is(StatusCode::BAD_GATEWAY))));
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_an_earlier_period_changes_nothing() {
    let layer = layer(config());
    let circuit = layer.circuit().clone();
    let mut service = layer.layer(Server::default());
    let late: Vec<_> = (0..4).map(|_| begin(&mut service, &breaks())).collect();
    let [ends, dropped] = [stream(), stream()].map(|ask| begin(&mut service, &ask));
    for _ in 0..2 {
        read(begin(&mut service, &breaks()), ALL);
    }
    assert_eq!(circuit.state(), State::Open);
    let mut late = late.into_iter();
    assert_eq!(read(late.next().expect("one of four"), ALL), Left::Failed);
    advance(10 * SECOND).await;
    drop(begin(&mut service, &stream()));
    assert_eq!(circuit.state(), State::Closed);
    // Two failures in a row would open it, if they counted.
    late.for_each(|body| assert_eq!(read(body, ALL), Left::Failed));
    read(ends, ALL);
    drop(dropped);
    let now = circuit.snapshot();
    assert_eq!((now.state, now.calls, now.consecutive_failures), (State::Closed, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_command_has_admitted_is_held_by_nobody() {
    let layer = layer(config());
    let circuit = layer.circuit().clone();
    let mut service = layer.layer(Server::default());

    circuit.disable();
    let disabled = begin(&mut service, &breaks());
    assert!(!disabled.is_held());
    assert_eq!(read(disabled, ALL), Left::Failed);
    assert_eq!(circuit.snapshot().calls, 0);

    circuit.force_open();
    assert!(matches!(poll(service.call(stream())), Poll::Ready(Err(Error::Rejected(_)))));

    // In shadow the machine runs, and counts bodies; what it would have refused goes unrecorded.
    circuit.shadow();
    for _ in 0..2 {
        let body = begin(&mut service, &breaks());
        assert!(body.is_held());
        assert_eq!(read(body, ALL), Left::Failed);
    }
    assert_eq!((circuit.state(), circuit.snapshot().failures), (State::Open, 2));
    let would_refuse = begin(&mut service, &breaks());
    assert!(!would_refuse.is_held());
    assert_eq!(read(would_refuse, ALL), Left::Failed);
    assert_eq!(circuit.snapshot().failures, 2);
}

/// By hand, a probe keeps its slot and its lease until it is settled.
#[test]
fn a_probe_whose_answer_has_begun_is_one_still() {
    let start = portcullis::clock::tokio_now();
    let breaker =
        portcullis::policy::breaker::Breaker::new(config(), start).expect("a valid config");
    breaker.command(portcullis::Command::HalfOpen, start);
    let permit = breaker.answered(breaker.admit(start).expect("a probe"), start + SECOND);
    assert!(permit.is_probe() && permit.is_recorded());
    assert_eq!(breaker.snapshot(start).probes_in_flight, 1);
    breaker.settle(permit, Outcome::Success, None, start + 2 * SECOND);
    assert_eq!(breaker.state(), State::Closed);
    breaker.command(portcullis::Command::Disable, start);
    let untracked = breaker.admit(start).expect("disabled");
    assert!(!untracked.is_recorded());
    assert!(!breaker.answered(untracked, start).is_recorded());
}

/// A body that outlives its layer, its service and its handle keeps what it needs.
#[test]
fn a_body_outlives_everything_else() {
    let ends = Arc::new(AtomicUsize::new(0));
    let log = Arc::clone(&ends);
    let options = Options::new().observer(move |event: &Event| {
        log.fetch_add(usize::from(matches!(event, Event::Settled { .. })), SeqCst);
    });
    let circuits = Circuits::new(config(), 1, options).expect("a valid config");
    let keyed = KeyedCircuitBreakerLayer::of(circuits, |ask: &Ask| ask.body.len()).hold_body();
    let mut service = keyed.layer(Server::default());
    let body = begin(&mut service, &stream());
    // Its key is forgotten for another one.
    drop(begin(&mut service, &Ask::new(&[])));
    drop((keyed, service));
    assert_eq!(read(body, ALL), Left::Ended);
    assert_eq!(ends.load(SeqCst), 1);
}
