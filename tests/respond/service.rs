//! The layer over services: what it answers, what passes by, and its readiness.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use portcullis::{
    BoxError, BulkheadConfig, BulkheadLayer, CatchPanicConfig, CatchPanicLayer,
    CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer, RateLimitConfig, RateLimitLayer,
    Reason, Rejection, Sleep, TimeoutConfig, TimeoutLayer,
    http::{Peel, Respond, RespondLayer, rejection_of},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{REASONS, field, refusal};

const SECOND: Duration = Duration::from_secs(1);

type Body = String;

/// Fails as it is told, and is ready as it is told; counts.
#[derive(Clone)]
struct Told<E> {
    answer: Result<(), E>,
    unready: Option<E>,
    calls: Arc<AtomicU32>,
}

impl<E: Clone> Told<E> {
    fn new(answer: Result<(), E>) -> Self {
        Self { answer, unready: None, calls: Arc::default() }
    }
}

impl<E: Clone> Service<Request<Body>> for Told<E> {
    type Response = Response<Body>;
    type Error = E;
    type Future = Ready<Result<Response<Body>, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(self.unready.clone().map_or(Ok(()), Err))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        self.calls.fetch_add(1, SeqCst);
        ready(self.answer.clone().map(|()| Response::new("answered".into())))
    }
}

fn request() -> Request<Body> {
    Request::new(Body::new())
}

/// What a server must be for axum: it cannot fail.
fn infallible<S: Service<Request<Body>, Error = Infallible>>(service: S) -> S {
    service
}

#[tokio::test]
async fn every_refusal_is_answered_and_the_error_is_the_services_own() {
    for (reason, status, code) in REASONS {
        let refuses = Told::<Error<Infallible>>::new(Err(refusal(reason).into()));
        let service = infallible(RespondLayer::new().layer(refuses.clone()));
        let Ok(response) = service.oneshot(request()).await;
        assert_eq!((response.status().as_u16(), &response.body()[..]), (status, ""), "{reason}");
        assert_eq!(rejection_of(&response), Some(&refusal(reason)));

        let service = infallible(RespondLayer::new().problem_json().layer(refuses.clone()));
        let Ok(response) = service.oneshot(request()).await;
        assert_eq!(response.status(), status, "{reason}");
        assert!(response.body().contains(&refusal(reason).to_string()), "{response:?}");

        let service = infallible(RespondLayer::grpc().layer(refuses));
        let Ok(response) = service.oneshot(request()).await;
        assert_eq!(response.status(), 200, "{reason}");
        assert_eq!(field(&response, "grpc-status"), Some(&code.to_string()[..]), "{reason}");
        assert_eq!(rejection_of(&response), Some(&refusal(reason)));
    }
}

#[tokio::test]
async fn the_layers_setters_are_those_of_its_shape() {
    let refuses = |reason| Told::<Error<Infallible>>::new(Err(refusal(reason).into()));
    let layer = RespondLayer::new()
        .status(|_| StatusCode::IM_A_TEAPOT)
        .status_of(Reason::Panicked, StatusCode::BAD_GATEWAY)
        .timeout_status(StatusCode::SERVICE_UNAVAILABLE)
        .retry_after(|_| Some(SECOND));
    for (reason, status) in
        [(Reason::CircuitOpen, 418), (Reason::Panicked, 502), (Reason::Timeout, 503)]
    {
        let Ok(response) = layer.layer(refuses(reason)).oneshot(request()).await;
        assert_eq!(
            (response.status().as_u16(), field(&response, "retry-after")),
            (status, Some("1"))
        );
    }
    let layer = RespondLayer::grpc()
        .code(|_| 2)
        .code_of(Reason::Panicked, 15)
        .retry_after(|_| Some(SECOND));
    for (reason, code) in [(Reason::CircuitOpen, "2"), (Reason::Panicked, "15")] {
        let Ok(response) = layer.layer(refuses(reason)).oneshot(request()).await;
        assert_eq!(field(&response, "grpc-status"), Some(code));
        assert_eq!(field(&response, "grpc-retry-pushback-ms"), Some("1000"));
    }
}

