//! [`Startup`]: the gate that is shut until the process has started.

use std::sync::Arc;

use crate::sync::{AtomicU64, Ordering};

/// Nobody asked for a gate; shut; open.
const NONE: u64 = 0;
const STARTING: u64 = 1;
const STARTED: u64 = 2;

#[derive(Debug)]
pub(super) struct Gate(AtomicU64);

impl Default for Gate {
    fn default() -> Self {
        Self(AtomicU64::new(NONE))
    }
}

impl Gate {
    /// Whether the process has started; `None` where nobody asked for a gate.
    pub(super) fn has_started(&self) -> Option<bool> {
        match self.0.load(Ordering::Acquire) {
            NONE => None,
            word => Some(word == STARTED),
        }
    }
}

/// Opens the startup gate: see [`HealthRegistry::startup`](super::HealthRegistry::startup). Dropping it opens
/// nothing: a process whose start failed halfway has not started.
///
/// ```
/// use portcullis::health::{HealthRegistry, Probe};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let health = HealthRegistry::new();
/// let startup = health.startup();
/// assert!(!health.report(Probe::Readiness).await.is_ok());
/// // … migrations, warm caches …
/// startup.finish();
/// assert!(health.report(Probe::Readiness).await.is_ok());
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "the process is not ready until `finish`"]
pub struct Startup(Arc<Gate>);

impl Startup {
    pub(super) fn close(gate: &Arc<Gate>) -> Self {
        // One that has been opened stays open.
        let _ = gate.0.compare_exchange(NONE, STARTING, Ordering::AcqRel, Ordering::Acquire);
        Self(Arc::clone(gate))
    }

    /// The process has started, for good.
    pub fn finish(&self) {
        self.0.0.store(STARTED, Ordering::Release);
    }

    /// Whether it has.
    pub fn is_finished(&self) -> bool {
        self.0.has_started() == Some(true)
    }
}
