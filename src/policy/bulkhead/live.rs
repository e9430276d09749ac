//! What operators change while calls are made.

use std::time::Instant;

use super::{BulkheadConfig, Change, Slots, slots::Locked, word};
use crate::{
    error::{ConfigError, PolicyKind},
    policy::{Command, Mode, Now},
    sync::{MutexGuard, Ordering},
};

impl<T> Slots<T> {
    /// Changes how many may be in flight, live. Those that wait are let in as far as there is room; see
    /// [`reconfigure`](Self::reconfigure).
    ///
    /// # Errors
    /// [`ConfigError`] when it is zero. Nothing has changed then.
    pub fn resize(
        &self,
        max_in_flight: usize,
        now: impl Now,
    ) -> Result<Vec<Change<T>>, ConfigError> {
        let mut locked = self.locked.lock();
        let config = locked.config.clone().max_in_flight(max_in_flight);
        self.apply(&mut locked, config, now.now())
    }

    /// Changes the configuration live. Nobody in flight and nobody in the queue loses a place; those in
    /// it wait for as long as they could when they came, in the new order. A change for each one let in.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work. Nothing has changed then.
    pub fn reconfigure(
        &self,
        config: BulkheadConfig,
        now: impl Now,
    ) -> Result<Vec<Change<T>>, ConfigError> {
        self.apply(&mut self.locked.lock(), config, now.now())
    }

    fn apply(
        &self,
        locked: &mut MutexGuard<'_, Locked<T>>,
        config: BulkheadConfig,
        now: Instant,
    ) -> Result<Vec<Change<T>>, ConfigError> {
        config.validate()?;
        let mut old = self.word.load(Ordering::Relaxed);
        while let Err(changed) = self.word.compare_exchange_weak(
            old,
            word::under(old, config.max_in_flight),
            Ordering::AcqRel,
            Ordering::Relaxed,
        ) {
            old = changed;
        }
        locked.config = config;
        let left = self.expire(locked, now);
        let mut changes = vec![Change { left, ..Change::NOTHING }];
        while let Some(next) = self.let_in(locked, now) {
            changes.push(Change { let_in: Some(next), ..Change::NOTHING });
        }
        Ok(changes)
    }

    /// Does what an operator says: `Shadow`, `Disable`, `Enable` and `Reset`. In the first two nobody
    /// waits: those who do are let through without a slot, a change for each. `Reset` forgets the count
    /// of refusals; slots belong to calls that are still there.
    ///
    /// # Errors
    /// [`ConfigError`] for any other command. Nothing has changed then.
    pub fn command(&self, command: Command, now: impl Now) -> Result<Vec<Change<T>>, ConfigError> {
        let mut locked = self.locked.lock();
        self.mode.command(PolicyKind::Bulkhead, command)?;
        if command == Command::Reset {
            locked.rejected_before = self.rejected.sum();
        }
        let mut changes = Vec::new();
        if self.mode.get() != Mode::Enforce && !locked.line.is_empty() {
            let now = now.now();
            changes.push(Change { left: self.expire(&mut locked, now), ..Change::NOTHING });
            while let Some(next) = locked.line.pass(now) {
                changes.push(Change { let_in: Some(next), ..Change::NOTHING });
            }
            self.lower(&locked);
        }
        Ok(changes)
    }

    /// The configuration in force.
    pub fn config(&self) -> BulkheadConfig {
        self.locked.lock().config.clone()
    }
}
