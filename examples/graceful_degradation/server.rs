//! A price server whose health follows a script, and the book that it keeps of itself.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};

/// How the server is, in the order of [`SCRIPT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Healthy,
    Failing,
    PortClosed,
    Recovered,
}

/// What happens, and for how long; the last phase goes on until the server is stopped.
const SCRIPT: [(Phase, Duration); 4] = [
    (Phase::Healthy, Duration::from_millis(1500)),
    (Phase::Failing, Duration::from_millis(1500)),
    (Phase::PortClosed, Duration::from_millis(1500)),
    (Phase::Recovered, Duration::MAX),
];

/// How long an answer takes.
const TAKES: Duration = Duration::from_millis(5);

/// Callers that may queue for being accepted.
const BACKLOG: u32 = 128;

impl Phase {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Failing => "answers 500",
            Self::PortClosed => "port closed",
            Self::Recovered => "healthy again",
        }
    }
}

/// What the server did, as it counted itself.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// The present phase, as an index.
    now: AtomicUsize,
    arrived: [AtomicU64; SCRIPT.len()],
    good: AtomicU64,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// When each phase began; whatever arrives after that sees it.
    began: Vec<Instant>,
    /// The last price quoted for each item before the outage.
    last_before_outage: BTreeMap<u32, u64>,
}

impl Book {
    /// Requests that reached the server in one phase.
    pub(crate) fn during(&self, phase: Phase) -> u64 {
        self.arrived[phase as usize].load(Relaxed)
    }

    /// All requests that reached the server.
    pub(crate) fn total(&self) -> u64 {
        self.arrived.iter().map(|arrived| arrived.load(Relaxed)).sum()
    }

    /// Requests that the server answered with a price.
    pub(crate) fn good(&self) -> u64 {
        self.good.load(Relaxed)
    }

    pub(crate) fn phase(&self) -> Phase {
        SCRIPT[self.now.load(Relaxed)].0
    }

    /// When a phase really began, if it has.
    pub(crate) fn began(&self, phase: Phase) -> Option<Instant> {
        self.notes().began.get(phase as usize).copied()
    }

    /// The last price that the server quoted for an item before the outage.
    pub(crate) fn last_before_outage(&self, item: u32) -> Option<u64> {
        self.notes().last_before_outage.get(&item).copied()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, index: usize) {
        // An answer is begun and noted under this lock, so none of the phase before is noted after.
        let mut notes = self.notes();
        self.now.store(index, Relaxed);
        notes.began.push(Instant::now());
    }

    /// Notes a request for an item; a price, if the server is well. Prices are numbers that never repeat.
    fn quote(&self, item: u32) -> Option<u64> {
        let mut notes = self.notes();
        let index = self.now.load(Relaxed);
        self.arrived[index].fetch_add(1, Relaxed);
        match SCRIPT[index].0 {
            Phase::Healthy => {
                let price = self.good.fetch_add(1, Relaxed) + 1;
                notes.last_before_outage.insert(item, price);
                Some(price)
            }
            Phase::Recovered => Some(self.good.fetch_add(1, Relaxed) + 1),
            Phase::Failing | Phase::PortClosed => None,
        }
    }
}

/// A running server; [`stop`](Self::stop) ends it and everything it started.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) book: Arc<Book>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Takes a free port of the loopback interface and follows the script from now on.
    pub(crate) fn start() -> io::Result<Self> {
        let door = closed_door(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = door.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let book = Arc::new(Book::default());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(follow_script(listener, Arc::clone(&book), stopped));
        Ok(Self { address, book, stop, task })
    }

    /// Ends the server and waits until every task of it is gone.
    pub(crate) async fn stop(self) -> io::Result<()> {
        // The receiver is gone only if the server ended early: its error is the task's result.
        let _ = self.stop.send(());
        self.task.await?
    }
}

/// A socket that owns a port but does not listen: whoever connects is refused, yet nobody else can take the
/// port in the meantime.
fn closed_door(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // On Windows this option means something else, and the port is free again at once.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn follow_script(
    mut listener: TcpListener,
    book: Arc<Book>,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let mut connections = JoinSet::new();
    for (index, (phase, lasts)) in SCRIPT.into_iter().enumerate() {
        let ends = Instant::now().checked_add(lasts);
        if phase == Phase::PortClosed {
            connections.shutdown().await;
            drop(listener);
            let door = closed_door(address)?;
            book.enter(index);
            sleep(lasts).await;
            // The next phase begins before anybody can connect again.
            book.enter(index + 1);
            listener = door.listen(BACKLOG)?;
            continue;
        }
        if phase != Phase::Recovered {
            book.enter(index);
        }
        serve(&listener, &mut connections, &book, ends, &mut stopped).await?;
    }
    connections.shutdown().await;
    Ok(())
}

/// Accepts and serves until the phase ends, or until the server is stopped.
async fn serve(
    listener: &TcpListener,
    connections: &mut JoinSet<()>,
    book: &Arc<Book>,
    ends: Option<Instant>,
    stopped: &mut oneshot::Receiver<()>,
) -> io::Result<()> {
    let end = async {
        match ends {
            Some(at) => sleep_until(at).await,
            // A sender that was dropped means the same as one that was used.
            None => drop(stopped.await),
        }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let book = Arc::clone(book);
                    let answer = service_fn(move |request| answer(Arc::clone(&book), request));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer);
                    // A broken connection is the caller's to notice and to count.
                    connections.spawn(async move { drop(connection.await) });
                }
                // A caller that hung up while it was queued is no failure of the server.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn answer(
    book: Arc<Book>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let item = request.uri().path().rsplit('/').next().and_then(|item| item.parse().ok());
    let price = item.and_then(|item| book.quote(item));
    sleep(TAKES).await;
    let mut response = Response::new(Full::from(price.unwrap_or_default().to_string()));
    if price.is_none() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(response)
}
