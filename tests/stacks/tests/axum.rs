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
    HalfOpen, Outcome, Sleep, State,
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
