//! What the policies of a program tell of themselves, printed as it happens.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use portcullis::{
    BoxError, Event, State,
    event::{self, AlreadyObserved},
};
use tokio::sync::watch;

use crate::claims::soon;

/// Every event of the process, in order.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<watch::Sender<Vec<Event>>>);

impl Told {
    /// Listens from now on, and prints which calls are tried again and what circuits do.
    ///
    /// # Errors
    /// When somebody else listens to this process.
    pub fn listen() -> Result<Self, AlreadyObserved> {
        let told = Self::default();
        let events = Arc::clone(&told.0);
        event::observe(move |event: &Event| {
            if matches!(event, Event::Retrying { .. } | Event::Transition { .. }) {
                // Somebody may have closed the pipe that it goes to.
                let _ = writeln!(io::stdout(), "    {event}");
            }
            events.send_modify(|events| events.push(*event));
        })?;
        Ok(told)
    }

    /// Waits until there is an event of this kind.
    ///
    /// # Errors
    /// If there is none for a long time.
    pub async fn until(&self, what: &str, is: impl Fn(&Event) -> bool) -> Result<(), BoxError> {
        let mut events = self.0.subscribe();
        soon(what, events.wait_for(|events| events.iter().any(&is))).await??;
        Ok(())
    }

    /// What can be made of each event.
    pub fn each<T>(&self, pick: impl FnMut(&Event) -> Option<T>) -> Vec<T> {
        self.0.borrow().iter().filter_map(pick).collect()
    }

    /// The waits before further attempts.
    pub fn delays(&self) -> Vec<Duration> {
        self.each(|event| match event {
            Event::Retrying { delay, .. } => Some(*delay),
            _ => None,
        })
    }

    /// The states that circuits went to.
    pub fn states(&self) -> Vec<State> {
        self.each(|event| match event {
            Event::Transition { transition, .. } => Some(transition.to),
            _ => None,
        })
    }
}
