//! Rate limiters with one bucket.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, FakeRelativeClock, MonotonicClock, QuantaClock},
};
use tower_governor::{
    GovernorLayer, governor::GovernorConfigBuilder, key_extractor::GlobalKeyExtractor,
};
use tower_layer::Layer as _;
use tower_resilience_ratelimiter::{RateLimiterConfigBuilder, RateLimiterLayer};

use super::GOVERNOR;
use crate::{
    Batch, NONE, Subject,
    growth::{Axis, Series},
    http::{AsRequest, Page},
    panel::Panel,
    service::{AtOnce, Errors, answer, calls, layer, one_call},
};

const TOWER_GOVERNOR: &str = "tower_governor";
const TOWER_RESILIENCE: &str = "tower-resilience-ratelimiter";

/// Tokens a second.
const RATE: u32 = 1_000_000;
/// More than any run takes.
const BURST: u32 = 1_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

/// All subjects.
pub(super) fn subjects() -> Vec<Subject> {
    use Panel::{LimitAdmitted, LimitHttp, LimitLayer, LimitRefused};
    let quanta = "quanta's clock, its default; shared by reference";
    let std = "std clock; shared by reference";
    let fixed = "std clock; default: fixed window; clones of one service";
    let bucket = "std clock; token bucket; clones of one service";
    vec![
        Subject::new("governor", GOVERNOR, LimitAdmitted, quanta, || {
            direct(admitting(), QuantaClock::default())
        }),
        Subject::new("governor-std", GOVERNOR, LimitAdmitted, std, || {
            direct(admitting(), MonotonicClock)
        }),
        Subject::new("governor-refused", GOVERNOR, LimitRefused, quanta, || {
            direct(refusing(), QuantaClock::default())
        }),
        Subject::new("governor-refused-std", GOVERNOR, LimitRefused, std, || {
            direct(refusing(), MonotonicClock)
        }),
        Subject::new(
            "tower-resilience-limiter-refused",
            TOWER_RESILIENCE,
            LimitRefused,
            "std clock; layer; default: fixed window; clones of one service",
            resilience_refused,
        ),
        Subject::new("bare-limit-layer", NONE, LimitLayer, "the service alone", || {
            layer(Errors::Never, AtOnce)
        }),
        Subject::new("tower-resilience-limiter", TOWER_RESILIENCE, LimitLayer, fixed, || {
            let config = RateLimiterLayer::builder().limit_for_period(BURST as usize);
            layer(Errors::Never, a_second(config).layer(AtOnce))
        }),
        Subject::new("tower-resilience-bucket", TOWER_RESILIENCE, LimitLayer, bucket, || {
            let config = RateLimiterLayer::builder()
                .limit_for_period(RATE as usize)
                .burst_size(BURST as usize);
            layer(Errors::Never, a_second(config).layer(AtOnce))
        }),
        Subject::new("bare-limit-http", NONE, LimitHttp, "the service alone", || {
            layer(Errors::Never, AsRequest::new(Page))
        }),
        Subject::new(
            "tower-governor",
            TOWER_GOVERNOR,
            LimitHttp,
            "quanta's clock; one bucket for all (`GlobalKeyExtractor`); clones of one service",
            tower_governor,
        ),
    ]
}

/// Cost per call against the time since the last one.
pub(super) fn growth() -> Vec<Series> {
    vec![Series::new(Axis::Idle, "governor", |seconds| {
        let clock = FakeRelativeClock::default();
        let limiter = RateLimiter::direct_with_clock(admitting(), clock.clone());
        calls(Errors::Never, move |request| {
            clock.advance(Duration::from_secs(seconds.into()));
            limiter.check().map(|()| answer(request))
        })
    })]
}

/// A quota that no run uses up.
fn admitting() -> Quota {
    let burst = NonZeroU32::new(BURST).expect("not zero");
    Quota::per_second(NonZeroU32::new(RATE).expect("not zero")).allow_burst(burst)
}

/// A quota that is used up with the first call.
fn refusing() -> Quota {
    Quota::with_period(HOUR).expect("not zero")
}

/// A limiter in front of the service, without a layer between.
fn direct<C>(quota: Quota, clock: C) -> Batch
where
    C: Clock + Send + Sync + 'static,
    C::Instant: Send + Sync,
{
    let limiter = RateLimiter::direct_with_clock(quota, clock);
    assert!(limiter.check().is_ok());
    calls(Errors::Never, move |request| limiter.check().map(|()| answer(request)))
}

fn a_second(config: RateLimiterConfigBuilder) -> RateLimiterLayer {
    config.refresh_period(Duration::from_secs(1)).build().expect("a valid configuration")
}

fn resilience_refused() -> Batch {
    let limiter = RateLimiterLayer::builder()
        .limit_for_period(1)
        .refresh_period(HOUR)
        .timeout_duration(Duration::ZERO)
        .build()
        .expect("a valid configuration");
    let mut service = limiter.layer(AtOnce);
    assert!(one_call(&mut service, 1).is_ok());
    assert!(one_call(&mut service, 1).is_err_and(|error| error.is_rate_limited()));
    layer(Errors::Never, service)
}

fn tower_governor() -> Batch {
    let mut config = GovernorConfigBuilder::default().key_extractor(GlobalKeyExtractor);
    config.period(Duration::from_secs(1) / RATE).burst_size(BURST);
    let governor = GovernorLayer::new(config.finish().expect("neither is zero"));
    layer(Errors::Never, AsRequest::new(governor.layer(Page)))
}