#[tokio::test]
async fn what_is_no_refusal_passes_as_it_is() {
    let well = Told::<Error<&str>>::new(Ok(()));
    let response = RespondLayer::new().layer(well).oneshot(request()).await.unwrap();
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, "answered"));
    assert_eq!((response.headers().len(), rejection_of(&response)), (0, None));

    let fails = Told::new(Err(Error::Inner("broken")));
    let error: &str = RespondLayer::new().layer(fails).oneshot(request()).await.unwrap_err();
    assert_eq!(error, "broken");
}

#[tokio::test]
async fn refusals_are_found_in_boxes_and_in_errors_of_ones_own() {
    let boxed = |error: fn() -> BoxError| {
        let service = service_fn(move |_: Request<Body>| ready(Err::<Response<Body>, _>(error())));
        RespondLayer::new().layer(service).oneshot(request())
    };
    let shed = boxed(|| refusal(Reason::BulkheadFull).into()).await.unwrap();
    assert_eq!(shed.status(), 503);
    let nested =
        boxed(|| io::Error::other(Error::<io::Error>::from(refusal(Reason::Timeout))).into());
    assert_eq!(nested.await.unwrap().status(), 504);
    let foreign = boxed(|| "broken".into()).await.unwrap_err();
    assert_eq!(foreign.to_string(), "broken");

    let bare = Told::<Rejection>::new(Err(refusal(Reason::RateLimited)));
    let Ok(limited) = infallible(RespondLayer::new().layer(bare)).oneshot(request()).await;
    assert_eq!(limited.status(), 429);

    #[derive(Clone, Debug)]
    enum Own {
        Refused(Rejection),
        Broken,
    }
    impl Peel for Own {
        type Error = &'static str;
        fn peel(self) -> Result<Rejection, &'static str> {
            match self {
                Self::Refused(rejection) => Ok(rejection),
                Self::Broken => Err("broken"),
            }
        }
    }
    let refuses = Told::new(Err(Own::Refused(refusal(Reason::CircuitOpen))));
    let open = RespondLayer::new().layer(refuses).oneshot(request()).await.unwrap();
    assert_eq!(open.status(), 503);
    let fails = RespondLayer::new().layer(Told::new(Err(Own::Broken))).oneshot(request()).await;
    assert_eq!(fails.unwrap_err(), "broken");
}

#[cfg(feature = "tonic")]
#[tokio::test]
async fn refusals_are_found_below_a_status() {
    let mut carries = tonic::Status::unavailable("by us");
    carries.set_source(Arc::new(refusal(Reason::CircuitOpen)));
    for (status, code) in [(carries, Ok("14")), (tonic::Status::not_found("no"), Err(5))] {
        let service =
            service_fn(move |_: Request<Body>| ready(Err::<Response<Body>, _>(status.clone())));
        match (RespondLayer::grpc().layer(service).oneshot(request()).await, code) {
            (Ok(response), Ok(code)) => assert_eq!(field(&response, "grpc-status"), Some(code)),
            (Err(status), Err(code)) => assert_eq!(status.code() as i32, code),
            other => panic!("{other:?}"),
        }
    }
}

/// As a panic in `poll_ready` is, which the layer below catches.
#[tokio::test]
async fn a_refusal_of_readiness_answers_the_next_call() {
    let panics = Arc::new(AtomicBool::new(true));
    let inner = Told::<Infallible>::new(Ok(()));
    let calls = inner.calls.clone();
    #[derive(Clone)]
    struct Panics(Told<Infallible>, Arc<AtomicBool>);
    impl Service<Request<Body>> for Panics {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;
        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            assert!(!self.1.load(SeqCst), "not ready at all");
            self.0.poll_ready(cx)
        }
        fn call(&mut self, request: Request<Body>) -> Self::Future {
            self.0.call(request)
        }
    }
    let mut service = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(CatchPanicLayer::new(CatchPanicConfig::new("api")).unwrap())
        .layer(ErrorLayer::new())
        .service(Panics(inner, panics.clone()));
    let Ok(_) = service.ready().await;
    // It stays ready for that answer, and its clone begins anew.
    panics.store(false, SeqCst);
    let Ok(_) = service.ready().await;
    let mut clone = service.clone();
    let Ok(response) = service.call(request()).await;
    assert_eq!((response.status().as_u16(), calls.load(SeqCst)), (500, 0));
    let Ok(response) = clone.ready().await.unwrap().call(request()).await;
    assert_eq!((response.status().as_u16(), calls.load(SeqCst)), (200, 1));
    let Ok(response) = service.ready().await.unwrap().call(request()).await;
    assert_eq!((response.status().as_u16(), calls.load(SeqCst)), (200, 2));
}

