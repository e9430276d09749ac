//! The share of calls that is let in for a while after closing.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use portcullis::{
    Cause, Circuit, CircuitBreakerConfig, Error, Event, HalfOpen, Options, Reason, State,
};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

use super::{NS, SECOND, circuit, config, fail, wait};

const RAMP: Duration = Duration::from_secs(100);

fn ramped() -> CircuitBreakerConfig {
    config().recovery_ramp(RAMP).seed(11)
}

/// Has just closed by a good probe.
fn recovering(config: CircuitBreakerConfig) -> Circuit {
    let circuit = circuit(config);
    recover(&circuit);
    circuit
}

#[track_caller]
fn recover(circuit: &Circuit) {
    circuit.half_open();
    while circuit.state() == State::HalfOpen {
        circuit.try_acquire().expect("a probe").success();
    }
    assert_eq!(circuit.state(), State::Closed);
}

/// How many of so many calls are let in at this moment.
fn admitted(circuit: &Circuit, calls: u32) -> u32 {
    (0..calls).map(|_| u32::from(circuit.try_acquire().is_ok())).sum()
}

/// Lets the next `calls` calls in or not.
fn pattern(circuit: &Circuit, calls: usize) -> Vec<bool> {
    (0..calls).map(|_| circuit.try_acquire().is_ok()).collect()
}

fn is_recovering(circuit: &Circuit) -> bool {
    matches!(circuit.explain().cause, Cause::Recovering { .. })
}

#[tokio::test(start_paused = true)]
async fn the_share_rises_evenly_from_a_tenth_to_all() {
    const CALLS: u32 = 20_000;
    let circuit = recovering(ramped());
    for percent in 0..100 {
        if percent % 10 == 0 || percent == 99 {
            let share = 0.1 + 0.9 * f64::from(percent) / 100.0;
            let Cause::Recovering { share: told } = circuit.explain().cause else {
                panic!("{}", circuit.explain())
            };
            assert!((told - share).abs() < 1e-12, "{told} instead of {share}");
            let expected = f64::from(CALLS) * share;
            // Four deviations of a binomial count: 1.5 % of the calls at the most.
            let bound = 4.0 * (expected * (1.0 - share)).sqrt();
            let off = f64::from(admitted(&circuit, CALLS)) - expected;
            assert!(off.abs() < bound, "{off} off {expected} at {percent} %; may be {bound}");
        }
        assert_eq!(circuit.state(), State::Closed);
        advance(SECOND).await;
    }
    assert!(!is_recovering(&circuit));
    assert_eq!(admitted(&circuit, CALLS), CALLS);
}

