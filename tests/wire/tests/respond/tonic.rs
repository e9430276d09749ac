//! Under `tonic::transport::Server`, with a service written by hand: no code generation.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use portcullis::{
    BoxError, BulkheadConfig, BulkheadLayer, CatchPanicConfig, CatchPanicLayer,
    CircuitBreakerLayer, ErrorLayer, RateLimitLayer, Reason, TimeoutConfig, TimeoutLayer,
    http::RespondLayer, stack,
};
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    client::Grpc as Client,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService, UnaryService},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tower::{Layer, Service, ServiceBuilder};

use super::{HOUR, answer, only, opened_by_hand};

/// Bytes as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

/// Answers with what it was sent, hangs or panics, as it is told by it; counts.
#[derive(Clone, Debug, Default)]
struct ByHand {
    hits: Arc<AtomicU32>,
}

impl NamedService for ByHand {
    const NAME: &'static str = "by.Hand";
}

impl UnaryService<Bytes> for ByHand {
    type Response = Bytes;
    type Future = Answer;

    fn call(&mut self, request: Request<Bytes>) -> Answer {
        let hits = self.hits.clone();
        Box::pin(async move {
            match &request.get_ref()[..] {
                b"hang" => std::future::pending().await,
                b"panic" => panic!("a bug of the handler's"),
                b"missing" => Err(Status::not_found("by hand")),
                _ => {
                    hits.fetch_add(1, SeqCst);
                    Ok(Response::new(request.into_inner()))
                }
            }
        })
    }
}

impl Service<http::Request<Body>> for ByHand {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move { Ok(Grpc::new(Plain).unary(handler, request).await) })
    }
}

/// A short limit for what hangs, so that no other call is late on a busy machine.
fn limit(request: &http::Request<Body>) -> Option<Duration> {
    (request.uri().path() == "/by.Hand/hang").then_some(Duration::from_millis(20))
}

/// Serves the service behind a layer.
async fn behind<L, B>(layer: L) -> (SocketAddr, ByHand)
where
    L: Layer<tonic::service::Routes> + Clone + Send + 'static,
    L::Service: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    <L::Service as Service<http::Request<Body>>>::Future: Send,
{
    let by_hand = ByHand::default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
    let address = listener.local_addr().expect("a bound port");
    let server = Server::builder().layer(layer).add_service(by_hand.clone());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    (address, by_hand)
}

/// As a generated client does it.
#[derive(Debug)]
struct Caller(Client<Channel>);

impl Caller {
    fn new(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an endpoint");
        Self(Client::new(endpoint.connect_lazy()))
    }

    async fn call(&mut self, what: &'static str) -> Result<Bytes, Status> {
        self.0.ready().await.expect("the server listens");
        let path = format!("/by.Hand/{what}").parse().expect("a path");
        let request = Request::new(Bytes::from_static(what.as_bytes()));
        answer(self.0.unary(request, path, Plain)).await.map(Response::into_inner)
    }

