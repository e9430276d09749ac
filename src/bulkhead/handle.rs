//! [`Bulkhead`]: the handle of one bulkhead, for inspection, command, and use without Tower.

use std::{fmt, future::Future};

use super::{
    BulkheadLayer, QueuedBulkheadLayer,
    core::{CLOCK, Core, CoreRef},
    permit::BulkheadPermit,
    wait::{Acquire, Run},
};
use crate::{
    error::{CarryRejection, ConfigError, Rejection},
    guard::attended,
    options::Options,
    policy::{
        Command, Explanation,
        bulkhead::{BulkheadConfig, Snapshot},
    },
    registry::{commands, managed},
};

/// One bulkhead. Clones share it, as do the layers and services made from it.
///
/// ```
/// use portcullis::{Bulkhead, BulkheadConfig, Error, Reason};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let bulkhead = Bulkhead::new(BulkheadConfig::new("db", 1))?;
///
/// async fn query() -> Result<u32, std::io::Error> {
///     Ok(7)
/// }
///
/// // The error must be able to carry a refusal: `Error::Inner` wraps one that cannot.
/// let answer = bulkhead.run(async { query().await.map_err(Error::Inner) }).await;
/// assert_eq!(answer.unwrap(), 7);
///
/// let busy = bulkhead.try_acquire().expect("nobody else is in");
/// let second = bulkhead.run(async { query().await.map_err(Error::Inner) }).await;
/// let Err(Error::Rejected(refusal)) = second else { panic!("the bulkhead is full") };
/// assert_eq!(refusal.reason(), Reason::BulkheadFull);
/// # drop(busy);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bulkhead {
    pub(super) core: CoreRef,
}

