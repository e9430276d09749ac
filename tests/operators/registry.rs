//! Circuits by name, and watching their states.

use std::task::{Context, Poll, Waker};

use portcullis::{
    Circuit, CircuitBreakerConfig, Command, Outcome, PolicyKind, PolicySnapshot, Registry, State,
    StateWatch,
};
use tokio::time::advance;

use super::{SECOND, circuit, config, settle};

fn named(name: &'static str) -> Circuit {
    circuit(config().name(name))
}

#[tokio::test(start_paused = true)]
async fn a_name_is_registered_once() {
    let registry = Registry::new();
    assert_eq!((registry.names(), format!("{registry:?}")), (vec![], "[]".to_owned()));
    let circuits = ["search", "payments", "mail"].map(named);
    for circuit in &circuits {
        registry.add(circuit).unwrap();
    }
    let sorted = ["mail", "payments", "search"].map(|name| (name, PolicyKind::CircuitBreaker));
    assert_eq!(registry.names(), sorted);
    let impostor = named("payments");
    // Not even the very same circuit.
    for again in [&impostor, &circuits[1]] {
        let error = registry.add(again).unwrap_err();
        assert_eq!(error.to_string(), "`name` = payments: is registered already");
    }
    impostor.force_open();
    let found = registry.get::<Circuit>("payments").unwrap();
    assert_eq!(found.state(), State::Closed, "the first one stays");

    assert!(registry.remove("payments"));
    assert!(!registry.remove("payments") && registry.get::<Circuit>("payments").is_none());
    registry.add(&impostor).unwrap();
    assert_eq!(registry.get::<Circuit>("payments").map(|c| c.state()), Some(State::ForcedOpen));
}

