//! What every layer owes to the service below it and to its caller.

use std::{mem, task::Poll};

use portcullis::{Error, Reason};
use tower::{Layer, Service};

use crate::support::{
    Answer, Answered, Ask, Caller, Fault, ON_DEMAND, Peel, Probe, Readiness, Strict, UNREADIED,
    fault, panic_of, refusal, strict,
};

/// When a layer calls the service below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// Inside its own `call`, on the instance that was readied.
    AtOnce,
    /// Inside the response future, on a clone that is readied there.
    InFuture,
}

/// What a layer over a thread-safe service must be, without asking `Clone` of request, response or
/// error.
pub(crate) trait Subject:
    Service<Ask, Response = Answered, Error: Peel, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Subject for S where
    S: Service<Ask, Response = Answered, Error: Peel, Future: Send> + Clone + Send + Sync + 'static
{
}

/// One layer over one strict service.
#[derive(Debug)]
pub(crate) struct Rig<S> {
    pub(crate) service: S,
    pub(crate) probe: Probe,
    pub(crate) calls: Calls,
}

pub(crate) fn rig<L>(layer: L, calls: Calls) -> Rig<L::Service>
where
    L: Layer<Strict, Service: Subject> + Clone + Send + Sync + 'static,
{
    let (service, probe) = strict();
    // The layer value is gone afterwards: a service keeps alive what it needs.
    Rig { service: layer.layer(service), probe, calls }
}

/// Runs every test of this file over one layer.
macro_rules! contract {
    ($name:ident, $layer:expr) => {
        contract!($name, Calls::AtOnce, $layer);
    };
    // One that turns panics into errors.
    ($name:ident, catches_panics, $layer:expr) => {
        contract! { @with $name, Calls::AtOnce, $layer,
            a_clone_needs_its_own_readiness_and_an_error_says_so
            a_panic_in_call_becomes_an_error_and_the_next_call_works
            a_panic_in_poll_becomes_an_error_and_the_next_call_works
            a_panic_in_poll_ready_becomes_an_error_and_the_next_call_works
        }
    };
    ($name:ident, $calls:expr, $layer:expr) => {
        contract! { @with $name, $calls, $layer,
            a_clone_needs_its_own_readiness
            a_panic_in_call_propagates_and_the_next_call_works
            a_panic_in_poll_propagates_and_the_next_call_works
            a_panic_in_poll_ready_propagates_and_the_next_call_works
        }
    };
    (@with $name:ident, $calls:expr, $layer:expr, $($of_panics:ident)*) => {
        contract! { @over $name, $calls, $layer,
            $($of_panics)*
            answers_and_errors_pass_unchanged
            the_readied_instance_is_the_one_called
            the_inner_call_happens_where_it_is_said_to
            dropping_the_response_at_any_point_gives_everything_back
            a_readied_service_that_is_dropped_holds_nothing
            an_error_from_poll_ready_passes_unchanged
            a_service_that_is_never_ready_is_never_called
            whoever_waits_for_readiness_is_woken_by_it
            a_waiting_caller_that_leaves_is_forgotten
            only_the_newest_task_is_woken
        }
    };
    (@over $name:ident, $calls:expr, $layer:expr, $($test:ident)*) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test(start_paused = true)]
                async fn $test() {
                    every_layer::$test(every_layer::rig(($layer)(), $calls));
                }
            )*
        }
    };
}
pub(crate) use contract;

impl<S: Subject> Rig<S> {
    /// Readies and calls, by hand, until the answer is there.
    #[track_caller]
    pub(crate) fn ask(&mut self) -> Result<Answered, S::Error> {
        ask(&mut self.service)
    }

    /// Nothing of the inner service is in use: no future, no reservation, no spare instance.
    #[track_caller]
    fn assert_idle(&self, services: u32) {
        assert_eq!(self.probe.live(), 0, "response futures of the inner service");
        assert_eq!(self.probe.reserved(), 0, "readied and uncalled instances");
        assert_eq!(self.probe.instances(), services, "instances of the inner service");
    }
}

