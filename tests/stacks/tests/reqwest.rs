//! Around a real `reqwest::Client`, against a server that fails, recovers, and is not there at all.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use http::StatusCode;
use portcullis::{
    CarryRejection, CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer, HalfOpen,
    Outcome, Reason, Rejection, Sleep, State,
};
use tokio::net::{TcpListener, TcpSocket};
use tower::{Service, ServiceBuilder, ServiceExt};

/// A server that answers with the status it is told to, and counts.
#[derive(Clone, Debug)]
struct Upstream {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    hits: Arc<AtomicU32>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
        let upstream = Self {
            address: listener.local_addr().expect("a bound port"),
            status: Arc::new(AtomicU16::new(200)),
            hits: Arc::default(),
        };
        let this = upstream.clone();
        let answer = move || async move {
            this.hits.fetch_add(1, SeqCst);
            StatusCode::from_u16(this.status.load(SeqCst)).expect("a status")
        };
        let app = Router::new().route("/", get(answer));
        tokio::spawn(async move { axum::serve(listener, app).await });
        upstream
    }

    fn request(&self) -> reqwest::Request {
        request(self.address)
    }
}

fn request(address: SocketAddr) -> reqwest::Request {
    let url = format!("http://{address}/").parse().expect("a url");
    reqwest::Request::new(reqwest::Method::GET, url)
}

fn client() -> reqwest::Client {
    // Its own retries would hide failures from the breaker and multiply attempts.
    reqwest::Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .build()
        .expect("a plain client")
}

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("upstream")
        .no_failure_rate()
        .consecutive_failures(3)
        .sleep(Sleep::fixed(Duration::from_secs(3_600)))
        .half_open(HalfOpen::counts(2, 1))
}

#[tokio::test]
async fn statuses_open_and_close_the_circuit() {
    let upstream = Upstream::start().await;
    let breaker = CircuitBreakerLayer::new(config()).expect("a valid config");
    let circuit = breaker.circuit().clone();
    let mut service = ServiceBuilder::new()
        .layer(breaker.classify(|result: &Result<reqwest::Response, _>| match result {
            Ok(response) if response.status().is_server_error() => Outcome::Failure,
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        }))
        .layer(ErrorLayer::new())
        .service(client());

    upstream.status.store(404, SeqCst);
    for _ in 0..10 {
        let response = service.ready().await.unwrap().call(upstream.request()).await.unwrap();
        assert_eq!(response.status(), 404);
    }
    assert_eq!((circuit.state(), circuit.snapshot().failures), (State::Closed, 0));

    upstream.status.store(503, SeqCst);
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(upstream.request()).await.unwrap();
        assert_eq!(response.status(), 503, "the service's own answer passes through");
    }
    assert_eq!(circuit.state(), State::Open);
    for _ in 0..10 {
        let refused = service.ready().await.unwrap().call(upstream.request()).await.unwrap_err();
        assert_eq!(refused.rejection().map(Rejection::reason), Some(Reason::CircuitOpen));
    }
    assert_eq!(upstream.hits.load(SeqCst), 13, "not one request while it is open");

    // Still down: one probe reaches it, and the circuit opens again.
    circuit.half_open();
    assert!(service.ready().await.unwrap().call(upstream.request()).await.is_ok());
    assert_eq!(circuit.state(), State::Open);
    assert!(service.ready().await.unwrap().call(upstream.request()).await.is_err());
    assert_eq!(upstream.hits.load(SeqCst), 14);

    upstream.status.store(200, SeqCst);
    circuit.half_open();
    for _ in 0..2 {
        assert!(service.ready().await.unwrap().call(upstream.request()).await.is_ok());
    }
    assert_eq!((circuit.state(), upstream.hits.load(SeqCst)), (State::Closed, 16));
}

#[tokio::test]
async fn a_refused_connection_is_a_failure_and_keeps_its_type() {
    // Bound and never listening: the port stays ours, and every connection is refused.
    let silent = TcpSocket::new_v4().expect("a socket");
    silent.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a loopback port");
    let address = silent.local_addr().expect("a bound port");

    let breaker = CircuitBreakerLayer::new(config()).expect("a valid config");
    let circuit = breaker.circuit().clone();
    let mut service =
        ServiceBuilder::new().layer(breaker).layer(ErrorLayer::new()).service(client());
    for _ in 0..3 {
        match service.ready().await.unwrap().call(request(address)).await {
            Err(Error::Inner(error)) => assert!(error.is_connect(), "{error:?}"),
            other => panic!("expected a refused connection, got {other:?}"),
        }
    }
    assert_eq!(circuit.state(), State::Open);
    match service.ready().await.unwrap().call(request(address)).await {
        Err(Error::Rejected(by)) => assert_eq!(by.policy(), "upstream"),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_is_a_failure() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
    let address = listener.local_addr().expect("a bound port");
    let accepted = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        // Accepts, says nothing, hangs up.
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, SeqCst);
            drop(stream);
        }
    });
    let breaker = CircuitBreakerLayer::new(config()).expect("a valid config");
    let circuit = breaker.circuit().clone();
    let mut service =
        ServiceBuilder::new().layer(breaker).layer(ErrorLayer::new()).service(client());
    for _ in 0..3 {
        let error = service.ready().await.unwrap().call(request(address)).await.unwrap_err();
        assert!(matches!(error, Error::Inner(_)), "{error:?}");
    }
    assert_eq!(circuit.state(), State::Open);
    let before = accepted.load(SeqCst);
    for _ in 0..10 {
        let error = service.ready().await.unwrap().call(request(address)).await.unwrap_err();
        assert!(matches!(error, Error::Rejected(_)), "{error:?}");
    }
    assert_eq!((before, accepted.load(SeqCst)), (3, 3));
}
