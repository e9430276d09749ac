//! What operators do to circuits and see of them: commands from every state, what a command holds and
//! how it ends, the registry, and watching states. Live changes of the configuration are in
//! `operators/reconfigure.rs`, the sentences in `operators/explain.rs` and whether they come true in
//! `operators/foresight.rs`, shadow in `operators/shadow.rs`.

#[path = "operators/explain.rs"]
mod explain;
#[path = "operators/foresight.rs"]
mod foresight;
#[path = "operators/reconfigure.rs"]
mod reconfigure;
#[path = "operators/registry.rs"]
mod registry;
#[path = "operators/shadow.rs"]
mod shadow;

use std::{
    future::Ready,
    task::{Context, Poll},
    time::Duration,
};

use portcullis::{
    Circuit, CircuitBreakerConfig, Command, Error, HalfOpen, Outcome, Reason, Sleep, Snapshot,
    State, circuit_breaker::Permit,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt};

const NS: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Opens at the fifth failure in a row or at half of twenty calls, and waits 10 s exactly.
fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("payments")
        .consecutive_failures(5)
        .sleep(Sleep::fixed(10 * SECOND))
        .half_open(HalfOpen::counts(2, 1))
}

fn circuit(config: CircuitBreakerConfig) -> Circuit {
    Circuit::new(config).expect("a valid config")
}

#[track_caller]
fn settle(circuit: &Circuit, calls: u32, outcome: Outcome) {
    for call in 0..calls {
        match circuit.try_acquire() {
            Ok(permit) => permit.settle(outcome),
            Err(refused) => panic!("call {call}: {refused}"),
        }
    }
}

fn fail_until_open(circuit: &Circuit) {
    while circuit.state() != State::Open {
        settle(circuit, 1, Outcome::Failure);
    }
}

#[track_caller]
fn refused(circuit: &Circuit) -> (Reason, Option<Duration>) {
    let refused = circuit.try_acquire().expect_err("refused");
    (refused.reason(), refused.retry_after())
}

/// What happened before a command: a state, and how to get there with as much as it can hold.
struct Before {
    state: State,
    shadow: bool,
    enter: fn(&Circuit),
}

/// Every state, with results and calls in flight where it has them.
const STATES: [Before; 8] = [
    Before { state: State::Closed, shadow: false, enter: |_| {} },
    Before { state: State::Open, shadow: false, enter: fail_until_open },
    Before {
        state: State::HalfOpen,
        shadow: false,
        enter: |c| {
            c.half_open();
            settle(c, 1, Outcome::Success);
        },
    },
    Before { state: State::ForcedOpen, shadow: false, enter: Circuit::force_open },
    Before { state: State::Disabled, shadow: false, enter: Circuit::disable },
    Before { state: State::Closed, shadow: true, enter: Circuit::shadow },
    Before {
        state: State::Open,
        shadow: true,
        enter: |c| {
            c.shadow();
            fail_until_open(c);
        },
    },
    Before {
        state: State::HalfOpen,
        shadow: true,
        enter: |c| {
            c.shadow();
            c.half_open();
        },
    },
];

/// Each command, the state it leads to from any other, and what it does to shadow.
const COMMANDS: [(Command, State, Option<bool>); 9] = [
    (Command::Open, State::Open, None),
    (Command::OpenFor(Duration::from_secs(3)), State::Open, None),
    (Command::HalfOpen, State::HalfOpen, None),
    (Command::Close, State::Closed, None),
    (Command::ForceOpen, State::ForcedOpen, Some(false)),
    (Command::Disable, State::Disabled, Some(false)),
    (Command::Shadow, State::Closed, Some(true)),
    (Command::Enable, State::Closed, Some(false)),
    (Command::Reset, State::Closed, None),
];

/// Says a command by the handle's own method, which must be the same as [`Circuit::command`].
fn say(circuit: &Circuit, command: Command) {
    match command {
        Command::Open => circuit.open(),
        Command::OpenFor(wait) => circuit.open_for(wait),
        Command::HalfOpen => circuit.half_open(),
        Command::Close => circuit.close(),
        Command::ForceOpen => circuit.force_open(),
        Command::Disable => circuit.disable(),
        Command::Shadow => circuit.shadow(),
        Command::Enable => circuit.enable(),
        Command::Reset => circuit.reset(),
        other => panic!("a command that this test does not know: {other}"),
    }
}

/// Nothing of what was is left in it.
#[track_caller]
fn assert_fresh(now: &Snapshot, what: &str) {
    assert_eq!((now.calls, now.failures, now.successes, now.slow), (0, 0, 0, 0), "{what}");
    assert_eq!((now.consecutive_failures, now.probes_in_flight), (0, 0), "{what}");
    assert_eq!((now.failure_rate, now.slow_rate), (None, None), "{what}");
}

