//! Under a real `axum::serve` on loopback: routes and connections share one circuit, whatever axum
//! clones and however often it calls `layer()`.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    error_handling::HandleErrorLayer,
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use http::StatusCode;
use portcullis::{
    CarryRejection, Circuit, CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer,
    HalfOpen, Outcome, RateLimitConfig, RateLimitLayer, Reason, Sleep, State, stack,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tower::{Layer, ServiceBuilder};

/// What the server itself saw.
#[derive(Debug, Default)]
struct Seen {
    connections: AtomicU32,
    layers: AtomicU32,
    bad: AtomicU32,
    good: AtomicU32,
}

/// Counts how often axum asks for a service, to show that the test asks the right question.
#[derive(Clone)]
struct CountLayers<L>(L, Arc<Seen>);

impl<L: Layer<S>, S> Layer<S> for CountLayers<L> {
    type Service = L::Service;

    fn layer(&self, inner: S) -> L::Service {
        self.1.layers.fetch_add(1, SeqCst);
        self.0.layer(inner)
    }
}

async fn refuse(error: Error<Infallible>) -> Response {
    match error.rejection() {
        Some(rejection) => (StatusCode::SERVICE_UNAVAILABLE, rejection.to_string()).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("handlers")
        .no_failure_rate()
        .consecutive_failures(3)
        .sleep(Sleep::fixed(Duration::from_secs(3_600)))
        .half_open(HalfOpen::counts(1, 1))
}

/// A running server: its address, its circuit and its counts.
async fn serve() -> (SocketAddr, Circuit, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let breaker = CircuitBreakerLayer::new(config()).expect("a valid config");
    let circuit = breaker.circuit().clone();
    let by_status = breaker.classify(|result: &Result<Response, _>| match result {
        Ok(response) if response.status().is_server_error() => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Ignored,
    });
    let (on_bad, on_good) = (Arc::clone(&seen), Arc::clone(&seen));
    let bad = async move || {
        on_bad.bad.fetch_add(1, SeqCst);
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let good = async move || {
        on_good.good.fetch_add(1, SeqCst);
        "fine"
    };
    // Closures and no `with_state`: a router whose state is still to come is layered anew for each
    // connection, which is the case in question.
    let app = Router::new().route("/bad", get(bad)).route("/good", get(good)).layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(refuse))
            .layer(CountLayers(by_status, Arc::clone(&seen)))
            .layer(ErrorLayer::new()),
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
    let address = listener.local_addr().expect("a bound port");
    let counter = Arc::clone(&seen);
    let listener = listener.tap_io(move |_| {
        counter.connections.fetch_add(1, SeqCst);
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, circuit, seen)
}

/// One kept connection, by hand: a client's pool would decide by itself when to open another.
#[derive(Debug)]
struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.expect("the server listens")))
    }

    /// Sends one request and reads the status and the body of its response.
    async fn get(&mut self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: loopback\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.expect("the connection is open");
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.expect("the server answers");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            } else if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().expect("a status");
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("the whole body");
        (status, String::from_utf8(body).expect("a text"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_and_connections_share_one_circuit() {
    let (address, circuit, seen) = serve().await;
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(Connection::open(address).await);
    }

    // One failure on each of three connections: no connection alone would open anything.
    for connection in &mut connections[..3] {
        assert_eq!(circuit.state(), State::Closed);
        assert_eq!(connection.get("/bad").await.0, 500);
    }
    assert_eq!(circuit.state(), State::Open);

    // Refused on all four connections, on the route that failed and on the one that never did.
    for connection in &mut connections {
        for path in ["/bad", "/good"] {
            let (status, body) = connection.get(path).await;
            assert_eq!(status, 503);
            assert!(body.starts_with("handlers: the circuit is open; retry after "), "{body}");
        }
    }
    assert_eq!((seen.bad.load(SeqCst), seen.good.load(SeqCst)), (3, 0));
    assert_eq!((seen.connections.load(SeqCst), circuit.snapshot().rejected), (4, 8));
    assert!(
        seen.layers.load(SeqCst) >= 2 * 4,
        "axum made a service per route and connection, or this test proves nothing"
    );

    // A probe over one connection closes it for all.
    circuit.half_open();
    assert_eq!(connections[3].get("/good").await, (200, "fine".into()));
    assert_eq!(circuit.state(), State::Closed);
    for connection in &mut connections {
        assert_eq!(connection.get("/good").await.0, 200);
    }
    assert_eq!((seen.bad.load(SeqCst), seen.good.load(SeqCst)), (3, 5));
    assert_eq!(seen.connections.load(SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_reach_the_handlers_only_while_the_circuit_is_closed() {
    let (address, circuit, seen) = serve().await;
    circuit.force_open();
    let flood: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await;
                for _ in 0..5 {
                    assert_eq!(connection.get("/good").await.0, 503);
                }
            })
        })
        .collect();
    for task in flood {
        task.await.expect("every request was refused");
    }
    assert_eq!((seen.good.load(SeqCst), circuit.snapshot().rejected), (0, 40));
    circuit.enable();
    assert_eq!(Connection::open(address).await.get("/good").await.0, 200);
    assert_eq!(seen.good.load(SeqCst), 1);
}

