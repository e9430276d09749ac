//! What the types must and must not be. Most of this file is proven by compiling it.

use std::{
    cell::Cell,
    convert::Infallible,
    fmt::Debug,
    future::{Ready, ready},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use portcullis::{
    BoxError, CarryRejection, Circuit, CircuitBreaker, CircuitBreakerConfig, CircuitBreakerLayer,
    Error, ErrorLayer, KeyedCircuitBreakerLayer, KeyedRateLimitLayer, Outcome, RateLimitConfig,
    RateLimitLayer, RateLimiter, RateLimiters, Reason, Registry, Rejection, WaitingRateLimitLayer,
    Waits, policy::bucket::Buckets,
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, service_fn,
    util::{BoxCloneService, BoxCloneSyncService, BoxService},
};

use crate::support::{Answered, Ask, Fault, strict};

fn breaker() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new(CircuitBreakerConfig::new("bounds")).expect("a valid config")
}

fn rate() -> RateLimitConfig {
    RateLimitConfig::per_second("bounds", 2)
}

fn shared<T: Clone + Debug + Send + Sync + Unpin + 'static>(_: &T) {}
fn sendable<T: Send + Sync + 'static>(_: &T) {}

#[tokio::test(start_paused = true)]
async fn everything_is_thread_safe_over_a_thread_safe_service() {
    let (service, _probe) = strict();
    let layer = breaker();
    shared(&layer);
    shared(layer.circuit());
    sendable(&layer.circuit().subscribe());
    let mut service = layer.layer(service);
    shared(&service);
    sendable(&service.ready().await.unwrap().call(Ask(0)));

    let (service, _probe) = strict();
    let keyed = KeyedCircuitBreakerLayer::new(CircuitBreakerConfig::new("bounds"), 8, |_: &Ask| 0)
        .expect("a valid config");
    shared(&keyed);
    shared(keyed.circuits());
    let mut service = keyed.layer(service);
    shared(&service);
    sendable(&service.ready().await.unwrap().call(Ask(0)));

    let (service, _probe) = strict();
    let layer = RateLimitLayer::new(rate()).expect("a valid config");
    shared(&layer);
    shared(layer.limiter());
    let mut limited = layer.layer(service.clone());
    shared(&limited);
    sendable(&limited.ready().await.unwrap().call(Ask(0)));
    sendable(&layer.limiter().reserve(1, None).expect("there are more"));

    let layer = WaitingRateLimitLayer::new(rate(), Waits::default()).expect("a valid config");
    shared(&layer);
    let mut limited = layer.layer(service);
    shared(&limited);
    drop(limited.ready().await.unwrap().call(Ask(0)));
    // One that goes at once, and one that waits.
    for _ in 0..2 {
        sendable(&limited.ready().await.unwrap().call(Ask(0)));
        sendable(&layer.limiter().acquire());
    }

    let (service, _probe) = strict();
    shared(&ErrorLayer::new());
    let mut service = ErrorLayer::new().layer(service);
    shared(&service);
    sendable(&service.ready().await.unwrap().call(Ask(0)));

    fn static_bounds<T: Send + Sync + 'static>() {}
    static_bounds::<Registry>();
    static_bounds::<Circuit>();
    static_bounds::<RateLimiter>();
    static_bounds::<Error<Fault>>();
    static_bounds::<CircuitBreaker<BoxCloneSyncService<Ask, Answered, BoxError>>>();
}

/// A service that is nothing at all: not `Clone`, not `Send`, not `'static`, with a future to match.
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

impl Future for HomeboundFuture<'_> {
    type Output = Result<Answered, Fault>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.calls.set(self.calls.get() + 1);
        Poll::Ready(if self.calls.get() > 2 { Err(Fault("fault")) } else { Ok(Answered) })
    }
}

