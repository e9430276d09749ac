//! A real HTTP server as a process of its own would be, and its own book of what reached it.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::StatusCode,
    routing::get,
};
use http_body_util::channel::Channel;
use portcullis::health::{Check, Finished, HealthRegistry, HealthService};
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout},
};

/// Whether a server follows the order of a good end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    Polite,
    Blunt,
}

/// How long a new server takes before it can do its work.
pub(crate) const STARTING: Duration = Duration::from_millis(600);
/// For how long what the check found serves all probes.
pub(crate) const TTL: Duration = Duration::from_millis(200);
/// How many parts a download has, and how long each takes.
pub(crate) const PARTS: u64 = 10;
const PART: Duration = Duration::from_millis(80);
/// How long one request takes.
const WORK: Duration = Duration::from_millis(40);
/// For how long a draining server serves on: several periods of the balancer's probes.
const NOTICE: Duration = Duration::from_millis(1000);
/// How long what is in flight may take then, and what is written may be on its way.
const FINISH: Duration = Duration::from_secs(10);

/// What happened to a server, by its own count.
#[derive(Debug)]
pub(crate) struct Book {
    made: Instant,
    arrived: AtomicU64,
    answered: AtomicU64,
    too_early: AtomicU64,
    checks: AtomicU64,
    started: AtomicBool,
    drain_began: OnceLock<Instant>,
    downloading: Notify,
}

impl Book {
    /// Requests that reached it after it had started.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(SeqCst)
    }

    /// Those of them that it answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(SeqCst)
    }

    /// Requests that reached it before it had started.
    pub(crate) fn too_early(&self) -> u64 {
        self.too_early.load(SeqCst)
    }

    /// How often it asked its database.
    pub(crate) fn checks(&self) -> u64 {
        self.checks.load(SeqCst)
    }

    /// How often it may have, by now.
    pub(crate) fn most_checks(&self, ttl: Duration) -> u64 {
        let ttls = self.made.elapsed().as_millis() / ttl.as_millis();
        u64::try_from(ttls).unwrap_or(u64::MAX).saturating_add(1)
    }

    pub(crate) fn drain_began(&self) -> Option<Instant> {
        self.drain_began.get().copied()
    }

    /// Waits until a download has begun.
    pub(crate) async fn downloading(&self) {
        self.downloading.notified().await;
    }
}

/// A running server, on a thread and a runtime of its own: when those end, all of it is gone.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    book: Arc<Book>,
    end: Mutex<Option<oneshot::Sender<()>>>,
    thread: Mutex<Option<thread::JoinHandle<io::Result<Option<Finished>>>>>,
    gone: Arc<Notify>,
    is_gone: Arc<AtomicBool>,
}

impl Server {
    /// Takes a free port of the loopback interface and begins to start.
    pub(crate) fn start(manners: Manners, starting: Duration) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let book = Arc::new(Book {
            made: Instant::now(),
            arrived: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            too_early: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            started: AtomicBool::new(false),
            drain_began: OnceLock::new(),
            downloading: Notify::new(),
        });
        let (end, told) = oneshot::channel();
        let (gone, is_gone) = (Arc::new(Notify::new()), Arc::<AtomicBool>::default());
        let (own_book, goes, went) = (Arc::clone(&book), Arc::clone(&gone), Arc::clone(&is_gone));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let ended = runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                serve(listener, manners, starting, own_book, told).await
            });
            // As when a process exits: whatever it has not finished is cut.
            drop(runtime);
            went.store(true, SeqCst);
            goes.notify_one();
            ended
        });
        let (end, thread) = (Mutex::new(Some(end)), Mutex::new(Some(thread)));
        Ok(Self { address, book, end, thread, gone, is_gone })
    }

    pub(crate) fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book)
    }

    /// What SIGTERM would say.
    pub(crate) fn end(&self) {
        if let Some(end) = self.end.lock().ok().and_then(|mut end| end.take()) {
            // It is gone only if it ended early: its result says why.
            let _ = end.send(());
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(SeqCst)
    }

    /// Waits until nothing of it is left; how its drain ended, if it had one.
    pub(crate) async fn gone(&self) -> io::Result<Option<Finished>> {
        if !self.is_gone() {
            self.gone.notified().await;
        }
        match self.thread.lock().ok().and_then(|mut thread| thread.take()) {
            Some(thread) => thread.join().map_err(|_| io::Error::other("a server panicked"))?,
            None => Err(io::Error::other("a server was waited for twice")),
        }
    }
}

async fn serve(
    listener: TcpListener,
    manners: Manners,
    starting: Duration,
    book: Arc<Book>,
    told: oneshot::Receiver<()>,
) -> io::Result<Option<Finished>> {
    let health = HealthRegistry::new();
    let startup = health.startup();
    let counts = Arc::clone(&book);
    let database = Check::new("database", move || {
        counts.checks.fetch_add(1, SeqCst);
        async { Ok::<_, Infallible>(()) }
    });
    health.add(database.ttl(TTL)).map_err(io::Error::other)?;

    let drain = health.drain().clone();
    let app = routes(&book).layer(drain.layer());
    let app = app.fallback_service(HealthService::new(&health));
    let stop_accepting = drain.begun_for(NOTICE);
    let serving = axum::serve(listener, app).with_graceful_shutdown(stop_accepting);
    let mut serving = tokio::spawn(async move { serving.await });

    sleep(starting).await;
    book.started.store(true, SeqCst);
    startup.finish();
    // A sender that was dropped means the same as one that was used.
    drop(told.await);
    if manners == Manners::Blunt {
        return Ok(None);
    }
    drain.begin();
    // Set after it began: a probe that begins later still must find it so.
    book.drain_began.get_or_init(Instant::now);
    drain.begun_for(NOTICE).await;
    let finished = drain.finish(FINISH).await;
    if finished == Finished::All {
        // The last bytes may still be on their way.
        timeout(FINISH, &mut serving).await???;
    }
    Ok(Some(finished))
}

fn routes(book: &Arc<Book>) -> Router {
    let (working, loading) = (Arc::clone(book), Arc::clone(book));
    let work = async move || {
        if !working.started.load(SeqCst) {
            working.too_early.fetch_add(1, SeqCst);
            return (StatusCode::INTERNAL_SERVER_ERROR, "not started\n");
        }
        working.arrived.fetch_add(1, SeqCst);
        sleep(WORK).await;
        working.answered.fetch_add(1, SeqCst);
        (StatusCode::OK, "done\n")
    };
    let download = async move || {
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        let book = Arc::clone(&loading);
        tokio::spawn(async move {
            for part in 0..PARTS {
                // Nobody listens any more if the caller has gone.
                if sender.send_data(Bytes::from_static(b"part\n")).await.is_err() {
                    break;
                }
                if part == 0 {
                    book.downloading.notify_one();
                }
                sleep(PART).await;
            }
        });
        Body::new(body)
    };
    Router::new().route("/work", get(work)).route("/download", get(download))
}
