//! What the types must and must not ask for. Most of this file is proven by compiling it.

use std::{
    cell::Cell,
    fmt::Debug,
    future::{Future, ready},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use portcullis::{
    AnyError, BoxError, Error, Failed, Fallback, FallbackConfig, FallbackLayer, FallbackPolicy,
    LastGood, LastGoodConfig, Served,
    fallback::{AsServed, Remembered, Value},
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, service_fn,
    util::{BoxCloneSyncService, BoxService},
};

use crate::{
    MINUTE, TestError, Told, ask, config, kept,
    support::{Answered, Ask, Fault, strict},
};

fn shared<T: Clone + Debug + Send + Sync + Unpin + 'static>(_: &T) {}
fn sendable<T: Send + Sync + 'static>(_: &T) {}

#[test]
fn everything_is_thread_safe_over_a_thread_safe_service() {
    macro_rules! all {
        ($($layer:expr)*) => {$({
            let (service, _probe) = strict();
            let layer = $layer;
            shared(&layer);
            shared(layer.handle());
            let mut service = layer.layer(service);
            shared(&service);
            assert!(crate::Caller::new().ready(&mut service).is_ready());
            sendable(&service.call(Ask(0)));
        })*};
    }
    let answers = || LastGood::new(kept()).unwrap().layer(|ask: &Ask| Some(ask.0));
    let policy = FallbackPolicy::new(config()).unwrap();
    all! {
        policy.function(|failed: Failed<Answered, TestError>| failed.into_result())
        policy.with_request(|ask: &Ask| ask.0, |_, failed: Failed<Answered, TestError>| failed.into())
        policy.async_function(|failed: Failed<Answered, TestError>| ready(failed.into_result()))
        policy.async_with_request(
            |ask: &Ask| ask.0,
            |_, failed: Failed<Answered, TestError>| ready(failed.into_result()),
        )
        policy.service(strict().0, |ask: &Ask| Ask(ask.0))
        answers().keep(|_: &Answered| (), |(), _| Answered)
    }
    sendable(&policy.run(ready(Ok::<_, TestError>(1)), |failed| failed.into_result()));
    sendable(&LastGood::new(kept()).unwrap().run(1, ready(Ok::<_, TestError>(1))));
}

/// X5: neither response nor error nor request need be `Clone` where no answer is kept; the service need be
/// neither `Clone` nor `Send` nor `'static`.
#[derive(Debug)]
struct Homebound<'a> {
    calls: &'a Cell<u32>,
    _not_send: Rc<()>,
}

#[derive(Debug)]
struct HomeboundFuture<'a> {
    calls: &'a Cell<u32>,
    _not_send: Rc<()>,
}

#[derive(Debug, PartialEq)]
struct Precious(u32);

impl Future for HomeboundFuture<'_> {
    type Output = Result<Precious, Fault>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.calls.set(self.calls.get() + 1);
        Poll::Ready(if self.calls.get() > 1 { Err(Fault("fault")) } else { Ok(Precious(1)) })
    }
}

impl<'a> Service<&'a str> for Homebound<'a> {
    type Response = Precious;
    type Error = Fault;
    type Future = HomeboundFuture<'a>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: &'a str) -> HomeboundFuture<'a> {
        HomeboundFuture { calls: self.calls, _not_send: Rc::clone(&self._not_send) }
    }
}

#[test]
fn a_service_that_is_neither_clone_nor_send_nor_static_can_be_wrapped() {
    let text = String::from("borrowed");
    let not_send = Rc::new(5);
    // Nor does the error need to carry a rejection: a fallback refuses nothing.
    let by_error = FallbackLayer::function(config(), |failed: Failed<Precious, Fault>| {
        failed.into_result().or(Ok(Precious(2)))
    });
    let by_request = FallbackLayer::with_request(
        config(),
        |text: &&str| text.len() as u32,
        move |length, _: Failed<Precious, Fault>| Ok(Precious(length + *not_send)),
    );
    let last_good = FallbackLayer::last_good(kept(), |text: &&str| Some((*text).to_owned()))
        .unwrap()
        .keep(|response: &Precious| response.0, |number, _| Precious(number + 100));
    macro_rules! two {
        ($layer:expr) => {{
            let calls = Cell::new(0);
            let mut service = $layer.layer(Homebound { calls: &calls, _not_send: Rc::new(()) });
            [ask(&mut service, text.as_str()), ask(&mut service, text.as_str())]
        }};
    }
    assert_eq!(two!(by_error.unwrap()), [Ok(Precious(1)), Ok(Precious(2))]);
    assert_eq!(two!(by_request.unwrap()), [Ok(Precious(1)), Ok(Precious(13))]);
    assert_eq!(two!(last_good), [Ok(Precious(1)), Ok(Precious(101))]);
}