impl<'a> Service<&'a str> for Homebound<'a> {
    type Response = Answered;
    type Error = Fault;
    type Future = HomeboundFuture<'a>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: &'a str) -> HomeboundFuture<'a> {
        HomeboundFuture { calls: self.calls, _not_send: Rc::clone(&self._not_send) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_neither_clone_nor_send_nor_static_can_be_wrapped() {
    let calls = Cell::new(0);
    let text = String::from("borrowed");
    let config = CircuitBreakerConfig::new("bounds").consecutive_failures(1);
    let layer = CircuitBreakerLayer::new(config).expect("a valid config");
    let mut service = ServiceBuilder::new()
        .layer(&layer)
        .layer(ErrorLayer::new())
        .service(Homebound { calls: &calls, _not_send: Rc::new(()) });
    for _ in 0..2 {
        assert_eq!(service.ready().await.unwrap().call(&text).await, Ok(Answered));
    }
    let failed = service.ready().await.unwrap().call(&text).await;
    assert_eq!(failed, Err(Error::Inner(Fault("fault"))));
    let refused = service.ready().await.unwrap().call(&text).await.unwrap_err();
    assert_eq!(refused.rejection().map(Rejection::reason), Some(Reason::CircuitOpen));
    assert_eq!(calls.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_limiter_that_refuses_takes_any_service_and_any_cost() {
    let calls = Cell::new(0);
    let text = String::from("borrowed");
    let free = Rc::new(Cell::new(false));
    let counted = free.clone();
    let layer = RateLimitLayer::new(rate())
        .expect("a valid config")
        // Neither `Send` nor `Sync`, and it borrows nothing but the request.
        .cost(move |text: &&str| if counted.get() { 0 } else { text.len() as u64 / 8 });
    let mut service = ServiceBuilder::new()
        .layer(&layer)
        .layer(ErrorLayer::new())
        .service(Homebound { calls: &calls, _not_send: Rc::new(()) });
    for _ in 0..2 {
        assert_eq!(service.ready().await.unwrap().call(&text).await, Ok(Answered));
    }
    let refused = service.ready().await.unwrap().call(&text).await.unwrap_err();
    assert_eq!(refused.rejection().map(Rejection::reason), Some(Reason::RateLimited));
    free.set(true);
    let failed = service.ready().await.unwrap().call(&text).await;
    assert_eq!(failed, Err(Error::Inner(Fault("fault"))));
    assert_eq!(calls.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn boxed_services_can_be_wrapped_and_the_result_boxed_again() {
    let (service, probe) = strict();
    // `BoxService` is neither `Clone` nor `Sync`.
    let layer = breaker();
    let boxed: BoxService<Ask, Answered, Error<Fault>> = BoxService::new(service.clone());
    let again = BoxService::new(layer.layer(boxed));
    assert_eq!(again.oneshot(Ask(0)).await, Ok(Answered));

    let boxed = BoxCloneService::new(service.clone());
    let again = BoxCloneService::new(layer.layer(boxed));
    assert_eq!(again.clone().oneshot(Ask(0)).await, Ok(Answered));

    let boxed = BoxCloneSyncService::new(service);
    let again = BoxCloneSyncService::new(layer.layer(boxed));
    assert_eq!(again.clone().oneshot(Ask(0)).await, Ok(Answered));
    assert_eq!((probe.calls(), layer.circuit().snapshot().successes), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn closures_and_their_types_are_inferred() {
    let by_status = breaker().classify(|result: &Result<u16, Error<Infallible>>| match result {
        Ok(status) if *status >= 500 => Outcome::Failure,
        _ => Outcome::Success,
    });
    let circuit = by_status.circuit().clone();
    let service = ServiceBuilder::new()
        .layer(by_status)
        .layer(ErrorLayer::new())
        .service(service_fn(|status: u16| ready(Ok::<_, Infallible>(status))));
    assert_eq!(service.clone().oneshot(503).await, Ok(503));
    assert_eq!(service.oneshot(200).await, Ok(200));
    assert_eq!((circuit.snapshot().calls, circuit.snapshot().failures), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_boxed_error_carries_a_refusal_without_a_line_of_code() {
    let layer = breaker();
    let service = layer.layer(service_fn(|(): ()| ready(Err::<(), BoxError>("down".into()))));
    let failed = service.clone().oneshot(()).await.unwrap_err();
    assert_eq!((failed.to_string(), failed.rejection()), ("down".into(), None));
    layer.circuit().force_open();
    let refused = service.oneshot(()).await.unwrap_err();
    assert_eq!(Rejection::find(&*refused).map(Rejection::policy), Some("bounds"));
}

/// An error of a user's own.
#[derive(Debug, PartialEq)]
enum AppError {
    Refused(Rejection),
    Down,
}

impl From<Rejection> for AppError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl CarryRejection for AppError {
    fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Refused(rejection) => Some(rejection),
            Self::Down => None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_own_enum_is_the_error_of_the_whole_stack() {
    let inner = |(): ()| -> Ready<Result<(), AppError>> { ready(Err(AppError::Down)) };
    let (outer, below) = (breaker(), breaker());
    let service = ServiceBuilder::new().layer(&outer).layer(&below).service(service_fn(inner));
    assert_eq!(service.clone().oneshot(()).await, Err(AppError::Down));
    below.circuit().force_open();
    let refused = service.oneshot(()).await.unwrap_err();
    assert!(matches!(refused, AppError::Refused(by) if by.reason() == Reason::ForcedOpen));
}

#[tokio::test(start_paused = true)]
async fn a_keyed_rate_limit_asks_nothing_of_the_service_and_shares_what_can_be_shared() {
    let config = || RateLimitConfig::per_second("bounds", 10).burst(2);
    let (service, _probe) = strict();
    let layer = KeyedRateLimitLayer::new(config(), 8, |ask: &Ask| ask.0).expect("a valid config");
    shared(&layer);
    shared(layer.limiters());
    let mut service = layer.layer(service);
    shared(&service);
    sendable(&service.ready().await.unwrap().call(Ask(0)));

    // Neither `Clone` nor `Send` nor `'static`; a key borrowed from the request, as a path from its parts.
    let calls = Cell::new(0);
    let text = String::from("borrowed");
    let layer = KeyedRateLimitLayer::new(config(), 8, |path: &&str| path.len()).expect("valid");
    let mut service = ServiceBuilder::new()
        .layer(&layer)
        .layer(ErrorLayer::new())
        .service(Homebound { calls: &calls, _not_send: Rc::new(()) });
    for _ in 0..2 {
        assert_eq!(service.ready().await.unwrap().call(&text).await, Ok(Answered));
    }
    let refused = service.ready().await.unwrap().call(&text).await.unwrap_err();
    assert_eq!(refused.rejection().map(Rejection::reason), Some(Reason::RateLimited));
    assert_eq!((calls.get(), layer.limiters().remaining(&8)), (2, 0));

    // Neither are keys: one that is not `Clone` can be given away.
    #[derive(PartialEq, Eq, Hash)]
    struct Tenant(u8);
    let layer = KeyedRateLimitLayer::new(config(), 8, |ask: &Ask| Tenant(ask.0)).expect("valid");
    let (service, _probe) = strict();
    assert_eq!(layer.layer(service).oneshot(Ask(3)).await, Ok(Answered));
    assert_eq!(layer.limiters().remaining(&Tenant(3)), 1);

    fn static_bounds<T: Send + Sync + 'static>() {}
    static_bounds::<RateLimiters<String>>();
    static_bounds::<Buckets<std::net::IpAddr>>();
    // A key need not be `Sync`: it is only seen under a lock.
    static_bounds::<RateLimiters<Cell<u8>>>();
}