#[tokio::test(start_paused = true)]
async fn the_ramp_ends_exactly_at_its_end() {
    let circuit = recovering(ramped());
    advance(RAMP - NS).await;
    let why = circuit.explain();
    assert_eq!((is_recovering(&circuit), why.until), (true, Some(NS)));
    advance(NS).await;
    assert_eq!((is_recovering(&circuit), circuit.explain().until), (false, None));

    // The shortest ramp there is: a tenth now, all of them a nanosecond later.
    let circuit = recovering(ramped().recovery_ramp(NS));
    assert!(admitted(&circuit, 1_000) < 200);
    advance(NS).await;
    assert_eq!(admitted(&circuit, 1_000), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_how_long_the_ramp_still_is() {
    let circuit = recovering(ramped());
    for passed in [0, 1, 40, 55] {
        circuit.reset();
        recover(&circuit);
        advance(SECOND * passed).await;
        let rest = RAMP - SECOND * passed;
        let before = circuit.snapshot();
        let refused = std::iter::repeat_with(|| circuit.try_acquire()).find_map(Result::err);
        let refused = refused.expect("one of many calls is refused");
        assert_eq!((refused.reason(), refused.policy()), (Reason::Recovering, "recovery"));
        assert_eq!((refused.retry_after(), refused.attempted()), (Some(rest), false));
        assert_eq!(
            refused.to_string(),
            format!(
                "recovery: the circuit is recovering and admits only a share of calls; \
                 retry after {rest:?}"
            ),
        );
        // A refusal is counted as one, and changes nothing else.
        let after = circuit.snapshot();
        assert_eq!((after.rejected, after.state), (before.rejected + 1, State::Closed));
        assert_eq!((after.calls, after.generation), (before.calls, before.generation));
    }
    assert_eq!(
        circuit.explain().to_string(),
        "recovery is closed and admits calls: 59.5 % of calls are admitted while recovering; \
         this changes in 45s",
    );
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_which_calls_are_let_in() {
    let run = async |seed: Option<u64>| {
        let mut rules = ramped();
        rules.seed = seed;
        let circuit = recovering(rules);
        let mut let_in = Vec::new();
        for _ in 0..9 {
            let_in.extend(pattern(&circuit, 40));
            advance(RAMP / 10).await;
        }
        let_in
    };
    let mut seen = Vec::new();
    for seed in 0..20 {
        let once = run(Some(seed)).await;
        assert_eq!(once, run(Some(seed)).await, "seed {seed}");
        assert!(!seen.contains(&once), "seed {seed} repeats another");
        seen.push(once);
    }
    assert_ne!(run(None).await, run(None).await, "without a seed each circuit draws its own");
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_let_in_count_and_a_failure_opens_again() {
    let circuit = recovering(ramped().consecutive_failures(2));
    let mut admitted = 0;
    while admitted < 30 {
        if let Ok(permit) = circuit.try_acquire() {
            permit.success();
            admitted += 1;
        }
    }
    assert_eq!((circuit.snapshot().successes, circuit.snapshot().failures), (30, 0));
    while circuit.state() == State::Closed {
        let _ = circuit.try_acquire().map(|permit| permit.failure());
    }
    let opened = circuit.snapshot();
    assert_eq!((opened.failures, opened.consecutive_openings), (2, 1), "the first since closing");
    assert_eq!(circuit.try_acquire().unwrap_err().reason(), Reason::CircuitOpen);
    // Closing again begins the ramp anew, however far the last one was.
    advance(wait(&circuit) + RAMP).await;
    circuit.try_acquire().expect("a probe").success();
    assert_eq!(circuit.explain().until, Some(RAMP));
}

#[tokio::test(start_paused = true)]
async fn only_a_recovery_by_probes_ramps_and_every_command_ends_it() {
    let commands = [
        Circuit::reset,
        Circuit::close,
        Circuit::enable,
        Circuit::shadow,
        Circuit::disable,
        |circuit: &Circuit| {
            circuit.force_open();
            circuit.enable();
        },
        |circuit: &Circuit| {
            circuit.open();
            circuit.close();
        },
    ];
    for command in commands {
        let circuit = recovering(ramped());
        advance(SECOND).await;
        assert!(admitted(&circuit, 1_000) < 200);
        command(&circuit);
        assert!(!is_recovering(&circuit));
        assert_eq!(admitted(&circuit, 1_000), 1_000);
    }
    let new = circuit(ramped());
    assert_eq!((is_recovering(&new), admitted(&new, 1_000)), (false, 1_000));
    // And none is on by default.
    let default = recovering(config());
    assert_eq!((is_recovering(&default), admitted(&default, 1_000)), (false, 1_000));
}

#[tokio::test(start_paused = true)]
async fn a_ramp_can_be_changed_while_it_runs() {
    let circuit = recovering(ramped());
    advance(50 * SECOND).await;
    let reconfigure = |rules| circuit.reconfigure(rules).expect("a valid config");
    reconfigure(ramped().recovery_ramp(2 * RAMP));
    assert_eq!(circuit.explain().cause, Cause::Recovering { share: 0.1 + 0.9 * 0.25 });
    assert_eq!(circuit.explain().until, Some(150 * SECOND));
    reconfigure(ramped().recovery_ramp(RAMP / 2));
    assert!(!is_recovering(&circuit), "its end is now");
    assert_eq!(admitted(&circuit, 1_000), 1_000);
    // A ramp that has ended has ended.
    reconfigure(ramped());
    assert_eq!(admitted(&circuit, 1_000), 1_000);

    let circuit = recovering(ramped());
    circuit.reconfigure(config()).expect("a valid config");
    assert_eq!((is_recovering(&circuit), admitted(&circuit, 1_000)), (false, 1_000));
}

#[tokio::test(start_paused = true)]
async fn in_shadow_the_ramp_is_only_reported() {
    let would = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&would);
    let options = Options::new().observer(move |event: &Event| {
        if let Event::WouldReject { reason, .. } = event {
            log.lock().unwrap().push(*reason);
        }
    });
    let circuit = Circuit::with(ramped(), options).expect("a valid config");
    circuit.shadow();
    recover(&circuit);
    assert_eq!(admitted(&circuit, 1_000), 1_000);
    let would = would.lock().unwrap();
    assert!(would.len() > 800 && would.iter().all(|reason| *reason == Reason::Recovering));
    assert_eq!(circuit.snapshot().rejected, would.len() as u64);
}

/// A layer's caller is never sure to be refused by a ramp, so the service below is readied as usual.
#[tokio::test(start_paused = true)]
async fn a_layer_refuses_its_share_as_well() {
    let circuit = recovering(ramped());
    let service = circuit.layer().layer(service_fn(|(): ()| async { Ok::<_, Error<()>>(()) }));
    let (mut admitted, mut refused) = (0, 0);
    for _ in 0..2_000 {
        match service.clone().oneshot(()).await {
            Ok(()) => admitted += 1,
            Err(Error::Rejected(by)) => {
                assert_eq!(by.reason(), Reason::Recovering);
                refused += 1;
            }
            Err(Error::Inner(())) => unreachable!("the service works"),
        }
    }
    // A tenth, within four deviations of it.
    let deviation = (2_000.0 * 0.1 * 0.9_f64).sqrt();
    assert!((f64::from(admitted) - 200.0).abs() < 4.0 * deviation, "{admitted} of 2000");
    let seen = circuit.snapshot();
    assert_eq!((seen.successes, seen.rejected), (admitted as u64, refused));
}

#[tokio::test(start_paused = true)]
async fn waits_of_later_openings_are_not_shortened_by_the_ramp() {
    let circuit = recovering(ramped().half_open(HalfOpen::counts(2, 1)));
    while circuit.state() == State::Closed {
        let _ = circuit.try_acquire().map(|permit| permit.failure());
    }
    assert_eq!(wait(&circuit), 10 * SECOND);
    advance(10 * SECOND).await;
    // Half-open there is no ramp: every slot is given.
    let probe = circuit.try_acquire().expect("the first");
    drop(circuit.try_acquire().expect("the second"));
    drop(probe);
    fail(&circuit);
}
