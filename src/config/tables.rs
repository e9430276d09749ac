//! Tables whose fields are those of the code, one by one.

use std::time::Duration;

use serde::{
    Serializer,
    de::{Error, MapAccess},
};

use super::{Entries, Place, Value, leaves::Auto, needed, public, read_table, write_table};
use crate::{
    error::ConfigError,
    policy::{
        body_timeout::config::BodyTimeoutConfig,
        breaker::config::{CircuitBreakerConfig, Hung, Sleep},
        bucket::config::RateLimitConfig,
        bulkhead::BulkheadConfig,
        catch_panic::CatchPanicConfig,
        check::ensure,
        fallback::config::{FallbackConfig, LastGoodConfig},
        retry::Hints,
        timeout::config::TimeoutConfig,
    },
    rate_limit::Waits,
    retry::RetryConfig,
    stack::{ClientConfig, ServerConfig},
};

/// A table: where its fields are in a [`ConfigError`], which of them must be given (`needs`), which may
/// be, and which are found by other means where they are not (`auto`); what it begins as, of those that
/// must be given; and how it ends: changed, and checked.
macro_rules! tables {
    ($($name:ident, $title:literal, $prefix:literal, $needs:literal:
        needs [$($needed:ident)*] may [$($may:ident)*] auto [$($auto:ident)*]
        begins $begin:expr, ends $end:expr;
    )+) => {
        $(impl Value for $name {
            const NEEDS: &'static str = $needs;

            fn of_table<'de, A: MapAccess<'de>>(
                mut table: Entries<A>,
                _: Place,
            ) -> Result<Self, A::Error> {
                read_table!(table, $prefix, $($needed)* $($may)* $($auto)*);
                $(let $needed = needed($needed, concat!($prefix, stringify!($needed)))?;)*
                #[allow(unused_mut, reason = "some have nothing but what must be given")]
                let mut config: Self = $begin;
                $(if let Some(given) = $may {
                    config.$may = given;
                })*
                $(if let Some(Auto(given)) = $auto {
                    config.$auto = given;
                })*
                let end: fn(Self) -> Result<Self, ConfigError> = $end;
                end(config).map_err(A::Error::custom)
            }

            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Self { $($needed,)* $($may,)* $($auto,)* } = self;
                write_table!(serializer, $title, $($needed)* $($may)*; maybe $($auto)*)
            }
        }

        public! { $name })+
    };
}
#[cfg(feature = "http")]
pub(super) use tables;

tables! {
    CircuitBreakerConfig, "CircuitBreakerConfig", "", "the table of a circuit breaker":
        needs []
        may [
            name window failure_rate slow_call_after slow_call_rate consecutive_failures failures
            failures_minimum_calls hung minimum_calls sleep half_open probe_lease recovery_ramp
            drops_are_failures
        ]
        auto [seed]
        begins Self::default(), ends |config| config.validate().map(|()| config);
    Sleep, "Sleep", "sleep.", "a table of `base`, `multiplier`, `max`, `jitter` and `hints`":
        needs [] may [base multiplier max jitter hints] auto []
        begins Self::default(), ends Ok;
    Hung, "Hung", "hung.", "a table of `calls` and `share`":
        needs [] may [calls share] auto []
        begins Self::default(), ends Ok;
    RateLimitConfig, "RateLimitConfig", "", "the table of a rate limit":
        needs [name permits per] may [] auto [burst]
        begins Self::new(name, permits, per), ends |config| config.validate().map(|()| config);
    Waits, "Waits", "waits.", "a table of `max_wait` and `max_queued`":
        needs [] may [max_wait max_queued] auto []
        begins Self::default(), ends Ok;
    BulkheadConfig, "BulkheadConfig", "", "the table of a bulkhead":
        needs [name max_in_flight] may [queue max_wait order] auto []
        begins Self::new(name, max_in_flight), ends |config| config.validate().map(|()| config);
    TimeoutConfig, "TimeoutConfig", "", "the table of a timeout":
        needs [name limit] may [min_remaining] auto []
        begins limited(name, limit), ends |config| config.validate().map(|()| config);
    RetryConfig, "RetryConfig", "", "the table of a retry":
        needs [] may [name attempts backoff hints budget retry_refusals nested] auto [seed]
        begins Self::default(), ends |config| config.validate().map(|()| config);
    Hints, "Hints", "hints.", "a table of `mode`, `cap`, `jitter` and `restart`":
        needs [] may [mode cap jitter restart] auto []
        begins Self::default(), ends |hints| hints.check().map(|()| hints);
    FallbackConfig, "FallbackConfig", "", "the table of a fallback":
        needs [] may [name] auto []
        begins Self::default(), ends |config| config.validate().map(|()| config);
    BodyTimeoutConfig, "BodyTimeoutConfig", "", "the table of a timeout for bodies":
        needs [name idle] may [total until_deadline] auto []
        begins idle_for(name, idle), ends |config| config.validate().map(|()| config);
    LastGoodConfig, "LastGoodConfig", "", "the table of last good answers":
        needs [name max_age] may [max_keys] auto []
        begins Self::new(name, max_age), ends |config| config.validate().map(|()| config);
    CatchPanicConfig, "CatchPanicConfig", "", "the table of a panic guard":
        needs [] may [name] auto []
        begins Self::default(), ends |config| config.validate().map(|()| config);
    ClientConfig, "ClientConfig", "", "the table of a client's stack":
        needs [name] may [total_timeout max_in_flight retry circuit_breaker] auto [attempt_timeout]
        begins Self::new(name), ends of_one_name;
    ServerConfig, "ServerConfig", "", "the table of a server's stack":
        needs [name] may [max_in_flight timeout] auto []
        begins Self::new(name), ends |config| config.validate().map(|()| config);
}

fn limited(name: &'static str, limit: Option<Duration>) -> TimeoutConfig {
    let mut config = TimeoutConfig::per_request(name);
    config.limit = limit;
    config
}

fn idle_for(name: &'static str, idle: Option<Duration>) -> BodyTimeoutConfig {
    let mut config = BodyTimeoutConfig::new(name, Duration::MAX);
    config.idle = idle;
    config
}

/// A stack's policies have its name, in the file as in code. Another one would be a name that is nowhere.
fn of_one_name(mut config: ClientConfig) -> Result<ClientConfig, ConfigError> {
    let name = config.name;
    let retry = (&mut config.retry.name, RetryConfig::default().name, "retry.name");
    let breaker = CircuitBreakerConfig::default().name;
    let breaker = (&mut config.circuit_breaker.name, breaker, "circuit_breaker.name");
    for (own, default, field) in [retry, breaker] {
        let why = format!("a stack's policies have its name, which is {name:?}");
        ensure(*own == name || *own == default, field, format_args!("{own:?}"), why)?;
        *own = name;
    }
    config.validate().map(|()| config)
}