    /// The code, the message and the pushback of a call that is refused.
    async fn refused(&mut self, what: &'static str) -> (Code, String, Option<i64>) {
        let status = self.call(what).await.expect_err("it is refused");
        let pushback = status.metadata().get("grpc-retry-pushback-ms");
        let pushback = pushback.map(|ms| ms.to_str().expect("ASCII").parse().expect("a number"));
        (status.code(), status.message().to_owned(), pushback)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_is_resource_exhausted_with_pushback() {
    let limit = RateLimitLayer::new(only(2)).expect("a valid config");
    let limiter = limit.limiter().clone();
    let stack =
        ServiceBuilder::new().layer(RespondLayer::grpc()).layer(limit).layer(ErrorLayer::new());
    let (address, by_hand) = behind(stack).await;
    // Two channels are two connections; the limit is one.
    let mut callers = [Caller::new(address), Caller::new(address)];
    for caller in &mut callers {
        assert_eq!(caller.call("well").await.expect("an answer"), "well");
    }
    for caller in &mut callers {
        let (code, message, pushback) = caller.refused("well").await;
        assert_eq!(code, Code::ResourceExhausted);
        assert!(message.starts_with("limit: the rate limit is used up; retry after "), "{message}");
        let pushback = pushback.expect("a time");
        assert!((3_000_000..=3_600_000).contains(&pushback), "{pushback}");
    }
    limiter.reconfigure(limiter.config().burst(0)).expect("a valid config");
    let (code, _, pushback) = callers[0].refused("well").await;
    assert_eq!((code, pushback), (Code::ResourceExhausted, Some(-1)), "it can never pass");
    assert_eq!(by_hand.hits.load(SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_bulkhead_an_open_circuit_a_timeout_and_a_panic_have_their_codes() {
    let slots = BulkheadLayer::new(BulkheadConfig::new("slots", 1)).expect("a valid config");
    let breaker = CircuitBreakerLayer::new(opened_by_hand()).expect("a valid config");
    let within = TimeoutConfig::new("within", HOUR);
    let (bulkhead, circuit) = (slots.bulkhead().clone(), breaker.circuit().clone());
    let stack = ServiceBuilder::new()
        .layer(RespondLayer::grpc())
        .layer(slots)
        .layer(breaker)
        .layer(TimeoutLayer::new(within).expect("a valid config").limit_from(limit))
        .layer(CatchPanicLayer::new(CatchPanicConfig::new("handler")).expect("a valid config"))
        .layer(ErrorLayer::new());
    let (address, by_hand) = behind(stack).await;
    let mut caller = Caller::new(address);

    // What the service says itself passes.
    let own = caller.refused("missing").await;
    assert_eq!(own, (Code::NotFound, "by hand".into(), None));
    let late = caller.refused("hang").await;
    let sentence = "within: the service did not answer in time";
    assert_eq!(late, (Code::DeadlineExceeded, sentence.into(), None));
    let caught = caller.refused("panic").await;
    assert_eq!(caught, (Code::Internal, "handler: the service panicked".into(), None));
    let busy = bulkhead.try_acquire().expect("room");
    let shed = caller.refused("well").await;
    let sentence = "slots: the bulkhead and its queue are full";
    assert_eq!(shed, (Code::ResourceExhausted, sentence.into(), None));
    drop(busy);
    circuit.open();
    let (code, message, pushback) = caller.refused("well").await;
    assert_eq!(code, Code::Unavailable);
    assert!(message.starts_with("db: the circuit is open; retry after "), "{message}");
    assert!((3_000_000..=3_600_000).contains(&pushback.expect("a time")), "{pushback:?}");
    circuit.close();
    assert_eq!(caller.call("well").await.expect("the server lives on"), "well");
    assert_eq!((by_hand.hits.load(SeqCst), bulkhead.in_flight()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_and_times_are_what_is_asked_for() {
    let limit = RateLimitLayer::new(only(0)).expect("a valid config");
    let breaker = CircuitBreakerLayer::new(opened_by_hand()).expect("a valid config");
    let (limiter, circuit) = (limit.limiter().clone(), breaker.circuit().clone());
    let respond = RespondLayer::grpc()
        .code_of(Reason::OverBurst, Code::InvalidArgument)
        .retry_after(|_| Some(Duration::from_millis(250)));
    let stack =
        ServiceBuilder::new().layer(respond).layer(limit).layer(breaker).layer(ErrorLayer::new());
    let (address, _) = behind(stack).await;
    let mut caller = Caller::new(address);
    let (code, _, pushback) = caller.refused("well").await;
    assert_eq!((code, pushback), (Code::InvalidArgument, Some(-1)));
    limiter.disable();
    circuit.force_open();
    let (code, _, pushback) = caller.refused("well").await;
    assert_eq!((code, pushback), (Code::Unavailable, Some(250)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standard_server_fits_a_server() {
    let server = stack::server("api").max_in_flight(1).timeout(HOUR).build();
    let server =
        server.expect("a valid config").map_timeout(|layer| layer.limit_from(limit)).grpc();
    let slots = server.bulkhead().bulkhead().clone();
    let (address, by_hand) = behind(server).await;
    let mut caller = Caller::new(address);
    assert_eq!(caller.call("well").await.expect("an answer"), "well");
    assert_eq!(caller.refused("hang").await.0, Code::DeadlineExceeded);
    assert_eq!(caller.refused("panic").await.0, Code::Internal);
    let _busy = slots.try_acquire().expect("room");
    assert_eq!(caller.refused("well").await.0, Code::ResourceExhausted);
    assert_eq!(by_hand.hits.load(SeqCst), 1);
}

/// What it is there for: without it the stream is reset, and the client learns nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_it_a_refusal_is_a_reset_stream() {
    let limit = RateLimitLayer::new(only(0)).expect("a valid config");
    let stack = ServiceBuilder::new().layer(limit).layer(ErrorLayer::new()).into_inner();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
    let address = listener.local_addr().expect("a bound port");
    let server = Server::builder().layer(stack).add_service(ByHand::default());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let (code, message, pushback) = Caller::new(address).refused("well").await;
    assert_eq!((code, pushback), (Code::Internal, None));
    assert!(!message.contains("limit"), "{message}");
}
