//! One check at work: at most one run at a time, shared by all who ask, and its last answer for a while.
//!
//! There is no task. Whoever waits polls the run, one at a time and outside the lock; its waker wakes all
//! who wait. Who leaves wakes the others, and the last who leaves drops the run.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use super::{
    report::Status,
    run::{PinnedRun, Verdict},
};
use crate::{
    clock,
    error::Rounded,
    sync::{Mutex, MutexGuard},
};

/// What a run ended with.
#[derive(Debug)]
pub(super) struct Finding {
    /// Later runs have greater numbers.
    number: u64,
    ended: Instant,
    /// The same since the beginning of 1970.
    pub(super) recorded: Duration,
    pub(super) took: Duration,
    pub(super) status: Status,
    pub(super) output: Option<String>,
}

/// A run that goes on.
#[derive(Clone, Copy, Debug)]
struct Going {
    number: u64,
    began: Instant,
    /// `None` where its timeout is too long to be an instant.
    deadline: Option<Instant>,
}

impl Going {
    fn ends(self, verdict: Verdict) -> Finding {
        let ended = clock::tokio_now();
        let (status, output) = match verdict {
            Ok(found) if found.0.is_none() => (Status::Pass, None),
            Ok(found) => (Status::Warn, found.0),
            Err(error) => (Status::Fail, Some(error)),
        };
        Finding {
            number: self.number,
            ended,
            recorded: clock::since_epoch(),
            took: ended.saturating_duration_since(self.began),
            status,
            output,
        }
    }
}

/// One who waits; without a waker from when it was woken until it comes by again.
struct Waiting {
    id: u64,
    waker: Option<Waker>,
}

struct State {
    /// Away while somebody polls it.
    run: Option<PinnedRun>,
    going: Option<Going>,
    last: Option<Arc<Finding>>,
    runs: u64,
    waiting: Vec<Waiting>,
    ids: u64,
}

impl State {
    /// The run that goes on, or a new one.
    fn join(&mut self, now: Instant, timeout: Duration) -> Going {
        let runs = &mut self.runs;
        *self.going.get_or_insert_with(|| {
            *runs += 1;
            Going { number: *runs, began: now, deadline: now.checked_add(timeout) }
        })
    }

    fn answer(&self, of: u64) -> Option<&Arc<Finding>> {
        self.last.as_ref().filter(|last| last.number >= of)
    }

    /// Notes who is to be woken, and gives the waker that this one replaces: to be dropped outside the lock,
    /// as all wakers are.
    fn register(&mut self, id: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let own = *id.get_or_insert_with(|| {
            self.ids += 1;
            self.waiting.push(Waiting { id: self.ids, waker: None });
            self.ids
        });
        let waiting = self.waiting.iter_mut().find(|waiting| waiting.id == own)?;
        waiting.waker.replace(waker)
    }

    fn leave(&mut self, id: &mut Option<u64>) -> Option<Waiting> {
        let id = id.take()?;
        let at = self.waiting.iter().position(|waiting| waiting.id == id)?;
        Some(self.waiting.swap_remove(at))
    }

    fn record(&mut self, finding: Finding) -> Woken {
        self.going = None;
        let before = self.last.replace(Arc::new(finding));
        Woken { wakers: self.woken().wakers, _gone: before }
    }

    fn woken(&mut self) -> Woken {
        let wakers = self.waiting.iter_mut().filter_map(|waiting| waiting.waker.take());
        Woken { wakers: wakers.collect(), _gone: None }
    }
}

/// Who is to be woken: outside the lock, since a waker may be anybody's code.
#[must_use]
struct Woken {
    wakers: Vec<Waker>,
    _gone: Option<Arc<Finding>>,
}

