//! Deadlines between real clients and servers: over two hops of HTTP, and to a tonic server, whose client
//! sets a timeout.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router, error_handling::HandleErrorLayer, extract::ConnectInfo, http::StatusCode, routing::get,
};
use bytes::{Buf, BufMut, Bytes};
use hyper_util::rt::TokioIo;
use portcullis::{
    Error, ErrorLayer, Reason, TimeoutConfig, TimeoutLayer, clock, deadline,
    http::deadline::{
        DeadlineConfig, DeadlineLayer, Everybody, ForwardDeadlineConfig, ForwardDeadlineLayer,
        TrustedPeers,
    },
};
use tokio::net::TcpListener;
use tonic::{
    Code, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::NamedService,
    transport::{Channel, Endpoint, Server},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const HEADER: &str = "x-timeout-ms";

/// What a handler saw of its deadline, call by call.
type Seen = Arc<Mutex<Vec<Option<Duration>>>>;

fn take(seen: &Seen) -> Vec<Option<Duration>> {
    std::mem::take(&mut seen.lock().unwrap())
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    at
}

/// A server whose handler notes the time left, and then what `and_then` says of it.
fn router<F, Fut>(deadlines: DeadlineLayer<impl Trusts>, seen: &Seen, and_then: F) -> Router
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = (StatusCode, String)> + Send,
{
    let seen = seen.clone();
    let handler = move || {
        seen.lock().unwrap().push(deadline::remaining());
        and_then()
    };
    Router::new().route("/", get(handler)).layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(|error: Error<Infallible>| async move {
                match error {
                    Error::Inner(never) => match never {},
                    Error::Rejected(refusal) => match refusal.reason() {
                        Reason::DeadlineTooShort | Reason::Timeout => StatusCode::GATEWAY_TIMEOUT,
                        _ => StatusCode::SERVICE_UNAVAILABLE,
                    },
                }
            }))
            .layer(deadlines)
            .layer(TimeoutLayer::new(TimeoutConfig::per_request("api")).unwrap())
            .layer(ErrorLayer::new()),
    )
}

trait Trusts: portcullis::http::deadline::Trust + Clone + Send + Sync + 'static {}
impl<T: portcullis::http::deadline::Trust + Clone + Send + Sync + 'static> Trusts for T {}

fn reads() -> DeadlineLayer {
    DeadlineLayer::new(DeadlineConfig::new("api").millis(HEADER)).unwrap()
}

async fn fine() -> (StatusCode, String) {
    (StatusCode::OK, String::new())
}

