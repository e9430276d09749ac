//! Live changes of the configuration: numbers act at the next decision, results stay where the window
//! can keep them, and a change that cannot work changes nothing.

use std::time::Duration;

use portcullis::{
    Circuit, CircuitBreakerConfig, Command, HalfOpen, Hung, Outcome, Reason, Sleep, State, Window,
};
use tokio::time::advance;

use super::{COMMANDS, SECOND, STATES, circuit, config, refused, settle};

#[track_caller]
fn change(circuit: &Circuit, config: CircuitBreakerConfig) {
    circuit.reconfigure(config.clone()).expect("a valid config");
    assert_eq!(circuit.config(), config);
}

/// Calls, failures and slow calls of the window.
fn counts(circuit: &Circuit) -> (u64, u64, u64) {
    let now = circuit.snapshot();
    (now.calls, now.failures, now.slow)
}

/// Opens by nothing, so that a window can be filled as one likes.
fn lax() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("payments").no_failure_rate().consecutive_failures(1_000)
}

#[tokio::test(start_paused = true)]
async fn state_generation_results_and_the_running_wait_stay() {
    for before in &STATES {
        let circuit = circuit(config());
        settle(&circuit, 3, Outcome::Failure);
        (before.enter)(&circuit);
        advance(4 * SECOND).await;
        let seen = circuit.snapshot();
        change(&circuit, config().sleep(Sleep::fixed(60 * SECOND)).consecutive_failures(50));
        assert_eq!(circuit.snapshot(), seen, "{} {}", before.state, before.shadow);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_cannot_work_changes_nothing() {
    for (command, ..) in COMMANDS {
        let circuit = circuit(config());
        circuit.command(command);
        let seen = (circuit.snapshot(), circuit.config(), circuit.explain());
        let unusable: [(CircuitBreakerConfig, &str); 4] = [
            (config().failure_rate(0.0), "failure_rate"),
            (config().window(Window::count(0)), "window.size"),
            (config().probe_lease(Duration::ZERO), "probe_lease"),
            (config().half_open(HalfOpen::counts(2, 2).total(2)), "half_open.total"),
        ];
        for (unusable, field) in unusable {
            let error = circuit.reconfigure(unusable).expect_err("cannot work");
            assert_eq!(error.field(), field, "{error}");
            assert_eq!((circuit.snapshot(), circuit.config(), circuit.explain()), seen);
        }
        let error = circuit.reconfigure(config().name("search")).expect_err("another name");
        assert_eq!(
            error.to_string(),
            "`name` = search: a circuit keeps its name, which is `payments`"
        );
        assert_eq!((circuit.snapshot(), circuit.config(), circuit.explain()), seen);
    }
}

/// A rule in words, results that were there before it, the rule, and the result that asks it.
type Case = (&'static str, fn(&Circuit), CircuitBreakerConfig, Outcome);

/// What a rule of the changed configuration thinks of results that are there already is asked at the
/// next result, whatever that is, and never before.
#[tokio::test(start_paused = true)]
async fn a_rule_acts_at_the_next_result_and_not_before() {
    let cases: [Case; 6] = [
        (
            "failures in a row",
            |c| settle(c, 3, Outcome::Failure),
            lax().consecutive_failures(4),
            Outcome::Failure,
        ),
        (
            "failures in the window",
            |c| settle(c, 3, Outcome::Failure),
            lax().failures(3),
            Outcome::Success,
        ),
        (
            "a share of failures",
            |c| {
                settle(c, 15, Outcome::Success);
                settle(c, 6, Outcome::Failure);
            },
            lax().failure_rate(0.25),
            Outcome::Success,
        ),
        (
            "a volume",
            |c| settle(c, 6, Outcome::Failure),
            lax().failure_rate(0.5).minimum_calls(7),
            Outcome::Success,
        ),
        (
            "a smaller window",
            |c| {
                settle(c, 50, Outcome::Success);
                settle(c, 9, Outcome::Failure);
            },
            lax().window(Window::count(10)).failure_rate(0.9),
            Outcome::Failure,
        ),
        (
            "what opened nothing because nothing could",
            |c| settle(c, 100, Outcome::Failure),
            lax().consecutive_failures(1),
            Outcome::Failure,
        ),
    ];
    for (what, fill, rules, last) in cases {
        let circuit = circuit(lax().window(Window::count(500)));
        fill(&circuit);
        let rules = match rules.window {
            Window::Count { .. } => rules,
            _ => rules.window(Window::count(500)),
        };
        change(&circuit, rules);
        advance(SECOND).await;
        assert_eq!(circuit.state(), State::Closed, "{what}: time alone decides nothing");
        drop(circuit.try_acquire());
        settle(&circuit, 1, Outcome::Ignored);
        assert_eq!(circuit.state(), State::Closed, "{what}: nor does what says nothing");
        settle(&circuit, 1, last);
        assert_eq!(circuit.state(), State::Open, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_slow_or_hangs_is_asked_by_the_limits_in_force() {
    let timed = || lax().slow_calls(10 * SECOND, 1.0).minimum_calls(100);
    let circuit = circuit(timed());
    let [one, two] = [(); 2].map(|()| circuit.try_acquire().expect("closed"));
    advance(5 * SECOND).await;
    one.success();
    assert_eq!(counts(&circuit), (1, 0, 0));
    change(&circuit, timed().slow_calls(4 * SECOND, 1.0));
    two.success();
    assert_eq!(counts(&circuit), (2, 0, 1));

    let hung = |after, calls| lax().slow_call_after(after).hung(Hung::new(calls, 0.5));
    let in_flight = || {
        let circuit = super::circuit(hung(SECOND, 7));
        let calls = [(); 5].map(|()| circuit.try_acquire().expect("closed"));
        (circuit, calls)
    };
    let (circuit, _hanging) = in_flight();
    advance(2 * SECOND).await;
    change(&circuit, hung(SECOND, 5));
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(refused(&circuit).0, Reason::CircuitOpen, "the next call sees that five hang");

    // Seen to hang by one limit, they do not by a longer one.
    let (circuit, _hanging) = in_flight();
    advance(2 * SECOND).await;
    let _sixth = circuit.try_acquire().expect("seven must hang");
    change(&circuit, hung(10 * SECOND, 5));
    let _seventh = circuit.try_acquire().expect("none hangs yet");
    advance(8 * SECOND + super::NS).await;
    assert_eq!(refused(&circuit).0, Reason::CircuitOpen, "five hang by the longer one too");
}

#[tokio::test(start_paused = true)]
async fn more_probes_are_let_in_as_soon_as_there_may_be_more() {
    let circuit = circuit(config());
    circuit.half_open();
    let mut probes = Vec::new();
    for most in [2_u32, 4, 3, 5] {
        change(&circuit, config().half_open(HalfOpen::counts(most, 1)));
        while let Ok(probe) = circuit.try_acquire() {
            probes.push(probe);
        }
        assert_eq!(probes.len(), probes.len().max(most as usize), "never fewer than there may be");
        assert_eq!(circuit.snapshot().probes_in_flight as usize, probes.len());
        assert_eq!(refused(&circuit), (Reason::ProbeLimit, None));
    }
    assert_eq!(probes.len(), 5);
    change(&circuit, config().half_open(HalfOpen::counts(5, 1).only_concurrent(4)));
    drop(probes.pop());
    assert_eq!(refused(&circuit).0, Reason::ProbeLimit, "four are out, and there may be four");
    drop(probes.pop());
    assert!(circuit.try_acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn another_wait_is_that_of_the_next_opening() {
    let circuit = circuit(config());
    circuit.open();
    advance(4 * SECOND).await;
    change(&circuit, config().sleep(Sleep::fixed(SECOND)));
    assert_eq!(refused(&circuit), (Reason::CircuitOpen, Some(6 * SECOND)));
    advance(6 * SECOND).await;
    settle(&circuit, 1, Outcome::Failure);
    assert_eq!(circuit.snapshot().time_to_half_open, Some(SECOND));
    // The growth so far is not forgotten either.
    change(&circuit, config().sleep(Sleep::growing(SECOND, 2.0, 60 * SECOND).jitter(0.0)));
    circuit.half_open();
    settle(&circuit, 1, Outcome::Failure);
    assert_eq!(circuit.snapshot().time_to_half_open, Some(4 * SECOND), "the third in a row");
}

#[tokio::test(start_paused = true)]
async fn whether_a_drop_is_a_failure_is_asked_of_calls_to_come() {
    let circuit = circuit(lax());
    change(&circuit, lax().drops_are_failures(true));
    drop(circuit.try_acquire());
    assert_eq!(counts(&circuit), (1, 1, 0));
    change(&circuit, lax());
    drop(circuit.try_acquire());
    assert_eq!(counts(&circuit), (1, 1, 0));
}

/// One result: failed, slow.
type Entry = (bool, bool);

fn tally(results: &[Entry]) -> (u64, u64, u64) {
    let count = |of: fn(&&Entry) -> bool| results.iter().filter(of).count() as u64;
    (results.len() as u64, count(|entry| entry.0), count(|entry| entry.1))
}

#[tokio::test(start_paused = true)]
async fn a_count_window_keeps_its_newest_results_in_order() {
    let sized = |size| lax().slow_call_after(SECOND).window(Window::count(size));
    for (size, other, results) in [
        (10, 4, 7),
        (10, 4, 25),
        (4, 10, 9),
        (4, 10, 3),
        (64, 63, 200),
        (65, 130, 150),
        (130, 65, 131),
        (100, 1, 100),
        (1, 100, 5),
        (7, 7, 20),
    ] {
        let circuit = circuit(sized(size));
        let mut log: Vec<Entry> = Vec::new();
        for turn in 0..results {
            let (failed, slow) = (turn % 3 == 0, turn % 5 == 1);
            let permit = circuit.try_acquire().expect("closed");
            advance(if slow { 2 * SECOND } else { Duration::ZERO }).await;
            permit.settle(if failed { Outcome::Failure } else { Outcome::Success });
            log.push((failed, slow));
        }
        let newest =
            |log: &[Entry], most: u32| log[log.len().saturating_sub(most as usize)..].to_vec();
        log = newest(&log, size);
        assert_eq!(counts(&circuit), tally(&log));
        change(&circuit, sized(other));
        log = newest(&log, other);
        let what = format!("{size} -> {other} after {results}");
        assert_eq!(counts(&circuit), tally(&log), "{what}");
        // What comes now pushes them out from the oldest on: a failure at first, then successes.
        for turn in 0..other {
            settle(&circuit, 1, if turn == 0 { Outcome::Failure } else { Outcome::Success });
            log.push((turn == 0, false));
            log = newest(&log, other);
            assert_eq!(counts(&circuit), tally(&log), "{what}, {turn} more");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_window_keeps_the_buckets_that_are_live() {
    let shaped =
        |seconds: u32, buckets| lax().window(Window::Time { length: seconds * SECOND, buckets });
    // A failure in each of the seconds 0 to 9, and a success in the last of them.
    let filled = async || {
        let circuit = circuit(shaped(10, 10));
        for second in 0..10 {
            settle(&circuit, 1, Outcome::Failure);
            if second < 9 {
                advance(SECOND).await;
            }
        }
        settle(&circuit, 1, Outcome::Success);
        assert_eq!(counts(&circuit), (11, 10, 0));
        circuit
    };
    // Half as long: the buckets of the seconds 5 to 9 live on, and end one by one.
    let circuit = filled().await;
    change(&circuit, shaped(5, 5));
    for left in (1..=5).rev() {
        assert_eq!(counts(&circuit), (left + 1, left, 0));
        advance(SECOND).await;
    }
    assert_eq!(counts(&circuit), (0, 0, 0));

    // Twice as long, in buckets twice as wide, aligned to even seconds: they end two by two, each
    // twenty seconds after its bucket began.
    let circuit = filled().await;
    change(&circuit, shaped(20, 10));
    assert_eq!(counts(&circuit), (11, 10, 0));
    advance(11 * SECOND - super::NS).await;
    assert_eq!(counts(&circuit), (11, 10, 0));
    for left in [8, 6, 4, 2] {
        advance(super::NS).await;
        assert_eq!(counts(&circuit), (left + 1, left, 0));
        advance(2 * SECOND - super::NS).await;
    }
    advance(super::NS).await;
    assert_eq!(counts(&circuit), (0, 0, 0));

    // Gone is gone: a window that is longer again brings nothing back.
    let circuit = filled().await;
    change(&circuit, shaped(1, 1));
    assert_eq!(counts(&circuit), (2, 1, 0));
    change(&circuit, shaped(60, 60));
    assert_eq!(counts(&circuit), (2, 1, 0));
    advance(60 * SECOND - super::NS).await;
    assert_eq!(counts(&circuit), (2, 1, 0), "its bucket began nine seconds after the circuit");
    advance(super::NS).await;
    assert_eq!(counts(&circuit), (0, 0, 0));

    // The same window said again is the same window.
    let circuit = filled().await;
    change(&circuit, shaped(10, 10).consecutive_failures(999));
    for left in (0..10).rev() {
        advance(SECOND).await;
        assert_eq!(counts(&circuit).1, left);
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_of_another_kind_starts_empty() {
    let by_count = || lax().window(Window::count(10));
    for (from, to) in [(lax(), by_count()), (by_count(), lax())] {
        let circuit = circuit(from);
        settle(&circuit, 5, Outcome::Success);
        settle(&circuit, 3, Outcome::Failure);
        let generation = circuit.snapshot().generation;
        change(&circuit, to);
        assert_eq!((counts(&circuit), circuit.state()), ((0, 0, 0), State::Closed));
        assert_eq!(circuit.snapshot().generation, generation, "no period ends");
        // A row of failures is not the window's.
        assert_eq!(circuit.snapshot().consecutive_failures, 3);
        settle(&circuit, 2, Outcome::Failure);
        assert_eq!(counts(&circuit), (2, 2, 0));
        circuit.command(Command::Reset);
        settle(&circuit, 20, Outcome::Success);
        assert_eq!(counts(&circuit).1, 0);
    }
}