/// Readies and calls one service until the answer is there.
#[track_caller]
pub(crate) fn ask<S: Subject>(service: &mut S) -> Result<Answered, S::Error> {
    let caller = Caller::new();
    for _ in 0..100 {
        match caller.ready(service) {
            Poll::Ready(Ok(())) => return caller.finish(&mut Box::pin(service.call(Ask(0)))),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => {}
        }
    }
    panic!("still not ready after 100 polls");
}

pub(crate) fn answers_and_errors_pass_unchanged<S: Subject>(mut rig: Rig<S>) {
    assert!(matches!(rig.ask(), Ok(Answered)));
    rig.probe.answer(Answer::FAULT);
    assert_eq!(fault(rig.ask()), Fault("fault"));
    rig.probe.answer(Answer::FAULT.after(3));
    assert_eq!(fault(rig.ask()), Fault("fault"));
    assert_eq!(rig.probe.calls(), 3);
    rig.assert_idle(1);
}

pub(crate) fn the_readied_instance_is_the_one_called<S: Subject>(mut rig: Rig<S>) {
    let caller = Caller::new();
    assert!(caller.ready(&mut rig.service).is_ready());
    // The usual move into a future: the clone stays behind, the readied one goes.
    let clone = rig.service.clone();
    let mut readied = mem::replace(&mut rig.service, clone);
    assert!(caller.finish(&mut Box::pin(readied.call(Ask(0)))).is_ok());
    // One call took one readiness; over an unready instance the strict service would have panicked.
    assert_eq!((rig.probe.readied(), rig.probe.calls()), (1, 1));
    assert!(rig.ask().is_ok());
    assert_eq!((rig.probe.readied(), rig.probe.calls()), (2, 2));
    drop(readied);
    rig.assert_idle(1);
}

pub(crate) fn a_clone_needs_its_own_readiness<S: Subject>(mut rig: Rig<S>) {
    let caller = Caller::new();
    assert!(caller.ready(&mut rig.service).is_ready());
    let mut clone = rig.service.clone();
    match rig.calls {
        // The clone has nothing to call: silently sending the request through would hide that.
        Calls::AtOnce => assert_eq!(panic_of(|| clone.call(Ask(0))), UNREADIED),
        Calls::InFuture => {
            assert!(caller.finish(&mut Box::pin(clone.call(Ask(0)))).is_ok());
        }
    }
    assert!(ask(&mut clone).is_ok());
    // The readied original is as ready as before.
    assert!(caller.finish(&mut Box::pin(rig.service.call(Ask(0)))).is_ok());
    assert_eq!(rig.probe.readied(), rig.probe.calls());
    drop(clone);
    rig.assert_idle(1);
}

pub(crate) fn a_clone_needs_its_own_readiness_and_an_error_says_so<S: Subject>(mut rig: Rig<S>) {
    let caller = Caller::new();
    assert!(caller.ready(&mut rig.service).is_ready());
    let mut clone = rig.service.clone();
    // The strict service panicked, and had no call.
    let unreadied = caller.finish(&mut Box::pin(clone.call(Ask(0))));
    assert_eq!((refusal(unreadied).reason(), rig.probe.calls()), (Reason::Panicked, 0));
    assert!(ask(&mut clone).is_ok());
    assert!(caller.finish(&mut Box::pin(rig.service.call(Ask(0)))).is_ok());
    assert_eq!(rig.probe.readied(), rig.probe.calls());
    drop(clone);
    rig.assert_idle(1);
}

pub(crate) fn the_inner_call_happens_where_it_is_said_to<S: Subject>(mut rig: Rig<S>) {
    let caller = Caller::new();
    assert!(caller.ready(&mut rig.service).is_ready());
    let mut response = Box::pin(rig.service.call(Ask(0)));
    let before_the_first_poll = rig.probe.calls();
    assert!(caller.finish(&mut response).is_ok());
    let expected = if rig.calls == Calls::AtOnce { 1 } else { 0 };
    assert_eq!(before_the_first_poll, expected);
    assert_eq!(rig.probe.calls(), 1);
}

