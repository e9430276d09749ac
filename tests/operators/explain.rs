//! What a circuit says of itself, as whole sentences.

use portcullis::{
    Cause, Circuit, CircuitBreakerConfig, Command, HalfOpen, Hung, Outcome, Sleep, State,
};
use tokio::time::advance;

use super::{SECOND, circuit, config, settle};

#[track_caller]
fn says(circuit: &Circuit, sentence: &str) {
    assert_eq!(circuit.explain().to_string(), sentence);
}

#[tokio::test(start_paused = true)]
async fn closed_it_says_what_it_judges_by() {
    let plain = || CircuitBreakerConfig::new("payments");
    let closed = circuit(plain());
    says(
        &closed,
        "payments is closed and admits calls: 0 calls in the window, too few to judge by \
         (needs 20)",
    );
    settle(&closed, 1, Outcome::Failure);
    says(
        &closed,
        "payments is closed and admits calls: 1 call in the window, too few to judge by \
         (needs 20)",
    );
    settle(&closed, 29, Outcome::Success);
    says(&closed, "payments is closed and admits calls: 3.3 % of calls failed (limit 50 %)");
    // Expired results count no more.
    advance(10 * SECOND).await;
    says(
        &closed,
        "payments is closed and admits calls: 0 calls in the window, too few to judge by \
         (needs 20)",
    );

    let slow = circuit(plain().no_failure_rate().slow_calls(SECOND, 0.75).minimum_calls(1));
    settle(&slow, 2, Outcome::Success);
    says(&slow, "payments is closed and admits calls: 0 % of calls were slow (limit 75 %)");
    let row = circuit(plain().no_failure_rate().consecutive_failures(3));
    settle(&row, 2, Outcome::Failure);
    says(&row, "payments is closed and admits calls: 2 calls in a row failed (limit 3)");
    let absolute = circuit(plain().no_failure_rate().failures(7));
    settle(&absolute, 1, Outcome::Failure);
    says(&absolute, "payments is closed and admits calls: 1 call failed (limit 7)");
}

