//! What the server is for, as good and as bad as handlers are. Yours stand here; these are told by the play when to
//! go on, and keep a book of what reached them.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::State, routing::get};
use bytes::Bytes;
use http_body_util::channel::Channel;
use hyper::body::{Body as HttpBody, Frame};
use portcullis::deadline;
use tokio::sync::{Semaphore, watch};

/// The end of a download, by which it is known to be whole.
pub(crate) const END: &str = "the end\n";
/// How often a download sends something.
const TICK: Duration = Duration::from_millis(20);

/// What reached the handlers, by their own count.
#[derive(Debug)]
pub(crate) struct Book {
    /// Requests that reached `/reports`.
    pub(crate) reports: AtomicU64,
    /// Requests that reached `/waits`; those of them that ended by themselves.
    pub(crate) waits: AtomicU64,
    pub(crate) waited: AtomicU64,
    /// Requests to `/hangs` that were dropped, and what time each had when it came.
    pub(crate) dropped: AtomicU64,
    pub(crate) had: Mutex<Vec<Option<Duration>>>,
    /// Requests that reached `/panics`.
    pub(crate) panics: AtomicU64,
    /// Downloads that were begun, and those that were sent to their end.
    pub(crate) downloads: AtomicU64,
    pub(crate) downloaded: AtomicU64,
    /// Bodies of `/stalls` that were dropped.
    pub(crate) cut: AtomicU64,
    /// One permit for each request that has come to wait, hang, or download.
    pub(crate) arrived: Semaphore,
    /// One permit for each request of `/waits` that may go.
    pub(crate) leave: Semaphore,
    /// Whether downloads may come to their end.
    pub(crate) enough: watch::Sender<bool>,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            reports: AtomicU64::default(),
            waits: AtomicU64::default(),
            waited: AtomicU64::default(),
            dropped: AtomicU64::default(),
            had: Mutex::default(),
            panics: AtomicU64::default(),
            downloads: AtomicU64::default(),
            downloaded: AtomicU64::default(),
            cut: AtomicU64::default(),
            arrived: Semaphore::new(0),
            leave: Semaphore::new(0),
            enough: watch::Sender::new(false),
        }
    }
}

type Books = State<Arc<Book>>;

/// Everything that is served.
pub(crate) fn routes(book: &Arc<Book>) -> Router {
    Router::new()
        .route("/reports", get(reports))
        .route("/waits", get(waits))
        .route("/hangs", get(hangs))
        .route("/panics", get(panics))
        .route("/download", get(download))
        .route("/stalls", get(stalls))
        .with_state(Arc::clone(book))
}

async fn reports(State(book): Books) -> &'static str {
    book.reports.fetch_add(1, SeqCst);
    "a report\n"
}

/// Answers when it is let go.
async fn waits(State(book): Books) -> &'static str {
    book.waits.fetch_add(1, SeqCst);
    book.arrived.add_permits(1);
    // Never closed.
    if let Ok(one) = book.leave.acquire().await {
        one.forget();
    }
    book.waited.fetch_add(1, SeqCst);
    "a report, at last\n"
}

/// Never answers.
async fn hangs(State(book): Books) -> &'static str {
    struct Dropped(Arc<Book>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.dropped.fetch_add(1, SeqCst);
        }
    }

    book.had.lock().unwrap_or_else(PoisonError::into_inner).push(deadline::remaining());
    book.arrived.add_permits(1);
    let _dropped = Dropped(book);
    std::future::pending().await
}

async fn panics(State(book): Books) -> &'static str {
    book.panics.fetch_add(1, SeqCst);
    panic!("a bug of the handler's")
}

/// Sends a little, again and again, until it may end.
#[expect(clippy::disallowed_methods, reason = "this server lives in real time")]
async fn download(State(book): Books) -> Body {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    book.downloads.fetch_add(1, SeqCst);
    tokio::spawn(async move {
        let mut enough = book.enough.subscribe();
        let mut first = true;
        // Nobody listens any more if the client has gone.
        while sender.send_data(Bytes::from_static(b"some, and ")).await.is_ok() {
            if std::mem::take(&mut first) {
                book.arrived.add_permits(1);
            }
            let ends = tokio::time::timeout(TICK, enough.wait_for(|enough| *enough)).await.is_ok();
            if ends {
                if sender.send_data(Bytes::from_static(END.as_bytes())).await.is_ok() {
                    book.downloaded.fetch_add(1, SeqCst);
                }
                break;
            }
        }
    });
    Body::new(body)
}

/// Sends a little, and then nothing more.
async fn stalls(State(book): Books) -> Body {
    Body::new(Stalls { begun: AtomicBool::new(false), book })
}

struct Stalls {
    begun: AtomicBool,
    book: Arc<Book>,
}

impl HttpBody for Stalls {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.begun.swap(true, SeqCst) {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"some, and ")))))
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.book.cut.fetch_add(1, SeqCst);
    }
}