pub(crate) fn dropping_the_response_at_any_point_gives_everything_back<S: Subject>(
    mut rig: Rig<S>,
) {
    let caller = Caller::new();
    let mut finished = false;
    // Two waits for readiness and three for the answer: with one poll more than that, it is there.
    for polls in 0..=6 {
        rig.probe.readiness(Readiness::After(2));
        rig.probe.answer(Answer::OK.after(3));
        while caller.ready(&mut rig.service).is_pending() {}
        let mut response = Box::pin(rig.service.call(Ask(0)));
        finished = (0..polls).any(|_| caller.poll(&mut response).is_ready());
        drop(response);
        rig.assert_idle(1);

        rig.probe.readiness(Readiness::Now);
        rig.probe.answer(Answer::OK);
        assert!(rig.ask().is_ok(), "the call after one that was dropped after {polls} polls");
    }
    assert!(finished, "the last round polled to the end, so every point before it was covered");
}

pub(crate) fn a_readied_service_that_is_dropped_holds_nothing<S: Subject>(mut rig: Rig<S>) {
    let caller = Caller::new();
    let mut clones: Vec<S> = (0..10).map(|_| rig.service.clone()).collect();
    assert!(clones.iter_mut().all(|clone| caller.ready(clone).is_ready()));
    drop(clones);
    assert_eq!(caller.wakers(), 0);
    rig.assert_idle(1);
    assert!(rig.ask().is_ok());
}

pub(crate) fn a_panic_in_call_propagates_and_the_next_call_works<S: Subject>(mut rig: Rig<S>) {
    rig.probe.answer(Answer::PANICS_IN_CALL);
    assert_eq!(panic_of(|| rig.ask()), ON_DEMAND);
    rig.assert_idle(1);
    rig.probe.answer(Answer::OK);
    assert!(rig.ask().is_ok());
}

pub(crate) fn a_panic_in_poll_propagates_and_the_next_call_works<S: Subject>(mut rig: Rig<S>) {
    rig.probe.answer(Answer::PANICS_IN_POLL);
    let caller = Caller::new();
    assert!(caller.ready(&mut rig.service).is_ready());
    let mut response = Box::pin(rig.service.call(Ask(0)));
    assert!(caller.poll(&mut response).is_pending());
    assert_eq!(panic_of(|| caller.poll(&mut response)), ON_DEMAND);
    drop(response);
    rig.assert_idle(1);
    rig.probe.answer(Answer::OK);
    assert!(rig.ask().is_ok());
}

pub(crate) fn a_panic_in_poll_ready_propagates_and_the_next_call_works<S: Subject>(
    mut rig: Rig<S>,
) {
    rig.probe.readiness(Readiness::Panics);
    assert_eq!(panic_of(|| rig.ask()), ON_DEMAND);
    rig.assert_idle(1);
    rig.probe.readiness(Readiness::Now);
    assert!(rig.ask().is_ok());
}

pub(crate) fn a_panic_in_call_becomes_an_error_and_the_next_call_works<S: Subject>(
    mut rig: Rig<S>,
) {
    rig.probe.answer(Answer::PANICS_IN_CALL);
    let caught = refusal(rig.ask());
    assert_eq!((caught.reason(), caught.attempted()), (Reason::Panicked, true));
    rig.assert_idle(1);
    rig.probe.answer(Answer::OK);
    assert!(rig.ask().is_ok());
}

pub(crate) fn a_panic_in_poll_becomes_an_error_and_the_next_call_works<S: Subject>(
    mut rig: Rig<S>,
) {
    rig.probe.answer(Answer::PANICS_IN_POLL);
    let caller = Caller::new();
    assert!(caller.ready(&mut rig.service).is_ready());
    let mut response = Box::pin(rig.service.call(Ask(0)));
    assert!(caller.poll(&mut response).is_pending());
    let Poll::Ready(caught) = caller.poll(&mut response) else { panic!("it has panicked") };
    assert_eq!(refusal(caught).reason(), Reason::Panicked);
    // Nothing of the call is in use by then.
    rig.assert_idle(1);
    drop(response);
    rig.probe.answer(Answer::OK);
    assert!(rig.ask().is_ok());
}

pub(crate) fn a_panic_in_poll_ready_becomes_an_error_and_the_next_call_works<S: Subject>(
    mut rig: Rig<S>,
) {
    rig.probe.readiness(Readiness::Panics);
    assert_eq!(refusal(rig.ask()).reason(), Reason::Panicked);
    rig.assert_idle(1);
    rig.probe.readiness(Readiness::Now);
    assert!(rig.ask().is_ok());
}

