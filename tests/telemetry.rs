//! What is told of a circuit: every event, in order, with the right values, once. What `tracing` gets is
//! in `tracing_bridge.rs`; `Untracked` and `Evicted` are told in `keyed.rs`.

mod support;

use std::{
    future::{pending, ready},
    time::Duration,
};

use portcullis::{
    Cause, Circuit, CircuitBreakerConfig, Command, Error, Event, HalfOpen, Outcome, Reason, Sleep,
    State, clock, deadline,
};
use support::{Answer, Ask, Caller, ON_DEMAND, Readiness, Told, fault, panic_of, refusal, strict};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);

/// Opens at the second failure in a row, waits 10 s exactly, and closes after one good probe.
fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("db")
        .no_failure_rate()
        .consecutive_failures(2)
        .sleep(Sleep::fixed(10 * SECOND))
        .half_open(HalfOpen::counts(1, 1))
}

fn observed(config: CircuitBreakerConfig) -> (Circuit, Told) {
    let told = Told::default();
    (Circuit::with(config, told.options()).expect("a valid config"), told)
}

fn settled(outcome: Outcome, slow: bool) -> Event {
    Event::Settled { policy: "db", outcome, slow }
}

fn abandoned(outcome: Outcome, slow: bool) -> Event {
    Event::Abandoned { policy: "db", outcome, slow }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_from_beginning_to_end() {
    let (circuit, told) = observed(config().slow_calls(SECOND, 1.0));
    let answer = async |result: Result<(), Error<()>>, took: Duration| {
        circuit
            .run(async {
                advance(took).await;
                result
            })
            .await
    };
    let _ = answer(Ok(()), Duration::ZERO).await;
    let _ = answer(Ok(()), 2 * SECOND).await;
    let _ = answer(Err(Error::Inner(())), Duration::ZERO).await;
    let _ = answer(Err(Error::Inner(())), 2 * SECOND).await;
    advance(4 * SECOND).await;
    let _ = answer(Ok(()), Duration::ZERO).await;
    advance(6 * SECOND).await;
    let hangs = circuit.run(pending::<Result<(), Error<()>>>());
    let _ = answer(Ok(()), Duration::ZERO).await;
    drop(hangs);
    let _ = answer(Err(Error::Inner(())), Duration::ZERO).await;
    advance(10 * SECOND).await;
    let _ = answer(Ok(()), Duration::ZERO).await;
    assert_eq!(
        told.lines(),
        [
            "db: call ended: Success",
            "db: call ended: Success (slow)",
            "db: call ended: Failure",
            "db: call ended: Failure (slow)",
            "db: closed -> open: 2 calls in a row failed (limit 2); for 10s",
            "refused: db: the circuit is open; retry after 6s",
            "db: open -> half_open: the wait is over",
            "refused: db: the circuit is half-open and its probes are all in use",
            "db: call dropped: Ignored",
            "db: call ended: Failure",
            "db: half_open -> open: 1 probe failed (limit 1); for 10s",
            "db: open -> half_open: the wait is over",
            "db: call ended: Success",
            "db: half_open -> closed: 1 of 1 probes succeeded",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_transition_has_the_values_of_the_moment() {
    let (circuit, told) = observed(config().probe_lease(30 * SECOND));
    let step = |expected: &[(State, State, Cause, Option<Duration>)]| {
        let seen = told.transitions();
        let values: Vec<_> = seen.iter().map(|t| (t.from, t.to, t.cause, t.sleep)).collect();
        assert_eq!(values, expected);
        let generations: Vec<u64> = seen.iter().map(|t| t.generation).collect();
        assert!(generations.is_sorted_by(|one, next| one < next), "{generations:?}");
        let last = seen.last().expect("one at least");
        let now = circuit.snapshot();
        assert_eq!(
            (last.generation, last.to, last.shadow),
            (now.generation, now.state, now.shadow)
        );
    };
    for _ in 0..2 {
        circuit.try_acquire().expect("closed").failure();
    }
    let row = Cause::ConsecutiveFailures { observed: 2, limit: 2 };
    step(&[(State::Closed, State::Open, row, Some(10 * SECOND))]);
    advance(10 * SECOND).await;
    let _hung = circuit.try_acquire().expect("a probe");
    step(&[(State::Open, State::HalfOpen, Cause::SleepOver, None)]);
    // Its lease and the wait after it are over at one call: two changes, told in order.
    advance(45 * SECOND).await;
    let probe = circuit.try_acquire().expect("a probe");
    let lease = Cause::LeaseExpired { limit: 30 * SECOND };
    step(&[
        (State::HalfOpen, State::Open, lease, Some(10 * SECOND)),
        (State::Open, State::HalfOpen, Cause::SleepOver, None),
    ]);
    probe.success();
    let good = Cause::ProbesSucceeded { observed: 1, limit: 1 };
    step(&[(State::HalfOpen, State::Closed, good, None)]);
    for (command, from, to, sleep) in [
        (Command::OpenFor(SECOND), State::Closed, State::Open, Some(SECOND)),
        (Command::ForceOpen, State::Open, State::ForcedOpen, None),
        (Command::Disable, State::ForcedOpen, State::Disabled, None),
        (Command::Open, State::Disabled, State::Open, Some(10 * SECOND)),
        (Command::Reset, State::Open, State::Closed, None),
        (Command::Shadow, State::Closed, State::Closed, None),
        (Command::HalfOpen, State::Closed, State::HalfOpen, None),
        (Command::Enable, State::HalfOpen, State::Closed, None),
    ] {
        circuit.command(command);
        step(&[(from, to, Cause::Command(command), sleep)]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_changes_no_state_is_no_transition() {
    let (circuit, told) = observed(config());
    for command in [Command::Close, Command::Reset, Command::Enable] {
        circuit.command(command);
    }
    circuit.reconfigure(config().consecutive_failures(7)).expect("a valid config");
    let _ = (circuit.snapshot(), circuit.explain(), circuit.subscribe());
    assert_eq!(told.take(), []);
    circuit.force_open();
    circuit.force_open();
    circuit.open();
    circuit.open_for(SECOND);
    assert_eq!(told.transitions().len(), 2);
}

/// Whichever way a call is made, it is told once and in the same words.
#[tokio::test(start_paused = true)]
async fn every_way_to_call_tells_the_same() {
    type Answer = Result<(), Error<()>>;
    let ways: [fn(&Circuit, Answer); 4] = [
        |circuit, answer| {
            let _ = circuit.call(|| answer);
        },
        |circuit, answer| {
            let mut run = Box::pin(circuit.run(ready(answer)));
            assert!(Caller::new().poll(&mut run).is_ready());
        },
        |circuit, answer| match circuit.try_acquire() {
            Ok(permit) if answer.is_ok() => permit.success(),
            Ok(permit) => permit.failure(),
            Err(_) => {}
        },
        |circuit, answer| {
            let inner = tower::service_fn(move |()| ready(answer));
            let mut service = circuit.layer().layer(inner);
            let caller = Caller::new();
            assert!(caller.ready(&mut service).is_ready());
            assert!(caller.poll(&mut Box::pin(service.call(()))).is_ready());
        },
    ];
    let mut all = Vec::new();
    for call in ways {
        let (circuit, told) = observed(config());
        call(&circuit, Ok(()));
        for _ in 0..3 {
            call(&circuit, Err(Error::Inner(())));
        }
        circuit.half_open();
        call(&circuit, Ok(()));
        circuit.shadow();
        circuit.open();
        call(&circuit, Err(Error::Inner(())));
        all.push(told.lines());
    }
    assert_eq!(
        all[0],
        [
            "db: call ended: Success",
            "db: call ended: Failure",
            "db: call ended: Failure",
            "db: closed -> open: 2 calls in a row failed (limit 2); for 10s",
            "refused: db: the circuit is open; retry after 10s",
            "db: open -> half_open: the command `half_open` was given",
            "db: call ended: Success",
            "db: half_open -> closed: 1 of 1 probes succeeded",
            "db: closed -> closed: the command `shadow` was given (shadow)",
            "db: closed -> open: the command `open` was given; for 10s (shadow)",
            "db: would refuse: circuit_open",
            "db: call ended: Failure",
        ]
    );
    assert!(all.iter().all(|lines| *lines == all[0]), "{all:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_as_its_caller_gets_it() {
    let (circuit, told) = observed(config());
    for command in [Command::Open, Command::ForceOpen] {
        circuit.command(command);
        told.take();
        advance(SECOND).await;
        let refused = circuit.try_acquire().expect_err("refused");
        assert_eq!(told.take(), [Event::Rejected(refused)]);
        let (service, _) = strict();
        let refused = refusal(circuit.layer().layer(service).oneshot(Ask(0)).await);
        assert_eq!(told.take(), [Event::Rejected(refused)]);
    }
    let (circuit, told) = observed(config().recovery_ramp(100 * SECOND).seed(1));
    circuit.half_open();
    circuit.try_acquire().expect("a probe").success();
    let refused = loop {
        told.take();
        if let Err(refused) = circuit.try_acquire() {
            break refused;
        }
    };
    assert_eq!(
        (refused.reason(), told.take()),
        (Reason::Recovering, vec![Event::Rejected(refused)])
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_and_a_drop_is_told_as_what_it_counts() {
    let (circuit, told) = observed(config().consecutive_failures(100).slow_calls(SECOND, 1.0));
    let (service, probe) = strict();
    let mut service = circuit.layer().layer(service);
    for (answer, expected) in [
        (Answer::PANICS_IN_CALL, settled(Outcome::Failure, false)),
        (Answer::PANICS_IN_POLL.after(0), settled(Outcome::Failure, false)),
        (Answer::FAULT, settled(Outcome::Failure, false)),
        (Answer::OK, settled(Outcome::Success, false)),
        (Answer::HANGS, abandoned(Outcome::Ignored, false)),
    ] {
        probe.answer(answer);
        let caller = Caller::new();
        assert!(caller.ready(&mut service).is_ready());
        let mut call = || drop(caller.poll(&mut Box::pin(service.call(Ask(0)))));
        match answer {
            Answer::FAULT | Answer::OK | Answer::HANGS => call(),
            _ => assert_eq!(panic_of(call), ON_DEMAND),
        }
        assert_eq!(told.take(), [expected], "{answer:?}");
    }

    let hangs = |limit: Duration| {
        let deadline = clock::tokio_now() + limit;
        deadline::enter(deadline, || circuit.run(pending::<Result<(), Error<()>>>()))
    };
    for (limit, waited, expected) in [
        (SECOND, SECOND / 2, abandoned(Outcome::Ignored, false)),
        (SECOND / 2, SECOND / 2, abandoned(Outcome::Failure, false)),
        (9 * SECOND, 2 * SECOND, abandoned(Outcome::Ignored, true)),
        (SECOND, 2 * SECOND, abandoned(Outcome::Failure, true)),
    ] {
        let call = hangs(limit);
        advance(waited).await;
        drop(call);
        assert_eq!(told.take(), [expected], "{limit:?}, {waited:?}");
    }
    let (strict, told) = observed(config().drops_are_failures(true));
    drop(strict.try_acquire());
    drop(strict.try_acquire());
    let opened = "db: closed -> open: 2 calls in a row failed (limit 2); for 10s";
    assert_eq!(told.lines(), ["db: call dropped: Failure", "db: call dropped: Failure", opened]);
}

#[tokio::test(start_paused = true)]
async fn what_the_classifier_ignores_and_what_comes_too_late_is_told_as_well() {
    let (circuit, told) = observed(config());
    circuit.try_acquire().expect("closed").settle(Outcome::Ignored);
    assert_eq!(told.take(), [settled(Outcome::Ignored, false)]);
    let late = [(); 2].map(|()| circuit.try_acquire().expect("closed"));
    circuit.force_open();
    told.take();
    let [answered, dropped] = late;
    answered.failure();
    drop(dropped);
    // The call has ended, although its period had before.
    assert_eq!(told.take(), [settled(Outcome::Failure, false), abandoned(Outcome::Ignored, false)]);
    circuit.disable();
    told.take();
    circuit.try_acquire().expect("disabled").failure();
    assert_eq!(told.take(), [settled(Outcome::Failure, false)]);
}

#[tokio::test(start_paused = true)]
async fn an_error_from_poll_ready_is_no_call() {
    let (circuit, told) = observed(config());
    let (service, probe) = strict();
    let mut service = circuit.layer().layer(service);
    probe.readiness(Readiness::Fails("gone"));
    assert_eq!(fault(service.ready().await.map(|_| ())).0, "gone");
    assert_eq!(told.take(), [], "recorded, but no call has ended");
    fault(service.ready().await.map(|_| ()));
    let opened = ["db: closed -> open: 2 calls in a row failed (limit 2); for 10s"];
    assert_eq!(told.lines(), opened);
    circuit.half_open();
    told.take();
    fault(service.ready().await.map(|_| ()));
    let reopened = ["db: half_open -> open: the service failed to become ready; for 10s"];
    assert_eq!(told.lines(), reopened);
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_its_own_circuits_and_no_others() {
    let (first, told) = observed(config());
    // One observer may serve many circuits, which it tells apart by name.
    let second = Circuit::with(config().name("search"), told.options()).expect("a valid config");
    let silent = Circuit::new(config().name("silent")).expect("a valid config");
    for circuit in [&silent, &first, &second] {
        circuit.try_acquire().expect("closed").success();
        drop(circuit.try_acquire());
        circuit.force_open();
        let _ = circuit.try_acquire();
    }
    let names: Vec<&str> = told
        .take()
        .iter()
        .map(|event| match event {
            Event::Transition { policy, .. }
            | Event::Settled { policy, .. }
            | Event::Abandoned { policy, .. } => policy,
            Event::Rejected(rejection) => rejection.policy(),
            other => panic!("told of {other}"),
        })
        .collect();
    assert_eq!(names, ["db", "db", "db", "db", "search", "search", "search", "search"]);
    assert_eq!(silent.snapshot().rejected, 1, "what nobody hears of happens all the same");
}
