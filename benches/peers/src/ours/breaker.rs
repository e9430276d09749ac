//! The circuit breaker.

use std::time::Duration;

use portcullis::{
    Circuit, CircuitBreakerConfig, Error, ErrorLayer, Options, Reason, Sleep, Window,
    clock::{ClockFn, quanta_now, tokio_now},
};
use tower_layer::Layer as _;

use super::OURS;
use crate::{
    Batch, Subject,
    growth::{Axis, Series, after},
    jumping,
    panel::Panel,
    service::{AfterYield, AtOnce, Errors, FAIL, Fault, answer, calls, layer, tasks},
};

/// Longer than any run: an open circuit stays open, a time window loses nothing.
const HOUR: Duration = Duration::from_secs(3600);

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    use Panel::{BreakerRuntime, Call, CallErrors, LayerCount, LayerTime, Open};
    let call = "no clock; last 100 calls; `Circuit` shared by reference";
    let layered = "no clock; last 100 calls; clones of one service, over `ErrorLayer`";
    vec![
        Subject::new("ours-call", OURS, Call, call, || count_call(Errors::Never)),
        Subject::new("ours-errors", OURS, CallErrors, call, || count_call(Errors::OnePercent)),
        Subject::new("ours-layer-count", OURS, LayerCount, layered, || {
            layered_by(&circuit(count(100), tokio_now))
        }),
        Subject::new(
            "ours-layer-count-leaked",
            OURS,
            LayerCount,
            "the same, on a circuit that lives as long as the process (`Circuit::leak`)",
            || layered_by(&circuit(count(100), tokio_now).leak()),
        ),
        Subject::new(
            "ours-layer-time",
            OURS,
            LayerTime,
            "tokio's clock; default: 10 s in 10 buckets; clones of one service, over `ErrorLayer`",
            || time_layer(tokio_now),
        ),
        Subject::new(
            "ours-layer-time-leaked",
            OURS,
            LayerTime,
            "the same, on a circuit that lives as long as the process (`Circuit::leak`)",
            || layered_by(&circuit(CircuitBreakerConfig::new("peer"), tokio_now).leak()),
        ),
        Subject::new(
            "ours-layer-time-quanta",
            OURS,
            LayerTime,
            "quanta's clock; 10 s in 10 buckets; clones of one service, over `ErrorLayer`",
            || time_layer(quanta_now),
        ),
        Subject::new(
            "ours-open",
            OURS,
            Open,
            "tokio's clock; synchronous call; `Circuit` shared by reference",
            || open_call(tokio_now),
        ),
        Subject::new(
            "ours-open-quanta",
            OURS,
            Open,
            "quanta's clock; synchronous call; `Circuit` shared by reference",
            || open_call(quanta_now),
        ),
        Subject::new(
            "ours-layer-open",
            OURS,
            Open,
            "tokio's clock; layer; clones of one service, over `ErrorLayer`",
            open_layer,
        ),
        Subject::new("ours-runtime", OURS, BreakerRuntime, layered, || {
            let circuit = circuit(count(100), tokio_now);
            tasks(circuit.layer().layer(ErrorLayer::new().layer(AfterYield)))
        }),
    ]
}

/// Cost per call against the calls that the window holds. One call in a hundred fails throughout.
pub(super) fn growth() -> Vec<Series> {
    vec![
        Series::new(Axis::Calls, "portcullis, last N calls", |n| {
            after(guarded(circuit(count(n), tokio_now), Errors::OnePercent), n)
        }),
        Series::new(Axis::Calls, "portcullis, time window holding N calls", |n| {
            let config = CircuitBreakerConfig::new("peer").window(Window::time(HOUR));
            after(guarded(circuit(config, tokio_now), Errors::OnePercent), n)
        }),
        Series::new(Axis::Idle, "portcullis' breaker, default time window", |seconds| {
            let circuit = circuit(CircuitBreakerConfig::new("peer"), jumping::now);
            calls(Errors::OnePercent, move |request| {
                jumping::ahead(seconds);
                call(&circuit, request)
            })
        }),
    ]
}

fn count(size: u32) -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("peer").window(Window::count(size))
}

fn circuit(config: CircuitBreakerConfig, clock: ClockFn) -> Circuit {
    Circuit::with(config, Options::new().clock(clock)).expect("a valid configuration")
}

/// One call, with the one conversion that a foreign error needs.
fn call(circuit: &Circuit, request: u64) -> Result<u64, Error<Fault>> {
    circuit.call(|| answer(request).map_err(Error::Inner))
}

fn guarded(circuit: Circuit, errors: Errors) -> Batch {
    calls(errors, move |request| call(&circuit, request))
}

fn count_call(errors: Errors) -> Batch {
    guarded(circuit(count(100), tokio_now), errors)
}

fn time_layer(clock: ClockFn) -> Batch {
    layered_by(&circuit(CircuitBreakerConfig::new("peer"), clock))
}

/// The layer of a circuit, over the service.
fn layered_by(circuit: &Circuit) -> Batch {
    layer(Errors::Never, circuit.layer().layer(ErrorLayer::new().layer(AtOnce)))
}

/// A circuit that its own rule has opened.
fn opened(clock: ClockFn) -> Circuit {
    let circuit = circuit(count(100).sleep(Sleep::fixed(HOUR)), clock);
    for _ in 0..200 {
        let _ = call(&circuit, FAIL);
    }
    match call(&circuit, 1) {
        Err(Error::Rejected(rejection)) => assert_eq!(rejection.reason(), Reason::CircuitOpen),
        other => panic!("an open circuit let a call through: {other:?}"),
    }
    circuit
}

fn open_call(clock: ClockFn) -> Batch {
    guarded(opened(clock), Errors::Never)
}

fn open_layer() -> Batch {
    layer(Errors::Never, opened(tokio_now).layer().layer(ErrorLayer::new().layer(AtOnce)))
}
