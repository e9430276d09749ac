//! What is compared: one table per kind of load, one group per policy.

/// A policy, with everything that is measured of it. `--only` takes one by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Group {
    /// Circuit breakers.
    Breaker,
    /// Rate limiters with one bucket.
    Limiter,
    /// Rate limiters with a bucket per key.
    Keyed,
    /// Timeouts.
    Timeout,
    /// Limits on calls in flight.
    Bulkhead,
    /// Retries with a budget.
    Retry,
    /// Answers in place of errors.
    Fallback,
    /// Several policies over one service.
    Stack,
    /// The parts of a call by themselves.
    Floor,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Breaker,
        Self::Limiter,
        Self::Keyed,
        Self::Timeout,
        Self::Bulkhead,
        Self::Retry,
        Self::Fallback,
        Self::Stack,
        Self::Floor,
    ];

    /// What `--only` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Limiter => "limiter",
            Self::Keyed => "keyed",
            Self::Timeout => "timeout",
            Self::Bulkhead => "bulkhead",
            Self::Retry => "retry",
            Self::Fallback => "fallback",
            Self::Stack => "stack",
            Self::Floor => "floor",
        }
    }

    /// The group of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.name() == name)
    }
}

/// A kind of load. Subjects of one panel do the same work and stand in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Panel {
    /// Synchronous calls that succeed.
    Call,
    /// Synchronous calls of which every hundredth fails.
    CallErrors,
    /// Calls through a layer with a count window, all succeeding.
    LayerCount,
    /// Calls through a layer with a time window, all succeeding.
    LayerTime,
    /// Calls that an open breaker refuses.
    Open,
    /// Calls through a breaker from many tasks of a runtime; the service yields once.
    BreakerRuntime,
    /// Tokens taken from a limiter that has them.
    LimitAdmitted,
    /// Tokens asked of a limiter that has none.
    LimitRefused,
    /// Calls through a limiter's layer, all admitted.
    LimitLayer,
    /// The same with HTTP requests, for layers that take no others.
    LimitHttp,
    /// Tokens taken under one of a thousand numbers.
    KeyedThousand,
    /// Tokens taken under one of a thousand strings.
    KeyedStrings,
    /// Tokens taken under one of a hundred thousand numbers.
    KeyedMany,
    /// Calls through a timeout to a service that answers at once.
    TimeoutReady,
    /// Calls through a timeout to a service that is pending once.
    TimeoutPending,
    /// The latter from many tasks of a runtime.
    TimeoutRuntime,
    /// Calls through a limit on calls in flight, all admitted.
    Bulkhead,
    /// The same from many tasks of a runtime; the service yields once.
    BulkheadRuntime,
    /// Calls through a retry with a budget, all succeeding at once.
    Retry,
    /// Calls through a fallback, all succeeding.
    Fallback,
    /// Calls through several layers, all succeeding.
    Stack,
    /// The same from many tasks of a runtime; the service yields once.
    StackRuntime,
    /// The parts of a call by themselves.
    Floor,
}