#[tokio::test(start_paused = true)]
async fn every_command_works_from_every_state_and_begins_a_period() {
    for Before { state, shadow, enter } in &STATES {
        for (command, to, shadows) in COMMANDS {
            for by_method in [false, true] {
                let what = format!("{state}, shadow {shadow}, then {command}");
                let circuit = circuit(config());
                settle(&circuit, 3, Outcome::Failure);
                enter(&circuit);
                let before = circuit.snapshot();
                assert_eq!((before.state, before.shadow), (*state, *shadow), "{what}");
                if by_method {
                    say(&circuit, command)
                } else {
                    circuit.command(command)
                }
                let after = circuit.snapshot();
                assert_eq!((after.state, circuit.state()), (to, to), "{what}");
                assert_eq!(after.shadow, shadows.unwrap_or(*shadow), "{what}");
                assert!(after.generation > before.generation, "{what}");
                assert_fresh(&after, &what);
                let wait = match command {
                    Command::Open => Some(10 * SECOND),
                    Command::OpenFor(wait) => Some(wait),
                    _ => None,
                };
                assert_eq!(after.time_to_half_open, wait, "{what}");
                let refuses = !after.shadow && matches!(to, State::Open | State::ForcedOpen);
                assert_eq!(circuit.try_acquire().is_err(), refuses, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn results_of_calls_admitted_before_a_command_change_nothing() {
    // One failure opens, so that none could go unnoticed.
    let touchy = || config().consecutive_failures(1).half_open(HalfOpen::counts(2, 1));
    let ends: [fn(Permit); 4] = [Permit::success, Permit::failure, drop, |permit| {
        permit.failure_with_hint(3_600 * SECOND);
    }];
    for Before { state, shadow, enter } in &STATES {
        for (command, ..) in COMMANDS {
            for (number, end) in ends.into_iter().enumerate() {
                let circuit = circuit(touchy());
                enter(&circuit);
                let Ok(permit) = circuit.try_acquire() else { continue };
                circuit.command(command);
                // The new period has a probe of its own out, where it has any.
                let _own = (circuit.state() == State::HalfOpen).then(|| circuit.try_acquire());
                let before = circuit.snapshot();
                end(permit);
                let what = format!("{state}, shadow {shadow}, {command}, end {number}");
                assert_eq!(circuit.snapshot(), before, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn said_twice_a_command_still_begins_a_period() {
    for (command, ..) in COMMANDS {
        let circuit = circuit(config());
        circuit.command(command);
        if circuit.explain().admits {
            settle(&circuit, 1, Outcome::Failure);
        }
        let first = circuit.snapshot().generation;
        advance(SECOND).await;
        circuit.command(command);
        let second = circuit.snapshot();
        assert!(second.generation > first, "{command}");
        assert_fresh(&second, &command.to_string());
        // An opening begins its wait anew.
        if second.state == State::Open {
            let wait = if command == Command::Open { 10 * SECOND } else { 3 * SECOND };
            assert_eq!(second.time_to_half_open, Some(wait));
        }
    }
}

/// A service whose `poll_ready` always fails.
#[derive(Clone, Copy, Debug)]
struct NeverReady;

impl Service<()> for NeverReady {
    type Response = ();
    type Error = Error<&'static str>;
    type Future = Ready<Result<(), Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Err(Error::Inner("gone")))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_forced_lasts_until_commanded_otherwise() {
    let forced = circuit(config());
    forced.force_open();
    advance(YEAR).await;
    assert_eq!((forced.state(), refused(&forced)), (State::ForcedOpen, (Reason::ForcedOpen, None)));
    assert_eq!((forced.explain().until, forced.snapshot().time_to_half_open), (None, None));
    assert!(!forced.explain().admits);

    let disabled = circuit(config().drops_are_failures(true).slow_calls(SECOND, 0.1));
    disabled.disable();
    let generation = disabled.snapshot().generation;
    let mut never_ready = disabled.layer().layer(NeverReady);
    for _ in 0..2 {
        for _ in 0..100 {
            assert_eq!(never_ready.ready().await.map(|_| ()), Err(Error::Inner("gone")));
        }
        settle(&disabled, 100, Outcome::Failure);
        settle(&disabled, 100, Outcome::Success);
        drop(disabled.try_acquire());
        let slow = disabled.try_acquire().expect("disabled");
        advance(YEAR).await;
        slow.failure();
        let seen = disabled.snapshot();
        assert_fresh(&seen, "disabled");
        assert_eq!((seen.state, seen.rejected), (State::Disabled, 0));
        assert_eq!(seen.generation, generation, "nothing moves");
    }
    let shadow = circuit(config());
    shadow.shadow();
    advance(YEAR).await;
    assert!(shadow.snapshot().shadow);
    // Enabled again, both work from the start.
    for circuit in [forced, disabled] {
        circuit.enable();
        settle(&circuit, 5, Outcome::Failure);
        assert_eq!(circuit.state(), State::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn open_for_is_exact_whatever_the_sleep_says() {
    let rules = config().sleep(Sleep::growing(5 * SECOND, 10.0, 60 * SECOND).jitter(1.0));
    for wait in [NS, SECOND, 90 * SECOND, YEAR] {
        for enter in [Circuit::close, Circuit::open, Circuit::half_open, Circuit::force_open] {
            let circuit = circuit(rules.clone());
            enter(&circuit);
            circuit.open_for(wait);
            advance(wait - NS).await;
            assert_eq!(refused(&circuit), (Reason::CircuitOpen, Some(NS)));
            advance(NS).await;
            let probe = circuit.try_acquire().expect("the wait is over");
            assert_eq!(
                (circuit.state(), circuit.snapshot().probes_in_flight),
                (State::HalfOpen, 1)
            );
            drop(probe);
        }
    }
    // No wait at all: the next call is a probe. As good as for ever: it is told as what it is.
    let circuit = circuit(rules);
    circuit.open_for(Duration::ZERO);
    assert_eq!((circuit.state(), circuit.try_acquire().is_ok()), (State::Open, true));
    assert_eq!(circuit.state(), State::HalfOpen);
    circuit.open_for(Duration::MAX);
    advance(100 * YEAR).await;
    let (reason, retry_after) = refused(&circuit);
    assert!(reason == Reason::CircuitOpen && retry_after > Some(400 * YEAR), "{retry_after:?}");
}

#[tokio::test(start_paused = true)]
async fn the_time_to_half_open_counts_down_and_looking_moves_nothing() {
    let circuit = circuit(config());
    assert_eq!(circuit.snapshot().time_to_half_open, None);
    settle(&circuit, 5, Outcome::Failure);
    for left in (0..=10).rev() {
        assert_eq!(circuit.snapshot().time_to_half_open, Some(left * SECOND));
        advance(SECOND).await;
    }
    let before = circuit.snapshot();
    assert_eq!((before.state, before.time_to_half_open), (State::Open, Some(Duration::ZERO)));
    for _ in 0..10 {
        let _ = (circuit.state(), circuit.explain(), circuit.config(), circuit.subscribe());
        assert_eq!(circuit.snapshot(), before);
    }
    settle(&circuit, 1, Outcome::Success);
    assert_eq!(circuit.snapshot().time_to_half_open, None, "half-open");
    circuit.shadow();
    circuit.open();
    advance(4 * SECOND).await;
    assert_eq!(circuit.snapshot().time_to_half_open, Some(6 * SECOND), "in shadow as well");
}

#[tokio::test(start_paused = true)]
async fn refusals_are_counted_until_the_state_changes_otherwise_than_to_open() {
    let circuit = circuit(config());
    circuit.force_open();
    (0..7).for_each(|_| drop(circuit.try_acquire()));
    assert_eq!(circuit.snapshot().rejected, 7);
    circuit.open();
    (0..3).for_each(|_| drop(circuit.try_acquire()));
    assert_eq!(circuit.snapshot().rejected, 10, "opening goes on counting");
    for command in [Command::HalfOpen, Command::ForceOpen, Command::Disable, Command::Reset] {
        circuit.command(command);
        assert_eq!(circuit.snapshot().rejected, 0, "{command}");
        circuit.open();
        let _ = circuit.try_acquire();
        assert_eq!(circuit.snapshot().rejected, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leaked_circuit_is_the_same_circuit() {
    let circuit = circuit(config());
    let leaked = circuit.leak();
    let again = leaked.leak();
    settle(&leaked, 2, Outcome::Failure);
    settle(&again, 2, Outcome::Failure);
    assert_eq!((circuit.snapshot(), again.snapshot()), (leaked.snapshot(), leaked.snapshot()));
    let mut watch = leaked.subscribe();
    settle(&circuit, 1, Outcome::Failure);
    assert_eq!([&leaked, &again].map(Circuit::state), [State::Open; 2]);
    assert_eq!(watch.changed().await, Some(State::Open));
    assert_eq!(refused(&leaked), (Reason::CircuitOpen, Some(10 * SECOND)));
    leaked.force_open();
    leaked.reconfigure(config().consecutive_failures(1)).expect("a valid config");
    assert_eq!((circuit.state(), circuit.config()), (State::ForcedOpen, leaked.config()));
    // It outlives the handle that it was made from.
    let name = circuit.name();
    drop((circuit, again));
    leaked.enable();
    assert_eq!((leaked.name(), watch.changed().await), (name, Some(State::Closed)));
}
