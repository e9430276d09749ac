//! Around a real tonic `Channel` and inside a real tonic `Server`, over loopback, with a service
//! written by hand: no code generation.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use portcullis::{
    CarryRejection, Circuit, CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer, Outcome,
    Reason, Rejection, Sleep, State,
};
use tokio::net::{TcpListener, TcpSocket};
use tonic::{
    Code, Status,
    body::Body,
    server::NamedService,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tower::{Service, ServiceBuilder, ServiceExt};

/// Answers every request with the code it is told to, in the head, and counts.
#[derive(Clone, Debug, Default)]
struct ByHand {
    code: Arc<AtomicI32>,
    hits: Arc<AtomicU32>,
}

impl NamedService for ByHand {
    const NAME: &'static str = "by.Hand";
}

impl Service<http::Request<Body>> for ByHand {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        self.hits.fetch_add(1, SeqCst);
        let code = Code::from_i32(self.code.load(SeqCst));
        ready(Ok(Status::new(code, "by hand").into_http()))
    }
}

/// An error of one's own: the transport's, or a refusal.
#[derive(Debug)]
enum CallError {
    Refused(Rejection),
    Transport(tonic::transport::Error),
}

impl From<Rejection> for CallError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl CarryRejection for CallError {
    fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Refused(rejection) => Some(rejection),
            Self::Transport(_) => None,
        }
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(rejection) => Self::unavailable(rejection.to_string()),
            CallError::Transport(error) => Self::from_error(error.into()),
        }
    }
}

fn config(name: &'static str) -> CircuitBreakerConfig {
    CircuitBreakerConfig::new(name)
        .no_failure_rate()
        .consecutive_failures(3)
        .sleep(Sleep::fixed(Duration::from_secs(3_600)))
}

fn breaker(name: &'static str) -> (CircuitBreakerLayer, Circuit) {
    let layer = CircuitBreakerLayer::new(config(name)).expect("a valid config");
    let circuit = layer.circuit().clone();
    (layer, circuit)
}

/// `grpc-status` in the head decides; trailers are not looked at here.
fn by_code<E>(result: &Result<http::Response<Body>, E>) -> Outcome {
    match result {
        Ok(response) => match Status::from_header_map(response.headers()).map(|s| s.code()) {
            Some(Code::Unavailable | Code::Internal) => Outcome::Failure,
            _ => Outcome::Success,
        },
        Err(_) => Outcome::Failure,
    }
}

fn request() -> http::Request<Body> {
    http::Request::builder()
        .method("POST")
        .uri("/by.Hand/Call")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::empty())
        .expect("a request")
}

fn code(response: &http::Response<Body>) -> Code {
    Status::from_header_map(response.headers()).expect("grpc-status in the head").code()
}

async fn listen() -> (TcpIncoming, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
    let address = listener.local_addr().expect("a bound port");
    (TcpIncoming::from(listener), address)
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).expect("an endpoint").connect_lazy()
}

#[tokio::test]
async fn a_channel_under_a_breaker_keeps_to_tonics_own_error() {
    let by_hand = ByHand::default();
    let (incoming, address) = listen().await;
    tokio::spawn(Server::builder().add_service(by_hand.clone()).serve_with_incoming(incoming));

    let (layer, circuit) = breaker("channel");
    let mut service = ServiceBuilder::new()
        .map_err(Status::from)
        .layer(layer.classify(by_code))
        .map_err(CallError::Transport)
        .service(channel(address));

    assert_eq!(code(&service.ready().await.unwrap().call(request()).await.unwrap()), Code::Ok);
    by_hand.code.store(Code::Unavailable as i32, SeqCst);
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(request()).await.unwrap();
        assert_eq!(code(&response), Code::Unavailable);
    }
    assert_eq!(circuit.state(), State::Open);
    for _ in 0..5 {
        let status = service.ready().await.unwrap().call(request()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().starts_with("channel: the circuit is open"), "{status}");
    }
    assert_eq!(by_hand.hits.load(SeqCst), 4, "what the server itself counted");

    by_hand.code.store(Code::Ok as i32, SeqCst);
    circuit.close();
    assert_eq!(code(&service.ready().await.unwrap().call(request()).await.unwrap()), Code::Ok);
}

#[tokio::test]
async fn a_channel_that_cannot_connect_opens_the_circuit() {
    // Bound and never listening: the port stays ours, and every connection is refused.
    let silent = TcpSocket::new_v4().expect("a socket");
    silent.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a loopback port");
    let address = silent.local_addr().expect("a bound port");
    let (layer, circuit) = breaker("channel");
    let mut service =
        ServiceBuilder::new().layer(layer).layer(ErrorLayer::new()).service(channel(address));
    for _ in 0..3 {
        assert_eq!(circuit.state(), State::Closed);
        let error = service.ready().await.unwrap().call(request()).await.unwrap_err();
        assert!(matches!(error, Error::Inner(_)), "{error:?}");
    }
    let refused = service.ready().await.unwrap().call(request()).await.unwrap_err();
    assert_eq!(refused.rejection().map(Rejection::reason), Some(Reason::CircuitOpen));
}

#[tokio::test]
async fn a_server_under_a_breaker_answers_with_a_status() {
    let by_hand = ByHand::default();
    by_hand.code.store(Code::Internal as i32, SeqCst);
    let (layer, circuit) = breaker("server");
    let (incoming, address) = listen().await;
    let stack = ServiceBuilder::new()
        // The server must answer, not fail: a refusal as an error would reset the stream.
        .map_result(|result: Result<http::Response<Body>, Error<Infallible>>| match result {
            Err(Error::Rejected(by)) => Ok(Status::unavailable(by.to_string()).into_http()),
            other => other,
        })
        .layer(layer.classify(by_code))
        .layer(ErrorLayer::new())
        .into_inner();
    let server = Server::builder().layer(stack).add_service(by_hand.clone());
    tokio::spawn(server.serve_with_incoming(incoming));

    // Two channels are two connections; the circuit is one.
    let channels = [channel(address), channel(address)];
    for turn in 0..3 {
        let response = channels[turn % 2].clone().oneshot(request()).await.unwrap();
        assert_eq!(code(&response), Code::Internal);
    }
    assert_eq!(circuit.state(), State::Open);
    for channel in channels {
        let response = channel.oneshot(request()).await.unwrap();
        let status = Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().starts_with("server: the circuit is open"), "{status}");
    }
    assert_eq!((by_hand.hits.load(SeqCst), circuit.snapshot().rejected), (3, 2));
}
