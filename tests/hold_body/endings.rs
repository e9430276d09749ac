//! Every ending × every layer that holds.

use std::sync::atomic::Ordering::SeqCst;

use http::{Response, StatusCode};
use http_body::Body;
use portcullis::{
    Bulkhead, BulkheadConfig, BulkheadLayer, Circuit, CircuitBreakerConfig, CircuitBreakerLayer,
    Circuits, Error, Event, KeyedCircuitBreakerLayer, Outcome, QueuedBulkheadLayer, Window,
    http::hold::HeldBody,
};
use tower::{Layer, Service, util::BoxCloneSyncService};

use super::script::{
    Ask, Head, Left, Says, Script, Server,
    Step::{self, Data, Panic, Pending, Trailers},
    frame, poll, read,
};
use crate::support::{Caller, Fault, Told, panic_of};

type Gauge = Box<dyn Fn() -> usize>;
type Held = BoxCloneSyncService<Ask, Response<HeldBody<Script>>, Error<Fault>>;

/// One layer that holds, and what is told of it.
struct Subject {
    name: &'static str,
    service: Held,
    server: Server,
    told: Told,
    seen: Vec<Event>,
    breaker: bool,
    in_flight: Gauge,
}

fn boxed<S>(service: S) -> Held
where
    S: Service<Ask, Response = Response<HeldBody<Script>>, Error = Error<Fault>>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    BoxCloneSyncService::new(service)
}

/// What a breaker sees of a response.
fn judge(result: &Result<Response<Script>, Error<Fault>>) -> Outcome {
    match result {
        Ok(response) if !response.status().is_server_error() => Outcome::Success,
        _ => Outcome::Failure,
    }
}

fn subjects() -> Vec<Subject> {
    let mut subjects = Vec::new();
    let mut add = |name, breaker, make: &dyn Fn(&Told, Server) -> (Held, Gauge)| {
        let (server, told) = (Server::default(), Told::default());
        let (service, in_flight) = make(&told, server.clone());
        subjects.push(Subject {
            name,
            service,
            server,
            told,
            seen: Vec::new(),
            breaker,
            in_flight,
        });
    };
    let slots = || BulkheadConfig::new("db", 1);
    let gauge = |bulkhead: &Bulkhead| -> Gauge {
        let bulkhead = bulkhead.clone();
        Box::new(move || bulkhead.in_flight())
    };
    add("bulkhead", false, &|told, server| {
        let layer =
            BulkheadLayer::with(slots(), told.options()).expect("a valid config").hold_body();
        (boxed(layer.layer(server)), gauge(layer.bulkhead()))
    });
    add("leaked bulkhead", false, &|told, server| {
        let bulkhead = Bulkhead::with(slots(), told.options()).expect("a valid config").leak();
        let layer = bulkhead.layer().hold_body();
        (boxed(layer.layer(server)), gauge(&bulkhead))
    });
    add("queued bulkhead", false, &|told, server| {
        let layer =
            QueuedBulkheadLayer::with(slots().queue(3), told.options()).expect("a valid config");
        let layer = layer.hold_body();
        (boxed(layer.layer(server)), gauge(layer.bulkhead()))
    });
    let config = || CircuitBreakerConfig::new("db").no_failure_rate().consecutive_failures(1_000);
    let second = std::time::Duration::from_secs(1);
    for (name, config) in [
        ("breaker", config()),
        ("breaker of a count window", config().window(Window::count(5))),
        ("breaker with a slow rule", config().slow_calls(second, 0.9)),
        ("breaker with a hung rule", config().hung_calls(second)),
    ] {
        add(name, true, &|told, server| {
            let layer =
                CircuitBreakerLayer::with(config.clone(), told.options()).expect("a valid config");
            (boxed(layer.classify(judge).hold_body().layer(server)), Box::new(|| 0))
        });
    }
    add("leaked breaker", true, &|told, server| {
        let circuit = Circuit::with(config(), told.options()).expect("a valid config").leak();
        (boxed(circuit.layer().classify(judge).hold_body().layer(server)), Box::new(|| 0))
    });
    add("breaker by key", true, &|told, server| {
        let circuits = Circuits::new(config(), 8, told.options()).expect("a valid config");
        let layer = KeyedCircuitBreakerLayer::of(circuits, |ask: &Ask| ask.body.len());
        (boxed(layer.classify(judge).hold_body().layer(server)), Box::new(|| 0))
    });
    subjects
}

impl Subject {
    /// What was told since, of the end of calls alone.
    fn ends(&mut self) -> Vec<Event> {
        self.seen.extend(self.told.take());
        let ends = self.seen.iter().filter(|event| {
            matches!(
                event,
                Event::Settled { .. } | Event::Abandoned { .. } | Event::Released { .. }
            )
        });
        ends.copied().collect()
    }