/// The server stack of a program, around two routes: one state for both and for all connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_and_connections_share_one_server_stack() {
    const RATE: u64 = 6;
    let stack = stack::server("api").max_in_flight(2).timeout(Duration::from_secs(60)).build();
    let stack = stack.and_then(|stack| stack.with_rate(RATE, Duration::from_secs(3_600)));
    // No token comes back while this runs: what is left is what nobody took.
    let stack = stack.expect("a valid config").map_rate_limit(|_| {
        let rate = RateLimitConfig::new("api", RATE, Duration::from_secs(3_600)).burst(RATE);
        RateLimitLayer::new(rate).expect("a valid config")
    });
    let (limiter, slots) =
        (stack.rate_limit().limiter().clone(), stack.bulkhead().bulkhead().clone());
    let panics = stack.catch_panic().panic_guard().clone();

    let seen = Arc::new(Seen::default());
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (on_slow, hold) = (Arc::clone(&seen), Arc::clone(&gate));
    let slow = async move || {
        on_slow.good.fetch_add(1, SeqCst);
        hold.acquire().await.expect("an open gate").forget();
        "slow"
    };
    let on_bad = Arc::clone(&seen);
    let bad = async move || -> &'static str {
        on_bad.bad.fetch_add(1, SeqCst);
        panic!("a handler panics")
    };
    let app = Router::new().route("/slow", get(slow)).route("/bad", get(bad)).layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(by_reason))
            .layer(CountLayers(stack, Arc::clone(&seen))),
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
    let address = listener.local_addr().expect("a bound port");
    tokio::spawn(async move { axum::serve(listener, app).await });

    // Two calls on two connections fill the bulkhead.
    let waiting: Vec<_> = (0..2)
        .map(|_| tokio::spawn(async move { Connection::open(address).await.get("/slow").await }))
        .collect();
    while seen.good.load(SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(slots.in_flight(), 2);
    // A third connection finds no room, on either route; each refusal has cost a token.
    let mut third = Connection::open(address).await;
    for path in ["/slow", "/bad"] {
        let (status, body) = third.get(path).await;
        assert_eq!((status, body.as_str()), (503, "api: the bulkhead and its queue are full"));
    }
    gate.add_permits(2);
    for call in waiting {
        assert_eq!(call.await.expect("an answer"), (200, "slow".into()));
    }
    assert_eq!((slots.in_flight(), limiter.snapshot().available), (0, RATE - 4));

    // A handler that panics gives its slot back; the connection and the process go on.
    assert_eq!(third.get("/bad").await, (500, "api: the service panicked".into()));
    assert_eq!((slots.in_flight(), panics.snapshot().panics), (0, 1));
    gate.add_permits(1);
    assert_eq!(third.get("/slow").await.0, 200);
    // All tokens are gone now, whichever connection and route they went to.
    for path in ["/slow", "/bad"] {
        for connection in [&mut third, &mut Connection::open(address).await] {
            let (status, body) = connection.get(path).await;
            assert_eq!(status, 429);
            assert!(body.starts_with("api: the rate limit is used up; retry after "), "{body}");
        }
    }
    assert_eq!((seen.good.load(SeqCst), seen.bad.load(SeqCst)), (3, 1));
    assert!(seen.layers.load(SeqCst) >= 2 * 4, "a service per route and connection");
}

async fn by_reason(error: Error<Infallible>) -> Response {
    let Some(rejection) = error.rejection() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let status = match rejection.reason() {
        Reason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Reason::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, rejection.to_string()).into_response()
}
