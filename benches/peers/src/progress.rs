//! A sign of life for whatever takes longer than two seconds.

use std::time::{Duration, Instant};

/// Reads the time. The program measures, so that it is the one place outside a clock that does.
#[expect(clippy::disallowed_methods, reason = "a stopwatch is what this program is")]
pub fn now() -> Instant {
    Instant::now()
}

/// Says on stderr how far a piece of work is, at most every two seconds.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    begun: Instant,
    said: Instant,
}

impl Progress {
    /// Begins a piece of work.
    pub fn new(what: &'static str) -> Self {
        let begun = now();
        Self { what, begun, said: begun }
    }

    /// So much of it is done.
    pub fn step(&mut self, done: u64, of: u64) {
        let now = now();
        if now - self.said >= Duration::from_secs(2) {
            self.said = now;
            eprintln!("{}: {done} of {of}, {} s", self.what, (now - self.begun).as_secs());
        }
    }
}