/// X4: every type follows from use, none is written.
#[tokio::test(start_paused = true)]
async fn types_are_inferred_from_the_service() {
    let fails = || service_fn(|_: u32| async { Err::<u32, _>(std::io::Error::other("down")) });
    let value =
        ServiceBuilder::new().layer(FallbackLayer::value(config(), 1).unwrap()).service(fails());
    assert_eq!(value.oneshot(1).await.unwrap(), 1);
    let when = ServiceBuilder::new()
        .layer(
            FallbackLayer::value(config(), 1)
                .unwrap()
                .when(|error: &std::io::Error| error.to_string() == "down"),
        )
        .service(fails());
    assert_eq!(when.oneshot(1).await.unwrap(), 1);
    let last_good = FallbackLayer::last_good(kept(), |key: &u32| Some(*key)).unwrap();
    let handle = last_good.handle().clone();
    let last_good = ServiceBuilder::new().layer(last_good).service(fails());
    assert!(last_good.clone().oneshot(1).await.is_err());
    handle.put(1, 11);
    assert_eq!(last_good.oneshot(1).await.unwrap().into_inner(), 11);
}

type LastPage = Remembered<u32, u32, fn(&u32) -> Option<u32>, AsServed>;

/// Named in a struct of one's own.
struct Clients {
    prices: Fallback<Told<u32>, Value<u32>, TestError>,
    pages: Fallback<Told<u32>, LastPage, TestError, AnyError>,
}

#[test]
fn services_can_be_named() {
    let key: fn(&u32) -> Option<u32> = |key| Some(*key);
    let mut clients = Clients {
        prices: FallbackLayer::value(config(), 1).unwrap().layer(Told::to(2)),
        pages: FallbackLayer::last_good(kept(), key).unwrap().layer(Told::to(3)),
    };
    assert_eq!(ask(&mut clients.prices, 1), Ok(2));
    assert_eq!(ask(&mut clients.pages, 1), Ok(Served::Fresh(3)));
    assert_eq!(clients.prices.get_ref().seen(), [1]);
    clients.prices.get_mut().fails("down");
    assert_eq!(ask(&mut clients.prices, 1), Ok(1));
    assert_eq!(clients.pages.into_inner().seen(), [1]);
}

#[tokio::test(start_paused = true)]
async fn boxed_services_can_be_wrapped_and_the_result_boxed_again() {
    let (service, probe) = strict();
    let function = |_: Failed<Answered, TestError>| Ok(Answered);
    // `BoxService` is neither `Clone` nor `Sync`.
    let boxed: BoxService<Ask, Answered, TestError> = BoxService::new(service.clone());
    let again = BoxService::new(FallbackLayer::function(config(), function).unwrap().layer(boxed));
    assert_eq!(again.oneshot(Ask(0)).await, Ok(Answered));
    let boxed = BoxCloneSyncService::new(service);
    let layer = FallbackLayer::service(config(), boxed.clone(), |ask: &Ask| Ask(ask.0)).unwrap();
    let again = BoxCloneSyncService::new(layer.layer(boxed));
    assert_eq!(again.clone().oneshot(Ask(0)).await, Ok(Answered));
    assert_eq!(probe.calls(), 2);
    let broken = service_fn(|_: Ask| async { Err::<Answered, BoxError>("down".into()) });
    let layer = FallbackLayer::function(config(), |failed: Failed<Answered, BoxError>| {
        assert_eq!(failed.error().map(ToString::to_string).as_deref(), Some("down"));
        Ok(Answered)
    });
    assert!(layer.unwrap().layer(broken).oneshot(Ask(0)).await.is_ok());
}

/// Several fallbacks above one another: the innermost that has an answer gives it.
#[tokio::test(start_paused = true)]
async fn fallbacks_nest() {
    let told = Told::to(1_u32);
    let last_good =
        FallbackLayer::last_good(LastGoodConfig::new("last", MINUTE), |k: &u32| Some(*k))
            .unwrap()
            .mark(|value: u32, _| value + 1_000);
    let mut service = ServiceBuilder::new()
        .layer(FallbackLayer::value(FallbackConfig::new("value"), 7).unwrap())
        .layer(last_good)
        .service(told.clone());
    assert_eq!(ask(&mut service, 1), Ok(1));
    told.fails("down");
    assert_eq!((ask(&mut service, 1), ask(&mut service, 2)), (Ok(1_001), Ok(7)));
}

#[test]
fn a_failure_is_one_or_the_other() {
    let response: Failed<u32, TestError> = Ok(1).into();
    let error: Failed<u32, TestError> = Failed::from(Err(Error::Inner(Fault("down"))));
    assert_eq!((response.response(), response.error()), (Some(&1), None));
    assert_eq!((error.response(), error.error()), (None, Some(&Error::Inner(Fault("down")))));
    assert_eq!((response.into_result(), error.into_result()), (Ok(1), crate::down()));
}
