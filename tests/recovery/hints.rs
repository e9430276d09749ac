//! How long the service asks to be left alone.

use std::{future::ready, time::Duration};

use portcullis::{Circuit, Classify, Error, Hint, Outcome, Sleep, State};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{SECOND, circuit, config, fail, wait};

/// A service's answer, and what it says about when to come back.
type Answer = Result<Option<Hint>, Error<Option<Hint>>>;

/// Takes the hint out of the answer, also where it is no failure.
#[derive(Clone, Copy, Debug)]
struct Asked;

impl Classify<Option<Hint>, Error<Option<Hint>>> for Asked {
    fn classify(&self, answer: &Answer) -> Outcome {
        if answer.is_ok() { Outcome::Success } else { Outcome::Failure }
    }

    fn hint(&self, answer: &Answer) -> Option<Hint> {
        match answer {
            Ok(hint) | Err(Error::Inner(hint)) => *hint,
            Err(Error::Rejected(_)) => None,
        }
    }
}

async fn ask(circuit: &Circuit, answer: Answer) {
    assert_eq!(circuit.run_classified(Asked, ready(answer)).await, answer);
}

fn failed(asked: Duration) -> Answer {
    Err(Error::Inner(Some(Hint::After(asked))))
}

#[tokio::test(start_paused = true)]
async fn a_longer_wait_replaces_ours_up_to_the_longest() {
    let sleep = Sleep::growing(10 * SECOND, 2.0, 60 * SECOND).jitter(0.0);
    for (asked, expected) in [
        (Duration::ZERO, 10 * SECOND),
        (9 * SECOND, 10 * SECOND),
        (10 * SECOND, 10 * SECOND),
        (Duration::from_millis(10_001), Duration::from_millis(10_001)),
        (30 * SECOND, 30 * SECOND),
        (60 * SECOND, 60 * SECOND),
        (61 * SECOND, 60 * SECOND),
        (Duration::MAX, 60 * SECOND),
    ] {
        let circuits = [(); 4].map(|()| circuit(config().sleep(sleep)));
        ask(&circuits[0], failed(asked)).await;
        circuits[1].try_acquire().expect("closed").failure_with_hint(asked);
        let _ = circuits[2].call_classified(&Asked, || failed(asked));
        let inner = service_fn(|answer: Answer| ready(answer));
        let mut layered = circuits[3].layer().classify_with(Asked).layer(inner);
        let _ = layered.ready().await.unwrap().call(failed(asked)).await;
        for circuit in &circuits {
            assert_eq!((circuit.state(), wait(circuit)), (State::Open, expected), "{asked:?}");
        }
        // What was asked for once changes no later wait.
        advance(expected).await;
        fail(&circuits[0]);
        assert_eq!(wait(&circuits[0]), 20 * SECOND, "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn hints_can_be_switched_off() {
    let circuit =
        circuit(config().sleep(Sleep::growing(10 * SECOND, 2.0, 60 * SECOND).jitter(0.0)));
    let mut without = circuit.config();
    without.sleep = without.sleep.hints(false);
    circuit.reconfigure(without).expect("a valid config");
    ask(&circuit, failed(30 * SECOND)).await;
    assert_eq!(wait(&circuit), 10 * SECOND);
    // A fixed wait is its own longest: there is no room for a longer one.
    let fixed = super::circuit(config().sleep(Sleep::fixed(10 * SECOND)));
    ask(&fixed, failed(30 * SECOND)).await;
    assert_eq!(wait(&fixed), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn only_the_failure_that_opens_is_asked() {
    let rules = config()
        .consecutive_failures(3)
        .sleep(Sleep::growing(10 * SECOND, 2.0, 60 * SECOND).jitter(0.0));
    let asked = Some(Hint::After(30 * SECOND));
    for before in [Ok(asked), Err(Error::Inner(asked)), Err(Error::Inner(Some(Hint::Stop)))] {
        let circuit = circuit(rules.clone());
        ask(&circuit, before).await;
        assert_eq!(circuit.snapshot().calls, 1);
        while circuit.state() == State::Closed {
            ask(&circuit, Err(Error::Inner(None))).await;
        }
        assert_eq!(wait(&circuit), 10 * SECOND, "after {before:?}");
    }
    // `Stop` asks for no time.
    let stopped = circuit(rules.clone().consecutive_failures(1));
    ask(&stopped, Err(Error::Inner(Some(Hint::Stop)))).await;
    assert_eq!(wait(&stopped), 10 * SECOND);
    // A success that completes the volume may open, but asks for nothing.
    let volume = circuit(rules.failure_rate(0.5).minimum_calls(2));
    ask(&volume, Err(Error::Inner(None))).await;
    ask(&volume, Ok(asked)).await;
    assert_eq!((volume.state(), wait(&volume)), (State::Open, 10 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_may_ask_and_jitter_comes_on_top() {
    let rules = config().sleep(Sleep::growing(SECOND, 2.0, 60 * SECOND).jitter(0.5)).seed(3);
    let circuit = circuit(rules);
    circuit.half_open();
    ask(&circuit, failed(30 * SECOND)).await;
    let longer = wait(&circuit);
    assert!(longer > 30 * SECOND && longer < 45 * SECOND, "{longer:?}");
    circuit.half_open();
    ask(&circuit, failed(Duration::MAX)).await;
    let longest = wait(&circuit);
    assert!(longest > 60 * SECOND && longest < 90 * SECOND, "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_from_poll_ready_may_ask() {
    #[derive(Clone, Copy, Debug)]
    struct NotReady;
    impl Service<()> for NotReady {
        type Response = Option<Hint>;
        type Error = Error<Option<Hint>>;
        type Future = std::future::Ready<Answer>;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(Err(Error::Inner(Some(Hint::After(30 * SECOND)))))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            unreachable!("it is never ready")
        }
    }
    for half_open in [false, true] {
        let circuit = circuit(config().sleep(Sleep::growing(SECOND, 2.0, 60 * SECOND).jitter(0.0)));
        if half_open {
            circuit.half_open();
        }
        let mut service = circuit.layer().classify_with(Asked).layer(NotReady);
        assert!(service.ready().await.is_err());
        assert_eq!((circuit.state(), wait(&circuit)), (State::Open, 30 * SECOND));
    }
}
