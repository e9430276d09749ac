//! What is said of the next call is what the next call gets.

use std::time::Duration;

use portcullis::{
    CircuitBreakerConfig, Command, HalfOpen, Hung, Outcome, Reason, Sleep, Window,
    policy::breaker::{Breaker, Permit},
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use tokio::time::advance;

use super::{COMMANDS, SECOND, STATES, circuit, config};

#[tokio::test(start_paused = true)]
async fn for_every_state_and_command() {
    for before in &STATES {
        for (command, ..) in COMMANDS {
            for wait in [0, 3, 10] {
                let circuit = circuit(config());
                (before.enter)(&circuit);
                circuit.command(command);
                advance(SECOND * wait).await;
                let mut held = Vec::new();
                for call in 0..4 {
                    let (why, rejected) = (circuit.explain(), circuit.snapshot().rejected);
                    let what = format!("{}, {command}, {wait} s, call {call}: {why}", before.state);
                    let admitted = circuit.try_acquire();
                    assert_eq!(why.admits, admitted.is_ok(), "{what}");
                    // In shadow what would be a refusal is counted as one.
                    let refused = circuit.snapshot().rejected > rejected;
                    assert_eq!(why.would_admit, !refused, "{what}");
                    held.extend(admitted);
                }
            }
        }
    }
}

/// Calls that hang open the circuit for the very next one, which is known before it comes.
#[tokio::test(start_paused = true)]
async fn for_calls_that_hang() {
    for sleep in [10 * SECOND, Duration::ZERO] {
        let rules =
            config().slow_call_after(SECOND).hung(Hung::new(3, 0.5)).sleep(Sleep::fixed(sleep));
        for later in [SECOND, SECOND * 2] {
            let circuit = circuit(rules.clone());
            let _hanging = [(); 3].map(|()| circuit.try_acquire().expect("closed"));
            advance(later).await;
            let why = circuit.explain();
            let admitted = circuit.try_acquire().is_ok();
            assert_eq!(why.admits, admitted, "after {later:?}, waiting {sleep:?}: {why}");
        }
    }
}

/// What is done to a breaker.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Ask,
    Settle(usize, Outcome),
    Drop(usize),
    Say(Command),
    Reconfigure(Box<CircuitBreakerConfig>),
}

fn rules() -> impl Strategy<Value = CircuitBreakerConfig> {
    let sleep = (select(vec![0, 5, 40]), select(vec![1.0, 2.0]), select(vec![0.0, 0.2]));
    let half_open = (1u32..=3, 1u32..=2, option::of(1u32..=2));
    let lease = select(vec![3_u64, 20, 1_000]);
    let slow = (option::of(1u32..=3), select(vec![2_u64, 10]));
    (1u32..=4, sleep, half_open, lease, slow).prop_map(
        |(row, (base, multiplier, jitter), (good, bad, at_once), lease, (hanging, after))| {
            let base = Duration::from_millis(base);
            let half_open = HalfOpen::counts(good, bad);
            let rules = CircuitBreakerConfig::new("foreseen")
                .window(Window::count(6))
                .consecutive_failures(row)
                .sleep(Sleep::growing(base, multiplier, 8 * base).jitter(jitter))
                .half_open(at_once.map_or(half_open, |n| half_open.concurrent(n)))
                .probe_lease(Duration::from_millis(lease))
                .slow_call_after(Duration::from_millis(after))
                .seed(7);
            hanging.map_or(rules.clone(), |calls| rules.hung(Hung::new(calls, 0.5)))
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = select(vec![Outcome::Success, Outcome::Failure, Outcome::Ignored]);
    let commands: Vec<Command> = COMMANDS.iter().map(|(command, ..)| *command).collect();
    let step = prop_oneof![
        6 => select(vec![0_u64, 1, 2, 3, 5, 11, 40]).prop_map(Step::Pass),
        8 => Just(Step::Ask),
        4 => (0usize..8, outcome).prop_map(|(at, outcome)| Step::Settle(at, outcome)),
        1 => (0usize..8).prop_map(Step::Drop),
        1 => select(commands).prop_map(Step::Say),
        1 => rules().prop_map(|rules| Step::Reconfigure(Box::new(rules))),
    ];
    vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(512),
        failure_persistence: None,
        ..Default::default()
    })]

    /// After any history. Looking twice is looking once.
    #[test]
    fn for_any_history(first in rules(), steps in steps()) {
        let mut now = portcullis::clock::tokio_now();
        let breaker = Breaker::new(first, now).expect("valid");
        let mut held: Vec<Permit> = Vec::new();
        for step in steps {
            match step {
                Step::Pass(time) => now += Duration::from_millis(time),
                Step::Settle(at, outcome) if at < held.len() => {
                    breaker.settle(held.remove(at), outcome, None, now);
                }
                Step::Drop(at) if at < held.len() => {
                    breaker.abandon(held.remove(at), now);
                }
                Step::Say(command) => breaker.command(command, now),
                Step::Reconfigure(rules) => breaker.reconfigure(*rules, now).expect("valid"),
                Step::Settle(..) | Step::Drop(_) => {}
                Step::Ask => {
                    let why = breaker.explain(now);
                    prop_assert_eq!(why, breaker.explain(now));
                    let found = breaker.admit(now);
                    prop_assert_eq!(why.admits, found.is_ok(), "{}", why);
                    let shadowed = found.as_ref().ok().and_then(Permit::shadowed);
                    let refused = found.is_err() || shadowed.is_some();
                    prop_assert_eq!(why.would_admit, !refused, "{}", why);
                    match &found {
                        Err(refusal) if refusal.reason == Reason::CircuitOpen => {
                            prop_assert_eq!(why.until, refusal.retry_after, "{}", why);
                        }
                        _ => {}
                    }
                    held.extend(found);
                }
            }
        }
    }
}
