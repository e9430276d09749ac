//! An inner service that forgives nothing and counts everything.
//!
//! It panics when `call` is not preceded by a `poll_ready` of the very same instance, when its future
//! is polled after it finished, and on demand. Its request and response are not `Clone`, its error is
//! not either: a layer that needs more than that does not compile over it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use portcullis::{Error, Rejection};
use tower::Service;

/// The text of a panic in [`Strict::call`] without readiness.
pub(crate) const UNREADIED: &str = "the strict service was called without having been readied";
/// The text of a panic that a test asked for.
pub(crate) const ON_DEMAND: &str = "the strict service panics on demand";

/// A request; the number is a keyed breaker's key.
#[derive(Debug)]
pub(crate) struct Ask(pub(crate) u8);

/// A response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered;

/// The strict service's own error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) &'static str);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Fault {}

/// Looks through the error of any stack over [`Strict`], however often it was lifted.
pub(crate) trait Peel: fmt::Debug {
    fn peel(self) -> Error<Fault>;
}

impl Peel for Error<Fault> {
    fn peel(self) -> Self {
        self
    }
}

impl<E: Peel> Peel for Error<Error<E>>
where
    Error<E>: Peel,
{
    fn peel(self) -> Error<Fault> {
        match self {
            Self::Inner(error) => error.peel(),
            Self::Rejected(rejection) => Error::Rejected(rejection),
        }
    }
}

impl Peel for Fault {
    fn peel(self) -> Error<Fault> {
        Error::Inner(self)
    }
}

/// What `poll_ready` answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readiness {
    Now,
    /// Each instance is pending for so many polls first, waking its task every time.
    After(u32),
    Never,
    Fails(&'static str),
    Panics,
}

/// What a call does, fixed at `call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Pending for so many polls first; `None` is for ever.
    after: Option<u32>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Ok,
    Err(&'static str),
    PanicInPoll,
    PanicInCall,
}

impl Answer {
    pub(crate) const OK: Self = Self { after: Some(0), end: End::Ok };
    pub(crate) const FAULT: Self = Self { after: Some(0), end: End::Err("fault") };
    pub(crate) const HANGS: Self = Self { after: None, end: End::Ok };
    pub(crate) const PANICS_IN_CALL: Self = Self { after: Some(0), end: End::PanicInCall };
    pub(crate) const PANICS_IN_POLL: Self = Self { after: Some(1), end: End::PanicInPoll };

    pub(crate) const fn after(self, polls: u32) -> Self {
        Self { after: Some(polls), ..self }
    }
}

/// The test's side of a [`Strict`] service: programs it and reads its counts.
#[derive(Clone, Debug)]
pub(crate) struct Probe(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    program: Mutex<Program>,
    ids: AtomicU32,
    readied: AtomicU32,
    reserved: AtomicU32,
    calls: AtomicU32,
    live: AtomicU32,
    instances: AtomicU32,
}

#[derive(Debug)]
struct Program {
    readiness: Readiness,
    answer: Answer,
    // One waker per waiting instance; gone with the instance.
    parked: Vec<(u32, Waker)>,
}

