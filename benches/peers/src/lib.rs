//! Measures portcullis' circuit breaker beside those of other crates, all in one run.
//!
//! A subject is one breaker in one configuration under one kind of load. Every subject answers the
//! same requests through the same service ([`service`]); [`measure`] runs them in turn, round after
//! round, so that whatever disturbs the machine disturbs them alike; [`report`] sets ours beside
//! theirs. Only ratios within one run hold anywhere else.

pub mod floor;
pub mod growth;
pub mod measure;
pub mod ours;
mod pair;
pub mod progress;
pub mod report;
pub mod rivals;
pub mod service;
pub mod targets;

/// Sends so many calls through one shared breaker; may be called from several threads at once.
pub type Batch = Box<dyn Fn(u64) + Send + Sync>;

/// One breaker in one configuration under one kind of load.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Subject {
    /// What `--only` calls it.
    pub name: &'static str,
    /// The crate it comes from.
    pub origin: &'static str,
    /// The load it is put under.
    pub panel: Panel,
    /// Its clock, its window, and how two threads share it.
    pub configuration: &'static str,
    /// Builds it, ready to run. Subjects that are not asked for are never built.
    pub make: fn() -> Batch,
}

impl Subject {
    /// A subject.
    pub const fn new(
        name: &'static str,
        origin: &'static str,
        panel: Panel,
        configuration: &'static str,
        make: fn() -> Batch,
    ) -> Self {
        Self { name, origin, panel, configuration, make }
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
    /// Calls through a layer from many tasks of a runtime; the service yields once.
    Runtime,
    /// The parts of a call by themselves.
    Floor,
}

impl Panel {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 7] = [
        Self::Call,
        Self::CallErrors,
        Self::LayerCount,
        Self::LayerTime,
        Self::Open,
        Self::Runtime,
        Self::Floor,
    ];

    /// The table's heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Call => "Synchronous call, closed, every call succeeds",
            Self::CallErrors => "Synchronous call, closed, every hundredth call fails",
            Self::LayerCount => "Tower layer, count window, closed, every call succeeds",
            Self::LayerTime => "Tower layer, time window, closed, every call succeeds",
            Self::Open => "Open, every call refused",
            Self::Runtime => "Tower layer in a runtime, the service yields once",
            Self::Floor => "The floor: parts of a call by themselves",
        }
    }
}

/// Every subject: ours, theirs, and the same work without a breaker.
pub fn subjects() -> Vec<Subject> {
    let mut all = ours::subjects();
    all.extend(rivals::subjects());
    all.extend(floor::subjects());
    all
}
