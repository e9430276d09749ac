//! A limit for each client of real servers, over many connections: behind a proxy that appends addresses,
//! without one, and where the peer's address is not known. What clients forge gets them nothing.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Ready, ready},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router, body::Body, error_handling::HandleErrorLayer, extract::ConnectInfo, http::StatusCode,
    routing::get,
};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use portcullis::{
    ConfigError, Error, ErrorLayer, KeyedRateLimitLayer, RateLimitConfig, RateLimiters, Reason,
    http::key::{ClientIp, HeaderHash, HeaderKey, IpKey, PeerAddr},
};
use tokio::net::TcpListener;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

const XFF: &str = "x-forwarded-for";

/// Three at once, and no more within any time that a test takes.
fn config() -> RateLimitConfig {
    RateLimitConfig::new("clients", 1, Duration::from_secs(86_400)).burst(3)
}

/// A server's address, with what it did.
struct Served {
    at: SocketAddr,
    limiters: RateLimiters<IpKey>,
    handled: Arc<AtomicUsize>,
}

/// What a refusal is told as.
async fn refused(error: Error<Infallible>) -> StatusCode {
    match error {
        Error::Inner(never) => match never {},
        Error::Rejected(refusal) => {
            assert_eq!(refusal.reason(), Reason::RateLimited);
            StatusCode::TOO_MANY_REQUESTS
        }
    }
}

/// Serves two routes behind one limit, with or without the peer's address in requests.
async fn serve(client: ClientIp, connect_info: bool) -> Result<Served, ConfigError> {
    let client =
        client.peer_from(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0));
    let layer = KeyedRateLimitLayer::new(config(), 1_000, client.key()?)?;
    let (limiters, handled) = (layer.limiters().clone(), Arc::new(AtomicUsize::new(0)));
    let counts = handled.clone();
    let handler = move || {
        counts.fetch_add(1, SeqCst);
        async { "served" }
    };
    let router =
        Router::new().route("/one", get(handler.clone())).route("/two", get(handler)).layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(refused))
                .layer(layer)
                .layer(ErrorLayer::new()),
        );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        if connect_info {
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, service).await
        } else {
            axum::serve(listener, router).await
        }
    });
    Ok(Served { at, limiters, handled })
}

/// A client that makes a connection for every request.
fn stranger() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap()
}

impl Served {
    /// Sends a request with these lines of `X-Forwarded-For`, on either route in turn.
    async fn ask(&self, number: usize, lines: &[&str]) -> StatusCode {
        let route = ["one", "two"][number % 2];
        let mut request = stranger().get(format!("http://{}/{route}", self.at));
        for line in lines {
            request = request.header(XFF, *line);
        }
        request.send().await.unwrap().status()
    }
}

const SERVED: StatusCode = StatusCode::OK;
const LIMITED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// The proxy is the peer of every connection, and appends whom it speaks for.
#[tokio::test]
async fn behind_a_proxy_each_client_has_its_own_limit() {
    for client in [
        ClientIp::trusted_proxies(["127.0.0.0/8"]).x_forwarded_for(),
        ClientIp::trusted_hops(1).x_forwarded_for(),
    ] {
        let server = serve(client, true).await.unwrap();
        let mut answers: BTreeMap<&str, Vec<StatusCode>> = BTreeMap::new();
        for number in 0..5 {
            for address in ["203.0.113.1", "203.0.113.2", "2001:db8:7::1"] {
                answers.entry(address).or_default().push(server.ask(number, &[address]).await);
            }
        }
        for (address, answers) in answers {
            assert_eq!(answers, [SERVED, SERVED, SERVED, LIMITED, LIMITED], "{address}");
        }
        assert_eq!((server.handled.load(SeqCst), server.limiters.snapshot().keys), (9, 3));
    }
}

#[tokio::test]
async fn what_a_client_forges_gets_it_nothing() {
    let server =
        serve(ClientIp::trusted_proxies(["127.0.0.1"]).x_forwarded_for(), true).await.unwrap();
    // The proxy appends to the client's line, or adds one of its own.
    let client = "203.0.113.9";
    let forged: Vec<Vec<String>> = (0..12)
        .map(|number| match number % 4 {
            0 => vec![format!("198.51.100.{number}, {client}")],
            1 => vec![format!("198.51.100.{number}"), client.to_owned()],
            2 => vec![format!("127.0.0.{number}, {client}, 127.0.0.1")],
            _ => vec!["\"unknown, ,, \\".to_owned(), format!("[::{number}]:80,{client}:{number}")],
        })
        .collect();
    let mut answers = Vec::new();
    for (number, lines) in forged.iter().enumerate() {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        answers.push(server.ask(number, &lines).await);
    }
    assert_eq!(answers[..3], [SERVED; 3]);
    assert_eq!(answers[3..], [LIMITED; 9]);
    assert_eq!((server.handled.load(SeqCst), server.limiters.snapshot().keys), (3, 1));
    // A customer's whole network of IPv6 is one client.
    let mut answers = Vec::new();
    for number in 0..6 {
        answers.push(server.ask(number, &[&format!("2001:db8:7:7:{number}::{number}")]).await);
    }
    assert_eq!((&answers[..3], &answers[3..]), (&[SERVED; 3][..], &[LIMITED; 3][..]));
}