/// Rules, a way to open by them, and what is said of it.
type Opened = (CircuitBreakerConfig, fn(&Circuit), &'static str);

#[tokio::test(start_paused = true)]
async fn open_it_says_which_rule_opened_it_and_when_that_changes() {
    let plain =
        || CircuitBreakerConfig::new("payments").no_failure_rate().sleep(Sleep::fixed(10 * SECOND));
    let opened: [Opened; 6] = [
        (
            plain().failure_rate(0.5),
            |c| {
                settle(c, 8, Outcome::Success);
                settle(c, 12, Outcome::Failure);
            },
            "60 % of calls failed (limit 50 %)",
        ),
        (
            plain().consecutive_failures(1),
            |c| settle(c, 1, Outcome::Failure),
            "1 call in a row failed (limit 1)",
        ),
        (plain().failures(2), |c| settle(c, 2, Outcome::Failure), "2 calls failed (limit 2)"),
        (plain(), Circuit::open, "the command `open` was given"),
        (plain(), |c| c.open_for(10 * SECOND), "the command `open_for 10s` was given"),
        (
            plain(),
            |c| {
                c.half_open();
                settle(c, 1, Outcome::Failure);
            },
            "1 probe failed (limit 1)",
        ),
    ];
    for (rules, open, because) in opened {
        let circuit = circuit(rules);
        open(&circuit);
        advance(4 * SECOND).await;
        says(
            &circuit,
            &format!("payments is open and refuses calls: {because}; this changes in 6s"),
        );
        advance(6 * SECOND).await;
        let over = format!(
            "payments is open and admits calls: the wait is over; it opened because {because}"
        );
        says(&circuit, &over);
        let probe = circuit.try_acquire();
        says(
            &circuit,
            &format!(
                "payments is half open and admits calls: 0 of 3 probes succeeded, 1 in flight; \
                 it opened because {because}; this changes in 30s"
            ),
        );
        drop(probe);
    }

    let slow = circuit(plain().slow_calls(SECOND, 0.5).minimum_calls(1));
    let call = slow.try_acquire().unwrap();
    advance(2 * SECOND).await;
    call.success();
    says(
        &slow,
        "payments is open and refuses calls: 100 % of calls were slow (limit 50 %); \
         this changes in 10s",
    );
    let hangs = circuit(plain().slow_call_after(SECOND).hung(Hung::new(1, 0.5)));
    let _hanging = hangs.try_acquire().unwrap();
    advance(2 * SECOND).await;
    assert!(hangs.try_acquire().is_err());
    says(
        &hangs,
        "payments is open and refuses calls: 1 of 1 calls in flight hang (limit 1); \
         this changes in 10s",
    );
}

#[tokio::test(start_paused = true)]
async fn half_open_it_says_how_far_its_probes_are() {
    let circuit = circuit(config().half_open(HalfOpen::counts(2, 1)));
    circuit.half_open();
    says(&circuit, "payments is half open and admits calls: 0 of 2 probes succeeded, 0 in flight");
    let first = circuit.try_acquire().unwrap();
    advance(SECOND).await;
    let _second = circuit.try_acquire().unwrap();
    says(
        &circuit,
        "payments is half open and refuses calls: 0 of 2 probes succeeded, 2 in flight; \
         this changes in 29s",
    );
    first.success();
    // One more is wanted, and it is out.
    says(
        &circuit,
        "payments is half open and refuses calls: 1 of 2 probes succeeded, 1 in flight; \
         this changes in 30s",
    );
    circuit.command(Command::HalfOpen);
    let _hung = circuit.try_acquire().unwrap();
    advance(30 * SECOND).await;
    assert!(circuit.try_acquire().is_err());
    says(
        &circuit,
        "payments is open and refuses calls: a probe did not answer within 30s; \
         this changes in 10s",
    );

    // Where the share of many results decides, a slow success is none.
    let rate = HalfOpen::rate(4, 0.5).slow_rate(0.5);
    let by_rate = super::circuit(config().slow_call_after(SECOND).half_open(rate));
    by_rate.half_open();
    settle(&by_rate, 1, Outcome::Success);
    settle(&by_rate, 1, Outcome::Failure);
    let slow = by_rate.try_acquire().unwrap();
    advance(2 * SECOND).await;
    slow.success();
    says(&by_rate, "payments is half open and admits calls: 1 of 4 probes succeeded, 0 in flight");
}

#[tokio::test(start_paused = true)]
async fn commanded_it_says_so() {
    let circuit = circuit(config());
    circuit.force_open();
    says(&circuit, "payments is forced open and refuses calls: the command `force_open` was given");
    circuit.disable();
    says(&circuit, "payments is disabled and admits calls: the command `disable` was given");
}

#[tokio::test(start_paused = true)]
async fn in_shadow_it_says_what_it_would_do() {
    let circuit = circuit(config());
    circuit.shadow();
    says(
        &circuit,
        "payments (in shadow) is closed and admits calls: 0 calls in the window, too few to \
         judge by (needs 20)",
    );
    circuit.open();
    says(
        &circuit,
        "payments (in shadow) is open and would refuse calls, but admits them: \
         the command `open` was given; this changes in 10s",
    );
    circuit.half_open();
    let _probes = [circuit.try_acquire(), circuit.try_acquire()];
    says(
        &circuit,
        "payments (in shadow) is half open and would refuse calls, but admits them: \
         0 of 2 probes succeeded, 2 in flight; it opened because the command `open` was given; \
         this changes in 30s",
    );
    let why = circuit.explain();
    assert_eq!((why.shadow, why.would_admit, why.admits), (true, false, true));
    circuit.enable();
    assert!(!circuit.explain().shadow);
}

#[tokio::test(start_paused = true)]
async fn times_are_rounded_up_for_people_and_exact_as_values() {
    let circuit = circuit(config());
    for (wait, text) in [
        (61_250_000_001, "61.3s"),
        (10_000_000_000, "10s"),
        (9_900_000_001, "10s"),
        (1_000_000_001, "1.1s"),
        (999_000_001, "1s"),
        (1_500_000, "2ms"),
        (1, "1ms"),
    ] {
        let wait = std::time::Duration::from_nanos(wait);
        circuit.open_for(wait);
        let (why, refused) = (circuit.explain(), circuit.try_acquire().unwrap_err());
        assert_eq!((why.until, refused.retry_after()), (Some(wait), Some(wait)));
        assert!(why.to_string().ends_with(&format!("; this changes in {text}")), "{why}");
        assert_eq!(
            refused.to_string(),
            format!("payments: the circuit is open; retry after {text}")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_values_are_those_of_the_sentence() {
    let circuit = circuit(config());
    settle(&circuit, 5, Outcome::Failure);
    advance(3 * SECOND).await;
    let why = circuit.explain();
    let cause = Cause::ConsecutiveFailures { observed: 5, limit: 5 };
    assert_eq!((why.policy, why.state, why.admits), ("payments", "open", false));
    assert_eq!((why.cause, why.until), (cause, Some(7 * SECOND)));
    assert_eq!(why.opened_by, Some(cause));
    advance(7 * SECOND).await;
    let why = circuit.explain();
    assert_eq!((why.cause, why.until, why.admits), (Cause::SleepOver, None, true));
    settle(&circuit, 2, Outcome::Success);
    let why = circuit.explain();
    assert_eq!((why.state, why.opened_by), (State::Closed.as_str(), None), "closed since");
}

/// A circuit is said to have no rule if it has none, and only then.
#[tokio::test(start_paused = true)]
async fn only_a_circuit_without_rules_is_said_to_have_none() {
    let plain = || CircuitBreakerConfig::new("payments").no_failure_rate();
    says(
        &circuit(plain()),
        "payments is closed and admits calls: no rule is on that could open it",
    );
    for rules in [
        plain().failure_rate(1.0),
        plain().slow_calls(SECOND, 1.0),
        plain().consecutive_failures(u32::MAX),
        plain().failures(u32::MAX),
        plain().hung_calls(SECOND),
    ] {
        let why = circuit(rules.clone()).explain();
        assert_ne!(why.cause, Cause::NoRule, "{rules:?}");
    }
}

/// Of several rules that of which the least is missing.
#[tokio::test(start_paused = true)]
async fn closed_it_says_which_rule_is_nearest() {
    let circuit = circuit(config().consecutive_failures(5).failures(40).minimum_calls(10));
    settle(&circuit, 1, Outcome::Failure);
    says(&circuit, "payments is closed and admits calls: 1 call in a row failed (limit 5)");
    settle(&circuit, 15, Outcome::Success);
    says(&circuit, "payments is closed and admits calls: 6.3 % of calls failed (limit 50 %)");
    settle(&circuit, 4, Outcome::Failure);
    says(&circuit, "payments is closed and admits calls: 4 calls in a row failed (limit 5)");
    for _ in 0..4 {
        settle(&circuit, 1, Outcome::Success);
        settle(&circuit, 3, Outcome::Failure);
    }
    says(&circuit, "payments is closed and admits calls: 47.2 % of calls failed (limit 50 %)");
}
