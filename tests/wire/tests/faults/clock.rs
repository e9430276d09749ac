//! A clock that a test moves by hand although real sockets are read, and a log that it waits for.
#![allow(clippy::disallowed_methods, reason = "a test gives up after a while")]

use std::{
    future::Future,
    sync::{Arc, mpsc},
    time::Duration,
};

use portcullis::Event;
use tokio::{sync::watch, task::spawn_blocking, time};

/// How long a test may take, on the machine's own clock.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than any test advances its clock.
const FOREVER: Duration = Duration::from_secs(1_000_000);

/// The clock of a test with `start_paused = true`, which stands still even while all tasks wait for sockets:
/// a paused clock runs ahead by itself only while no blocking task is there. After [`PATIENCE`] it lets go, and
/// whatever [`soon`] waits for has not come.
pub(crate) struct Clock {
    _stopped: mpsc::Sender<()>,
}

impl Clock {
    pub(crate) fn stop() -> Self {
        let (stopped, until) = mpsc::channel::<()>();
        spawn_blocking(move || {
            let _ = until.recv_timeout(PATIENCE);
        });
        Self { _stopped: stopped }
    }

    pub(crate) async fn advance(&self, by: Duration) {
        time::advance(by).await;
    }
}

/// Waits for what must come.
#[track_caller]
pub(crate) fn soon<F: Future>(what: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match time::timeout(FOREVER, what).await {
            Ok(output) => output,
            Err(_) => panic!("nothing came of what was awaited at {place}"),
        }
    }
}

/// Everything that policies told, for a test to wait for.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<watch::Sender<Vec<Event>>>);

impl Log {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }

    pub(crate) fn note(&self, event: &Event) {
        self.0.send_modify(|told| told.push(*event));
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Vec<Event>> {
        self.0.subscribe()
    }

    pub(crate) fn count(&self, like: fn(&Event) -> bool) -> usize {
        self.0.borrow().iter().filter(|event| like(event)).count()
    }

    /// What `pick` makes of each event, in order.
    pub(crate) fn each<T>(&self, pick: impl FnMut(&Event) -> Option<T>) -> Vec<T> {
        self.0.borrow().iter().filter_map(pick).collect()
    }
}
