//! A reverse proxy, as small as they come: it sends requests on, over connections that all of its clients share,
//! and appends the address that it sees to `X-Forwarded-For`.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// For the play only: the address that the proxy is to see, where this machine has no such address.
pub(crate) const SEEN_AS: HeaderName = HeaderName::from_static("x-play-seen-as");

type Body = BoxBody<Bytes, hyper::Error>;

/// A running proxy.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    sent_on: Arc<AtomicU64>,
    server: SocketAddr,
    http: Client<HttpConnector, Incoming>,
}

impl Proxy {
    /// Stands in front of a server until the program ends.
    pub(crate) async fn before(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, sent_on) = (listener.local_addr()?, Arc::default());
        let http = Client::builder(TokioExecutor::new()).build_http();
        let proxy = Self { address, sent_on, server, http };
        let accepting = proxy.clone();
        tokio::spawn(async move {
            // A listener that fails has no more clients.
            while let Ok((stream, peer)) = listener.accept().await {
                let proxy = accepting.clone();
                let service = service_fn(move |request| {
                    let proxy = proxy.clone();
                    async move { Ok::<_, Infallible>(proxy.send_on(request, peer.ip()).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(proxy)
    }

    /// How many requests it has sent on.
    pub(crate) fn sent_on(&self) -> u64 {
        self.sent_on.load(SeqCst)
    }

    async fn send_on(&self, mut request: Request<Incoming>, peer: IpAddr) -> Response<Body> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let Ok(uri) = Uri::try_from(format!("http://{}{path}", self.server)) else {
            return bad_gateway();
        };
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.remove(header::HOST);
        let seen = headers.remove(SEEN_AS).and_then(|seen| seen.to_str().ok()?.parse().ok());
        let seen: IpAddr = seen.unwrap_or(peer);
        // Whatever the client has sent stays where it is: further left.
        let Ok(appended) = HeaderValue::try_from(seen.to_string()) else { return bad_gateway() };
        headers.append(X_FORWARDED_FOR, appended);
        self.sent_on.fetch_add(1, SeqCst);
        match self.http.request(request).await {
            Ok(response) => response.map(BodyExt::boxed),
            Err(_) => bad_gateway(),
        }
    }
}

fn bad_gateway() -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
