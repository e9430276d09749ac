//! Events as `tracing` gets them: levels, target, fields and text.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use portcullis::{
    Circuit, CircuitBreakerConfig, Circuits, Command, Event, Options, Outcome, State,
};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tracing::{
    Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::{DefaultGuard, set_default},
};

use crate::{SECOND, config, observed};

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

/// A subscriber that keeps every event up to a level.
#[derive(Clone, Debug)]
struct Keeps {
    most: LevelFilter,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Subscriber for Keeps {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let (level, target) = (*event.metadata().level(), event.metadata().target().to_owned());
        let mut line = Line { level, target, fields: BTreeMap::new() };
        event.record(&mut line);
        self.lines.lock().expect("whole").push(line);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Keeps {
    /// Listens on this thread until the guard goes.
    fn up_to(most: LevelFilter) -> (Self, DefaultGuard) {
        let keeps = Self { most, lines: Arc::default() };
        (keeps.clone(), set_default(keeps))
    }

    fn take(&self) -> Vec<Line> {
        std::mem::take(&mut *self.lines.lock().expect("whole"))
    }
}

/// The one line there is, which comes from this library.
#[track_caller]
fn only(keeps: &Keeps) -> (Level, BTreeMap<&'static str, String>) {
    let mut lines = keeps.take();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let Line { level, target, fields } = lines.remove(0);
    assert_eq!(target, "portcullis::circuit_breaker");
    (level, fields)
}

fn fields<const N: usize>(pairs: [(&'static str, &str); N]) -> BTreeMap<&'static str, String> {
    pairs.map(|(name, value)| (name, value.to_owned())).into()
}

fn circuit(config: CircuitBreakerConfig) -> Circuit {
    Circuit::new(config).expect("a valid config")
}

#[tokio::test(start_paused = true)]
async fn a_transition_is_a_warning_when_it_refuses_and_information_when_it_does_not() {
    let (keeps, _guard) = Keeps::up_to(LevelFilter::TRACE);
    let circuit = circuit(config());
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
        assert_eq!(only(&keeps), (level, expected), "{command}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_stay_at_debug() {
    let (keeps, _guard) = Keeps::up_to(LevelFilter::TRACE);
    let circuit = circuit(config());
    circuit.open();
    keeps.take();
    advance(4 * SECOND).await;
    for _ in 0..2 {
        let refused = circuit.try_acquire().expect_err("open");
        let expected = fields([
            ("message", &format!("refused: {refused}")),
            ("portcullis.policy", "db"),
            ("error.type", "circuit_open"),
        ]);
        assert_eq!(only(&keeps), (Level::DEBUG, expected));
    }
    circuit.shadow();
    circuit.half_open();
    let _probe = circuit.try_acquire().expect("a probe");
    keeps.take();
    drop(circuit.try_acquire());
    let expected = fields([
        ("message", "db: would refuse: probe_limit"),
        ("portcullis.policy", "db"),
        ("error.type", "probe_limit"),
        ("portcullis.shadow", "true"),
    ]);
    assert_eq!(only(&keeps), (Level::DEBUG, expected));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_room_is_told_at_debug_and_a_forgotten_key_is_not() {
    let (keeps, _guard) = Keeps::up_to(LevelFilter::TRACE);
    let circuits: Circuits<u32> =
        Circuits::new(config(), 1, Options::new()).expect("a valid config");
    let layer = portcullis::KeyedCircuitBreakerLayer::of(circuits.clone(), |key: &u32| *key);
    let service = layer.layer(service_fn(|_: u32| async { Ok::<(), portcullis::Error<()>>(()) }));
    for key in 0..3 {
        service.clone().oneshot(key).await.expect("the service works");
    }
    assert!(keeps.take().is_empty(), "calls and forgotten keys are for metrics");
    circuits.get(&2).expect("known").force_open();
    keeps.take();
    service.clone().oneshot(3).await.expect("let in");
    let expected = fields([
        ("message", "db: no room for another key; the call goes untracked"),
        ("portcullis.policy", "db"),
    ]);
    assert_eq!(only(&keeps), (Level::DEBUG, expected));
}

#[tokio::test(start_paused = true)]
async fn calls_are_no_lines() {
    let (keeps, _guard) = Keeps::up_to(LevelFilter::TRACE);
    // Not even where an observer is told of each.
    let (circuit, told) = observed(config());
    circuit.try_acquire().expect("closed").success();
    circuit.try_acquire().expect("closed").failure();
    circuit.try_acquire().expect("closed").settle(Outcome::Ignored);
    drop(circuit.try_acquire());
    assert_eq!((keeps.take().len(), told.take().len()), (0, 4));
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
        let (keeps, _guard) = Keeps::up_to(most);
        let (circuit, told) = observed(config());
        circuit.open();
        let _ = circuit.try_acquire();
        advance(10 * SECOND).await;
        circuit.try_acquire().expect("a probe").success();
        let levels: Vec<Level> = keeps.take().iter().map(|line| line.level).collect();
        assert_eq!(levels, expected, "up to {most}");
        let told = told.take();
        assert_eq!(told.len(), 5, "{told:?}");
        assert!(matches!(told[1], Event::Rejected(_)));
    }
}

/// A subscriber that panics at every event.
#[derive(Debug)]
struct Panics;

impl Subscriber for Panics {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, _: &tracing::Event<'_>) {
        panic!("the subscriber panics");
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_panics_breaks_nothing() {
    let _guard = set_default(Panics);
    let (circuit, told) = observed(config());
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
    assert_eq!(told.take().len(), 6, "the observer is told all the same");
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_is_written_as_people_read_it() {
    let (keeps, _guard) = Keeps::up_to(LevelFilter::WARN);
    let circuit = circuit(config());
    circuit.open_for(Duration::from_millis(90_500));
    let (_, fields) = only(&keeps);
    assert_eq!(
        fields["message"],
        "db: closed -> open: the command `open_for 90.5s` was given; for 90.5s"
    );
}
