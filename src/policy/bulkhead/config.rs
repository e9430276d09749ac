//! What a bulkhead is told: plain values, checked once where they are used.

use std::time::Duration;

use crate::{
    error::ConfigError,
    policy::check::{Shown, ensure, named},
};

/// How many calls a bulkhead lets in at once, and whether others may wait. Fields are plain data; setters
/// take `self` by value. Defaults are those of the table in [`bulkhead`](crate::bulkhead).
///
/// ```
/// use std::time::Duration;
/// use portcullis::BulkheadConfig;
///
/// let refuses_at_once = BulkheadConfig::new("reports", 20);
/// let waits = BulkheadConfig::new("db", 50).queue(100).max_wait(Duration::from_millis(250));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct BulkheadConfig {
    /// The policy's name in every rejection, event and metric.
    pub name: &'static str,
    /// At most this many calls at once, at least 1. More than 2 147 483 647 are as many as that.
    pub max_in_flight: usize,
    /// At most this many calls wait for their turn. Default 0: a call that finds no room is refused at
    /// once. More than 4 294 967 294 are as many as that.
    pub queue: usize,
    /// How long a call may wait at the most; [`Duration::MAX`] is for ever. Without a queue it means
    /// nothing. Default 1 s.
    pub max_wait: Duration,
    /// Which of those that wait goes first. Default the one that has waited longest.
    pub order: QueueOrder,
}

/// Which of the calls that wait goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueOrder {
    /// The one that has waited longest.
    #[default]
    Fifo,
    /// The one that came last. Under a lasting overload it answers some callers fast and lets the others
    /// time out, where [`Fifo`](Self::Fifo) makes all of them wait. A full queue refuses the newcomer in
    /// either order.
    Lifo,
}

impl BulkheadConfig {
    /// At most `max_in_flight` calls at once, and no queue. A name known only at run time goes through
    /// [`intern`](crate::intern).
    pub fn new(name: &'static str, max_in_flight: usize) -> Self {
        Self {
            name,
            max_in_flight,
            queue: 0,
            max_wait: Duration::from_secs(1),
            order: QueueOrder::Fifo,
        }
    }

    /// Sets the name.
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets how many calls may be in flight at once.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.max_in_flight = calls;
        self
    }

    /// Lets this many calls wait for their turn.
    pub fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// Sets how long a call may wait at the most.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Sets which of those that wait goes first.
    pub fn order(mut self, order: QueueOrder) -> Self {
        self.order = order;
        self
    }

    /// The newest of those that wait goes first: see [`QueueOrder::Lifo`].
    pub fn lifo(self) -> Self {
        self.order(QueueOrder::Lifo)
    }

    /// Checks every value and their combinations.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that cannot work, its value, and what it needs.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name)?;
        ensure(self.max_in_flight > 0, "max_in_flight", 0, "must be at least 1")?;
        ensure(
            self.queue == 0 || self.max_wait > Duration::ZERO,
            "max_wait",
            Shown(self.max_wait),
            "must be longer than zero where calls may wait; without a queue they are refused at once",
        )
    }
}
