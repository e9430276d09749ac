//! Another service as the source.

use std::{
    cell::Cell,
    convert::Infallible,
    io,
    rc::Rc,
    task::{Context, Poll},
};

use portcullis::{BoxError, Error, FallbackLayer, deadline};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};

use crate::{
    SECOND, TestError, Told, ask, config, down,
    support::{Answer, Answered, Ask, Caller, Fault, ON_DEMAND, Readiness, panic_of, strict},
};

#[test]
fn the_other_service_gets_what_was_captured() {
    let (told, spare) = (Told::to(1), Told::to(2));
    let layer = FallbackLayer::service(config(), spare.clone(), |request: &u32| request + 100);
    let mut service = layer.unwrap().layer(told.clone());
    assert_eq!((ask(&mut service, 5), spare.seen()), (Ok(1), vec![]));
    told.fails("down");
    assert_eq!((ask(&mut service, 6), spare.seen()), (Ok(2), vec![106]));
    assert_eq!(service.handle().snapshot().by_service, 1);
}

/// What the other service says is the answer, its error too: the first one is gone by then.
#[test]
fn its_own_failure_is_the_answer() {
    let (told, spare) = (Told::to(1), Told::to(2));
    told.fails("down");
    spare.fails("down as well");
    let mut service =
        FallbackLayer::service(config(), spare.clone(), u32::clone).unwrap().layer(told);
    assert_eq!(ask(&mut service, 1), Err(Error::Inner(Fault("down as well"))));
    let now = service.handle().snapshot();
    assert_eq!((now.by_service, now.unanswered, spare.seen()), (0, 1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn its_error_becomes_the_stacks() {
    // One that cannot fail, one with an error of another type, and one that is boxed.
    let never = service_fn(|n: u32| async move { Ok::<_, Infallible>(n) });
    let fails = service_fn(|_: u32| async { Err::<u32, _>(io::Error::other("disk")) });
    let boxed = BoxCloneSyncService::new(service_fn(|n: u32| async move { Ok::<_, BoxError>(n) }));
    let first = || service_fn(|_: u32| async { Err::<u32, BoxError>("down".into()) });
    let mut service = FallbackLayer::service(config(), fails, u32::clone).unwrap().layer(first());
    assert_eq!(ask(&mut service, 1).unwrap_err().to_string(), "disk");
    let never =
        tower::ServiceExt::map_err(never, |never: Infallible| -> BoxError { match never {} });
    let mut service = FallbackLayer::service(config(), never, u32::clone).unwrap().layer(first());
    assert_eq!(ask(&mut service, 4).unwrap(), 4);
    let mut service = FallbackLayer::service(config(), boxed, u32::clone).unwrap().layer(first());
    assert_eq!(ask(&mut service, 5).unwrap(), 5);
}

/// F3: the other service is readied by each call for itself; one that waits for it is in nobody's way.
#[test]
fn a_slow_backup_delays_no_other_call() {
    let told = Told::to(1);
    let (spare, probe) = strict();
    let spare = spare.map_response(|_: Answered| 2_u32);
    let layer = FallbackLayer::service(config(), spare, |_: &u32| Ask(0)).unwrap();
    let mut service = layer.layer(told.clone());
    told.fails("down");
    probe.readiness(Readiness::Never);
    let caller = Caller::new();
    let mut waiting: Vec<_> = (0..10)
        .map(|_| {
            assert!(caller.ready(&mut service).is_ready());
            let mut response = Box::pin(service.call(1));
            assert!(caller.poll(&mut response).is_pending());
            response
        })
        .collect();
    // Ten wait to be readied. Others pass them, by the same service and by its clones.
    probe.readiness(Readiness::Now);
    probe.answer(Answer::HANGS);
    let mut hangs = Box::pin(service.call(1));
    assert!(caller.poll(&mut hangs).is_pending());
    probe.answer(Answer::OK);
    assert_eq!((ask(&mut service, 1), ask(&mut service.clone(), 1)), (Ok(2), Ok(2)));
    told.answers(1);
    assert_eq!(ask(&mut service, 1), Ok(1));
    // And each that waited is woken and answered in its turn, the last one first here.
    probe.wake();
    assert_eq!(caller.wakeups(), 10);
    while let Some(mut response) = waiting.pop() {
        assert_eq!(caller.finish(&mut response), Ok(2));
    }
    assert_eq!(probe.live(), 1, "the one that hangs");
}

#[test]
fn it_is_readied_before_it_is_called_and_its_readiness_error_is_the_answer() {
    let told = Told::<u32>::to(1);
    told.fails("down");
    let (spare, probe) = strict();
    let spare = spare.map_response(|_: Answered| 2_u32);
    let layer = FallbackLayer::service(config(), spare, |_: &u32| Ask(0)).unwrap();
    let mut service = layer.layer(told);
    probe.readiness(Readiness::After(3));
    assert_eq!(ask(&mut service, 1), Ok(2));
    probe.readiness(Readiness::Fails("gone too"));
    assert_eq!(ask(&mut service, 1), Err(Error::Inner(Fault("gone too"))));
    assert_eq!((probe.readied(), probe.calls(), probe.reserved()), (1, 1, 0));
    assert_eq!(service.handle().snapshot().unanswered, 1);
}

#[test]
fn its_panic_is_not_caught_and_the_next_call_works() {
    let told = Told::<u32>::to(1);
    told.fails("down");
    let (spare, probe) = strict();
    let spare = spare.map_response(|_: Answered| 2_u32);
    let mut service =
        FallbackLayer::service(config(), spare, |_: &u32| Ask(0)).unwrap().layer(told);
    for panics in [Answer::PANICS_IN_CALL, Answer::PANICS_IN_POLL] {
        probe.answer(panics);
        assert_eq!(panic_of(|| ask(&mut service, 1)), ON_DEMAND);
        probe.answer(Answer::OK);
        assert_eq!(ask(&mut service, 1), Ok(2));
    }
    assert_eq!((probe.live(), probe.reserved()), (0, 0));
}

/// The first call's future and a failed response are gone before the other service is called.
#[test]
fn what_the_first_call_held_is_free_before_the_second() {
    /// A response that holds a place in a pool of one.
    #[derive(Debug)]
    struct Pinned(Rc<Cell<u32>>);
    impl Drop for Pinned {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    struct Pool(Rc<Cell<u32>>);
    impl Clone for Pool {
        fn clone(&self) -> Self {
            Self(Rc::clone(&self.0))
        }
    }
    impl Service<u32> for Pool {
        type Response = Pinned;
        type Error = TestError;
        type Future = std::future::Ready<Result<Pinned, TestError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TestError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: u32) -> Self::Future {
            assert_eq!(self.0.get(), 0, "there is one place, and it is taken");
            self.0.set(1);
            std::future::ready(Ok(Pinned(Rc::clone(&self.0))))
        }
    }
    let pool = Pool(Rc::default());
    let places = Rc::clone(&pool.0);
    let layer = FallbackLayer::service(config(), pool.clone(), u32::clone)
        .unwrap()
        .classify(|_: &Result<Pinned, TestError>| portcullis::Outcome::Failure);
    let answer = ask(&mut layer.layer(pool), 1).unwrap();
    assert_eq!(places.get(), 1);
    drop(answer);
    assert_eq!(places.get(), 0);
}

#[test]
fn a_backup_may_have_a_fallback_of_its_own() {
    let told = Told::<u32>::to(1);
    let second = Told::<u32>::to(2);
    told.fails("down");
    let value = FallbackLayer::value(config(), 3).unwrap();
    let spare = value.layer(second.clone());
    let mut service = FallbackLayer::service(config(), spare, u32::clone).unwrap().layer(told);
    assert_eq!(ask(&mut service, 1), Ok(2));
    second.fails("down");
    assert_eq!(ask(&mut service, 1), Ok(3));
    let plain: Result<u32, TestError> = down();
    assert!(plain.is_err());
    assert_eq!((value.handle().snapshot().by_value, second.seen()), (1, vec![1, 1]));
}

/// A deadline of the caller's reaches the other service; one that has passed refuses no answer.
#[tokio::test(start_paused = true)]
async fn the_callers_deadline_reaches_the_other_service() {
    let left = || async { Ok::<_, TestError>(deadline::remaining().map(|left| left.as_secs())) };
    let spare = service_fn(move |_: u32| left());
    let first = service_fn(|_: u32| async {
        advance(2 * SECOND).await;
        down()
    });
    let service = FallbackLayer::service(config(), spare, u32::clone).unwrap().layer(first);
    assert_eq!(service.clone().oneshot(1).await, Ok(None));
    let within = |seconds| deadline::within(seconds * SECOND, service.clone().oneshot(1));
    assert_eq!(within(5).await, Ok(Some(3)));
    assert_eq!(within(1).await, Ok(Some(0)));
}