impl Probe {
    fn with<R>(&self, change: impl FnOnce(&mut Program) -> R) -> R {
        change(&mut self.0.program.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what `poll_ready` answers; wakes nobody, so that a test sees who else does.
    pub(crate) fn readiness(&self, readiness: Readiness) {
        self.with(|program| program.readiness = readiness);
    }

    pub(crate) fn answer(&self, answer: Answer) {
        self.with(|program| program.answer = answer);
    }

    /// Wakes everyone who waits for readiness of the strict service itself.
    pub(crate) fn wake(&self) {
        let parked = self.with(|program| std::mem::take(&mut program.parked));
        parked.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Takes an instance's waker out; dropped by the caller, since that may run code.
    fn unpark(&self, id: u32) -> Option<Waker> {
        self.with(|program| {
            let place = program.parked.iter().position(|(parked, _)| *parked == id)?;
            Some(program.parked.swap_remove(place).1)
        })
    }

    /// How often an instance became ready.
    pub(crate) fn readied(&self) -> u32 {
        self.0.readied.load(SeqCst)
    }

    /// Instances that are ready and not yet called: what a permit of the service would be held by.
    pub(crate) fn reserved(&self) -> u32 {
        self.0.reserved.load(SeqCst)
    }

    pub(crate) fn calls(&self) -> u32 {
        self.0.calls.load(SeqCst)
    }

    /// Response futures that exist.
    pub(crate) fn live(&self) -> u32 {
        self.0.live.load(SeqCst)
    }

    /// Instances of the service that exist.
    pub(crate) fn instances(&self) -> u32 {
        self.0.instances.load(SeqCst)
    }
}

/// The service. A clone starts unready.
#[derive(Debug)]
pub(crate) struct Strict {
    probe: Probe,
    id: u32,
    ready: bool,
    polled: u32,
}

/// A strict service, ready at once and answering at once, and its probe.
pub(crate) fn strict() -> (Strict, Probe) {
    let probe = Probe(Arc::new(Shared {
        program: Mutex::new(Program {
            readiness: Readiness::Now,
            answer: Answer::OK,
            parked: Vec::new(),
        }),
        ids: AtomicU32::new(0),
        readied: AtomicU32::new(0),
        reserved: AtomicU32::new(0),
        calls: AtomicU32::new(0),
        live: AtomicU32::new(0),
        instances: AtomicU32::new(0),
    }));
    (Strict::new(probe.clone()), probe)
}

impl Strict {
    fn new(probe: Probe) -> Self {
        probe.0.instances.fetch_add(1, SeqCst);
        let id = probe.0.ids.fetch_add(1, SeqCst);
        Self { probe, id, ready: false, polled: 0 }
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::new(self.probe.clone())
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        let _waker = self.probe.unpark(self.id);
        self.probe.0.instances.fetch_sub(1, SeqCst);
        if self.ready {
            self.probe.0.reserved.fetch_sub(1, SeqCst);
        }
    }
}

impl Service<Ask> for Strict {
    type Response = Answered;
    type Error = Error<Fault>;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error<Fault>>> {
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        match self.probe.with(|program| program.readiness) {
            Readiness::Fails(why) => return Poll::Ready(Err(Error::Inner(Fault(why)))),
            Readiness::Panics => panic!("{ON_DEMAND}"),
            Readiness::Never => {
                let newest = (self.id, cx.waker().clone());
                let _older = self.probe.unpark(self.id);
                self.probe.with(|program| program.parked.push(newest));
                return Poll::Pending;
            }
            Readiness::After(polls) if self.polled < polls => {
                self.polled += 1;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Readiness::Now | Readiness::After(_) => {}
        }
        let _waker = self.probe.unpark(self.id);
        self.ready = true;
        self.polled = 0;
        self.probe.0.readied.fetch_add(1, SeqCst);
        self.probe.0.reserved.fetch_add(1, SeqCst);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Ask(_): Ask) -> Answering {
        assert!(std::mem::take(&mut self.ready), "{UNREADIED}");
        self.probe.0.reserved.fetch_sub(1, SeqCst);
        self.probe.0.calls.fetch_add(1, SeqCst);
        let answer = self.probe.with(|program| program.answer);
        if let End::PanicInCall = answer.end {
            panic!("{ON_DEMAND}");
        }
        self.probe.0.live.fetch_add(1, SeqCst);
        Answering { probe: self.probe.clone(), answer, done: false }
    }
}

/// The response future of [`Strict`].
#[derive(Debug)]
pub(crate) struct Answering {
    probe: Probe,
    answer: Answer,
    done: bool,
}

impl Future for Answering {
    type Output = Result<Answered, Error<Fault>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.done, "the strict service's future was polled after it finished");
        match self.answer.after {
            None => return Poll::Pending,
            Some(0) => {}
            Some(polls) => {
                self.answer.after = Some(polls - 1);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        self.done = true;
        match self.answer.end {
            End::Ok => Poll::Ready(Ok(Answered)),
            End::Err(why) => Poll::Ready(Err(Error::Inner(Fault(why)))),
            End::PanicInPoll | End::PanicInCall => panic!("{ON_DEMAND}"),
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.probe.0.live.fetch_sub(1, SeqCst);
    }
}

/// The refusal inside a result that must be one.
#[track_caller]
pub(crate) fn refusal<T: fmt::Debug, E: Peel>(result: Result<T, E>) -> Rejection {
    match result.map_err(Peel::peel) {
        Err(Error::Rejected(rejection)) => rejection,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// The service's own error inside a result that must be one.
#[track_caller]
pub(crate) fn fault<T: fmt::Debug, E: Peel>(result: Result<T, E>) -> Fault {
    match result.map_err(Peel::peel) {
        Err(Error::Inner(fault)) => fault,
        other => panic!("expected the service's own error, got {other:?}"),
    }
}