fn http_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn ask(at: SocketAddr, timeout: Option<&str>) -> (StatusCode, String) {
    let mut request = http_client().get(format!("http://{at}/"));
    if let Some(timeout) = timeout {
        request = request.header(HEADER, timeout);
    }
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

/// From the client through server A to server B: each has less than the one before.
#[tokio::test]
async fn each_hop_has_less_time_than_the_one_before() {
    let (seen_a, seen_b) = (Seen::default(), Seen::default());
    let b = serve(router(reads().trust_all(), &seen_b, fine)).await;
    let forward = ForwardDeadlineConfig::new("b").millis(HEADER).margin(20 * MS);
    let client = ServiceBuilder::new()
        .layer(ForwardDeadlineLayer::new(forward).unwrap())
        .layer(ErrorLayer::new())
        .service(http_client());
    let calls_b = move || {
        let client = client.clone();
        async move {
            let url = format!("http://{b}/").parse().unwrap();
            match client.oneshot(reqwest::Request::new(reqwest::Method::GET, url)).await {
                Ok(response) => (response.status(), "answered".to_owned()),
                Err(Error::Rejected(refusal)) => (StatusCode::BAD_GATEWAY, refusal.to_string()),
                Err(Error::Inner(error)) => (StatusCode::BAD_GATEWAY, error.to_string()),
            }
        }
    };
    let a = serve(router(reads().trust_all(), &seen_a, calls_b)).await;

    assert_eq!(ask(a, Some("60000")).await, (StatusCode::OK, "answered".to_owned()));
    let (at_a, at_b) = (take(&seen_a)[0].unwrap(), take(&seen_b)[0].unwrap());
    assert!(at_a <= 60 * SECOND, "{at_a:?}");
    assert!(at_b <= at_a - 20 * MS, "{at_b:?} of {at_a:?}");

    // Nobody is in a hurry: nothing is said to B, either.
    assert_eq!(ask(a, None).await.0, StatusCode::OK);
    assert_eq!((take(&seen_a), take(&seen_b)), (vec![None], vec![None]));

    // No time at all: A does not begin.
    assert_eq!(ask(a, Some("0")).await.0, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!((take(&seen_a), take(&seen_b)), (vec![], vec![]));
}

/// What is left at A is less than the way to B takes: B is not asked.
#[tokio::test]
async fn a_hop_without_time_is_not_made() {
    let (seen_a, seen_b) = (Seen::default(), Seen::default());
    let b = serve(router(reads().trust_all(), &seen_b, fine)).await;
    let forward = ForwardDeadlineConfig::new("b").millis(HEADER).margin(60 * SECOND);
    let client = ServiceBuilder::new()
        .layer(ForwardDeadlineLayer::new(forward).unwrap())
        .layer(ErrorLayer::new())
        .service(http_client());
    let calls_b = move || {
        let client = client.clone();
        async move {
            let url = format!("http://{b}/").parse().unwrap();
            match client.oneshot(reqwest::Request::new(reqwest::Method::GET, url)).await {
                Err(Error::Rejected(refusal)) => (StatusCode::OK, refusal.to_string()),
                other => panic!("{other:?}"),
            }
        }
    };
    let a = serve(router(reads().trust_all(), &seen_a, calls_b)).await;
    let too_short = "b: too little time is left before the deadline".to_owned();
    assert_eq!(ask(a, Some("60000")).await, (StatusCode::OK, too_short));
    assert_eq!((take(&seen_a).len(), take(&seen_b)), (1, vec![]));
}

#[tokio::test]
async fn strangers_set_no_deadlines() {
    let seen = Seen::default();
    let stated = |networks: [&str; 1]| {
        let from =
            |extensions: &http::Extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0);
        TrustedPeers::new(networks).unwrap().peer_from(from)
    };
    let nobody = serve(router(reads(), &seen, fine)).await;
    let others = serve(router(reads().trust_with(stated(["10.0.0.0/8"])), &seen, fine)).await;
    let us = serve(router(reads().trust_with(stated(["127.0.0.0/8"])), &seen, fine)).await;
    // A deadline that would refuse or cut the call is as good as none.
    for timeout in ["0", "1", "60000"] {
        for at in [nobody, others] {
            assert_eq!(ask(at, Some(timeout)).await.0, StatusCode::OK);
            assert_eq!(take(&seen), [None]);
        }
    }
    assert_eq!(ask(us, Some("60000")).await.0, StatusCode::OK);
    assert!(take(&seen)[0].is_some_and(|left| left <= 60 * SECOND));
    assert_eq!(ask(us, Some("0")).await.0, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(take(&seen), []);
}

/// Messages are bytes as they are: no code generation.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
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

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Notes its deadline; echoes what it is sent, but for `hang`, after which it never answers.
#[derive(Clone, Default)]
struct Echo {
    seen: Seen,
    begun: Arc<AtomicUsize>,
}

impl NamedService for Echo {
    const NAME: &'static str = "by.Hand";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { seen, begun } = self.clone();
        Box::pin(async move {
            let echo = service_fn(move |request: tonic::Request<Bytes>| {
                begun.fetch_add(1, SeqCst);
                seen.lock().unwrap().push(deadline::remaining());
                async move {
                    if request.get_ref() == "hang" {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, Status>(tonic::Response::new(request.into_inner()))
                }
            });
            Ok(tonic::server::Grpc::new(Raw).unary(echo, request).await)
        })
    }
}

/// A tonic server and a channel to it, through memory: all in the time of the test.
async fn tonic_pair(echo: &Echo, deadlines: DeadlineLayer<Everybody>) -> Channel {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let refused = |error: Error<Infallible>| match error {
        Error::Inner(never) => match never {},
        Error::Rejected(refusal) => Status::deadline_exceeded(refusal.to_string()),
    };
    let server = Server::builder()
        .layer(
            ServiceBuilder::new()
                .map_err(refused)
                .layer(deadlines)
                .layer(TimeoutLayer::new(TimeoutConfig::per_request("api")).unwrap())
                .layer(ErrorLayer::new()),
        )
        .add_service(echo.clone());
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(theirs));
    // It takes one connection, and serves it to its end.
    tokio::spawn(server.serve_with_incoming(incoming));
    let ours = Mutex::new(Some(ours));
    let connector = service_fn(move |_: http::Uri| {
        let stream = ours.lock().unwrap().take().map(TokioIo::new);
        async move { stream.ok_or_else(|| std::io::Error::other("there is one connection")) }
    });
    Endpoint::from_static("http://in.memory").connect_with_connector(connector).await.unwrap()
}

/// A call of a tonic client, with its own timeout.
async fn call<S>(
    service: S,
    message: &'static str,
    timeout: Option<Duration>,
) -> Result<Bytes, Status>
where
    S: tonic::client::GrpcService<Body>,
    S::ResponseBody: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as tonic::codegen::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    let mut client = tonic::client::Grpc::new(service);
    let ready = client.ready().await;
    ready.map_err(|error| Status::from_error(error.into()))?;
    let mut request = tonic::Request::new(Bytes::from_static(message.as_bytes()));
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    let path = http::uri::PathAndQuery::from_static("/by.Hand/Echo");
    client.unary(request, path, Raw).await.map(tonic::Response::into_inner)
}

