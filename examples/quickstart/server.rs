//! A real HTTP server whose health follows a script, and its own book of what reached it.

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
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};

use crate::load::{OFFERED, SENT};

/// How the server is, in the order of [`SCRIPT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Healthy,
    Failing,
    Refusing,
    Recovered,
}

/// The script: what happens, and for how long.
pub(crate) const SCRIPT: [(Phase, Duration); 4] = [
    (Phase::Healthy, Duration::from_millis(1500)),
    (Phase::Failing, Duration::from_millis(2000)),
    (Phase::Refusing, Duration::from_millis(1500)),
    (Phase::Recovered, Duration::from_millis(3000)),
];

/// How long a good answer takes: requests that arrive together are answered one after another, so
/// that the first success of several probes is not the last.
const QUICK: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(15),
    Duration::from_millis(20),
];

/// How long a bad answer takes.
const SLOW: Duration = Duration::from_millis(200);

/// Callers that may queue for being accepted.
const BACKLOG: u32 = 128;

impl Phase {
    /// When this phase begins, counted from the start of the script.
    pub(crate) fn begins(self) -> Duration {
        SCRIPT.iter().take_while(|(phase, _)| *phase != self).map(|(_, lasts)| *lasts).sum()
    }

    /// The phase that the script is in at this moment.
    pub(crate) fn at(moment: Duration) -> Self {
        let begun = SCRIPT.iter().rev().find(|(phase, _)| phase.begins() <= moment);
        begun.map_or(Self::Healthy, |(phase, _)| *phase)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Failing => "failing, slow",
            Self::Refusing => "port closed",
            Self::Recovered => "healthy again",
        }
    }
}

/// What reached the server, counted by the server on arrival.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// The script's current phase, as an index: set by the server when it really changes.
    now: AtomicUsize,
    arrived: [AtomicU64; SCRIPT.len()],
    periods: Mutex<BTreeMap<u64, Period>>,
}

/// What reached the server of one state period of the client's circuit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Period {
    /// The state, as the circuit spells it.
    pub(crate) state: String,
    /// Requests that the circuit let through in this period, beyond doubt.
    pub(crate) inside: u64,
    /// Requests whose caller was just being let through when this period began: they belong to
    /// this period or to one before it.
    pub(crate) across: u64,
    /// How many of both the server answered with success.
    pub(crate) answered_ok: u64,
}

impl Book {
    /// All requests that reached the server.
    pub(crate) fn total(&self) -> u64 {
        self.arrived.iter().map(|phase| phase.load(Relaxed)).sum()
    }

    /// Requests that reached the server in one phase of the script.
    pub(crate) fn during(&self, phase: Phase) -> u64 {
        self.arrived[phase as usize].load(Relaxed)
    }

    /// The circuit's state periods as the arriving requests told them.
    pub(crate) fn periods(&self) -> BTreeMap<u64, Period> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Period>> {
        self.periods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests of one period the server has answered with success so far.
    pub(crate) fn answered_ok(&self, generation: u64) -> u64 {
        self.lock().get(&generation).map_or(0, |period| period.answered_ok)
    }

    /// Notes an arrival and says how the server is, and how long the answer takes.
    fn arrival(&self) -> (Phase, Duration) {
        let index = self.now.load(Relaxed);
        let number = self.arrived[index].fetch_add(1, Relaxed);
        match SCRIPT[index].0 {
            Phase::Failing => (Phase::Failing, SLOW),
            phase => (phase, QUICK[number as usize % QUICK.len()]),
        }
    }

    /// Each request carries the circuit's state twice: as it was before the circuit was asked, and
    /// as it was after the circuit had let the call through. Generations only grow, so two equal
    /// marks prove the state in between; no clock and no luck is needed.
    fn file_under_period(&self, request: &Request<Incoming>) -> Option<u64> {
        let (before, before_state) = read_mark(request, OFFERED)?;
        let (after, after_state) = read_mark(request, SENT)?;
        // The first probe of a half-open period is what ends the open period before it.
        let first_probe = before_state == "open" && after_state == "half_open";
        let mut periods = self.lock();
        let period = periods.entry(after).or_default();
        after_state.clone_into(&mut period.state);
        if before == after || (first_probe && before + 1 == after) {
            period.inside += 1;
        } else {
            period.across += 1;
        }
        Some(after)
    }
}

/// Reads a mark such as `4 half_open`; the unprotected client sends none.
fn read_mark<'a>(request: &'a Request<Incoming>, name: &str) -> Option<(u64, &'a str)> {
    let (generation, state) = request.headers().get(name)?.to_str().ok()?.split_once(' ')?;
    Some((generation.parse().ok()?, state))
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
    /// Takes a free port of the loopback interface and follows the script from `start` on.
    pub(crate) fn start(start: Instant) -> io::Result<Self> {
        let door = closed_door(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = door.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let book = Arc::new(Book::default());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(follow_script(start, listener, Arc::clone(&book), stopped));
        Ok(Self { address, book, stop, task })
    }

    /// Ends the server and waits until every task of it is gone.
    pub(crate) async fn stop(self) -> io::Result<()> {
        // The receiver is gone only if the server ended early: its error is the task's result.
        let _ = self.stop.send(());
        self.task.await?
    }
}

/// A socket that owns a port but does not listen: whoever connects is refused, as by a dead
/// process, yet nobody else can take the port in the meantime.
fn closed_door(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // On Windows this option means something else, and the port is free again at once.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn follow_script(
    start: Instant,
    mut listener: TcpListener,
    book: Arc<Book>,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let mut connections = JoinSet::new();
    for (index, (phase, lasts)) in SCRIPT.into_iter().enumerate() {
        let ends = start + phase.begins() + lasts;
        if phase == Phase::Refusing {
            connections.shutdown().await;
            drop(listener);
            let door = closed_door(address)?;
            book.now.store(index, Relaxed);
            sleep_until(ends).await;
            listener = door.listen(BACKLOG)?;
        } else {
            book.now.store(index, Relaxed);
            // The last phase goes on for as long as there may be callers.
            let ends = (index + 1 < SCRIPT.len()).then_some(ends);
            serve(&listener, &mut connections, &book, ends, &mut stopped).await?;
        }
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
            accepted = listener.accept() => {
                // A caller that hung up while it was queued is no failure of the server.
                if let Some((stream, _)) = gone_is_none(accepted)? {
                    connections.spawn(serve_connection(stream, Arc::clone(book)));
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

fn gone_is_none<T>(accepted: io::Result<T>) -> io::Result<Option<T>> {
    match accepted {
        Ok(accepted) => Ok(Some(accepted)),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => Ok(None),
            _ => Err(error),
        },
    }
}

async fn serve_connection(stream: TcpStream, book: Arc<Book>) {
    let answer = service_fn(move |request| answer(Arc::clone(&book), request));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    // A broken connection is the caller's to notice and to count.
    drop(connection.await);
}

async fn answer(
    book: Arc<Book>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (phase, takes) = book.arrival();
    let period = book.file_under_period(&request);
    sleep(takes).await;
    let failing = phase == Phase::Failing;
    let mut response = Response::new(Full::from(if failing { "out of order\n" } else { "42\n" }));
    if failing {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    } else if let Some(period) = period {
        book.lock().entry(period).or_default().answered_ok += 1;
    }
    Ok(response)
}