    #[track_caller]
    fn is_over(&mut self, as_told: Way, what: &str) {
        let ends = self.ends();
        assert_eq!(ends.len(), 1, "{}: {what}: {ends:?}", self.name);
        let told = match ends[0] {
            Event::Settled { outcome, slow: false, .. } => Way::Settled(outcome),
            Event::Abandoned { outcome: Outcome::Ignored, slow: false, .. } => Way::Abandoned,
            Event::Released { .. } => Way::Released,
            other => panic!("{}: {what}: {other}", self.name),
        };
        let expected = if self.breaker { as_told } else { Way::Released };
        assert_eq!(told, expected, "{}: {what}", self.name);
        assert_eq!((self.in_flight)(), 0, "{}: {what}", self.name);
        self.seen.clear();
    }

    #[track_caller]
    fn is_held(&mut self, what: &str) {
        assert_eq!(self.ends(), [], "{}: {what}", self.name);
        assert_eq!((self.in_flight)(), usize::from(!self.breaker), "{}: {what}", self.name);
    }

    fn call(&mut self, ask: &Ask) -> Response<HeldBody<Script>> {
        let caller = Caller::new();
        let mut service = self.service.clone();
        assert!(caller.ready(&mut service).is_ready());
        caller.finish(&mut Box::pin(service.call(ask.clone()))).expect("a head")
    }
}

/// How a call's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Settled(Outcome),
    Abandoned,
    Released,
}

const SUCCESS: Way = Way::Settled(Outcome::Success);
const FAILURE: Way = Way::Settled(Outcome::Failure);

/// All of the body is polled by this.
const ALL: usize = 20;

/// What the answer is, how often the reader polls, how it leaves, and what is told.
fn cases() -> Vec<(&'static str, Ask, usize, Left, Way)> {
    let film: &[Step] = &[Data("a"), Pending, Data("b"), Data("c")];
    let mut cases = vec![
        ("no frame", Ask::new(&[]), ALL, Left::Ended, SUCCESS),
        ("data", Ask::new(film), ALL, Left::Ended, SUCCESS),
        ("data, says its end", Ask::new(film).says(Says::End), ALL, Left::Ended, SUCCESS),
        ("data, says its length", Ask::new(film).says(Says::Length), ALL, Left::Ended, SUCCESS),
        ("all of its length is read", Ask::new(film).says(Says::Length), 4, Left::Dropped, SUCCESS),
        (
            "most of its length is read",
            Ask::new(film).says(Says::Length),
            3,
            Left::Dropped,
            Way::Abandoned,
        ),
        ("trailers", Ask::new(&[Data("a"), Trailers("14")]), ALL, Left::Ended, SUCCESS),
        ("nothing but trailers", Ask::new(&[Trailers("0")]), ALL, Left::Ended, SUCCESS),
        ("not polled beyond trailers", Ask::new(&[Trailers("0")]), 1, Left::Dropped, SUCCESS),
        (
            "trailers, says its end",
            Ask::new(&[Data("a"), Trailers("0")]).says(Says::End),
            ALL,
            Left::Ended,
            SUCCESS,
        ),
        ("fails at once", Ask::new(&[Step::Error]), ALL, Left::Failed, FAILURE),
        (
            "fails half-way",
            Ask::new(&[Data("a"), Pending, Step::Error]),
            ALL,
            Left::Failed,
            FAILURE,
        ),
        (
            "fails when its length is there",
            Ask::new(&[Data("a"), Step::Error]).says(Says::Length),
            ALL,
            Left::Failed,
            FAILURE,
        ),
        ("panics at once", Ask::new(&[Panic]), ALL, Left::Panicked, FAILURE),
        ("panics half-way", Ask::new(&[Data("a"), Panic]), ALL, Left::Panicked, FAILURE),
    ];
    for polls in 0..film.len() {
        cases.push(("dropped", Ask::new(film), polls, Left::Dropped, Way::Abandoned));
        let says_end = Ask::new(film).says(Says::End);
        cases.push(("dropped, says its end", says_end, polls, Left::Dropped, Way::Abandoned));
    }
    cases
}

#[test]
fn every_ending_of_a_body_is_the_one_end_of_its_call() {
    for mut subject in subjects() {
        for (what, ask, polls, left, told) in cases() {
            let response = subject.call(&ask);
            assert!(response.body().is_held(), "{}: {what}", subject.name);
            subject.is_held(what);
            assert_eq!(read(response.into_body(), polls), left, "{}: {what}", subject.name);
            subject.is_over(told, what);
            assert_eq!(subject.server.live.load(SeqCst), 0, "{}: {what}", subject.name);
        }
    }
}

