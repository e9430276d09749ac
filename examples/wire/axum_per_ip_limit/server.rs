//! A server with a limit for each client, to be copied. The tests put a real nginx in front of it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    http::Extensions,
    routing::get,
};
use portcullis::{
    BoxError, ErrorLayer, KeyedRateLimitLayer, Keys, RateLimitConfig, RateLimiters,
    http::{
        RespondLayer,
        key::{ClientIp, IpKey},
        rate_limit_fields::Fields,
    },
};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

/// A server that serves until the program ends.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Every client's limit, to be looked at and commanded.
    pub(crate) limiters: RateLimiters<IpKey>,
    /// How many requests have reached the handler.
    pub(crate) handled: Arc<AtomicU64>,
}

impl Server {
    /// Serves on a free port of the loopback interface, to whoever `clients` says a client is: as many as `keys`
    /// are told apart.
    pub(crate) async fn start(
        limit: RateLimitConfig,
        keys: impl Into<Keys>,
        clients: ClientIp,
    ) -> Result<Self, BoxError> {
        let clients = clients.peer_from(peer).build()?;
        let limit = KeyedRateLimitLayer::new(limit, keys, clients.key())?;
        let (limiters, handled) = (limit.limiters().clone(), Arc::<AtomicU64>::default());

        // Refusals become 429 with `Retry-After`, and each client is told what is left of its own quota.
        let respond = RespondLayer::new().problem_json();
        let respond = respond.rate_limit_fields_by(Fields::Draft10, &limiters, clients.key());
        let count = Arc::clone(&handled);
        let hello = async move |request: Request| {
            count.fetch_add(1, SeqCst);
            match clients.address(request.headers(), request.extensions()) {
                Some(address) => format!("hello, {address}"),
                None => "hello, whoever you are".to_owned(),
            }
        };
        let app = Router::new()
            .route("/", get(hello))
            .layer(ServiceBuilder::new().layer(respond).layer(limit).layer(ErrorLayer::new()));

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        // Without this, nobody would know the peer, and all would share one limit.
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { address, limiters, handled })
    }
}

/// Where axum keeps the address of the peer.
fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0)
}
