//! Calls whose answer has begun and is not whole yet.

use std::{
    fmt,
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tower_service::Service;

use super::{
    core::{CallRef, Core, CoreRef},
    keyed::ResponseFuture as KeyedResponseFuture,
    layer::ResponseFuture,
    permit::{Held, judge},
};
use crate::{
    error::CarryRejection,
    guard::holding::{Begun, Hold, PollHeld},
    outcome::{Classify, Outcome},
    policy::breaker,
};

/// What is left of a permit when the answer has begun: it waits for the end. Dropping it abandons the call.
pub(crate) struct Unended {
    core: Kept,
    /// There until it is given back.
    permit: Option<breaker::Permit>,
    begun: Outcome,
    /// All that was announced is there, though nobody has said that this is the end.
    complete: bool,
}

/// Keeps a circuit alive, whichever layer it is of.
enum Kept {
    Layer(CallRef),
    Key(CoreRef),
}

impl Deref for Kept {
    type Target = Core;

    fn deref(&self) -> &Core {
        match self {
            Self::Layer(core) => core,
            Self::Key(core) => core,
        }
    }
}

impl From<&CallRef> for Kept {
    fn from(core: &CallRef) -> Self {
        Self::Layer(core.clone())
    }
}

impl From<&CoreRef> for Kept {
    fn from(core: &CoreRef) -> Self {
        Self::Key(core.clone())
    }
}

impl Unended {
    /// What the beginning of the answer said about the service.
    pub(crate) fn begun(&self) -> Outcome {
        self.begun
    }

    /// Whatever comes, or does not come, after this: a drop is no longer one of a call in flight.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// The answer has ended like this.
    pub(crate) fn end(&mut self, outcome: Outcome, hint: Option<Duration>) {
        if let Some(permit) = self.permit.take() {
            self.core.settle(permit, outcome, hint);
        }
    }
}

impl Drop for Unended {
    fn drop(&mut self) {
        if self.complete {
            return self.end(self.begun, None);
        }
        if let Some(permit) = self.permit.take() {
            self.core.abandon(permit);
        }
    }
}

impl fmt::Debug for Unended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unended")
            .field("policy", &self.core.name)
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}

impl<C, R, T, E> Hold<T, E> for Held<C, R>
where
    C: Classify<T, E>,
    R: Deref<Target = Core>,
    for<'a> Kept: From<&'a R>,
{
    type Rest = Unended;

    fn hold(mut self, result: &Result<T, E>) -> Option<Unended> {
        let (outcome, hint) = judge(&self.classify, result);
        let permit = self.permit.take()?;
        // A failure is one, whatever follows. A probe's answer is waited for: it must not last for as long as
        // a stream does.
        if outcome == Outcome::Failure || permit.is_probe() || !permit.is_recorded() {
            self.core.settle(permit, outcome, hint);
            return None;
        }
        let permit = Some(self.core.answered(permit));
        Some(Unended { core: Kept::from(&self.core), permit, begun: outcome, complete: false })
    }
}

impl<F, C, T, E> PollHeld<T, E> for ResponseFuture<F, C>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
    E: CarryRejection,
{
    type Rest = Unended;

    fn poll_held(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        more: impl FnOnce(&T) -> bool,
    ) -> Poll<Begun<T, E, Unended>> {
        self.project().guarded.poll_held(cx, more)
    }
}

impl<S, Req, C> PollHeld<S::Response, S::Error> for KeyedResponseFuture<S, Req, S::Future, C>
where
    S: Service<Req>,
    S::Error: CarryRejection,
    C: Classify<S::Response, S::Error>,
{
    type Rest = Unended;

    fn poll_held(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        more: impl FnOnce(&S::Response) -> bool,
    ) -> Poll<Begun<S::Response, S::Error, Unended>> {
        self.project().deferred.poll_held(cx, more)
    }
}
