//! Events as `tracing` gets them: levels, target, fields and text.
//!
//! A program of its own: `tracing` asks a subscriber of one thread about a place in the code when any
//! thread first comes by, and remembers the answer for all. So there is one subscriber for the process,
//! installed before anything happens, which keeps what each test's thread did apart.
#![cfg(feature = "tracing")]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use portcullis::{
    Backoff, Bulkhead, BulkheadConfig, CatchPanicConfig, Circuit, CircuitBreakerConfig, Circuits,
    Command, Error, Event, HalfOpen, KeyedCircuitBreakerLayer, LastGood, LastGoodConfig, Options,
    Outcome, PanicGuard, RateLimitConfig, RateLimiter, RetryConfig, RetryPolicy, Sleep, State,
    TimeLimit, TimeoutConfig,
};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tracing::{
    Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::{Interest, set_global_default},
};

const SECOND: Duration = Duration::from_secs(1);

/// Waits 10 s exactly, and closes after one good probe.
fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("db")
        .sleep(Sleep::fixed(10 * SECOND))
        .half_open(HalfOpen::counts(1, 1))
}

fn circuit() -> Circuit {
    Circuit::new(config()).expect("a valid config")
}

/// A circuit with an observer besides, and what that was told.
fn observed() -> (Circuit, impl Fn() -> Vec<Event>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let options =
        Options::new().observer(move |event: &Event| log.lock().expect("whole").push(*event));
    let circuit = Circuit::with(config(), options).expect("a valid config");
    (circuit, move || std::mem::take(&mut *told.lock().expect("whole")))
}

