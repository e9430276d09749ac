//! What the code says by an enum, and a file by which fields there are.

use std::{borrow::Cow, time::Duration};

use serde::{
    Serializer,
    de::{Error, MapAccess},
};

use super::{
    Entries, NONE, Place, Scalar, Value,
    leaves::{Auto, either},
    must, needed, public, read_table, write_table,
};
use crate::{
    policy::{
        backoff::{Backoff, Growth, Jitter},
        breaker::config::{CircuitBreakerConfig, Decide, HalfOpen},
        bucket::keyed::Keys,
        budget::config::BudgetConfig,
        retry::HintMode,
        window::Window,
    },
    retry::BudgetUse,
};

impl Value for Window {
    const NEEDS: &'static str = "a table of `length` and `buckets`, or of `size`";

    fn of_table<'de, A: MapAccess<'de>>(mut table: Entries<A>, _: Place) -> Result<Self, A::Error> {
        read_table!(table, "window.", length buckets size);
        if let Some(size) = size {
            return match (length, buckets) {
                (None, None) => Ok(Self::Count { size }),
                _ => either("`window.size` is for a window of calls, the rest for one of time"),
            };
        }
        let mut window = CircuitBreakerConfig::default().window;
        if let Self::Time { length: long, buckets: many } = &mut window {
            *long = length.unwrap_or(*long);
            *many = buckets.unwrap_or(*many);
        }
        Ok(window)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Time { length, buckets } => write_table!(serializer, "Window", length buckets),
            Self::Count { size } => write_table!(serializer, "Window", size),
        }
    }
}

impl Value for HalfOpen {
    const NEEDS: &'static str = "a table of `successes` and `failures`, or of `calls`, \
        `failure_rate` and `slow_rate`, with `total` and `concurrent`";

    fn of_table<'de, A: MapAccess<'de>>(mut table: Entries<A>, _: Place) -> Result<Self, A::Error> {
        read_table!(
            table, "half_open.",
            successes failures calls failure_rate slow_rate total concurrent
        );
        let counts = successes.is_some() || failures.is_some();
        let rate = calls.is_some() || failure_rate.is_some() || slow_rate.is_some();
        let mut half_open = match (counts, rate) {
            (true, true) => {
                return either(
                    "`half_open` decides by `successes` and `failures`, or by `calls` and rates",
                );
            }
            (_, false) => Self::counts(successes.unwrap_or(3), failures.unwrap_or(1)),
            (false, true) => {
                let calls = needed(calls, "half_open.calls")?;
                let failure_rate = needed(failure_rate, "half_open.failure_rate")?;
                let Auto(slow_rate) = slow_rate.unwrap_or(Auto(None));
                let decide = Decide::Rate { calls, failure_rate, slow_rate };
                Self { decide, ..Self::rate(calls, failure_rate) }
            }
        };
        half_open.total = total.unwrap_or(half_open.total);
        half_open.concurrent = concurrent.unwrap_or(half_open.concurrent);
        Ok(half_open)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { decide, total, concurrent } = self;
        match decide {
            Decide::Counts { successes, failures } => {
                write_table!(serializer, "HalfOpen", successes failures total concurrent)
            }
            Decide::Rate { calls, failure_rate, slow_rate } => write_table!(
                serializer, "HalfOpen",
                calls failure_rate total concurrent; maybe slow_rate
            ),
        }
    }
}

impl Value for Backoff {
    const NEEDS: &'static str = "a table of `base` and `factor`, of `base` and `step`, or of \
        `delay`, with `max` and `jitter`";

    fn of_table<'de, A: MapAccess<'de>>(mut table: Entries<A>, _: Place) -> Result<Self, A::Error> {
        read_table!(table, "backoff.", delay base step factor max jitter);
        let mut backoff = match (delay, base, step, factor) {
            (Some(delay), None, None, None) => Self::constant(delay),
            (None, base, Some(step), None) => Self::linear(needed(base, "backoff.base")?, step),
            (None, base, None, factor) => Self::grown(base, factor),
            _ => {
                return either(
                    "`backoff` grows by `factor`, by `step`, or not at all with `delay`: \
                     two of them stand side by side",
                );
            }
        };
        backoff.max = max.unwrap_or(backoff.max);
        backoff.jitter = jitter.unwrap_or(backoff.jitter);
        backoff.validate().map(|()| backoff).map_err(A::Error::custom)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { growth, max, jitter } = self;
        match growth {
            Growth::Constant { delay } => write_table!(serializer, "Backoff", delay max jitter),
            Growth::Linear { base, step } => {
                write_table!(serializer, "Backoff", base step max jitter)
            }
            Growth::Exponential { base, factor } => {
                write_table!(serializer, "Backoff", base factor max jitter)
            }
        }
    }
}

impl Backoff {
    /// The default one, with what is given in place of its own.
    fn grown(base: Option<Duration>, factor: Option<f64>) -> Self {
        let mut backoff = Self::default();
        if let Growth::Exponential { base: own, factor: times } = &mut backoff.growth {
            *own = base.unwrap_or(*own);
            *times = factor.unwrap_or(*times);
        }
        backoff
    }
}