#[test]
fn a_call_is_over_at_the_frame_that_ends_the_body_and_not_later() {
    let frames = [Data("a"), Data("b")];
    for mut subject in subjects() {
        for (says, polls) in [(Says::Nothing, 3), (Says::End, 2), (Says::Length, 3)] {
            let mut body = subject.call(&Ask::new(&frames).says(says)).into_body();
            for _ in 1..polls {
                assert!(frame(&mut body).is_ready());
                subject.is_held("more is to come");
            }
            assert!(frame(&mut body).is_ready());
            assert!(!body.is_held());
            subject.is_over(SUCCESS, "the last frame");
            // What becomes of it now is nobody's business.
            drop(body);
            assert_eq!(subject.ends(), []);
        }
    }
}

#[test]
fn a_response_without_a_body_is_over_at_its_head() {
    for mut subject in subjects() {
        let response = subject.call(&Ask::new(&[]).says(Says::End));
        subject.is_over(SUCCESS, "the head");
        assert!(!response.body().is_held());
        assert_eq!(read(response.into_body(), ALL), Left::Ended);
        assert_eq!(subject.ends(), []);
    }
}

#[test]
fn a_failing_head_settles_at_once_and_its_slot_is_held_all_the_same() {
    let ask = Ask::new(&[Data("sorry")]).head(Head::Is(StatusCode::BAD_GATEWAY));
    for mut subject in subjects() {
        let response = subject.call(&ask);
        if subject.breaker {
            subject.is_over(FAILURE, "the head");
            assert!(!response.body().is_held());
            assert_eq!(read(response.into_body(), ALL), Left::Ended);
            assert_eq!(subject.ends(), []);
        } else {
            subject.is_held("the head");
            assert_eq!(read(response.into_body(), ALL), Left::Ended);
            subject.is_over(FAILURE, "the body");
        }
    }
}

#[test]
fn a_call_without_a_head_ends_as_without_holding() {
    for mut subject in subjects() {
        let name = subject.name;
        let caller = Caller::new();
        let mut service = subject.service.clone();
        let mut call = |head| {
            assert!(caller.ready(&mut service).is_ready());
            Box::pin(service.call(Ask::new(&[Data("a")]).head(head)))
        };
        // Dropped before its first poll, and after it.
        drop(call(Head::Hangs));
        subject.is_over(Way::Abandoned, "dropped unpolled");
        let mut hangs = call(Head::Hangs);
        assert!(caller.poll(&mut hangs).is_pending());
        drop(hangs);
        subject.is_over(Way::Abandoned, "dropped while waiting");
        assert!(caller.finish(&mut call(Head::Fails)).is_err(), "{name}");
        subject.is_over(FAILURE, "an error");
        let mut panics = call(Head::Panics);
        panic_of(|| caller.poll(&mut panics));
        drop(panics);
        subject.is_over(FAILURE, "a panic");
        assert_eq!(subject.server.live.load(SeqCst), 0, "{name}");
    }
}

#[test]
fn a_full_bulkhead_refuses_while_a_body_lasts_and_lets_the_next_one_in_at_its_end() {
    let layer =
        BulkheadLayer::new(BulkheadConfig::new("db", 1)).expect("a valid config").hold_body();
    let mut service = layer.layer(Server::default());
    let ask = Ask::new(&[Data("a"), Data("b")]);
    let answer = poll(service.call(ask.clone()));
    let std::task::Poll::Ready(Ok(response)) = answer else { panic!("{answer:?}") };
    let refused = poll(service.call(ask.clone()));
    assert!(matches!(refused, std::task::Poll::Ready(Err(Error::Rejected(_)))), "{refused:?}");
    assert_eq!(read(response.into_body(), ALL), Left::Ended);
    assert!(matches!(poll(service.call(ask)), std::task::Poll::Ready(Ok(_))));
}

/// The slot of a body goes to the call that has waited for it, and through that one's body to the next.
#[tokio::test(start_paused = true)]
async fn a_body_hands_its_slot_to_the_queue() {
    let config = BulkheadConfig::new("db", 1).queue(2);
    let layer = QueuedBulkheadLayer::new(config).expect("a valid config").hold_body();
    let mut service = layer.layer(Server::default());
    let caller = Caller::new();
    let ask = Ask::new(&[Data("a")]);
    let mut calls: Vec<_> = (0..3).map(|_| Box::pin(service.call(ask.clone()))).collect();
    let first = caller.finish(&mut calls[0]).expect("a head");
    assert!(caller.poll(&mut calls[1]).is_pending());
    assert!(caller.poll(&mut calls[2]).is_pending());
    assert_eq!((layer.bulkhead().in_flight(), layer.bulkhead().queued()), (1, 2));

    drop(first);
    assert_eq!((layer.bulkhead().in_flight(), layer.bulkhead().queued()), (1, 1));
    let second = caller.finish(&mut calls[1]).expect("a head");
    assert!(second.body().is_held());
    assert!(caller.poll(&mut calls[2]).is_pending());
    assert_eq!(read(second.into_body(), ALL), Left::Ended);
    let third = caller.finish(&mut calls[2]).expect("a head");
    // The future is done with; the body holds.
    drop(calls);
    assert_eq!(layer.bulkhead().in_flight(), 1);
    drop(third);
    assert_eq!((layer.bulkhead().in_flight(), layer.bulkhead().queued()), (0, 0));
}

