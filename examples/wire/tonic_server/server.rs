//! The server: tonic's, behind a standard stack, or as it is.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::Extensions;
use portcullis::{
    BoxError, Reason, deadline,
    http::deadline::{DeadlineConfig, DeadlineLayer, TrustedPeers},
    stack,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot, watch},
    task::JoinHandle,
};
use tonic::{
    Request, Response, Status,
    transport::{
        Channel, Endpoint, Error, Server as TonicServer,
        server::{TcpConnectInfo, TcpIncoming},
    },
};
use tower::ServiceBuilder;
use wire_examples::{
    claims::soon,
    stock::{Stock, StockServer},
};

/// So many calls at once, and so long for one where nobody says less.
pub(crate) const SLOTS: usize = 2;
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// How much earlier than the caller's deadline the answer is on its way, so that it is there before tonic gives
/// up. It is much more than a network takes, for machines that are very busy.
pub(crate) const MARGIN: Duration = Duration::from_millis(600);
/// When a caller who finds no room is to come back.
pub(crate) const PUSHBACK: Duration = Duration::from_millis(100);

/// What the handler has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Each call that reached it, by its item, and how long it had when it began.
    pub(crate) begun: Vec<(String, Option<Duration>)>,
    /// Calls that it worked on when they were dropped.
    pub(crate) dropped: usize,
}

/// The handler.
#[derive(Debug)]
struct Shelf {
    seen: watch::Sender<Seen>,
    gate: Semaphore,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) channel: Channel,
    shelf: Arc<Shelf>,
    end: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), Error>>,
}

/// Where tonic puts the peer's address.
fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<TcpConnectInfo>()?.remote_addr()
}

impl Server {
    /// One behind the stack, which believes the deadlines of callers from this network.
    pub(crate) async fn start(trusted: &str) -> Result<Self, BoxError> {
        let deadlines = DeadlineConfig::new("stock").grpc_timeout().margin(MARGIN);
        let deadlines = DeadlineLayer::new(deadlines)?
            .trust_with(TrustedPeers::new([trusted])?.peer_from(peer));
        let layers = stack::server("stock")
            .max_in_flight(SLOTS)
            .timeout(LIMIT)
            .build()?
            // Right above the timeout, which enforces them.
            .map_timeout(|timeout| ServiceBuilder::new().layer(deadlines).layer(timeout))
            .grpc()
            .map_respond(|respond| {
                // A bulkhead cannot know when there will be room. Who runs it may have an idea.
                respond.retry_after(|refusal| match refusal.reason() {
                    Reason::BulkheadFull => Some(PUSHBACK),
                    _ => refusal.retry_after(),
                })
            });
        Self::serve(|shelf, incoming, ends| {
            let server = TonicServer::builder().layer(layers).add_service(shelf);
            tokio::spawn(server.serve_with_incoming_shutdown(incoming, ends))
        })
        .await
    }

    /// One as it is.
    pub(crate) async fn bare() -> Result<Self, BoxError> {
        Self::serve(|shelf, incoming, ends| {
            let server = TonicServer::builder().add_service(shelf);
            tokio::spawn(server.serve_with_incoming_shutdown(incoming, ends))
        })
        .await
    }

    async fn serve<F>(serve: F) -> Result<Self, BoxError>
    where
        F: FnOnce(StockServer<Shelf>, TcpIncoming, End) -> JoinHandle<Result<(), Error>>,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr()?))?;
        let shelf = Arc::new(Shelf { seen: watch::Sender::default(), gate: Semaphore::new(0) });
        let (end, ends) = oneshot::channel();
        let ends: End = Box::pin(async { ends.await.unwrap_or(()) });
        let serving = serve(StockServer::new(Arc::clone(&shelf)), listener.into(), ends);
        Ok(Self { channel: endpoint.connect().await?, shelf, end, serving })
    }

    pub(crate) fn seen(&self) -> Seen {
        self.shelf.seen.borrow().clone()
    }

    /// Waits until this holds of what the handler has seen.
    pub(crate) async fn until(
        &self,
        what: &str,
        holds: impl FnMut(&Seen) -> bool,
    ) -> Result<Seen, BoxError> {
        let mut seen = self.shelf.seen.subscribe();
        Ok(soon(what, seen.wait_for(holds)).await??.clone())
    }

    /// Lets so many calls go on that wait.
    pub(crate) fn go_on(&self, calls: usize) {
        self.shelf.gate.add_permits(calls);
    }

    /// Lets it finish, which it does when its clients are gone.
    pub(crate) async fn stop(self) -> Result<(), BoxError> {
        let Self { channel, end, serving, .. } = self;
        drop(channel);
        // Nobody listens only where it has ended already.
        let _ = end.send(());
        Ok(soon("the end of the server", serving).await???)
    }
}

type End = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells of a call that is dropped while it is worked on.
struct Working<'a>(&'a Shelf);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.seen.send_modify(|seen| seen.dropped += 1);
    }
}

impl Stock for Shelf {
    async fn count(&self, request: Request<String>) -> Result<Response<String>, Status> {
        let item = request.into_inner();
        self.seen.send_modify(|seen| seen.begun.push((item.clone(), deadline::remaining())));
        let working = Working(self);
        match item.as_str() {
            "slow" => {
                let go_on = self.gate.acquire().await;
                go_on.map_err(|closed| Status::internal(closed.to_string()))?.forget();
            }
            "never" => std::future::pending().await,
            "bug" => panic!("a bug of the handler's"),
            _ => {}
        }
        std::mem::forget(working);
        Ok(Response::new("7".to_owned()))
    }
}