impl Value for Jitter {
    const NEEDS: &'static str =
        r#""none", "full", "equal" or "decorrelated", or a table with the share `proportional`"#;

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        match scalar {
            Scalar::Text(NONE) => Ok(Self::None),
            Scalar::Text("full") => Ok(Self::Full),
            Scalar::Text("equal") => Ok(Self::Equal),
            Scalar::Text("decorrelated") => Ok(Self::Decorrelated),
            _ => Err(must::<Self>()),
        }
    }

    fn of_table<'de, A: MapAccess<'de>>(mut table: Entries<A>, _: Place) -> Result<Self, A::Error> {
        read_table!(table, "backoff.jitter.", proportional);
        needed(proportional, "backoff.jitter.proportional").map(Self::Proportional)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let word = match self {
            Self::None => NONE,
            Self::Full => "full",
            Self::Equal => "equal",
            Self::Decorrelated => "decorrelated",
            Self::Proportional(proportional) => {
                return write_table!(serializer, "Jitter", proportional);
            }
        };
        serializer.serialize_str(word)
    }
}

impl Value for HintMode {
    const NEEDS: &'static str =
        r#""exact", "at_least" or "capped", or a table with the duration `within`"#;

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        match scalar {
            Scalar::Text("exact") => Ok(Self::Exact),
            Scalar::Text("at_least") => Ok(Self::AtLeast),
            Scalar::Text("capped") => Ok(Self::Capped),
            _ => Err(must::<Self>()),
        }
    }

    fn of_table<'de, A: MapAccess<'de>>(mut table: Entries<A>, _: Place) -> Result<Self, A::Error> {
        read_table!(table, "hints.mode.", within);
        needed(within, "hints.mode.within").map(Self::Within)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let word = match self {
            Self::Exact => "exact",
            Self::AtLeast => "at_least",
            Self::Capped => "capped",
            Self::Within(within) => return write_table!(serializer, "HintMode", within),
        };
        serializer.serialize_str(word)
    }
}

impl Value for BudgetConfig {
    const NEEDS: &'static str =
        "a table of `ratio`, `per_second` and `ttl`, or of `max_tokens` and `ratio`";

    fn of_table<'de, A: MapAccess<'de>>(mut table: Entries<A>, _: Place) -> Result<Self, A::Error> {
        read_table!(table, "budget.", ratio per_second ttl max_tokens);
        let mut budget = Self::default();
        if let Some(max_tokens) = max_tokens {
            if per_second.is_some() || ttl.is_some() {
                return either(
                    "`budget.max_tokens` is for gRPC's throttling, \
                     which knows no `per_second` and no `ttl`",
                );
            }
            budget = Self::grpc(max_tokens, needed(ratio, "budget.ratio")?);
        } else if let Self::Share { ratio: share, per_second: more, ttl: long } = &mut budget {
            *share = ratio.unwrap_or(*share);
            *more = per_second.unwrap_or(*more);
            *long = ttl.unwrap_or(*long);
        }
        budget.validate().map(|()| budget).map_err(A::Error::custom)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Share { ratio, per_second, ttl } => {
                write_table!(serializer, "BudgetConfig", ratio per_second ttl)
            }
            Self::Grpc { max_tokens, ratio } => {
                write_table!(serializer, "BudgetConfig", max_tokens ratio)
            }
        }
    }
}

/// A budget that is shared is made in code; what is written of it are its numbers.
impl Value for BudgetUse {
    const NEEDS: &'static str = BudgetConfig::NEEDS;

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        Option::of(scalar).map(|own| own.map_or(Self::None, Self::Own))
    }

    fn of_table<'de, A: MapAccess<'de>>(table: Entries<A>, at: Place) -> Result<Self, A::Error> {
        BudgetConfig::of_table(table, at).map(Self::Own)
    }

    fn absent() -> Option<Self> {
        Some(Self::None)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Own(budget) => budget.write(serializer),
            Self::Shared(budget) => budget.config().write(serializer),
            Self::None => serializer.serialize_str(NONE),
        }
    }
}

impl Value for Keys {
    const NEEDS: &'static str = "a whole number, or a table of `most` and `at_cap`";

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        let most = usize::of(scalar).map_err(|_| must::<Self>())?;
        let keys = Self::at_most(most);
        keys.check().map(|()| keys).map_err(|error| error.why().to_owned().into())
    }

    fn of_table<'de, A: MapAccess<'de>>(mut table: Entries<A>, _: Place) -> Result<Self, A::Error> {
        read_table!(table, "keys.", most at_cap);
        let mut keys = Self::at_most(needed(most, "keys.most")?);
        keys.at_cap = at_cap.unwrap_or(keys.at_cap);
        keys.check().map(|()| keys).map_err(A::Error::custom)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { most, at_cap } = self;
        write_table!(serializer, "Keys", most at_cap)
    }
}

public! { Window HalfOpen Backoff Jitter HintMode BudgetConfig BudgetUse Keys }