/// A slot that a command made superfluous is held by nobody.
#[test]
fn a_bulkhead_that_counts_nobody_holds_nothing() {
    let bulkhead = Bulkhead::new(BulkheadConfig::new("db", 1)).expect("a valid config");
    let mut service = bulkhead.layer().hold_body().layer(Server::default());
    let mut begin = || match poll(service.call(Ask::new(&[Data("a")]))) {
        std::task::Poll::Ready(Ok(response)) => response,
        other => panic!("{other:?}"),
    };
    bulkhead.disable();
    assert!(!begin().body().is_held());
    bulkhead.shadow();
    let within = begin();
    assert!(within.body().is_held());
    let beyond = begin();
    assert!(!beyond.body().is_held());
    assert_eq!(bulkhead.in_flight(), 1);
    drop((within, beyond));
    assert_eq!(bulkhead.in_flight(), 0);
}

/// Frames, length and end are those of the body inside.
#[test]
fn what_is_held_looks_as_it_did() {
    let layer =
        BulkheadLayer::new(BulkheadConfig::new("db", 1)).expect("a valid config").hold_body();
    let mut service = layer.layer(Server::default());
    let ask = Ask::new(&[Data("abc"), Data("de"), Trailers("7")]).says(Says::Length);
    let std::task::Poll::Ready(Ok(response)) = poll(service.call(ask)) else { panic!("no head") };
    let mut body = response.into_body();
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    for (text, left) in [("abc", 2), ("de", 0)] {
        let std::task::Poll::Ready(Some(Ok(frame))) = frame(&mut body) else { panic!("no frame") };
        assert_eq!(frame.into_data().expect("data"), text);
        assert_eq!(body.size_hint().exact(), Some(left));
    }
    let std::task::Poll::Ready(Some(Ok(last))) = frame(&mut body) else { panic!("no trailers") };
    assert_eq!(last.into_trailers().expect("trailers")["grpc-status"], "7");
    assert!(matches!(frame(&mut body), std::task::Poll::Ready(None)));
}

/// Bodies end on whatever thread reads them; every one of them is counted once.
#[test]
fn bodies_that_end_on_other_threads_are_counted_once_each() {
    const EACH: u32 = 300;
    let slots = BulkheadLayer::new(BulkheadConfig::new("db", 1_000_000)).expect("a valid config");
    let config = CircuitBreakerConfig::new("db").no_failure_rate().failures(1_000_000);
    let breaker = CircuitBreakerLayer::new(config).expect("a valid config");
    let (bulkhead, circuit) = (slots.bulkhead().clone(), breaker.circuit().clone());
    let service = tower::ServiceBuilder::new()
        .layer(slots.hold_body())
        .layer(breaker.hold_body())
        .service(Server::default());
    let (give, take) = std::sync::mpsc::channel();
    let (give, take) = (std::sync::Mutex::new(give), std::sync::Mutex::new(take));
    crate::support::on_threads(4, |_| {
        let mut service = service.clone();
        for nth in 0..EACH {
            let ask = match nth % 3 {
                0 => Ask::new(&[Data("a"), Data("b")]),
                1 => Ask::new(&[Data("a"), Step::Error]),
                _ => Ask::new(&[Data("a"), Data("b")]).says(Says::End),
            };
            let std::task::Poll::Ready(Ok(response)) = poll(service.call(ask)) else {
                panic!("no head")
            };
            // A third of the successes is dropped half-way.
            let polls = if nth % 9 == 0 { 1 } else { ALL };
            give.lock()
                .expect("whole")
                .send((response.into_body(), polls))
                .expect("somebody takes");
            let (body, polls) = take.lock().expect("whole").recv().expect("somebody gives");
            read(body, polls);
        }
    });
    let (all, dropped) = (u64::from(4 * EACH), u64::from(4 * EACH.div_ceil(9)));
    let now = circuit.snapshot();
    assert_eq!((now.failures, now.successes), (all / 3, all * 2 / 3 - dropped));
    assert_eq!(bulkhead.in_flight(), 0);
}
