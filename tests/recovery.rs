//! The way back from an outage: how long an open circuit waits, what the service may ask for
//! (`recovery/hints.rs`), how long a probe may go unanswered (`recovery/lease.rs`), and the growing
//! share of calls after closing (`recovery/ramp.rs`).

#[path = "recovery/hints.rs"]
mod hints;
#[path = "recovery/lease.rs"]
mod lease;
#[path = "recovery/ramp.rs"]
mod ramp;

use std::{collections::HashSet, time::Duration};

use portcullis::{Circuit, CircuitBreakerConfig, HalfOpen, Reason, Sleep, State};
use tokio::time::advance;

const NS: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);

/// Opens at the first failure, waits 10 s exactly, and closes after one good probe.
fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("recovery")
        .no_failure_rate()
        .consecutive_failures(1)
        .sleep(Sleep::fixed(10 * SECOND))
        .half_open(HalfOpen::counts(1, 1))
}

fn circuit(config: CircuitBreakerConfig) -> Circuit {
    Circuit::new(config).expect("a valid config")
}

/// One call that fails, of a circuit that lets it in and opens for it.
#[track_caller]
fn fail(circuit: &Circuit) {
    circuit.try_acquire().expect("admitted").failure();
    assert_eq!(circuit.state(), State::Open);
}

#[track_caller]
fn wait(circuit: &Circuit) -> Duration {
    circuit.snapshot().time_to_half_open.expect("open for a time")
}

/// The waits of so many openings without a closing in between.
async fn waits(circuit: &Circuit, openings: usize) -> Vec<Duration> {
    let mut waits = Vec::new();
    for opening in 1..=openings {
        fail(circuit);
        assert_eq!(circuit.snapshot().consecutive_openings as usize, opening);
        waits.push(wait(circuit));
        advance(waits[opening - 1]).await;
    }
    waits
}

fn seconds<const N: usize>(waits: [f64; N]) -> Vec<Duration> {
    waits.map(Duration::from_secs_f64).to_vec()
}