impl Woken {
    fn wake(self, lock: MutexGuard<'_, State>) {
        drop(lock);
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

/// One check and whoever waits for it.
pub(super) struct Flight {
    timeout: Duration,
    ttl: Duration,
    state: Mutex<State>,
}

impl Flight {
    pub(super) fn new(run: PinnedRun, timeout: Duration, ttl: Duration) -> Self {
        let (going, last, runs, waiting, ids) = (None, None, 0, Vec::new(), 0);
        let state = State { run: Some(run), going, last, runs, waiting, ids };
        Self { timeout, ttl, state: Mutex::new(state) }
    }

    fn timed_out(&self, going: Going) -> Finding {
        going.ends(Err(format!("no answer within {}", Rounded(self.timeout))))
    }

    /// Polls the run, which is whoever's it is for so long, and brings it back.
    fn advance(self: &Arc<Self>, mut run: PinnedRun, going: Going, due: bool) {
        let waker = Waker::from(Arc::clone(self));
        let finding = match run.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(verdict) => Some(going.ends(verdict)),
            // An answer that is ready at the deadline still wins.
            Poll::Pending if due => {
                run.as_mut().stop();
                Some(self.timed_out(going))
            }
            Poll::Pending => None,
        };
        let mut state = self.state.lock();
        if state.going.is_none_or(|now| now.number != going.number) {
            // Its time ran out while it held its thread, and another has said so. It may be asked anew.
            drop(state);
            run.as_mut().stop();
            state = self.state.lock();
            state.run = Some(run);
            let woken = state.woken();
            return woken.wake(state);
        }
        state.run = Some(run);
        if let Some(finding) = finding {
            let woken = state.record(finding);
            woken.wake(state);
        }
    }
}

impl Wake for Flight {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let woken = state.woken();
        woken.wake(state);
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight")
            .field("timeout", &self.timeout)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// What somebody leaves behind who comes by again, or for the last time.
#[derive(Default)]
struct Old {
    waker: Option<Waker>,
    left: Option<Waiting>,
}

/// Somebody who wants to know. Dropping it takes nothing from others who do.
#[derive(Debug)]
pub(super) struct Ticket {
    flight: Arc<Flight>,
    /// Its place among those who wait.
    id: Option<u64>,
    /// The run that it has joined.
    joined: Option<u64>,
}

impl Ticket {
    pub(super) fn new(flight: Arc<Flight>) -> Self {
        Self { flight, id: None, joined: None }
    }

    /// The answer, or until when there will be one at the latest.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Result<Arc<Finding>, Option<Instant>> {
        let mut waker = Some(cx.waker().clone());
        // Dropped after the lock is let go of.
        let mut old = Old::default();
        loop {
            let flight = &self.flight;
            let mut state = flight.state.lock();
            if self.joined.is_none() {
                let fresh =
                    |last: &&Arc<Finding>| now.saturating_duration_since(last.ended) < flight.ttl;
                if let Some(last) = state.last.as_ref().filter(fresh) {
                    return Ok(Arc::clone(last));
                }
            }
            let wanted = self.joined.unwrap_or_else(|| state.join(now, flight.timeout).number);
            self.joined = Some(wanted);
            if let Some(last) = state.answer(wanted).cloned() {
                old.left = state.leave(&mut self.id);
                return Ok(last);
            }
            if let Some(waker) = waker.take() {
                old.waker = state.register(&mut self.id, waker);
            }
            let going = state.join(now, flight.timeout);
            let due = going.deadline.is_some_and(|deadline| deadline <= now);
            match state.run.take() {
                Some(run) => {
                    drop(state);
                    flight.advance(run, going, due);
                    let state = flight.state.lock();
                    if state.answer(wanted).is_none() {
                        return Err(going.deadline);
                    }
                }
                // It holds the thread of another who waits: nothing is gained by waiting with it.
                None if due => {
                    let woken = state.record(flight.timed_out(going));
                    woken.wake(state);
                }
                None => return Err(going.deadline),
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.id.is_none() {
            return;
        }
        let mut state = self.flight.state.lock();
        let left = state.leave(&mut self.id);
        let alone = state.waiting.is_empty() && state.going.is_some();
        if let Some(mut run) = alone.then(|| state.run.take()).flatten() {
            state.going = None;
            drop(state);
            run.as_mut().stop();
            state = self.flight.state.lock();
            state.run = Some(run);
        }
        // Whoever was woken for the run may have been this one; and some may have come meanwhile.
        let woken = state.woken();
        woken.wake(state);
        drop(left);
    }
}
