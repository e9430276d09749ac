//! The rate limiter with one bucket.

use std::time::Duration;

use portcullis::{
    ErrorLayer, Options, RateLimitConfig, RateLimiter, Waits,
    clock::{ClockFn, quanta_now, tokio_now},
};
use tower_layer::Layer as _;

use super::OURS;
use crate::{
    Batch, Subject,
    growth::{Axis, Series},
    http::{AsRequest, Page},
    jumping,
    panel::Panel,
    service::{AtOnce, Errors, answer, calls, layer},
    waiting::{called, crowd},
};

const HOUR: Duration = Duration::from_secs(3600);

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    use Panel::{LimitAdmitted, LimitHttp, LimitLayer, LimitRefused};
    let std = "tokio's clock, which is std's; shared by reference";
    let quanta = "quanta's clock; shared by reference";
    let layered = "tokio's clock; clones of one service, over `ErrorLayer`";
    let layered_quanta = "quanta's clock; clones of one service, over `ErrorLayer`";
    vec![
        Subject::new("ours-limit", OURS, LimitAdmitted, std, || asked(admitting(tokio_now))),
        Subject::new("ours-limit-quanta", OURS, LimitAdmitted, quanta, || {
            asked(admitting(quanta_now))
        }),
        Subject::new("ours-limit-refused", OURS, LimitRefused, std, || asked(refusing(tokio_now))),
        Subject::new("ours-limit-refused-quanta", OURS, LimitRefused, quanta, || {
            asked(refusing(quanta_now))
        }),
        Subject::new(
            "ours-limit-layer-refused",
            OURS,
            LimitRefused,
            "tokio's clock; layer; clones of one service, over `ErrorLayer`",
            || layered_by(&refusing(tokio_now)),
        ),
        Subject::new("ours-limit-layer", OURS, LimitLayer, layered, || {
            layered_by(&admitting(tokio_now))
        }),
        Subject::new(
            "ours-limit-layer-leaked",
            OURS,
            LimitLayer,
            "the same, on a limiter that lives as long as the process (`RateLimiter::leak`)",
            || layered_by(&admitting(tokio_now).leak()),
        ),
        Subject::new("ours-limit-layer-quanta", OURS, LimitLayer, layered_quanta, || {
            layered_by(&admitting(quanta_now))
        }),
        Subject::new("ours-limit-http", OURS, LimitHttp, layered, || over_http(tokio_now)),
        Subject::new("ours-limit-http-quanta", OURS, LimitHttp, layered_quanta, || {
            over_http(quanta_now)
        }),
    ]
}

/// Cost per call against callers that wait, and against the time since the last call.
pub(super) fn growth() -> Vec<Series> {
    vec![
        Series::new(Axis::Waiters, "portcullis' rate limiter, N callers wait", |n| {
            let config = RateLimitConfig::per_second("peer", 1).burst(1);
            let limiter = RateLimiter::new(config).expect("a valid configuration");
            let waits = Waits::up_to(HOUR * 24).queue(n as usize + 1);
            let limited = limiter.waiting_layer(waits).layer(ErrorLayer::new().layer(AtOnce));
            assert!(limiter.try_acquire().is_ok());
            crowd(n, move || called(&limited))
        }),
        Series::new(Axis::Idle, "portcullis' rate limiter", |seconds| {
            let limiter = admitting(jumping::now);
            calls(Errors::Never, move |request| {
                jumping::ahead(seconds);
                limiter.try_acquire().map(|()| answer(request))
            })
        }),
    ]
}

fn limiter(config: RateLimitConfig, clock: ClockFn) -> RateLimiter {
    RateLimiter::with(config, Options::new().clock(clock)).expect("a valid configuration")
}

/// With a quota that no run uses up.
fn admitting(clock: ClockFn) -> RateLimiter {
    limiter(RateLimitConfig::per_second("peer", 1_000_000).burst(1_000_000_000), clock)
}

/// With a quota that is used up.
fn refusing(clock: ClockFn) -> RateLimiter {
    let limiter = limiter(RateLimitConfig::new("peer", 1, HOUR).burst(1), clock);
    assert!(limiter.try_acquire().is_ok());
    assert!(limiter.try_acquire().is_err());
    limiter
}

/// A limiter in front of the service, without a layer between.
fn asked(limiter: RateLimiter) -> Batch {
    calls(Errors::Never, move |request| limiter.try_acquire().map(|()| answer(request)))
}

/// The layer of a limiter, over the service.
fn layered_by(limiter: &RateLimiter) -> Batch {
    layer(Errors::Never, limiter.layer().layer(ErrorLayer::new().layer(AtOnce)))
}

fn over_http(clock: ClockFn) -> Batch {
    let limited = admitting(clock).layer().layer(ErrorLayer::new().layer(Page));
    layer(Errors::Never, AsRequest::new(limited))
}
