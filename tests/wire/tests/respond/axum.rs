//! Under `axum::serve`.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, routing::get, serve::ListenerExt};
use futures_util::future::join_all;
use http::{Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::{
    BulkheadConfig, BulkheadLayer, CatchPanicConfig, CatchPanicLayer, CircuitBreakerLayer,
    ErrorLayer, KeyedRateLimitLayer, RateLimitLayer, Reason, TimeoutConfig, TimeoutLayer,
    http::{RespondLayer, rate_limit_fields::Fields, rejection_of},
    stack,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use super::{answer, only, opened_by_hand};

/// What the server saw, and what its handlers wait for.
#[derive(Debug)]
struct Seen {
    connections: AtomicU32,
    calls: AtomicU32,
    entered: Semaphore,
    leave: Notify,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            connections: AtomicU32::new(0),
            calls: AtomicU32::new(0),
            entered: Semaphore::new(0),
            leave: Notify::new(),
        }
    }
}

impl Seen {
    fn calls(&self) -> u32 {
        self.calls.load(SeqCst)
    }
}

/// Two routes that answer, one that waits until it is let go, one that hangs, and one with a bug.
fn routes(seen: &Arc<Seen>) -> Router {
    let counted = |seen: &Arc<Seen>| {
        let seen = seen.clone();
        get(async move || {
            seen.calls.fetch_add(1, SeqCst);
            "fine"
        })
    };
    let waits = seen.clone();
    Router::new()
        .route("/one", counted(seen))
        .route("/two", counted(seen))
        .route(
            "/waits",
            get(async move || {
                let leave = waits.leave.notified();
                waits.entered.add_permits(1);
                leave.await;
                "waited"
            }),
        )
        .route("/hangs", get(std::future::pending::<&str>))
        .route("/panics", get(async || -> &str { panic!("a bug of the handler's") }))
}

