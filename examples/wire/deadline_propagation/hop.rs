//! One server of the chain: it notes how long it has, works, and asks the next one.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
};
use http::{Extensions, Response, StatusCode, header::RETRY_AFTER};
use portcullis::{
    Backoff, BoxError, Error, ErrorLayer, Jitter, RetryConfig, deadline,
    http::{
        Http,
        deadline::{
            DeadlineConfig, DeadlineLayer, ForwardDeadlineConfig, ForwardDeadlineLayer,
            TrustedPeers,
        },
        respond::response,
    },
    stack,
};
use tokio::{net::TcpListener, sync::watch, time::sleep};
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use wire_examples::claims::soon;

/// The header that says how many milliseconds an answer is waited for.
pub(crate) const HEADER: &str = "x-timeout-ms";
/// How much less each server tells the next one: for the way there and back.
pub(crate) const MARGIN: Duration = Duration::from_millis(50);
/// How long the edge waits before another attempt. More than is left when the storage, which has two margins
/// less than the edge, runs out of time.
pub(crate) const BACKOFF: Duration = Duration::from_millis(150);
/// The limit of each server where nobody says less.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// How long one piece of work takes.
pub(crate) const PIECE: Duration = Duration::from_millis(2);

type Client = BoxCloneSyncService<reqwest::Request, reqwest::Response, Error<reqwest::Error>>;
/// The next server, and what calls it.
type Next = Option<(SocketAddr, Client)>;

/// One request, as its server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    /// What the header said.
    pub(crate) told: Option<String>,
    /// What the handler knew.
    pub(crate) left: Duration,
}

/// What a server has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) begun: Vec<Begun>,
    pub(crate) answered: usize,
    /// Requests that were dropped while they were worked on.
    pub(crate) dropped: usize,
}

impl Seen {
    pub(crate) fn idle(&self) -> bool {
        self.begun.len() == self.answered + self.dropped
    }
}

#[derive(Debug)]
struct Book {
    seen: watch::Sender<Seen>,
    /// Pieces of work done.
    work: AtomicU64,
    /// Requests to the storage that it was too busy for.
    busy: AtomicUsize,
}

/// A server.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    book: Arc<Book>,
}

/// Where axum puts the peer's address.
fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0)
}

/// What calls the next server: a standard stack, and below it what tells each attempt's deadline.
pub(crate) fn client(to: &'static str, attempts: u32) -> Result<Client, BoxError> {
    let backoff = Backoff::constant(BACKOFF).jitter(Jitter::None);
    let layers = stack::client(to)
        .retry(RetryConfig::default().attempts(attempts).backoff(backoff))
        .build()?
        .http()
        // An attempt may take all the time that there is.
        .without_attempt_timeout()
        .without_error();
    let forward = ForwardDeadlineConfig::new(to).millis(HEADER).margin(MARGIN);
    let client = ServiceBuilder::new()
        .layer(layers)
        .layer(ForwardDeadlineLayer::new(forward)?)
        .layer(ErrorLayer::new())
        .service(reqwest::Client::builder().no_proxy().build()?);
    Ok(BoxCloneSyncService::new(client))
}

impl Hop {
    /// Starts a server that believes the deadlines of peers in this network, and asks the next one, if there is
    /// one.
    pub(crate) async fn start(
        name: &'static str,
        trusted: &str,
        next: Option<(&Self, Client)>,
    ) -> Result<Self, BoxError> {
        let deadlines = DeadlineLayer::new(DeadlineConfig::new(name).millis(HEADER))?
            .trust_with(TrustedPeers::new([trusted])?.peer_from(peer));
        let layers = stack::server(name)
            .timeout(LIMIT)
            .build()?
            // Right above the timeout, which enforces them.
            .map_timeout(|timeout| ServiceBuilder::new().layer(deadlines).layer(timeout))
            .http();
        let (seen, work, busy) = (watch::Sender::default(), AtomicU64::new(0), AtomicUsize::new(0));
        let book = Arc::new(Book { seen, work, busy });
        let next = next.map(|(hop, client)| (hop.address, client));
        let router = Router::new().fallback(serve).with_state((Arc::clone(&book), next));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let service = router.layer(layers).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Ok(Self { name, address, book })
    }

    pub(crate) fn seen(&self) -> Seen {
        self.book.seen.borrow().clone()
    }

    pub(crate) fn work(&self) -> u64 {
        self.book.work.load(SeqCst)
    }

    /// Waits until this holds of what it has seen.
    pub(crate) async fn until(
        &self,
        what: &str,
        holds: impl FnMut(&Seen) -> bool,
    ) -> Result<(), BoxError> {
        let mut seen = self.book.seen.subscribe();
        soon(&format!("{} {what}", self.name), seen.wait_for(holds)).await??;
        Ok(())
    }
}

/// Tells how a request ended.
struct Working(Arc<Book>, bool);

impl Drop for Working {
    fn drop(&mut self) {
        let Self(book, answered) = self;
        book.seen.send_modify(|seen| match *answered {
            true => seen.answered += 1,
            false => seen.dropped += 1,
        });
    }
}

async fn serve(State((book, next)): State<(Arc<Book>, Next)>, request: Request) -> Response<Body> {
    let told = request.headers().get(HEADER).and_then(|told| told.to_str().ok()).map(str::to_owned);
    let left = deadline::remaining().unwrap_or(Duration::MAX);
    book.seen.send_modify(|seen| seen.begun.push(Begun { told, left }));
    let mut working = Working(Arc::clone(&book), false);
    let path = request.uri().path();
    let answer = match next {
        // While it waits for the next one it has something to do of its own.
        Some((next, client)) => tokio::select! {
            answer = ask(client, next, path) => answer,
            never = work(&book) => match never {},
        },
        None => store(&book, path).await,
    };
    working.1 = true;
    answer
}

async fn work(book: &Book) -> Infallible {
    loop {
        sleep(PIECE).await;
        book.work.fetch_add(1, SeqCst);
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// Asks the next server, and passes on what it says.
async fn ask(client: Client, next: SocketAddr, path: &str) -> Response<Body> {
    let Ok(url) = format!("http://{next}{path}").parse() else {
        return status(StatusCode::BAD_REQUEST);
    };
    match client.oneshot(reqwest::Request::new(reqwest::Method::GET, url)).await {
        Ok(answer) => {
            let mut response = status(answer.status());
            if let Some(after) = answer.headers().get(RETRY_AFTER) {
                response.headers_mut().insert(RETRY_AFTER, after.clone());
            }
            response
        }
        // As the stack of this server would answer.
        Err(Error::Rejected(refusal)) => response(&refusal, &Http::new()),
        Err(Error::Inner(_)) => status(StatusCode::BAD_GATEWAY),
    }
}

/// The end of the chain.
async fn store(book: &Book, path: &str) -> Response<Body> {
    match path {
        "/slow" => match work(book).await {},
        "/flaky" if book.busy.fetch_add(1, SeqCst) == 0 => status(StatusCode::SERVICE_UNAVAILABLE),
        "/closed" => {
            let mut response = status(StatusCode::SERVICE_UNAVAILABLE);
            response.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("30"));
            response
        }
        _ => status(StatusCode::OK),
    }
}