pub(crate) fn an_error_from_poll_ready_passes_unchanged<S: Subject>(mut rig: Rig<S>) {
    rig.probe.readiness(Readiness::Fails("gone"));
    let caller = Caller::new();
    match (rig.calls, caller.ready(&mut rig.service)) {
        (Calls::AtOnce, Poll::Ready(Err(error))) => {
            assert!(matches!(error.peel(), Error::Inner(Fault("gone"))));
        }
        (Calls::InFuture, Poll::Ready(Ok(()))) => {
            let result = caller.finish(&mut Box::pin(rig.service.call(Ask(0))));
            assert_eq!(fault(result), Fault("gone"));
        }
        (_, other) => panic!("poll_ready answered {other:?}"),
    }
    rig.assert_idle(1);
    rig.probe.readiness(Readiness::Now);
    assert!(rig.ask().is_ok());
}

pub(crate) fn a_service_that_is_never_ready_is_never_called<S: Subject>(mut rig: Rig<S>) {
    rig.probe.readiness(Readiness::Never);
    let caller = Caller::new();
    let mut response = None;
    if rig.calls == Calls::InFuture {
        assert!(caller.ready(&mut rig.service).is_ready());
        response = Some(Box::pin(rig.service.call(Ask(0))));
    }
    let mut wait = || match &mut response {
        None => caller.ready(&mut rig.service).is_pending(),
        Some(response) => caller.poll(response).is_pending(),
    };
    assert!(wait());
    let kept = caller.wakers();
    assert!((0..100).all(|_| wait()));
    assert_eq!((rig.probe.calls(), caller.wakeups()), (0, 0));
    assert_eq!(caller.wakers(), kept, "polling again keeps no more wakers");
    drop((rig.service, response));
    assert_eq!(caller.wakers(), 0);
}

pub(crate) fn whoever_waits_for_readiness_is_woken_by_it<S: Subject>(mut rig: Rig<S>) {
    rig.probe.readiness(Readiness::Never);
    let caller = Caller::new();
    let mut response = None;
    match rig.calls {
        Calls::AtOnce => assert!(caller.ready(&mut rig.service).is_pending()),
        Calls::InFuture => {
            assert!(caller.ready(&mut rig.service).is_ready());
            let future = response.insert(Box::pin(rig.service.call(Ask(0))));
            assert!(caller.poll(future).is_pending());
        }
    }
    rig.probe.readiness(Readiness::Now);
    rig.probe.wake();
    assert_eq!(caller.wakeups(), 1);
    let mut response = response.unwrap_or_else(|| {
        assert!(caller.ready(&mut rig.service).is_ready());
        Box::pin(rig.service.call(Ask(0)))
    });
    assert!(caller.finish(&mut response).is_ok());
}

pub(crate) fn a_waiting_caller_that_leaves_is_forgotten<S: Subject>(rig: Rig<S>) {
    rig.probe.readiness(Readiness::Never);
    let caller = Caller::new();
    for _ in 0..100 {
        let mut service = rig.service.clone();
        let ready = caller.ready(&mut service).is_ready();
        let response = ready.then(|| {
            let mut response = Box::pin(service.call(Ask(0)));
            assert!(caller.poll(&mut response).is_pending());
            response
        });
        drop((service, response));
    }
    assert_eq!(caller.wakers(), 0, "a caller that left can no longer be woken");
    rig.assert_idle(1);
}

pub(crate) fn only_the_newest_task_is_woken<S: Subject>(mut rig: Rig<S>) {
    rig.probe.readiness(Readiness::Never);
    let (first, second) = (Caller::new(), Caller::new());
    let mut response = None;
    for caller in [&first, &second] {
        match rig.calls {
            Calls::AtOnce => assert!(caller.ready(&mut rig.service).is_pending()),
            Calls::InFuture => {
                let future = response.get_or_insert_with(|| {
                    assert!(caller.ready(&mut rig.service).is_ready());
                    Box::pin(rig.service.call(Ask(0)))
                });
                assert!(caller.poll(future).is_pending());
            }
        }
    }
    assert_eq!(first.wakers(), 0, "the task that polled last is the one that waits");
    rig.probe.wake();
    assert_eq!((first.wakeups(), second.wakeups()), (0, 1));
}