#[tokio::test]
async fn an_error_of_readiness_passes_as_it_is() {
    let mut unready = Told::new(Ok(()));
    unready.unready = Some(Error::Inner("not today"));
    let mut service = RespondLayer::new().layer(unready);
    assert_eq!(service.ready().await.err(), Some("not today"));
}

/// Each layer of a stack in turn, as a caller sees it.
#[tokio::test(start_paused = true)]
async fn each_layer_of_a_stack_is_answered_for() {
    let limit = RateLimitConfig::new("limit", 1, 60 * SECOND).burst(4);
    let limit = RateLimitLayer::new(limit).unwrap();
    let slots = BulkheadLayer::new(BulkheadConfig::new("slots", 1)).unwrap();
    let config = CircuitBreakerConfig::new("db").sleep(Sleep::fixed(10 * SECOND));
    let breaker = CircuitBreakerLayer::new(config).unwrap();
    let within = TimeoutLayer::new(TimeoutConfig::new("within", SECOND)).unwrap();
    let catch = CatchPanicLayer::new(CatchPanicConfig::new("handler")).unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(&limit)
        .layer(&slots)
        .layer(&breaker)
        .layer(within)
        .layer(catch)
        .layer(ErrorLayer::new())
        .service(service_fn(|request: Request<Body>| async move {
            match request.uri().path() {
                "/hangs" => std::future::pending().await,
                "/panics" => panic!("a bug"),
                _ => Ok::<_, Infallible>(Response::new(Body::from("fine"))),
            }
        }));
    let mut get = async |path: &str| {
        let request = Request::get(path).body(Body::new()).unwrap();
        let Ok(response) = service.ready().await.unwrap().call(request).await;
        let after = field(&response, "retry-after").map(str::to_owned);
        let by = rejection_of(&response).map(|rejection| rejection.policy());
        (response.status().as_u16(), after, by)
    };
    assert_eq!(get("/").await, (200, None, None));
    assert_eq!(get("/hangs").await, (504, None, Some("within")));
    assert_eq!(get("/panics").await, (500, None, Some("handler")));
    let busy = slots.bulkhead().try_acquire().unwrap();
    assert_eq!(get("/").await, (503, None, Some("slots")));
    drop(busy);
    // One second has passed since the first token was taken.
    assert_eq!(get("/").await, (429, Some("59".into()), Some("limit")));
    limit.limiter().reset();
    breaker.circuit().open();
    assert_eq!(get("/").await, (503, Some("10".into()), Some("db")));
    tokio::time::advance(Duration::from_millis(6_500)).await;
    assert_eq!(get("/").await, (503, Some("4".into()), Some("db")), "what is left, rounded up");
    breaker.circuit().close();
    assert_eq!(get("/").await, (200, None, None));
}

#[test]
fn it_is_as_thread_safe_as_the_service_inside() {
    fn whole<T: Clone + Send + Sync + 'static>(_: T) {}
    fn sent<T: Send>(_: T) {}
    let inner = Told::<Error<Infallible>>::new(Ok(()));
    whole(RespondLayer::new().layer(inner.clone()));
    whole(RespondLayer::new().problem_json().layer(inner.clone()));
    whole(RespondLayer::grpc());
    let mut service = RespondLayer::grpc().layer(inner);
    sent(service.call(request()));
    let debug = format!("{:?} {:?}", RespondLayer::new(), service.call(request()));
    assert_eq!(debug, "RespondLayer { .. } ResponseFuture { .. }");
    let _: &Respond<_, _> = &service;
    assert!(service.get_mut().answer.is_ok() && service.get_ref().answer.is_ok());
    assert_eq!(service.into_inner().calls.load(SeqCst), 2);
}