fn grpc(margin: Duration) -> DeadlineLayer<Everybody> {
    let config = DeadlineConfig::new("api").grpc_timeout().margin(margin);
    DeadlineLayer::new(config).unwrap().trust_all()
}

/// `set_timeout` of a tonic client is the deadline of a tonic server's handler.
#[tokio::test(start_paused = true)]
async fn a_tonic_clients_timeout_is_seen_by_the_handler() {
    let echo = Echo::default();
    let channel = tonic_pair(&echo, grpc(50 * MS)).await;
    assert_eq!(call(channel.clone(), "a", Some(2 * SECOND)).await.unwrap(), "a");
    assert_eq!(take(&echo.seen), [Some(1950 * MS)], "no time passes in memory");
    assert_eq!(call(channel.clone(), "b", None).await.unwrap(), "b");
    assert_eq!(take(&echo.seen), [None]);
    let nothing = call(channel, "c", Some(50 * MS)).await.unwrap_err();
    assert_eq!((nothing.code(), echo.begun.load(SeqCst)), (Code::DeadlineExceeded, 2));
    assert_eq!(nothing.message(), "api: too little time is left before the deadline");
}

/// With a margin the answer is there before tonic itself gives up, which says `CANCELLED`.
#[tokio::test(start_paused = true)]
async fn a_call_that_runs_out_of_time_is_deadline_exceeded() {
    for (margin, code, after) in [
        (50 * MS, Code::DeadlineExceeded, 950 * MS),
        // What tonic does by itself at the very deadline: this is why there is a margin.
        (Duration::ZERO, Code::Cancelled, SECOND),
    ] {
        let echo = Echo::default();
        let channel = tonic_pair(&echo, grpc(margin)).await;
        let began = clock::tokio_now();
        let cut = call(channel, "hang", Some(SECOND)).await.unwrap_err();
        assert_eq!(cut.code(), code, "{cut}");
        // In the time of the test, in which timers tell milliseconds apart.
        let passed = clock::tokio_now() - began;
        assert!(passed >= after && passed <= after + 2 * MS, "{passed:?}");
        assert_eq!(echo.begun.load(SeqCst), 1);
        if margin > Duration::ZERO {
            assert_eq!(cut.message(), "api: the service did not answer in time");
        }
    }
}

/// The ambient deadline of a tonic client's caller is told, less the margin, and never more than the request
/// says itself.
#[tokio::test(start_paused = true)]
async fn a_tonic_client_forwards_the_deadline() {
    let echo = Echo::default();
    let channel = tonic_pair(&echo, grpc(Duration::ZERO)).await;
    let forward = ForwardDeadlineConfig::new("b").grpc_timeout().margin(20 * MS);
    let client = ServiceBuilder::new()
        .layer(ForwardDeadlineLayer::new(forward).unwrap())
        .layer(ErrorLayer::new())
        .service(channel);
    for (ambient, own, seen) in [
        (Some(SECOND), None, Some(980 * MS)),
        (Some(SECOND), Some(500 * MS), Some(500 * MS)),
        (Some(SECOND), Some(5 * SECOND), Some(980 * MS)),
        (None, Some(5 * SECOND), Some(5 * SECOND)),
        (None, None, None),
    ] {
        let call = call(client.clone(), "a", own);
        let answer = match ambient {
            Some(limit) => deadline::within(limit, call).await,
            None => call.await,
        };
        assert_eq!(answer.unwrap(), "a");
        assert_eq!(take(&echo.seen), [seen], "{ambient:?} {own:?}");
    }
    let refused = deadline::within(20 * MS, call(client, "a", None)).await.unwrap_err();
    assert_eq!((refused.code(), take(&echo.seen)), (Code::Unknown, vec![]));
}
