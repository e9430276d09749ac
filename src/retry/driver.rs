//! The one future of a call under a retry: attempt, judge, wait, again.

use std::{
    future::Future,
    mem,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use pin_project_lite::pin_project;

use super::{
    attempt,
    core::Core,
    held::{Failed, Held, Wait},
};
use crate::{
    ambient::Restore,
    clock::{self, Timer},
    deadline,
    error::{CarryRejection, Rejection},
    outcome::{Classify, Hint, Outcome},
    policy::retry::RetryEnd,
};

/// How attempts after the first are made.
pub(super) trait Again {
    type Error;
    type Future;

    /// Ready when the next attempt can be made. After an error the one after it can be tried all the same.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>>;

    /// Makes the next attempt. Only the last one may use up what further ones would need.
    fn begin(&mut self, is_last: bool) -> Self::Future;

    /// Whether there is something left to make an attempt of.
    fn is_replayable(&self) -> bool;

    /// The next attempt is decided on, unless this says that it cannot be made after all.
    fn take_over(&self) -> bool;
}

pin_project! {
    /// Drives one call. Dropping it drops the attempt that runs, then says that the caller went away.
    #[derive(Debug)]
    pub(super) struct Driver<A, F, E, C, H: Deref<Target = Core>> {
        #[pin]
        state: State<F>,
        // There is none where there can be no other attempt.
        again: Option<A>,
        classify: C,
        // What there is to answer with when no further attempt answers: the last error of the service,
        // or the last refusal while there is none.
        kept: Option<E>,
        // Whether the service may have seen the request.
        seen: bool,
        held: Held<H>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Calling { #[pin] future: F },
        Waiting { #[pin] timer: Timer, until: Instant },
        Readying,
        Ended,
    }
}

impl<A, F, E, C, H: Deref<Target = Core>> Driver<A, F, E, C, H> {
    /// A call whose first attempt has begun.
    #[inline]
    pub(super) fn new(future: F, again: Option<A>, classify: C, held: Held<H>) -> Self {
        Self { state: State::Calling { future }, again, classify, kept: None, seen: false, held }
    }
}

/// Runs the service's own code as one attempt. Where there can be no other, whatever retries below may
/// do so, and no number holds.
#[inline]
pub(super) fn attended<H: Deref<Target = Core>, R>(
    held: &mut Held<H>,
    counts: bool,
    run: impl FnOnce() -> R,
) -> R {
    /// A panic that leaves the service ends the call.
    struct Attended<'a, H: Deref<Target = Core>>(&'a mut Held<H>);
    impl<H: Deref<Target = Core>> Drop for Attended<'_, H> {
        fn drop(&mut self) {
            // Only unwinding gets here: the ordinary way out forgets this value.
            self.0.end(RetryEnd::NotRetryable);
        }
    }
    let _number: Option<Restore<u32>> = counts.then(|| attempt::enter(held.attempt()));
    let attended = Attended(held);
    let returned = run();
    mem::forget(attended);
    returned
}

impl<A, F, E, C, H, Res> Future for Driver<A, F, E, C, H>
where
    H: Deref<Target = Core>,
    A: Again<Error = E, Future = F>,
    F: Future<Output = Result<Res, E>>,
    E: CarryRejection,
    C: Classify<Res, E>,
{
    type Output = Result<Res, E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.as_mut().poll_attempt(cx) {
            Some(answer) => answer,
            None => self.poll_on(cx),
        }
    }
}

