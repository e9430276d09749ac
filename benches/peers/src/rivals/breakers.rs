//! Circuit breakers.

use std::time::Duration;

use failsafe::{CircuitBreaker as _, backoff, failure_policy};
use layered::{Execute, Service as _};
use recloser::Recloser;
use seatbelt::{RecoveryInfo, breaker::Breaker};
use tower_layer::Layer as _;
use tower_resilience_circuitbreaker::{CircuitBreakerLayer, SlidingWindowType};

use super::{SEATBELT, seatbelt};
use crate::{
    Batch, NONE, Subject,
    growth::{Axis, Series, after},
    panel::Panel,
    service::{
        AfterYield, AtOnce, Errors, FAIL, Fault, answer, calls, drive, layer, one_call, tasks,
    },
};

const RECLOSER: &str = "recloser";
const FAILSAFE: &str = "failsafe";
const TOWER_RESILIENCE: &str = "tower-resilience-circuitbreaker";

/// Longer than any run: an open breaker stays open, a time window loses nothing.
const HOUR: Duration = Duration::from_secs(3600);
/// What seatbelt's window is by default.
const HALF_MINUTE: Duration = Duration::from_secs(30);

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    use Panel::{BreakerRuntime, Call, CallErrors, LayerCount, LayerTime, Open};
    let recloser = "no clock; last 100 calls; shared by reference";
    let average = "std clock; default: moving average over 30 s, or 5 failures in a row; \
                   shared by reference";
    let in_a_row = "no clock; 5 failures in a row; shared by reference";
    let resilience = "std clock; default: 100 calls; clones of one service";
    let seatbelt = "tick's clock on std's; default: 30 s in 10 windows; clones of one service";
    let seatbelt_own = "its own `Service`, not Tower's; tick's clock on std's; default: 30 s in \
                        10 windows; shared by reference";
    let open_call = "std clock; synchronous call; shared by reference";
    let open_own = "tick's clock on std's; its own `Service`; shared by reference";
    let open_layer = "std clock; layer; clones of one service";
    let bare = "the service alone";
    vec![
        Subject::new("bare-call", NONE, Call, bare, || calls(Errors::Never, answer)),
        Subject::new("recloser-call", RECLOSER, Call, recloser, || recloser_call(Errors::Never)),
        Subject::new("failsafe-call", FAILSAFE, Call, average, || {
            failsafe_default_call(Errors::Never)
        }),
        Subject::new("failsafe-consecutive-call", FAILSAFE, Call, in_a_row, || {
            failsafe_consecutive_call(Errors::Never)
        }),
        Subject::new("bare-errors", NONE, CallErrors, bare, || calls(Errors::OnePercent, answer)),
        Subject::new("recloser-errors", RECLOSER, CallErrors, recloser, || {
            recloser_call(Errors::OnePercent)
        }),
        Subject::new("failsafe-errors", FAILSAFE, CallErrors, average, || {
            failsafe_default_call(Errors::OnePercent)
        }),
        Subject::new("failsafe-consecutive-errors", FAILSAFE, CallErrors, in_a_row, || {
            failsafe_consecutive_call(Errors::OnePercent)
        }),
        Subject::new("bare-layer", NONE, LayerCount, bare, || layer(Errors::Never, AtOnce)),
        Subject::new("tower-resilience-layer", TOWER_RESILIENCE, LayerCount, resilience, || {
            let breaker = CircuitBreakerLayer::builder().build().expect("the defaults are valid");
            layer(Errors::Never, breaker.layer(AtOnce))
        }),
        Subject::new("seatbelt-service", SEATBELT, LayerTime, seatbelt_own, || {
            seatbelt_service(Errors::Never, HALF_MINUTE)
        }),
        Subject::new("seatbelt-layer", SEATBELT, LayerTime, seatbelt, || {
            layer(Errors::Never, seatbelt_layer(HALF_MINUTE).layer(AtOnce))
        }),
        Subject::new("recloser-open", RECLOSER, Open, open_call, recloser_open),
        Subject::new("failsafe-open", FAILSAFE, Open, open_call, failsafe_open),
        Subject::new("seatbelt-open", SEATBELT, Open, open_own, seatbelt_open),
        Subject::new(
            "tower-resilience-open",
            TOWER_RESILIENCE,
            Open,
            open_layer,
            tower_resilience_open,
        ),
        Subject::new("bare-runtime", NONE, BreakerRuntime, bare, || tasks(AfterYield)),
        Subject::new(
            "tower-resilience-runtime",
            TOWER_RESILIENCE,
            BreakerRuntime,
            resilience,
            || {
                let breaker =
                    CircuitBreakerLayer::builder().build().expect("the defaults are valid");
                tasks(breaker.layer(AfterYield))
            },
        ),
        Subject::new("seatbelt-runtime", SEATBELT, BreakerRuntime, seatbelt, || {
            tasks(seatbelt_layer(HALF_MINUTE).layer(AfterYield))
        }),
    ]
}