async fn serve(app: Router, seen: &Arc<Seen>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
    let address = listener.local_addr().expect("a bound port");
    let counter = seen.clone();
    let listener = listener.tap_io(move |_| {
        counter.connections.fetch_add(1, SeqCst);
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Serves the routes behind a layer.
async fn behind<L>(layer: L) -> (SocketAddr, Arc<Seen>)
where
    L: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
    L::Service:
        Service<Request, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync,
    L::Service: 'static,
    <L::Service as Service<Request>>::Future: Send + 'static,
{
    let seen = Arc::new(Seen::default());
    let address = serve(routes(&seen).layer(layer), &seen).await;
    (address, seen)
}

/// One kept connection of HTTP/1.1: a pool would decide by itself when to open another.
#[derive(Debug)]
struct Connection(conn::http1::SendRequest<Body>);

#[derive(Debug)]
struct Told {
    status: u16,
    retry_after: Option<String>,
    head: http::response::Parts,
    body: String,
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        let (sender, driver) = conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1");
        tokio::spawn(driver);
        Self(sender)
    }

    async fn several(address: SocketAddr, connections: usize) -> Vec<Self> {
        join_all((0..connections).map(|_| Self::open(address))).await
    }

    async fn send(&mut self, path: &str) -> Response<Incoming> {
        self.0.ready().await.expect("the connection is open");
        let request = Request::get(path).header("host", "loopback").header("x-tenant", "7");
        let request = request.body(Body::empty()).expect("a request");
        self.0.send_request(request).await.expect("the server answers")
    }

    async fn get(&mut self, path: &str) -> Told {
        answer(async { told(self.send(path).await).await }).await
    }
}

async fn told(response: Response<Incoming>) -> Told {
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("the whole body").to_bytes();
    let retry_after = head.headers.get("retry-after");
    Told {
        status: head.status.as_u16(),
        retry_after: retry_after.map(|value| value.to_str().expect("ASCII").to_owned()),
        body: String::from_utf8(body.to_vec()).expect("a text"),
        head,
    }
}

/// Four connections and two routes, for each of which axum makes a service anew, have one limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_is_429_with_the_time_to_come_back() {
    let limit = RateLimitLayer::new(only(5)).expect("a valid config");
    let (address, seen) = behind(
        ServiceBuilder::new()
            .layer(RespondLayer::new().rate_limit_fields(Fields::Draft10, limit.limiter()))
            .layer(limit)
            .layer(ErrorLayer::new()),
    )
    .await;
    let mut connections = Connection::several(address, 4).await;
    let mut answers = Vec::new();
    for turn in 0..3 {
        let path = if turn % 2 == 0 { "/one" } else { "/two" };
        answers.extend(join_all(connections.iter_mut().map(|one| one.get(path))).await);
    }
    let (well, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|told| told.status == 200);
    assert_eq!((well.len(), refused.len(), seen.calls()), (5, 7, 5));
    assert_eq!(seen.connections.load(SeqCst), 4, "the same ones all along");
    for told in &answers {
        let policy = &told.head.headers["ratelimit-policy"];
        assert_eq!(policy, r#""limit";q=5;w=18000"#);
    }
    for told in refused {
        assert_eq!((told.status, &told.body[..]), (429, ""));
        // Below an hour by what the test has taken so far, and rounded up.
        let seconds: u64 = told.retry_after.as_ref().expect("a time").parse().expect("seconds");
        assert!((3_000..=3_600).contains(&seconds), "{seconds}");
        let left = &told.head.headers["ratelimit"];
        assert_eq!(left, &format!(r#""limit";r=0;t={seconds}"#));
        assert!(told.head.headers.contains_key("content-length"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_its_own_limit_and_is_told_what_is_left_of_it() {
    let tenant = |request: &Request| request.headers().get("x-tenant").cloned();
    let limit = KeyedRateLimitLayer::new(only(1), 100, tenant).expect("a valid config");
    let (address, _) = behind(
        ServiceBuilder::new()
            .layer(RespondLayer::new().rate_limit_fields_by(
                Fields::Draft10,
                limit.limiters(),
                tenant,
            ))
            .layer(limit)
            .layer(ErrorLayer::new()),
    )
    .await;
    let mut connections = Connection::several(address, 2).await;
    let first = connections[0].get("/one").await;
    let left = first.head.headers["ratelimit"].to_str().expect("ASCII");
    assert!(first.status == 200 && left.starts_with("\"limit\";r=0;t=3"), "{left}");
    assert_eq!(connections[1].get("/two").await.status, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_bulkhead_is_503_and_lives_on() {
    let slots = BulkheadLayer::new(BulkheadConfig::new("slots", 2)).expect("a valid config");
    let bulkhead = slots.bulkhead().clone();
    let stack = ServiceBuilder::new()
        .layer(RespondLayer::new().problem_json())
        .layer(slots)
        .layer(ErrorLayer::new());
    let (address, seen) = behind(stack).await;
    let mut connections = Connection::several(address, 3).await;
    let mut third = connections.pop().expect("three");
    let waiting = connections
        .into_iter()
        .map(|mut one| tokio::spawn(async move { (one.get("/waits").await.status, one) }));
    let waiting: Vec<_> = waiting.collect();
    answer(seen.entered.acquire_many(2)).await.expect("open").forget();
    let shed = third.get("/one").await;
    assert_eq!((shed.status, shed.retry_after), (503, None));
    assert_eq!(shed.head.headers["content-type"], "application/problem+json");
    let problem: serde_json::Value = serde_json::from_str(&shed.body).expect("valid JSON");
    assert_eq!(problem["violated-policies"], serde_json::json!(["slots"]));
    assert_eq!((problem["status"].as_u64(), seen.calls()), (Some(503), 0));

    seen.leave.notify_waiters();
    for waits in waiting {
        assert_eq!(waits.await.expect("it ends").0, 200);
    }
    assert_eq!((third.get("/one").await.status, bulkhead.in_flight()), (200, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_circuit_is_503_with_what_is_left_of_its_wait() {
    let breaker = CircuitBreakerLayer::new(opened_by_hand()).expect("a valid config");
    let circuit = breaker.circuit().clone();
    let stack =
        ServiceBuilder::new().layer(RespondLayer::new()).layer(breaker).layer(ErrorLayer::new());
    let (address, seen) = behind(stack).await;
    let mut connections = Connection::several(address, 3).await;
    assert_eq!(connections[0].get("/one").await.status, 200);
    circuit.open_for(Duration::from_millis(59_500));
    for connection in &mut connections {
        let refused = connection.get("/one").await;
        assert_eq!(refused.status, 503);
        let seconds: u64 = refused.retry_after.expect("a time").parse().expect("seconds");
        // Rounded up: sixty at first, and less by what the test has taken.
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    circuit.force_open();
    let refused = connections[0].get("/one").await;
    assert_eq!((refused.status, refused.retry_after), (503, None), "nobody knows until when");
    circuit.close();
    assert_eq!((connections[2].get("/two").await.status, seen.calls()), (200, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_is_504_or_what_is_asked_for_and_never_408() {
    for (status, layer) in [
        (504, RespondLayer::new()),
        (503, RespondLayer::new().timeout_status(StatusCode::SERVICE_UNAVAILABLE)),
    ] {
        let within = TimeoutConfig::new("within", Duration::from_millis(20));
        let within = TimeoutLayer::new(within).expect("a valid config");
        let stack = ServiceBuilder::new().layer(layer).layer(within).layer(ErrorLayer::new());
        let (address, _) = behind(stack).await;
        let mut connection = Connection::open(address).await;
        let late = connection.get("/hangs").await;
        assert_eq!((late.status, late.retry_after), (status, None));
        // The connection is as good as before.
        assert_eq!(connection.get("/one").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_is_500_and_the_server_lives_on() {
    let catch = CatchPanicLayer::new(CatchPanicConfig::new("handlers")).expect("a valid config");
    let guard = catch.panic_guard().clone();
    let stack =
        ServiceBuilder::new().layer(RespondLayer::new()).layer(catch).layer(ErrorLayer::new());
    let (address, seen) = behind(stack).await;
    let mut connections = Connection::several(address, 2).await;
    for turn in 1..=2 {
        for connection in &mut connections {
            let caught = connection.get("/panics").await;
            assert_eq!((caught.status, &caught.body[..]), (500, ""));
            assert_eq!(connection.get("/one").await.status, 200);
        }
        assert_eq!((guard.snapshot().panics, seen.calls()), (2 * turn, 2 * turn as u32));
    }
}

/// One connection of HTTP/2, a whole stack, and each refusal of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standard_server_fits_a_router() {
    let server = stack::server("api")
        .max_in_flight(2)
        .timeout(Duration::from_millis(200))
        .build()
        .and_then(|server| server.with_rate(1_000, Duration::from_secs(1)))
        .expect("a valid config")
        .http();
    let (slots, limiter) =
        (server.bulkhead().bulkhead().clone(), server.rate_limit().limiter().clone());
    let seen = Arc::new(Seen::default());
    let address = serve(routes(&seen).layer(server), &seen).await;

    let stream = TcpStream::connect(address).await.expect("the server listens");
    let (sender, driver) =
        conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(driver);
    let get = async |path: &str| {
        let mut sender = sender.clone();
        let uri = format!("http://{address}{path}");
        let request = Request::get(uri).body(Body::empty()).expect("a request");
        sender.ready().await.expect("the connection is open");
        let told =
            answer(async { told(sender.send_request(request).await.expect("an answer")).await })
                .await;
        assert_eq!(told.head.version, Version::HTTP_2);
        told.status
    };
    assert_eq!((get("/one").await, get("/panics").await, get("/hangs").await), (200, 500, 504));
    let busy: Vec<_> = (0..2).map(|_| slots.try_acquire().expect("room")).collect();
    assert_eq!(get("/one").await, 503);
    drop(busy);
    limiter.reconfigure(limiter.config().burst(0)).expect("a valid config");
    assert_eq!(get("/two").await, 429, "it can never pass");
    limiter.disable();
    assert_eq!((get("/two").await, seen.calls()), (200, 2));
    assert_eq!(seen.connections.load(SeqCst), 1);
}

/// What an outer layer of the same process still sees, behind a whole Router.
#[tokio::test]
async fn a_refusal_rides_through_the_router() {
    let limit = RateLimitLayer::new(only(0)).expect("a valid config");
    let stack =
        ServiceBuilder::new().layer(RespondLayer::new()).layer(limit).layer(ErrorLayer::new());
    let app = routes(&Arc::default()).layer(stack);
    let request = Request::get("/one").body(Body::empty()).expect("a request");
    let Ok(response) = app.oneshot(request).await;
    let refusal = rejection_of(&response).expect("a refusal of ours");
    assert_eq!((refusal.reason(), refusal.policy()), (Reason::OverBurst, "limit"));
}

/// Around a whole Router, too, and around a single handler.
#[test]
fn it_fits_wherever_axum_takes_a_layer() {
    let stack = || stack::server("api").build().expect("a valid config").http();
    let fine = || get(async || "fine");
    let _: Router = Router::new().route("/", fine().layer(stack()));
    let _: Router = Router::new().route("/", fine()).route_layer(stack());
    let _: Router =
        Router::new().fallback_service(stack().layer(Router::<()>::new().route("/", fine())));
    let problem = stack().map_respond(RespondLayer::problem_json);
    let _: Router = Router::new().route("/", fine()).layer(problem);
}
