//! Which configurations can work.

use std::time::Duration;

use super::config::{CircuitBreakerConfig, Decide, HalfOpen, Sleep};
use crate::policy::{
    check::{Check, Shown, at_least_one, ensure, named, optional_share, share},
    window::Window,
};

const LONGEST_COUNT: u32 = 1 << 24;
const MOST_BUCKETS: u32 = 1024;

pub(super) fn validate(config: &CircuitBreakerConfig) -> Check {
    named(config.name)?;
    window(config)?;
    rules(config)?;
    sleep(&config.sleep)?;
    half_open(config)?;
    ensure(
        config.probe_lease > Duration::ZERO,
        "probe_lease",
        Shown(config.probe_lease),
        "must be longer than zero, or no probe could ever answer in time",
    )
}

fn window(config: &CircuitBreakerConfig) -> Check {
    match config.window {
        Window::Count { size } => ensure(
            (1..=LONGEST_COUNT).contains(&size),
            "window.size",
            size,
            "must be in 1..=16777216",
        ),
        Window::Time { length, buckets } => {
            ensure(
                (1..=MOST_BUCKETS).contains(&buckets),
                "window.buckets",
                buckets,
                "must be in 1..=1024",
            )?;
            let shortest = Duration::from_micros(1) * buckets;
            ensure(
                length >= shortest,
                "window.length",
                Shown(length),
                "must be at least one microsecond per bucket",
            )
        }
    }
}

fn rules(config: &CircuitBreakerConfig) -> Check {
    optional_share("failure_rate", config.failure_rate)?;
    optional_share("slow_call_rate", config.slow_call_rate)?;
    at_least_one("consecutive_failures", config.consecutive_failures)?;
    at_least_one("failures", config.failures)?;
    if let (Window::Count { size }, Some(failures)) = (config.window, config.failures) {
        ensure(failures <= size, "failures", failures, "is more than the count window holds")?;
    }
    let needs_slow = "needs `slow_call_after`, which says what slow means";
    let slow_is_known = config.slow_call_after.is_some();
    if let Some(rate) = config.slow_call_rate {
        ensure(slow_is_known, "slow_call_rate", rate, needs_slow)?;
    }
    if let Some(hung) = config.hung {
        at_least_one("hung.calls", Some(hung.calls))?;
        share("hung.share", hung.share)?;
        ensure(slow_is_known, "hung", hung.calls, needs_slow)?;
    }
    Ok(())
}

fn sleep(sleep: &Sleep) -> Check {
    ensure(
        sleep.multiplier.is_finite() && sleep.multiplier >= 1.0,
        "sleep.multiplier",
        sleep.multiplier,
        "must be a finite number of at least 1.0",
    )?;
    ensure(
        (0.0..=1.0).contains(&sleep.jitter),
        "sleep.jitter",
        sleep.jitter,
        "must be a share in 0.0..=1.0",
    )?;
    ensure(sleep.max >= sleep.base, "sleep.max", Shown(sleep.max), "is shorter than `sleep.base`")
}

fn half_open(config: &CircuitBreakerConfig) -> Check {
    let HalfOpen { decide, total, concurrent } = config.half_open;
    ensure(
        total.is_some() || concurrent.is_some(),
        "half_open.total",
        "None",
        "something must bound the probes: `total` or `concurrent`",
    )?;
    let needed = match decide {
        Decide::Counts { successes, failures } => {
            at_least_one("half_open.successes", Some(successes))?;
            at_least_one("half_open.failures", Some(failures))?;
            u64::from(successes) + u64::from(failures) - 1
        }
        Decide::Rate { calls, failure_rate, slow_rate } => {
            at_least_one("half_open.calls", Some(calls))?;
            share("half_open.failure_rate", failure_rate)?;
            if let Some(rate) = slow_rate {
                share("half_open.slow_rate", rate)?;
                ensure(
                    config.slow_call_after.is_some(),
                    "half_open.slow_rate",
                    rate,
                    "needs `slow_call_after`, which says what slow means",
                )?;
            }
            u64::from(calls)
        }
    };
    at_least_one("half_open.concurrent", concurrent)?;
    match total {
        Some(total) => ensure(
            u64::from(total) >= needed,
            "half_open.total",
            total,
            format!("is too few to decide: {needed} results may be needed"),
        ),
        None => Ok(()),
    }
}
