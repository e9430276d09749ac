//! Any text as every configuration: it is refused, or it is valid, which means that what it configures can
//! be made of it, and that it is read as the same when it is written again.

use std::fmt::Debug;

use portcullis::{
    AtCap, Backoff, BudgetConfig, Bulkhead, BulkheadConfig, CatchPanicConfig, Circuit,
    CircuitBreakerConfig, Circuits, ConfigError, FallbackConfig, FallbackLayer, HalfOpen, HintMode,
    Hints, Hung, Jitter, Keys, LastGood, LastGoodConfig, Options, PanicGuard, QueueOrder,
    RateLimitConfig, RateLimiter, RateLimiters, RetryBudget, RetryConfig, RetryPolicy, Sleep,
    TimeLimit, TimeoutConfig, WaitingRateLimitLayer, Waits, Window,
    http::{
        BodyTimeLimit, BodyTimeoutConfig,
        deadline::{DeadlineConfig, DeadlineLayer, ForwardDeadlineConfig, ForwardDeadlineLayer},
        key::ClientIp,
    },
    retry::BudgetUse,
    stack::{ClientConfig, ServerConfig},
};
use serde::{Serialize, de::DeserializeOwned};

/// Names are kept for good, and tables for so many keys take memory: neither is what this looks for.
const LONGEST_TEXT: usize = 4096;
const MOST_KEYS: usize = 4096;

pub fn run(data: &[u8]) {
    if data.len() > LONGEST_TEXT {
        return;
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    policies(text);
    stacks(text);
    pieces(text);
}

fn policies(text: &str) {
    read(text, |config: CircuitBreakerConfig| {
        let circuit = Circuit::new(config.clone())?;
        drop(circuit.try_acquire());
        circuit.reconfigure(config.clone())?;
        Circuits::<u8>::new(config, 8, Options::new()).map(drop)
    });
    read(text, |config: RateLimitConfig| {
        let limiter = RateLimiter::new(config.clone())?;
        let _ = limiter.try_acquire();
        RateLimiters::<u8>::new(config.clone(), 8, Options::new())?;
        WaitingRateLimitLayer::new(config, Waits::default()).map(drop)
    });
    read(text, |config: BulkheadConfig| {
        let bulkhead = Bulkhead::new(config.clone())?;
        drop(bulkhead.try_acquire());
        bulkhead.reconfigure(config)
    });
    read(text, |config: TimeoutConfig| TimeLimit::new(config).map(drop));
    read(text, |config: RetryConfig| {
        let policy = RetryPolicy::new(config.clone())?;
        policy.reconfigure(config)
    });
    read(text, |config: BudgetConfig| RetryBudget::new(config)?.reconfigure(config));
    read(text, |config: FallbackConfig| {
        FallbackLayer::<_, portcullis::BoxError>::value(config, 7).map(drop)
    });
    read(text, |config: LastGoodConfig| match config.max_keys {
        0..=MOST_KEYS => LastGood::<u8, u8>::new(config).map(drop),
        _ => Ok(()),
    });
    read(text, |config: CatchPanicConfig| PanicGuard::new(config).map(drop));
    read(text, |config: BodyTimeoutConfig| BodyTimeLimit::new(config).map(drop));
    read(text, |config: DeadlineConfig| DeadlineLayer::new(config).map(drop));
    read(text, |config: ForwardDeadlineConfig| ForwardDeadlineLayer::new(config).map(drop));
}

fn stacks(text: &str) {
    read(text, |config: ClientConfig| config.build().map(drop));
    read(text, |config: ServerConfig| config.build().map(drop));
}

fn pieces(text: &str) {
    read(text, |keys: Keys| match keys.most {
        0..=MOST_KEYS => {
            let config = RateLimitConfig::per_second("fuzzed", 1);
            RateLimiters::<u8>::new(config, keys, Options::new()).map(drop)
        }
        _ => Ok(()),
    });
    read(text, |ip: ClientIp| ip.build().map(drop));
    read(text, |backoff: Backoff| {
        for retry in [0, 1, 2, u32::MAX] {
            let _ = backoff.delay(retry, 0.5, Some(backoff.max));
        }
        backoff.validate()
    });
    // Checked with what they are part of.
    read(text, |_: Window| Ok(()));
    read(text, |_: Sleep| Ok(()));
    read(text, |_: HalfOpen| Ok(()));
    read(text, |_: Hung| Ok(()));
    read(text, |_: Waits| Ok(()));
    read(text, |_: Hints| Ok(()));
    read(text, |_: HintMode| Ok(()));
    read(text, |_: Jitter| Ok(()));
    read(text, |_: BudgetUse| Ok(()));
    read(text, |_: AtCap| Ok(()));
    read(text, |_: QueueOrder| Ok(()));
}

fn read<T: DeserializeOwned + Serialize + Debug>(
    text: &str,
    make: impl FnOnce(T) -> Result<(), ConfigError>,
) {
    let Ok(config) = serde_json::from_str::<T>(text) else { return };
    let written = serde_json::to_value(&config).expect("what was read can be written");
    match serde_json::from_value::<T>(written.clone()) {
        Ok(again) => assert_eq!(format!("{again:?}"), format!("{config:?}"), "{written}"),
        Err(error) => panic!("{written}: {error}"),
    }
    let shown = format!("{config:?}");
    if let Err(error) = make(config) {
        panic!("{shown} was read and is not valid: {error}");
    }
}