#[tokio::test(start_paused = true)]
async fn commands_go_by_name_and_an_unknown_one_is_named() {
    let registry = Registry::new();
    let [mail, search] = ["mail", "search"].map(named);
    registry.add(&mail).unwrap();
    registry.clone().add(&search).unwrap();
    for (command, state, _) in super::COMMANDS {
        registry.command("mail", command).unwrap();
        assert_eq!(mail.state(), state, "{command}");
        assert_eq!(search.state(), State::Closed, "{command} was for another");
    }
    for name in ["post", "", "Mail", "mail "] {
        let error = registry.command(name, Command::ForceOpen).unwrap_err();
        assert_eq!(
            (error.field(), error.value(), error.why()),
            ("name", name, "is not registered")
        );
    }
    assert_eq!([&mail, &search].map(Circuit::state), [State::Closed; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_command_reads_itself_from_its_name() {
    for (command, ..) in super::COMMANDS {
        let read = command.to_string().parse::<Command>();
        match command {
            // A time has no one text: it is said by `Circuit::open_for`.
            Command::OpenFor(_) => assert!(read.is_err()),
            _ => assert_eq!(read, Ok(command)),
        }
    }
    for name in ["", "Open", "open ", "half open", "forced_open", "explode"] {
        let error = name.parse::<Command>().unwrap_err();
        assert_eq!((error.field(), error.value()), ("command", name));
        for (known, ..) in super::COMMANDS {
            let named = error.why().contains(&known.to_string());
            assert_eq!(named, !matches!(known, Command::OpenFor(_)), "{known}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lists_show_every_circuit_by_name() {
    let registry = Registry::new();
    let [search, mail] = ["search", "mail"].map(named);
    registry.add(&search).unwrap();
    registry.add(&mail).unwrap();
    settle(&search, 5, Outcome::Failure);
    settle(&mail, 3, Outcome::Success);
    advance(4 * SECOND).await;
    let snapshots = registry.snapshot();
    let circuits = [("mail", &mail), ("search", &search)];
    let expected = circuits.map(|(name, c)| (name, PolicySnapshot::CircuitBreaker(c.snapshot())));
    assert_eq!(snapshots, expected);
    assert_eq!(search.snapshot().time_to_half_open, Some(6 * SECOND));
    let why: Vec<String> = registry.explain().iter().map(ToString::to_string).collect();
    assert_eq!(
        why,
        [
            "mail is closed and admits calls: 3 calls in the window, too few to judge by \
             (needs 20)",
            "search is open and refuses calls: 5 calls in a row failed (limit 5); \
             this changes in 6s",
        ]
    );
    assert_eq!(
        format!("{registry:?}"),
        r#"[Circuit { name: "mail", state: Closed }, Circuit { name: "search", state: Open }]"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_registry_keeps_what_is_registered_alive() {
    let registry = Registry::new();
    let mut watch = {
        let circuit = Circuit::new(CircuitBreakerConfig::new("kept")).unwrap();
        registry.add(&circuit).unwrap();
        circuit.subscribe()
    };
    registry.command("kept", Command::Open).unwrap();
    assert_eq!(changed(&mut watch), Poll::Ready(Some(State::Open)));
    assert_eq!(changed(&mut watch), Poll::Pending);
    assert!(registry.remove("kept"));
    assert_eq!(changed(&mut watch), Poll::Ready(None));
    assert_eq!(watch.current(), State::Open, "the newest that was told");
}

/// Asks once whether there is a newer state.
fn changed(watch: &mut StateWatch) -> Poll<Option<State>> {
    let mut changed = Box::pin(watch.changed());
    changed.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn each_receiver_sees_the_newest_state_at_its_own_pace() {
    let circuit = named("paces");
    let (mut quick, mut slow) = (circuit.subscribe(), circuit.subscribe());
    let mut seen = Vec::new();
    for command in [Command::Open, Command::HalfOpen, Command::ForceOpen, Command::Disable] {
        circuit.command(command);
        seen.push(changed(&mut quick));
        assert_eq!(changed(&mut quick), Poll::Pending, "once");
        assert_eq!((slow.current(), quick.current()), (circuit.state(), circuit.state()));
    }
    let states = [State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled];
    assert_eq!(seen, states.map(|state| Poll::Ready(Some(state))));
    // A clone has seen what its original had seen.
    let mut clone = slow.clone();
    for late in [&mut slow, &mut clone] {
        assert_eq!(changed(late), Poll::Ready(Some(State::Disabled)), "not what was in between");
        assert_eq!(changed(late), Poll::Pending);
    }
    // One that goes is missed by nobody.
    drop(quick);
    circuit.enable();
    assert_eq!(changed(&mut slow), Poll::Ready(Some(State::Closed)));
    assert_eq!(changed(&mut clone), Poll::Ready(Some(State::Closed)));
}

#[tokio::test(start_paused = true)]
async fn only_a_change_of_state_is_a_change() {
    let circuit = named("quiet");
    let mut watch = circuit.subscribe();
    for quiet in [Command::Close, Command::Reset, Command::Enable] {
        circuit.command(quiet);
        assert_eq!(changed(&mut watch), Poll::Pending, "{quiet} of a closed circuit");
    }
    circuit.reconfigure(config().name("quiet").failure_rate(0.9)).unwrap();
    settle(&circuit, 4, Outcome::Failure);
    assert_eq!(changed(&mut watch), Poll::Pending);
    circuit.open();
    assert_eq!(changed(&mut watch), Poll::Ready(Some(State::Open)));
    circuit.open_for(SECOND);
    let _ = circuit.try_acquire();
    advance(3_600 * SECOND).await;
    assert_eq!(changed(&mut watch), Poll::Pending, "an end that no call has seen is none");
    drop(circuit.try_acquire());
    assert_eq!(changed(&mut watch), Poll::Ready(Some(State::HalfOpen)));
}

/// A handle of somebody else's may use the registry that it is put into, whatever it is asked.
#[test]
fn a_handle_that_asks_the_registry_is_answered() {
    #[derive(Clone, Debug)]
    struct Asks(Circuit, Registry);
    impl portcullis::Managed for Asks {
        fn name(&self) -> &'static str {
            let _ = self.1.names();
            self.0.name()
        }
        fn kind(&self) -> PolicyKind {
            let _ = self.1.names();
            PolicyKind::CircuitBreaker
        }
        fn snapshot(&self) -> PolicySnapshot {
            portcullis::Managed::snapshot(&self.0)
        }
        fn explain(&self) -> portcullis::Explanation {
            self.0.explain()
        }
        fn command(&self, command: Command) -> Result<(), portcullis::ConfigError> {
            self.1.command("none", command)
        }
    }
    let registry = Registry::new();
    let asks = Asks(named("asks"), registry.clone());
    registry.add(&asks).unwrap();
    assert_eq!(registry.add(&asks).unwrap_err().field(), "name");
    assert!(registry.command("asks", Command::Open).is_err());
    assert_eq!((registry.snapshot().len(), registry.explain().len()), (1, 1));
    assert!(registry.remove("asks"));
}

/// One of that name that knows the command is enough, whichever is asked first.
#[test]
fn a_command_goes_to_all_of_a_name_that_know_it() {
    use portcullis::{Bulkhead, BulkheadConfig, Mode, RateLimitConfig, RateLimiter};
    let registry = Registry::new();
    let circuit = named("db");
    let limiter = RateLimiter::new(RateLimitConfig::per_second("db", 1)).unwrap();
    let bulkhead = Bulkhead::new(BulkheadConfig::new("db", 1)).unwrap();
    registry.add(&bulkhead).unwrap();
    registry.add(&limiter).unwrap();
    let error = registry.command("db", Command::ForceOpen).unwrap_err();
    assert_eq!(error.field(), "command");
    registry.add(&circuit).unwrap();
    registry.command("db", Command::ForceOpen).unwrap();
    assert_eq!((circuit.state(), limiter.mode()), (State::ForcedOpen, Mode::Enforce));
    registry.command("db", Command::Disable).unwrap();
    assert_eq!((circuit.state(), limiter.mode()), (State::Disabled, Mode::Disabled));
    assert_eq!(bulkhead.snapshot().mode, Mode::Disabled);
    assert!(registry.get::<RateLimiter>("db").is_some() && registry.remove("db"));
    assert!(registry.names().is_empty());
}