/// Cost per call against the calls that the window holds. One call in a hundred fails throughout.
pub(super) fn growth() -> Vec<Series> {
    vec![
        Series::new(Axis::Calls, "recloser, last N calls", |n| {
            let breaker = Recloser::custom().closed_len(n as usize).build();
            after(calls(Errors::OnePercent, move |request| breaker.call(|| answer(request))), n)
        }),
        Series::new(Axis::Calls, "seatbelt, time window holding N calls", |n| {
            after(seatbelt_service(Errors::OnePercent, HOUR), n)
        }),
        Series::new(Axis::Calls, "tower-resilience, time window holding N calls", |n| {
            let breaker = CircuitBreakerLayer::builder()
                .sliding_window_type(SlidingWindowType::TimeBased)
                .sliding_window_duration(HOUR)
                .build()
                .expect("a valid configuration");
            after(layer(Errors::OnePercent, breaker.layer(AtOnce)), n)
        }),
    ]
}

// ===== recloser =====

fn recloser_call(errors: Errors) -> Batch {
    let breaker = Recloser::custom().closed_len(100).build();
    calls(errors, move |request| breaker.call(|| answer(request)))
}

fn recloser_open() -> Batch {
    let breaker = Recloser::custom().closed_len(100).open_wait(HOUR).build();
    for _ in 0..200 {
        let _ = breaker.call(|| answer(FAIL));
    }
    assert!(matches!(breaker.call(|| answer(1)), Err(recloser::Error::Rejected)));
    calls(Errors::Never, move |request| breaker.call(|| answer(request)))
}

// ===== failsafe =====

fn failsafe_default_call(errors: Errors) -> Batch {
    let breaker = failsafe::Config::new().build();
    calls(errors, move |request| breaker.call(|| answer(request)))
}

fn failsafe_consecutive_call(errors: Errors) -> Batch {
    let policy = failure_policy::consecutive_failures(5, backoff::constant(HOUR));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    calls(errors, move |request| breaker.call(|| answer(request)))
}

fn failsafe_open() -> Batch {
    let policy = failure_policy::consecutive_failures(5, backoff::constant(HOUR));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    for _ in 0..5 {
        let _ = breaker.call(|| answer(FAIL));
    }
    assert!(matches!(breaker.call(|| answer(1)), Err(failsafe::Error::Rejected)));
    calls(Errors::Never, move |request| breaker.call(|| answer(request)))
}

// ===== seatbelt =====

pub(super) fn seatbelt_layer(
    window: Duration,
) -> seatbelt::breaker::BreakerLayer<u64, Result<u64, Fault>> {
    Breaker::layer("peer", &seatbelt())
        .recovery_with(|result: &Result<u64, Fault>, _| match result {
            Ok(_) => RecoveryInfo::never(),
            Err(_) => RecoveryInfo::retry(),
        })
        .rejected_input_error(|_, _| Fault::Open)
        .sampling_duration(window)
        .break_duration(HOUR)
}

fn seatbelt_service(errors: Errors, window: Duration) -> Batch {
    let service =
        seatbelt_layer(window).layer(Execute::new(|request| std::future::ready(answer(request))));
    calls(errors, move |request| drive(service.execute(request)))
}

fn seatbelt_open() -> Batch {
    let service = seatbelt_layer(HALF_MINUTE)
        .layer(Execute::new(|request| std::future::ready(answer(request))));
    for _ in 0..200 {
        let _ = drive(service.execute(FAIL));
    }
    assert_eq!(drive(service.execute(1)), Err(Fault::Open));
    calls(Errors::Never, move |request| drive(service.execute(request)))
}

// ===== tower-resilience =====

fn tower_resilience_open() -> Batch {
    let breaker = CircuitBreakerLayer::builder()
        .wait_duration_in_open(HOUR)
        .build()
        .expect("a valid configuration");
    let mut service = breaker.layer(AtOnce);
    for _ in 0..200 {
        let _ = one_call(&mut service, FAIL);
    }
    assert!(one_call(&mut service, 1).is_err_and(|error| error.is_circuit_open()));
    layer(Errors::Never, service)
}