/// One event of `tracing`: its fields as text, the message among them.
#[derive(Clone, Debug)]
struct Line {
    level: Level,
    target: String,
    fields: BTreeMap<&'static str, String>,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

thread_local! {
    static MOST: Cell<LevelFilter> = const { Cell::new(LevelFilter::OFF) };
    static PANICS: Cell<bool> = const { Cell::new(false) };
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// The subscriber of the process. Each thread says up to which level it listens.
#[derive(Debug)]
struct Keeps;

impl Subscriber for Keeps {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Asked again each time, since threads differ.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= MOST.get()
    }

    fn event(&self, event: &tracing::Event<'_>) {
        assert!(!PANICS.get(), "the subscriber panics");
        let (level, target) = (*event.metadata().level(), event.metadata().target().to_owned());
        let mut line = Line { level, target, fields: BTreeMap::new() };
        event.record(&mut line);
        LINES.with_borrow_mut(|lines| lines.push(line));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// From here on this thread listens up to a level. The first thing that every test here does; another
/// may have had the thread before.
fn listen(most: LevelFilter) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| set_global_default(Keeps).expect("nobody else sets one"));
    MOST.set(most);
    PANICS.set(false);
    LINES.take();
}

fn lines() -> Vec<Line> {
    LINES.take()
}

/// The one line there is, which comes from this library.
#[track_caller]
fn only() -> (Level, BTreeMap<&'static str, String>) {
    let mut lines = lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let Line { level, target, fields } = lines.remove(0);
    assert_eq!(target, "portcullis::circuit_breaker");
    (level, fields)
}

fn fields<const N: usize>(pairs: [(&'static str, &str); N]) -> BTreeMap<&'static str, String> {
    pairs.map(|(name, value)| (name, value.to_owned())).into()
}

#[tokio::test(start_paused = true)]
async fn a_transition_is_a_warning_when_it_refuses_and_information_when_it_does_not() {
    listen(LevelFilter::TRACE);
    let circuit = circuit();
    for (command, level, from, to, shadow) in [
        (Command::Open, Level::WARN, "closed", "open", "false"),
        (Command::HalfOpen, Level::INFO, "open", "half_open", "false"),
        (Command::ForceOpen, Level::WARN, "half_open", "forced_open", "false"),
        (Command::Disable, Level::INFO, "forced_open", "disabled", "false"),
        (Command::Close, Level::INFO, "disabled", "closed", "false"),
        (Command::Shadow, Level::INFO, "closed", "closed", "true"),
        (Command::OpenFor(SECOND), Level::WARN, "closed", "open", "true"),
    ] {
        circuit.command(command);
        let generation = circuit.snapshot().generation.to_string();
        let sleep = match command {
            Command::Open => "; for 10s",
            Command::OpenFor(_) => "; for 1s (shadow)",
            Command::Shadow => " (shadow)",
            _ => "",
        };
        let text = format!("db: {from} -> {to}: the command `{command}` was given{sleep}");
        let expected = fields([
            ("message", &text),
            ("portcullis.policy", "db"),
            ("portcullis.from", from),
            ("portcullis.to", to),
            ("portcullis.generation", &generation),
            ("portcullis.shadow", shadow),
        ]);
        assert_eq!(only(), (level, expected), "{command}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_stay_at_debug() {
    listen(LevelFilter::TRACE);
    let circuit = circuit();
    circuit.open();
    lines();
    advance(4 * SECOND).await;
    for _ in 0..2 {
        let refused = circuit.try_acquire().expect_err("open");
        let expected = fields([
            ("message", &format!("refused: {refused}")),
            ("portcullis.policy", "db"),
            ("error.type", "circuit_open"),
        ]);
        assert_eq!(only(), (Level::DEBUG, expected));
    }
    circuit.shadow();
    circuit.half_open();
    let _probe = circuit.try_acquire().expect("a probe");
    lines();
    drop(circuit.try_acquire());
    let expected = fields([
        ("message", "db: would refuse: probe_limit"),
        ("portcullis.policy", "db"),
        ("error.type", "probe_limit"),
        ("portcullis.shadow", "true"),
    ]);
    assert_eq!(only(), (Level::DEBUG, expected));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_room_is_told_at_debug_and_a_forgotten_key_is_not() {
    listen(LevelFilter::TRACE);
    let circuits: Circuits<u32> =
        Circuits::new(config(), 1, Options::new()).expect("a valid config");
    let layer = KeyedCircuitBreakerLayer::of(circuits.clone(), |key: &u32| *key);
    let service = layer.layer(service_fn(|_: u32| async { Ok::<(), Error<()>>(()) }));
    for key in 0..3 {
        service.clone().oneshot(key).await.expect("the service works");
    }
    assert!(lines().is_empty(), "calls and forgotten keys are for metrics");
    circuits.get(&2).expect("known").force_open();
    lines();
    service.clone().oneshot(3).await.expect("let in");
    let expected = fields([
        ("message", "db: no room for another key; the call goes untracked"),
        ("portcullis.policy", "db"),
    ]);
    assert_eq!(only(), (Level::DEBUG, expected));
}

#[tokio::test(start_paused = true)]
async fn fallbacks_are_told_at_debug() {
    listen(LevelFilter::TRACE);
    let answers = LastGood::new(LastGoodConfig::new("prices", 9 * SECOND)).expect("a valid config");
    answers.call(1, || Ok::<_, ()>("tea")).expect("the service works");
    assert!(lines().is_empty(), "a call that goes well");
    advance(SECOND).await;
    let told = |message, shadow: Option<&str>| {
        let _ = answers.call(1, || Err(()));
        let mut expected = fields([
            ("message", message),
            ("portcullis.policy", "prices"),
            ("portcullis.source", "last_good"),
        ]);
        expected.extend(shadow.map(|shadow| ("portcullis.shadow", shadow.to_owned())));
        let line = lines().pop().expect("a line");
        assert_eq!((line.level, line.fields), (Level::DEBUG, expected));
        assert_eq!(line.target, "portcullis::fallback");
    };
    told("prices: fell back on the last good answer, 1s old", None);
    answers.shadow();
    told("prices: would fall back on the last good answer, 1s old", Some("true"));
    answers.enable();
    assert!(answers.call(2, || Err(())).is_err());
    let [Line { level, target, fields: found }] = &lines()[..] else { panic!("not one line") };
    let text = "prices: there was nothing to fall back on";
    let expected = fields([("message", text), ("portcullis.policy", "prices")]);
    assert_eq!((*level, target.as_str(), found), (Level::DEBUG, "portcullis::fallback", &expected));
}

/// Each kind of policy has a target of its own, and each refusal says who refused, and why.
#[tokio::test(start_paused = true)]
async fn refusals_and_would_be_refusals_of_every_kind_have_their_target_and_fields() {
    listen(LevelFilter::TRACE);
    let bulkhead = Bulkhead::new(BulkheadConfig::new("pool", 1)).expect("a valid config");
    let _busy = bulkhead.try_acquire().expect("a slot");
    let limit = RateLimitConfig::per_second("api", 1).burst(1);
    let limiter = RateLimiter::new(limit).expect("a valid config");
    limiter.try_acquire().expect("a token");
    assert!(lines().is_empty(), "calls that are let in are for metrics");
    let told = |target: &str, policy: &str, reason: &str, shadow: bool| {
        let [Line { level, target: at, fields: found }] = &lines()[..] else {
            panic!("not one line")
        };
        assert_eq!((*level, at.as_str()), (Level::DEBUG, target));
        let mut found = found.clone();
        assert!(found.remove("message").is_some_and(|text| text.contains(policy)));
        let mut expected = fields([("portcullis.policy", policy), ("error.type", reason)]);
        expected.extend(shadow.then(|| ("portcullis.shadow", "true".to_owned())));
        assert_eq!(found, expected);
    };
    assert!(bulkhead.try_acquire().is_err());
    told("portcullis::bulkhead", "pool", "bulkhead_full", false);
    assert!(limiter.try_acquire().is_err());
    told("portcullis::rate_limit", "api", "rate_limited", false);
    bulkhead.shadow();
    limiter.shadow();
    assert!(bulkhead.try_acquire().is_ok());
    told("portcullis::bulkhead", "pool", "bulkhead_full", true);
    assert!(limiter.try_acquire().is_ok());
    told("portcullis::rate_limit", "api", "rate_limited", true);
}

#[tokio::test(start_paused = true)]
async fn retries_are_told_at_debug_with_their_attempt() {
    listen(LevelFilter::TRACE);
    let config = RetryConfig::new("db").attempts(2).backoff(Backoff::constant(SECOND)).seed(1);
    let retry = RetryPolicy::new(config).expect("a valid config");
    let answer = retry.run(|| async { Ok::<_, Error<()>>(()) }).await;
    assert!(answer.is_ok() && lines().is_empty(), "a first try that succeeds is every call");
    let answer = retry.run(|| async { Err::<(), _>(Error::Inner(())) }).await;
    assert!(answer.is_err());
    let [retrying, ended] = &lines()[..] else { panic!("not two lines") };
    for line in [retrying, ended] {
        assert_eq!((line.level, line.target.as_str()), (Level::DEBUG, "portcullis::retry"));
        assert_eq!(line.fields["portcullis.policy"], "db");
        assert_eq!(line.fields["retry.attempt"], "2");
    }
    assert!(!retrying.fields.contains_key("portcullis.end"));
    assert_eq!(ended.fields["portcullis.end"], "attempts_exhausted");
    let message = "db: ended after 2 attempts: attempts_exhausted";
    assert_eq!(ended.fields["message"], message);
    let names: Vec<&str> = ended.fields.keys().copied().collect();
    assert_eq!(names, ["message", "portcullis.end", "portcullis.policy", "retry.attempt"]);
}

#[tokio::test(start_paused = true)]
async fn calls_are_no_lines() {
    listen(LevelFilter::TRACE);
    // Not even where an observer is told of each.
    let (circuit, told) = observed();
    circuit.try_acquire().expect("closed").success();
    circuit.try_acquire().expect("closed").failure();
    circuit.try_acquire().expect("closed").settle(Outcome::Ignored);
    drop(circuit.try_acquire());
    assert_eq!((lines().len(), told().len()), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_gets_what_it_wants_and_the_observer_gets_all() {
    for (most, expected) in [
        (LevelFilter::OFF, vec![]),
        (LevelFilter::ERROR, vec![]),
        (LevelFilter::WARN, vec![Level::WARN]),
        (LevelFilter::INFO, vec![Level::WARN, Level::INFO, Level::INFO]),
        (LevelFilter::DEBUG, vec![Level::WARN, Level::DEBUG, Level::INFO, Level::INFO]),
    ] {
        listen(most);
        let (circuit, told) = observed();
        circuit.open();
        let _ = circuit.try_acquire();
        advance(10 * SECOND).await;
        circuit.try_acquire().expect("a probe").success();
        let levels: Vec<Level> = lines().iter().map(|line| line.level).collect();
        assert_eq!(levels, expected, "up to {most}");
        let told = told();
        assert_eq!(told.len(), 5, "{told:?}");
        assert!(matches!(told[1], Event::Rejected(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_panics_breaks_nothing() {
    listen(LevelFilter::TRACE);
    PANICS.set(true);
    let (circuit, told) = observed();
    let mut watch = circuit.subscribe();
    circuit.open();
    assert_eq!(watch.changed().await, Some(State::Open));
    assert!(circuit.try_acquire().is_err());
    advance(10 * SECOND).await;
    let probe = circuit.try_acquire().expect("a probe");
    assert_eq!(circuit.snapshot().probes_in_flight, 1);
    drop(probe);
    assert_eq!(circuit.snapshot().probes_in_flight, 0);
    circuit.try_acquire().expect("the slot is free").success();
    assert_eq!((circuit.state(), watch.changed().await), (State::Closed, Some(State::Closed)));
    assert_eq!(told().len(), 6, "the observer is told all the same");
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_is_written_as_people_read_it() {
    listen(LevelFilter::WARN);
    let circuit = circuit();
    circuit.open_for(Duration::from_millis(90_500));
    let (_, fields) = only();
    assert_eq!(
        fields["message"],
        "db: closed -> open: the command `open_for 90.5s` was given; for 90.5s"
    );
}

/// A refusal is the library's doing, a panic the service's.
#[tokio::test(start_paused = true)]
async fn a_timeout_stays_at_debug_and_a_caught_panic_is_an_error() {
    listen(LevelFilter::TRACE);
    let limit = TimeLimit::new(TimeoutConfig::new("db", SECOND)).expect("a valid config");
    let guard = PanicGuard::new(CatchPanicConfig::new("db")).expect("a valid config");
    let told = |level, target: &str, pairs: [(&'static str, &str); 3]| {
        let [Line { level: found, target: at, fields: with }] = &lines()[..] else {
            panic!("not one line")
        };
        assert_eq!((*found, at.as_str(), with), (level, target, &fields(pairs)));
    };
    let answers = limit.run(async { Ok::<_, Error<()>>(()) }).await;
    assert!(answers.is_ok() && lines().is_empty(), "one per call is for metrics");
    let _ = limit.run(std::future::pending::<Result<(), Error<()>>>()).await;
    let text = "refused: db: the service did not answer in time";
    told(
        Level::DEBUG,
        "portcullis::timeout",
        [("message", text), ("portcullis.policy", "db"), ("error.type", "timeout")],
    );
    let panics = || guard.call(|| -> Result<(), Error<()>> { panic!("a bug") });
    let text = "refused: db: the service panicked";
    // Also to whoever wants to hear of nothing less grave.
    for most in [LevelFilter::TRACE, LevelFilter::ERROR] {
        listen(most);
        assert!(panics().is_err());
        told(
            Level::ERROR,
            "portcullis::catch_panic",
            [("message", text), ("portcullis.policy", "db"), ("error.type", "panicked")],
        );
    }
    listen(LevelFilter::OFF);
    assert!(panics().is_err() && lines().is_empty());
}