impl Bulkhead {
    /// A bulkhead with all slots free.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: BulkheadConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// A bulkhead with an observer of its own. A clock changes nothing here: what a bulkhead needs the
    /// time for are timers and deadlines, which are always tokio's.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: BulkheadConfig, options: Options) -> Result<Self, ConfigError> {
        Ok(Self { core: CoreRef::new(Core::new(config, options)?) })
    }

    /// This bulkhead, kept for as long as the process lives: its handles, layers and calls then count no
    /// references, which saves two atomic operations per call of a layer. For bulkheads that a program
    /// makes once, where it starts; what is leaked is never freed.
    pub fn leak(&self) -> Self {
        Self { core: self.core.leak() }
    }

    /// A layer on this bulkhead that refuses at once, whatever its queue.
    pub fn layer(&self) -> BulkheadLayer {
        BulkheadLayer::of(self.clone())
    }

    /// A layer on this bulkhead that lets calls wait in its queue.
    pub fn queued_layer(&self) -> QueuedBulkheadLayer {
        QueuedBulkheadLayer::of(self.clone())
    }

    /// The name that its rejections and events carry.
    pub fn name(&self) -> &'static str {
        self.core.name
    }

    /// How many calls hold a slot, by one atomic load. One that was let in after a wait does from then
    /// on, before it has been polled.
    pub fn in_flight(&self) -> usize {
        self.core.slots.in_flight()
    }

    /// How many calls wait for their turn.
    pub fn queued(&self) -> usize {
        self.core.slots.queued()
    }

    /// Everything at one moment.
    pub fn snapshot(&self) -> Snapshot {
        self.core.slots.snapshot()
    }

    /// Why the bulkhead answers as it does. A call that would wait in the queue counts as one that is
    /// admitted; only a call that is refused at once is not.
    pub fn explain(&self) -> Explanation {
        self.core.slots.explain(CLOCK)
    }

    /// The configuration in force.
    pub fn config(&self) -> BulkheadConfig {
        self.core.slots.config()
    }

    /// A slot for one call, if one is free and nobody waits for it.
    ///
    /// # Errors
    /// The [`Rejection`], with [`Reason::BulkheadFull`](crate::Reason::BulkheadFull), otherwise.
    pub fn try_acquire(&self) -> Result<BulkheadPermit, Rejection> {
        self.core.try_enter(|| self.core.clone()).map(BulkheadPermit)
    }

    /// A slot for one call, now or when its turn comes. The place in the queue is taken now, not at the
    /// first poll, and the wait is measured from now; dropping the future gives back what it has.
    ///
    /// Its errors are a [`Rejection`] for one of these reasons:
    /// [`BulkheadFull`](crate::Reason::BulkheadFull) at once when the queue is full;
    /// [`QueueTimeout`](crate::Reason::QueueTimeout) when it has waited for as long as it may;
    /// [`DeadlineTooShort`](crate::Reason::DeadlineTooShort) when the ambient [deadline](crate::deadline)
    /// comes before that, or has passed and there is no free slot.
    ///
    /// ```
    /// # use portcullis::{Bulkhead, BulkheadConfig};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bulkhead = Bulkhead::new(BulkheadConfig::new("db", 1).queue(10))?;
    /// let first = bulkhead.acquire().await?;
    /// let second = bulkhead.acquire();
    /// assert_eq!(bulkhead.queued(), 1);
    /// drop(first);
    /// let _permit = second.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire(&self) -> Acquire {
        Acquire::new(self.core.enter(|| self.core.clone()))
    }

    /// Runs a closure in a slot, if one is free and nobody waits for it.
    ///
    /// # Errors
    /// The closure's own error, or the refusal in it.
    #[inline]
    pub fn call<T, E: CarryRejection>(&self, run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let mut permit = Some(self.core.try_enter(|| self.core.clone())?);
        attended::<_, T, E, _>(&mut permit, run)
    }

    /// Runs a future in a slot, now or when its turn comes: see [`acquire`](Self::acquire). The slot or
    /// the place in the queue is taken now, not at the first poll; the future is polled once there is a
    /// slot.
    ///
    /// The future's error must be able to carry a refusal; wrap one that cannot by
    /// `.map_err(Error::Inner)`.
    pub fn run<F, T, E>(&self, future: F) -> Run<F>
    where
        F: Future<Output = Result<T, E>>,
        E: CarryRejection,
    {
        Run::new(self.core.enter(|| self.core.clone()), future)
    }

    /// Changes how many calls may be in flight, live. When there are more slots, those that wait are let
    /// in; when there are fewer, calls in flight go on, and nobody gets in until they are below the limit.
    ///
    /// # Errors
    /// [`ConfigError`] when it is zero. Nothing has changed then.
    pub fn resize(&self, max_in_flight: usize) -> Result<(), ConfigError> {
        let changes = self.core.slots.resize(max_in_flight, CLOCK)?;
        changes.into_iter().for_each(|change| self.core.tell_of(change));
        Ok(())
    }

    /// Changes the configuration live. Nobody in flight and nobody in the queue loses a place: over a
    /// shorter queue nobody joins until it is shorter than that, and those in it wait for as long as they
    /// could when they came.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work, or `name` if it differs: a bulkhead keeps
    /// its name. Nothing has changed then.
    pub fn reconfigure(&self, config: BulkheadConfig) -> Result<(), ConfigError> {
        if config.name != self.core.name {
            let why = format!("a bulkhead keeps its name, which is `{}`", self.core.name);
            return Err(ConfigError::new("name", config.name, why));
        }
        let changes = self.core.slots.reconfigure(config, CLOCK)?;
        changes.into_iter().for_each(|change| self.core.tell_of(change));
        Ok(())
    }

    commands! {
        /// Decides and reports, but never refuses and lets nobody wait, until [`enable`](Self::enable).
        shadow: Shadow;

        /// Admits everything and counts nothing until commanded otherwise.
        disable: Disable;

        /// Back to work. Calls that were let through meanwhile hold no slot.
        enable: Enable;

        /// Forgets how many calls were refused. Slots and places in the queue belong to calls that are still
        /// there.
        reset: Reset;
    }

    /// Does what an operator says: `Shadow`, `Disable`, `Enable` or `Reset`.
    ///
    /// # Errors
    /// [`ConfigError`] for any other command. Nothing has changed then.
    pub fn command(&self, command: Command) -> Result<(), ConfigError> {
        let changes = self.core.slots.command(command, CLOCK)?;
        changes.into_iter().for_each(|change| self.core.tell_of(change));
        Ok(())
    }
}

managed!(Bulkhead: Bulkhead, Bulkhead);

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.snapshot();
        f.debug_struct("Bulkhead")
            .field("name", &self.name())
            .field("in_flight", &now.in_flight)
            .field("limit", &now.limit)
            .finish_non_exhaustive()
    }
}