/// Without a trusted proxy, and from one that is not trusted, no header counts.
#[tokio::test]
async fn a_header_of_strangers_is_not_read() {
    for client in
        [ClientIp::peer(), ClientIp::trusted_proxies(["10.0.0.0/8", "::1"]).x_forwarded_for()]
    {
        let server = serve(client, true).await.unwrap();
        let mut answers = Vec::new();
        for number in 0..6 {
            let address = format!("203.0.113.{number}");
            answers.push(server.ask(number, &[&address, "10.0.0.1"]).await);
        }
        assert_eq!((&answers[..3], &answers[3..]), (&[SERVED; 3][..], &[LIMITED; 3][..]));
        assert_eq!((server.handled.load(SeqCst), server.limiters.snapshot().keys), (3, 1));
    }
}

/// A server that was not told to note the peer: all share one limit, and nobody gets a 500.
#[tokio::test]
async fn without_the_peers_address_all_share_one_limit() {
    let server = serve(ClientIp::peer(), false).await.unwrap();
    let mut answers = Vec::new();
    for number in 0..5 {
        answers.push(server.ask(number, &[]).await);
    }
    assert_eq!(answers, [SERVED, SERVED, SERVED, LIMITED, LIMITED]);
    assert_eq!(server.limiters.remaining(&IpKey::UNKNOWN), 0);
    assert_eq!(server.limiters.snapshot().keys, 1);
}

/// Garbage where the proxy should have written an address: the proxy's own limit.
#[tokio::test]
async fn garbage_falls_back_to_the_peer() {
    let client = ClientIp::trusted_hops(1).x_forwarded_for();
    let server = serve(client.clone(), true).await.unwrap();
    let mut answers = Vec::new();
    for (number, line) in ["unknown", "", "203.0.113.9, x", "for=203.0.113.9"].iter().enumerate() {
        answers.push(server.ask(number, &[line]).await);
    }
    assert_eq!(answers, [SERVED, SERVED, SERVED, LIMITED]);
    let proxy = client.build().unwrap().mask(Ipv4Addr::LOCALHOST.into());
    assert_eq!(server.limiters.remaining(&proxy), 0);
}

/// Put together by hand: hyper serves a connection, and whoever accepted it notes the peer. Two keys are one.
#[tokio::test]
async fn hyper_servers_note_the_peer_themselves() {
    let (ip, tenant) = (ClientIp::peer().build().unwrap(), HeaderKey::new("x-api-key").unwrap());
    let (address, value) = (ip.mask(Ipv4Addr::LOCALHOST.into()), tenant.clone());
    let both = move |request: &http::Request<Incoming>| (ip.of(request), tenant.of(request));
    let layer = KeyedRateLimitLayer::new(config(), 1_000, both).unwrap();
    let limiters = layer.limiters().clone();
    let service = ServiceBuilder::new().layer(layer).layer(ErrorLayer::new()).service(service_fn(
        |_: http::Request<Incoming>| async {
            Ok::<_, Infallible>(http::Response::new(Body::empty()))
        },
    ));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let service = service.clone();
            let noted = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                let answer = service.clone().oneshot(request);
                async move {
                    Ok::<_, Infallible>(answer.await.unwrap_or_else(|_| {
                        let mut limited = http::Response::new(Body::empty());
                        *limited.status_mut() = LIMITED;
                        limited
                    }))
                }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), noted));
        }
    });
    let ask = |key: Option<&'static str>| {
        let mut request = stranger().get(format!("http://{at}/"));
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        async { request.send().await.unwrap().status() }
    };
    for key in [Some("one"), Some("two"), None] {
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(ask(key).await);
        }
        assert_eq!(answers, [SERVED, SERVED, SERVED, LIMITED], "{key:?}");
        let hash = key.map_or(HeaderHash::NONE, |key| value.hash(key));
        assert_eq!(limiters.remaining(&(address, hash)), 0);
    }
    assert_eq!(limiters.snapshot().keys, 3);
}

/// tonic notes the peer in a type of its own.
#[tokio::test]
async fn tonic_servers_know_their_peers() {
    #[derive(Clone)]
    struct Empty;

    impl tonic::server::NamedService for Empty {
        const NAME: &'static str = "by.Hand";
    }

    impl Service<http::Request<tonic::body::Body>> for Empty {
        type Response = http::Response<tonic::body::Body>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<tonic::body::Body>) -> Self::Future {
            ready(Ok(tonic::Status::not_found("by hand").into_http()))
        }
    }

    let client = ClientIp::trusted_proxies(["127.0.0.1"])
        .x_forwarded_for()
        .peer_from(|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr())
        .build()
        .unwrap();
    let layer = KeyedRateLimitLayer::new(config(), 1_000, client.key()).unwrap();
    let limiters = layer.limiters().clone();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .layer(
            ServiceBuilder::new()
                .map_err(|error: Error<Infallible>| {
                    tonic::Status::resource_exhausted(error.to_string())
                })
                .layer(layer)
                .layer(ErrorLayer::new()),
        )
        .add_service(Empty);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let channel = tonic::transport::Endpoint::from_shared(format!("http://{at}")).unwrap();
    let channel = channel.connect().await.unwrap();
    for address in ["203.0.113.9", "203.0.113.10"] {
        let mut codes = Vec::new();
        for forged in 0..4 {
            let request = http::Request::post("/by.Hand/Any")
                .header("content-type", "application/grpc")
                .header(XFF, format!("198.51.100.{forged}, {address}"))
                .body(tonic::body::Body::empty())
                .unwrap();
            let response = channel.clone().oneshot(request).await.unwrap();
            let status = tonic::Status::from_header_map(response.headers()).unwrap();
            codes.push(status.code());
        }
        let (served, limited) = (tonic::Code::NotFound, tonic::Code::ResourceExhausted);
        assert_eq!(codes, [served, served, served, limited], "{address}");
        assert_eq!(limiters.remaining(&client.mask(address.parse().unwrap())), 0);
    }
    assert_eq!(limiters.snapshot().keys, 2);
}