impl Panel {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 23] = [
        Self::Call,
        Self::CallErrors,
        Self::LayerCount,
        Self::LayerTime,
        Self::Open,
        Self::BreakerRuntime,
        Self::LimitAdmitted,
        Self::LimitRefused,
        Self::LimitLayer,
        Self::LimitHttp,
        Self::KeyedThousand,
        Self::KeyedStrings,
        Self::KeyedMany,
        Self::TimeoutReady,
        Self::TimeoutPending,
        Self::TimeoutRuntime,
        Self::Bulkhead,
        Self::BulkheadRuntime,
        Self::Retry,
        Self::Fallback,
        Self::Stack,
        Self::StackRuntime,
        Self::Floor,
    ];

    /// The policy that it is about.
    pub const fn group(self) -> Group {
        match self {
            Self::Call
            | Self::CallErrors
            | Self::LayerCount
            | Self::LayerTime
            | Self::Open
            | Self::BreakerRuntime => Group::Breaker,
            Self::LimitAdmitted | Self::LimitRefused | Self::LimitLayer | Self::LimitHttp => {
                Group::Limiter
            }
            Self::KeyedThousand | Self::KeyedStrings | Self::KeyedMany => Group::Keyed,
            Self::TimeoutReady | Self::TimeoutPending | Self::TimeoutRuntime => Group::Timeout,
            Self::Bulkhead | Self::BulkheadRuntime => Group::Bulkhead,
            Self::Retry => Group::Retry,
            Self::Fallback => Group::Fallback,
            Self::Stack | Self::StackRuntime => Group::Stack,
            Self::Floor => Group::Floor,
        }
    }

    /// Whether a runtime's tasks make the calls. Only time passed can be told there, and most of it
    /// is the runtime's own: what the service alone takes is measured beside it.
    pub const fn in_runtime(self) -> bool {
        matches!(
            self,
            Self::BreakerRuntime
                | Self::TimeoutRuntime
                | Self::BulkheadRuntime
                | Self::StackRuntime
        )
    }

    /// The table's heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Call => "Circuit breaker: synchronous call, closed, every call succeeds",
            Self::CallErrors => {
                "Circuit breaker: synchronous call, closed, every hundredth call fails"
            }
            Self::LayerCount => {
                "Circuit breaker: Tower layer, count window, closed, every call succeeds"
            }
            Self::LayerTime => {
                "Circuit breaker: Tower layer, time window, closed, every call succeeds"
            }
            Self::Open => "Circuit breaker: open, every call refused",
            Self::BreakerRuntime => {
                "Circuit breaker: Tower layer in a runtime, the service yields once"
            }
            Self::LimitAdmitted => "Rate limiter: asked directly, every call admitted",
            Self::LimitRefused => "Rate limiter: every call refused",
            Self::LimitLayer => "Rate limiter: Tower layer, every call admitted",
            Self::LimitHttp => "Rate limiter: Tower layer over HTTP requests, every call admitted",
            Self::KeyedThousand => "Keyed rate limiter: 1 000 numbers as keys, every call admitted",
            Self::KeyedStrings => "Keyed rate limiter: 1 000 strings as keys, every call admitted",
            Self::KeyedMany => "Keyed rate limiter: 100 000 numbers as keys, every call admitted",
            Self::TimeoutReady => "Timeout: the service answers at once",
            Self::TimeoutPending => "Timeout: the service is pending once",
            Self::TimeoutRuntime => "Timeout: in a runtime, the service yields once",
            Self::Bulkhead => "Bulkhead: Tower layer, every call admitted",
            Self::BulkheadRuntime => {
                "Bulkhead: in a runtime, every call admitted, the service yields once"
            }
            Self::Retry => "Retry with a budget: every first attempt succeeds",
            Self::Fallback => "Fallback: every call succeeds",
            Self::Stack => "Stacks of layers: every call succeeds",
            Self::StackRuntime => {
                "Stacks of layers: in a runtime, every call succeeds, the service yields once"
            }
            Self::Floor => "The floor: parts of a call by themselves",
        }
    }

    /// What the reader of the table has to know.
    pub const fn note(self) -> &'static str {
        match self {
            Self::LimitAdmitted | Self::LimitLayer | Self::LimitHttp => {
                "A million tokens a second, and a burst of a thousand million that no run uses up; a \
                 fixed window of a thousand million a second where there is no burst."
            }
            Self::LimitRefused => "One token an hour, and it is gone.",
            Self::KeyedThousand | Self::KeyedStrings | Self::KeyedMany => {
                "All keys are held from the start; each call asks for another one, in no order. A \
                 token a minute for each, and a burst of a million that no run uses up: no bucket is \
                 ever full again, which would make it as good as absent."
            }
            Self::Retry => "Three attempts; the peers' budgets are their defaults.",
            Self::Stack => {
                "Outermost first. No limit is ever reached; all attempts succeed; nothing waits."
            }
            _ if self.in_runtime() => {
                "2 workers, 64 tasks with a clone each: time passed over calls made."
            }
            _ => "",
        }
    }
}
