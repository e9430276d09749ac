//! Two threads that run the same batch at the same time.

use std::{
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread::{Scope, yield_now},
    time::{Duration, Instant},
};

use crate::{Batch, progress::now};

/// When a thread began its batch and when it was through.
type Span = (Instant, Instant);

enum Job<'a> {
    Run(&'a Batch, u64),
    Rest,
}

/// This thread and a second one.
///
/// The second thread is one and the same for the whole run: breakers that keep something per thread
/// would otherwise pay for a new one in every batch. Between two batches it spins. A thread that
/// waited for a message would be woken on the processor of the one that sent it, and the two would
/// take turns there instead of meeting.
pub(crate) struct Pair<'a> {
    jobs: Sender<Job<'a>>,
    spans: Receiver<Span>,
    gate: Arc<Gate>,
}

impl<'a> Pair<'a> {
    /// Starts the second thread, at rest.
    pub(crate) fn new<'scope>(scope: &'scope Scope<'scope, 'a>) -> Self
    where
        'a: 'scope,
    {
        let (jobs, queue) = channel::<Job<'a>>();
        let (results, spans) = channel();
        let gate = Arc::new(Gate::default());
        let theirs = Arc::clone(&gate);
        scope.spawn(move || {
            let mut resting = true;
            loop {
                let job = if resting { queue.recv().ok() } else { spin(&queue) };
                match job {
                    Some(Job::Run(batch, calls)) => {
                        resting = false;
                        if results.send(theirs.run(batch, calls)).is_err() {
                            return;
                        }
                    }
                    Some(Job::Rest) => resting = true,
                    None => return,
                }
            }
        });
        Self { jobs, spans, gate }
    }

    /// Gets the second thread to spin on a processor of its own, if there is one.
    pub(crate) fn wake(&self, idle: &'a Batch) {
        for _ in 0..50 {
            if self.side_by_side(idle, 100_000).is_some() {
                return;
            }
        }
    }

    /// Lets the second thread sleep until the next batch.
    pub(crate) fn rest(&self) {
        self.send(Job::Rest);
    }

    /// Runs the batch on both threads: the mean of what the two took, or nothing if the machine
    /// would not let them run side by side.
    pub(crate) fn time(&self, batch: &'a Batch, calls: u64) -> Option<Duration> {
        (0..5).find_map(|_| self.side_by_side(batch, calls))
    }

    /// The same, but roughly: whether or not they ran side by side.
    pub(crate) fn rough_time(&self, batch: &'a Batch, calls: u64) -> Duration {
        let [(begun, ended), (their_begin, their_end)] = self.once(batch, calls);
        ((ended - begun) + (their_end - their_begin)) / 2
    }

    fn side_by_side(&self, batch: &'a Batch, calls: u64) -> Option<Duration> {
        let [(begun, ended), (their_begin, their_end)] = self.once(batch, calls);
        let (mine, theirs) = (ended - begun, their_end - their_begin);
        let both = ended.min(their_end).saturating_duration_since(begun.max(their_begin));
        (both >= mine.min(theirs).mul_f64(0.9)).then_some((mine + theirs) / 2)
    }

    fn once(&self, batch: &'a Batch, calls: u64) -> [Span; 2] {
        self.send(Job::Run(batch, calls));
        let mine = self.gate.run(batch, calls);
        [mine, spin(&self.spans).expect("no subject panics")]
    }

    fn send(&self, job: Job<'a>) {
        self.jobs.send(job).expect("the second thread lives as long as its queue");
    }
}

/// The next message, awaited without sleeping; none when the other side is gone.
fn spin<T>(queue: &Receiver<T>) -> Option<T> {
    let mut spins = 0;
    loop {
        match queue.try_recv() {
            Ok(message) => return Some(message),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => pause(&mut spins),
        }
    }
}

/// Spins once; now and then lets others run, without whom the wait might not end on a machine that
/// has one processor to spare.
fn pause(spins: &mut u32) {
    *spins = spins.wrapping_add(1);
    if spins.is_multiple_of(16_384) {
        yield_now();
    }
    spin_loop();
}

/// Lets two threads start together.
#[derive(Default)]
struct Gate(AtomicUsize);

impl Gate {
    fn run(&self, batch: &Batch, calls: u64) -> Span {
        let full = self.0.fetch_add(1, Ordering::AcqRel) / 2 * 2 + 2;
        let mut spins = 0;
        while self.0.load(Ordering::Acquire) < full {
            pause(&mut spins);
        }
        let begun = now();
        batch(calls);
        (begun, now())
    }
}
