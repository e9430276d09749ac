//! Following a circuit's state.

use tokio::sync::watch;

use crate::policy::breaker::State;

/// Sees the newest state of a circuit, as [`Circuit::subscribe`](super::Circuit::subscribe) gives it.
///
/// ```
/// use portcullis::{Circuit, CircuitBreakerConfig, State};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let circuit = Circuit::new(CircuitBreakerConfig::new("db"))?;
/// let mut states = circuit.subscribe();
/// circuit.open();
/// assert_eq!(states.changed().await, Some(State::Open));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StateWatch(pub(super) watch::Receiver<(u64, State)>);

impl StateWatch {
    /// The newest state that was told.
    pub fn current(&self) -> State {
        self.0.borrow().1
    }

    /// Waits until there is a state that this receiver has not seen, and gives it; `None` once the
    /// circuit and all its handles and services are gone. Cancelling it loses nothing.
    pub async fn changed(&mut self) -> Option<State> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().1)
    }
}