impl<A, F, E, C, H, Res> Driver<A, F, E, C, H>
where
    H: Deref<Target = Core>,
    A: Again<Error = E, Future = F>,
    F: Future<Output = Result<Res, E>>,
    E: CarryRejection,
    C: Classify<Res, E>,
{
    /// Polls the attempt that runs; none if there is none, or no longer.
    #[inline(always)]
    fn poll_attempt(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Option<Poll<Result<Res, E>>> {
        let mut this = self.as_mut().project();
        let StateProjection::Calling { future } = this.state.as_mut().project() else {
            return None;
        };
        let counts = this.again.is_some();
        let Poll::Ready(result) = attended(this.held, counts, || future.poll(cx)) else {
            // A later attempt that a timeout is about to cut: there is an answer already.
            let answered = this.kept.is_some();
            return Some(if answered { self.pending_until_late() } else { Poll::Pending });
        };
        let (refusal, outcome) = verdict(this.classify, &result);
        // The usual call: its result goes out from where it lies.
        if outcome == Outcome::Success {
            this.held.succeed();
            this.state.set(State::Ended);
            return Some(Poll::Ready(result));
        }
        self.end_attempt(result, refusal, outcome, cx)
    }

    /// Goes on from what an attempt came to; none if another is to be waited for.
    #[cold]
    fn end_attempt(
        mut self: Pin<&mut Self>,
        result: Result<Res, E>,
        refusal: Option<Rejection>,
        outcome: Outcome,
        cx: &mut Context<'_>,
    ) -> Option<Poll<Result<Res, E>>> {
        match self.as_mut().judge(result, refusal, outcome) {
            Next::Answer(answer) => {
                self.project().state.set(State::Ended);
                Some(Poll::Ready(answer))
            }
            Next::Wait => None,
            // Not without letting others run: there may be many more attempts.
            Next::AtOnce => {
                cx.waker().wake_by_ref();
                Some(Poll::Pending)
            }
        }
    }

    /// Waits for further attempts and makes them.
    #[inline(never)]
    fn poll_on(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Res, E>> {
        loop {
            let mut this = self.as_mut().project();
            let ended = match this.state.as_mut().project() {
                StateProjection::Calling { .. } => self.as_mut().poll_attempt(cx),
                StateProjection::Waiting { timer, until } => {
                    if timer.poll_until(*until, cx).is_pending() {
                        return self.pending_until_late();
                    }
                    this.state.set(State::Readying);
                    None
                }
                StateProjection::Readying => {
                    // Woken late, perhaps: an attempt that begins at the deadline is of no use.
                    if is_late() {
                        return Poll::Ready(self.answer_late());
                    }
                    match self.as_mut().poll_begin(cx) {
                        Poll::Pending => return self.pending_until_late(),
                        Poll::Ready(Ok(())) => None,
                        Poll::Ready(Err(error)) => {
                            let result = Err(error);
                            let (refusal, outcome) = verdict(&self.classify, &result);
                            self.as_mut().end_attempt(result, refusal, outcome, cx)
                        }
                    }
                }
                StateProjection::Ended => {
                    panic!("a response future was polled after it had finished")
                }
            };
            if let Some(answer) = ended {
                return answer;
            }
        }
    }
}

/// What follows an attempt.
enum Next<Res, E> {
    Answer(Result<Res, E>),
    Wait,
    AtOnce,
}

impl<A, F, E, C, H> Driver<A, F, E, C, H>
where
    H: Deref<Target = Core>,
    A: Again<Error = E, Future = F>,
    E: CarryRejection,
{
    /// Judges an attempt's result; one that has an attempt after it is dropped here, or kept if it is an
    /// error.
    fn judge<Res>(
        self: Pin<&mut Self>,
        result: Result<Res, E>,
        refusal: Option<Rejection>,
        outcome: Outcome,
    ) -> Next<Res, E>
    where
        C: Classify<Res, E>,
    {
        match outcome {
            Outcome::Success => self.project().held.succeed(),
            Outcome::Ignored => self.project().held.end(RetryEnd::NotRetryable),
            Outcome::Failure => return self.judge_failure(result, refusal),
        }
        Next::Answer(result)
    }

    #[cold]
    fn judge_failure<Res>(
        self: Pin<&mut Self>,
        result: Result<Res, E>,
        refusal: Option<Rejection>,
    ) -> Next<Res, E>
    where
        C: Classify<Res, E>,
    {
        let mut this = self.project();
        let held = this.held;
        if held.is_closed() {
            return Next::Answer(result);
        }
        let verdict = if refusal.is_some_and(|refusal| !held.repeats(&refusal)) {
            Err(RetryEnd::NotRetryable)
        } else {
            let hint = this.classify.hint(&result);
            let own = refusal.and_then(|refusal| refusal.retry_after()).map(Hint::After);
            let again = this.again.as_ref();
            let failed = Failed {
                hint: hint.or(own),
                refused: refusal.is_some(),
                replayable: again.is_some_and(Again::is_replayable),
            };
            held.failed(failed, || again.is_some_and(Again::take_over))
        };
        match verdict {
            Ok(wait) => {
                *this.seen |= refusal.is_none();
                if let Err(error) = result {
                    // A refusal does not take the place of the service's own error.
                    let keeps = this.kept.as_ref().is_some_and(|kept| !is_refusal(kept));
                    if refusal.is_none() || !keeps {
                        *this.kept = Some(error);
                    }
                }
                let Wait { delay, until } = wait;
                if delay.is_zero() {
                    this.state.set(State::Readying);
                    return Next::AtOnce;
                }
                this.state.set(State::Waiting { timer: Timer::default(), until });
                Next::Wait
            }
            Err(end) => {
                held.end(end);
                Next::Answer(match (result, this.kept.take()) {
                    (Err(error), kept) if refusal.is_some() => {
                        let kept = kept.filter(|kept| !is_refusal(kept));
                        Err(told_of_attempts(kept.unwrap_or(error), *this.seen))
                    }
                    // Cut at the deadline by a timeout below: that is no error of the service's either.
                    (Err(error), kept)
                        if end == RetryEnd::Deadline && error.rejection().is_some() =>
                    {
                        Err(kept.filter(|kept| kept.rejection().is_none()).unwrap_or(error))
                    }
                    (result, _) => result,
                })
            }
        }
    }

    /// Pending, unless this is the last poll before a timeout gives up.
    fn pending_until_late<Res>(self: Pin<&mut Self>) -> Poll<Result<Res, E>> {
        if is_late() { Poll::Ready(self.answer_late()) } else { Poll::Pending }
    }

    /// The last error rather than a timeout.
    #[cold]
    fn answer_late<Res>(self: Pin<&mut Self>) -> Result<Res, E> {
        let mut this = self.project();
        this.state.set(State::Ended);
        let answer = match this.kept.take() {
            Some(error) => told_of_attempts(error, *this.seen),
            None => E::from(this.held.too_late()),
        };
        this.held.end(RetryEnd::Deadline);
        Err(answer)
    }

    /// Begins the next attempt once it can be made.
    fn poll_begin(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let mut this = self.project();
        let again = this.again.as_mut().expect("a call that waits for an attempt can make one");
        let ready = ready!(attended(this.held, true, || again.poll_ready(cx)));
        let is_last = this.held.begin();
        if let Err(error) = ready {
            return Poll::Ready(Err(error));
        }
        let future = attended(this.held, true, || again.begin(is_last));
        this.state.set(State::Calling { future });
        Poll::Ready(Ok(()))
    }
}

/// What a result says: a refusal by a policy below is not asked about.
#[inline(always)]
fn verdict<Res, E: CarryRejection>(
    classify: &impl Classify<Res, E>,
    result: &Result<Res, E>,
) -> (Option<Rejection>, Outcome) {
    match result.as_ref().err().and_then(refusal) {
        Some(refusal) => (Some(*refusal), Outcome::Failure),
        None => (None, classify.classify(result)),
    }
}

/// Whether the deadline that holds here has passed.
fn is_late() -> bool {
    deadline::current().is_some_and(|deadline| clock::tokio_now() >= deadline)
}

/// The refusal in an error that says that the service has not seen the request.
fn refusal<E: CarryRejection>(error: &E) -> Option<&Rejection> {
    error.rejection().filter(|rejection| !rejection.attempted())
}

fn is_refusal<E: CarryRejection>(error: &E) -> bool {
    refusal(error).is_some()
}

/// An error as it is told to the caller: a refusal of a later attempt does not mean that the service has
/// not seen the request.
fn told_of_attempts<E: CarryRejection>(error: E, seen: bool) -> E {
    match refusal(&error) {
        Some(refusal) if seen => E::from(refusal.with_attempted()),
        _ => error,
    }
}
