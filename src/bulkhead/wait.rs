//! Waiting for one's turn.

use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use pin_project_lite::pin_project;

use super::{
    core::{CLOCK, Core, CoreRef, Entry},
    permit::{BulkheadPermit, Held},
};
use crate::{
    clock::Timer,
    deadline,
    error::{CarryRejection, Rejection},
    guard::Guarded,
    policy::{
        Now,
        bulkhead::{Admission, Ticket, Verdict},
    },
};

pin_project! {
    /// A place in the queue. It is polled when it was let in and when its time is over, and not in
    /// between; dropping it gives the place up, or the slot that it was let in to.
    #[derive(Debug)]
    pub(super) struct Wait<R: Deref<Target = Core>> {
        place: Place<R>,
        #[pin]
        timer: Timer,
    }
}

impl<R: Deref<Target = Core>> Wait<R> {
    pub(super) fn new(core: R, ticket: Ticket) -> Self {
        Self { place: Place(Some((core, ticket))), timer: Timer::default() }
    }
}

impl<R: Deref<Target = Core> + Clone> Future for Wait<R> {
    type Output = Result<Held<R>, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut asked = this.place.ask(CLOCK, cx.waker());
        loop {
            let until = match asked {
                Err(answer) => return Poll::Ready(answer),
                Ok(None) => return Poll::Pending,
                Ok(Some(until)) => until,
            };
            ready!(this.timer.as_mut().poll_until(until, cx));
            // The time that the timer has waited for, whatever a clock says by now.
            asked = this.place.ask(until, cx.waker());
        }
    }
}

/// A ticket that gives itself back; there until the wait is over.
#[derive(Debug)]
struct Place<R: Deref<Target = Core>>(Option<(R, Ticket)>);

impl<R: Deref<Target = Core> + Clone> Place<R> {
    /// When to ask again at the latest, or how the wait ended.
    fn ask(
        &mut self,
        now: impl Now,
        waker: &Waker,
    ) -> Result<Option<Instant>, Result<Held<R>, Rejection>> {
        // Cloned and dropped outside the lock, and before anything could be lost: a waker may be
        // anybody's code.
        let mut kept = Some(waker.clone());
        let Some((core, ticket)) = self.0.take() else {
            panic!("a response future was polled after it had finished");
        };
        let (verdict, change) = core.slots.ask_again(ticket, now, deadline::current(), &mut kept);
        // Told by whoever let it in: see `Core::tell_of`.
        let held = match verdict {
            Verdict::Queued(ticket) => {
                let until = ticket.until();
                let (core, _) = self.0.insert((core, ticket));
                core.tell_of(change);
                return Ok(until);
            }
            Verdict::Admitted(Admission::Slot) => Ok(Held::slot(core.clone())),
            Verdict::Admitted(Admission::Pass { .. }) => Ok(Held::nothing()),
            Verdict::Rejected(reason) => Err(reason),
        };
        core.tell_of(change);
        Err(held.map_err(|reason| core.refuse(reason)))
    }
}

impl<R: Deref<Target = Core>> Drop for Place<R> {
    fn drop(&mut self) {
        if let Some((core, ticket)) = self.0.take() {
            let change = core.slots.cancel(ticket, CLOCK);
            core.tell_of(change);
        }
    }
}

pin_project! {
    /// The future of [`Bulkhead::acquire`](super::Bulkhead::acquire). Dropping it gives up the place in
    /// the queue, or the slot if it has been let in.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Acquire {
        #[pin]
        turn: Turn,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = TurnProjection]
    enum Turn {
        Decided { answer: Option<Result<Held, Rejection>> },
        Waiting { #[pin] wait: Wait<CoreRef> },
    }
}

impl Acquire {
    pub(super) fn new(entry: Entry) -> Self {
        let turn = match entry {
            Entry::In(held) => Turn::Decided { answer: Some(Ok(held)) },
            Entry::Out(rejection) => Turn::Decided { answer: Some(Err(rejection)) },
            Entry::Waits(core, ticket) => Turn::Waiting { wait: Wait::new(core, ticket) },
        };
        Self { turn }
    }
}

impl Future for Acquire {
    type Output = Result<BulkheadPermit, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match self.project().turn.project() {
            TurnProjection::Waiting { wait } => ready!(wait.poll(cx)),
            TurnProjection::Decided { answer } => match answer.take() {
                Some(answer) => answer,
                None => panic!("a response future was polled after it had finished"),
            },
        };
        Poll::Ready(answer.map(BulkheadPermit))
    }
}

pin_project! {
    /// The future of [`Bulkhead::run`](super::Bulkhead::run). Dropping it gives everything back.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Run<F> {
        #[pin]
        stage: Stage<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StageProjection]
    enum Stage<F> {
        Waiting { #[pin] wait: Wait<CoreRef>, future: Option<F> },
        Going { #[pin] guarded: Guarded<F, Held> },
    }
}

impl<F> Run<F> {
    pub(super) fn new(entry: Entry, future: F) -> Self {
        let stage = match entry {
            Entry::In(held) => going(Ok(held), Some(future)),
            Entry::Out(rejection) => going(Err(rejection), Some(future)),
            Entry::Waits(core, ticket) => {
                Stage::Waiting { wait: Wait::new(core, ticket), future: Some(future) }
            }
        };
        Self { stage }
    }
}

fn going<F>(answer: Result<Held, Rejection>, future: Option<F>) -> Stage<F> {
    let guarded = match (answer, future) {
        (Ok(held), Some(future)) => Guarded::Calling { future, permit: Some(held) },
        (Ok(_), None) => panic!("a response future was polled after it had finished"),
        (Err(rejection), _) => Guarded::Refused { rejection: Some(rejection) },
    };
    Stage::Going { guarded }
}

impl<F, T, E> Future for Run<F>
where
    F: Future<Output = Result<T, E>>,
    E: CarryRejection,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        loop {
            let next = match stage.as_mut().project() {
                StageProjection::Going { guarded } => return guarded.poll(cx),
                StageProjection::Waiting { wait, future } => {
                    let answer = ready!(wait.poll(cx));
                    going(answer, future.take())
                }
            };
            stage.set(next);
        }
    }
}