#[tokio::test(start_paused = true)]
async fn without_jitter_every_wait_is_exact() {
    let minute = 60 * SECOND;
    let cases = [
        (Sleep::default().jitter(0.0), seconds([5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0])),
        (Sleep::growing(4 * SECOND, 1.5, 12 * SECOND).jitter(0.0), seconds([4.0, 6.0, 9.0, 12.0])),
        (Sleep::growing(SECOND, 10.0, minute).jitter(0.0), seconds([1.0, 10.0, 60.0, 60.0])),
        (Sleep::growing(minute, 2.0, minute).jitter(0.0), seconds([60.0; 3])),
        (Sleep::growing(3 * SECOND, 1.0, minute).jitter(0.0), seconds([3.0; 4])),
        (Sleep::fixed(7 * SECOND), seconds([7.0; 4])),
        (Sleep::fixed(Duration::ZERO), seconds([0.0; 4])),
        (Sleep::growing(Duration::ZERO, 2.0, minute).jitter(0.0), seconds([0.0; 4])),
    ];
    for (sleep, expected) in cases {
        let circuit = circuit(config().sleep(sleep));
        assert_eq!(waits(&circuit, expected.len()).await, expected, "{sleep:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_ends_to_the_nanosecond_and_only_a_call_ends_it() {
    let circuit = circuit(config());
    fail(&circuit);
    advance(10 * SECOND - NS).await;
    let refused = circuit.try_acquire().expect_err("one nanosecond is left");
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::CircuitOpen, Some(NS)));
    advance(NS).await;
    assert_eq!((wait(&circuit), circuit.state()), (Duration::ZERO, State::Open), "looking is free");
    let probe = circuit.try_acquire().expect("the wait is over");
    assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (State::HalfOpen, 1));
    probe.success();
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn whatever_opens_the_circuit_makes_the_next_wait_longer() {
    let rules = config()
        .sleep(Sleep::growing(SECOND, 2.0, 60 * SECOND).jitter(0.0))
        .probe_lease(30 * SECOND);
    let circuit = circuit(rules);
    fail(&circuit);
    assert_eq!(wait(&circuit), SECOND);
    advance(SECOND).await;
    let _hung = circuit.try_acquire().expect("a probe");
    advance(30 * SECOND).await;
    circuit.try_acquire().expect_err("its lease has ended");
    assert_eq!(wait(&circuit), 2 * SECOND);
    // A command is an opening as well, but said of an open circuit it is none more.
    circuit.half_open();
    circuit.open();
    assert_eq!(wait(&circuit), 4 * SECOND);
    circuit.open();
    assert_eq!((wait(&circuit), circuit.snapshot().consecutive_openings), (4 * SECOND, 3));
    advance(4 * SECOND).await;
    fail(&circuit);
    assert_eq!(wait(&circuit), 8 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn after_closing_the_wait_starts_from_the_base_again() {
    let rules = config().sleep(Sleep::growing(SECOND, 3.0, 100 * SECOND).jitter(0.0));
    for close in [
        |circuit: &Circuit| circuit.try_acquire().expect("a probe").success(),
        Circuit::close,
        Circuit::reset,
        Circuit::enable,
        |circuit: &Circuit| {
            circuit.force_open();
            circuit.close();
        },
    ] {
        let circuit = circuit(rules.clone());
        assert_eq!(waits(&circuit, 4).await, seconds([1.0, 3.0, 9.0, 27.0]));
        close(&circuit);
        let closed = circuit.snapshot();
        assert_eq!((closed.state, closed.consecutive_openings), (State::Closed, 0));
        assert_eq!(waits(&circuit, 3).await, seconds([1.0, 3.0, 9.0]));
    }
}

/// One first wait for each of so many seeds.
fn first_waits(sleep: Sleep, seeds: u64) -> Vec<Duration> {
    (0..seeds)
        .map(|seed| {
            let circuit = circuit(config().sleep(sleep).seed(seed));
            circuit.open();
            wait(&circuit)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn jitter_adds_up_to_its_share_and_takes_nothing_away() {
    const SEEDS: u64 = 4_000;
    for share in [0.2, 0.05, 1.0] {
        let base = 5 * SECOND;
        let waits = first_waits(Sleep::growing(base, 2.0, 60 * SECOND).jitter(share), SEEDS);
        // How far into what may be added each wait went: evenly spread over 0..1.
        let added: Vec<f64> =
            waits.iter().map(|wait| (wait.as_secs_f64() / 5.0 - 1.0) / share).collect();
        assert!(waits.iter().all(|wait| *wait >= base), "shorter than it may be: {share}");
        assert!(added.iter().all(|added| *added < 1.0), "longer than it may be: {share}");
        // Four deviations of a mean of so many even shares, and of the number in each tenth.
        let count = SEEDS as f64;
        let mean = added.iter().sum::<f64>() / count;
        assert!((mean - 0.5).abs() < 4.0 * (1.0 / 12.0 / count).sqrt(), "mean {mean}");
        for tenth in 0..10 {
            let within = |added: &&f64| (**added * 10.0) as u32 == tenth;
            let off = added.iter().filter(within).count() as f64 - count * 0.1;
            assert!(off.abs() < 4.0 * (count * 0.1 * 0.9).sqrt(), "{off} off in tenth {tenth}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn jitter_comes_on_top_of_the_cap() {
    let waits = first_waits(Sleep::growing(60 * SECOND, 2.0, 60 * SECOND), 200);
    assert!(waits.iter().all(|wait| (60 * SECOND..72 * SECOND).contains(wait)));
    assert!(waits.iter().any(|wait| *wait > 66 * SECOND));
    // Nothing of nothing is nothing.
    assert_eq!(first_waits(Sleep::fixed(Duration::ZERO).jitter(1.0), 1), [Duration::ZERO]);
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_every_wait_and_another_one_does_not() {
    let sleep = Sleep::growing(SECOND, 2.0, 20 * SECOND);
    let mut seen = HashSet::new();
    for seed in 0..50 {
        let seeded = || circuit(config().sleep(sleep).seed(seed));
        let once = waits(&seeded(), 8).await;
        assert_eq!(once, waits(&seeded(), 8).await, "seed {seed}");
        // Each wait lies where it must, whatever the seed.
        for (wait, own) in once.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0, 20.0]) {
            assert!((1.0..1.2).contains(&(wait.as_secs_f64() / own)), "{wait:?} for {own} s");
        }
        assert!(seen.insert(once), "seed {seed} repeats another");
    }
    // Without a seed each circuit draws its own.
    let drawn = || circuit(config().sleep(sleep));
    assert_ne!(waits(&drawn(), 8).await, waits(&drawn(), 8).await);
}
