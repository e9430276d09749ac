//! What an observer was told, and threads that begin together.

use std::{
    sync::{Arc, Barrier, Mutex},
    thread,
};

use portcullis::{Event, Options, Transition};

/// What an observer was told, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    pub(crate) fn options(&self) -> Options {
        let log = Arc::clone(&self.0);
        Options::new().observer(move |event: &Event| log.lock().expect("whole").push(*event))
    }

    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().expect("whole"))
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.take().iter().map(ToString::to_string).collect()
    }

    pub(crate) fn transitions(&self) -> Vec<Transition> {
        let told = self.take().into_iter();
        told.filter_map(|event| match event {
            Event::Transition { policy: "db", transition, .. } => Some(transition),
            _ => None,
        })
        .collect()
    }
}

/// Runs the same on several threads that begin together, and waits for all of them.
pub(crate) fn on_threads(threads: u32, run: impl Fn(u32) + Sync) {
    let barrier = Barrier::new(threads as usize);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (run, barrier) = (&run, &barrier);
            scope.spawn(move || {
                barrier.wait();
                run(thread);
            });
        }
    });
}
