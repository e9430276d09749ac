//! The service that the stack calls: a real HTTP server that is well, ill or silent, as it is told.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::SeqCst},
    },
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::sync::Semaphore;
use wire_examples::serve;

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Health {
    /// Answers 200.
    Well,
    /// Answers 503.
    Ill,
    /// Takes requests and never answers.
    Silent,
}

/// The server's side: how it is, and what it has seen.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    book: Arc<Book>,
}

#[derive(Debug)]
struct Book {
    health: AtomicU8,
    requests: AtomicU64,
    /// A permit for each request that came while it was silent.
    waiting: Semaphore,
}

impl Upstream {
    pub(crate) async fn start() -> io::Result<Self> {
        let (health, requests) = (AtomicU8::new(Health::Well as u8), AtomicU64::new(0));
        let book = Arc::new(Book { health, requests, waiting: Semaphore::new(0) });
        let router = Router::new().route("/stock", get(answer)).with_state(Arc::clone(&book));
        let address = serve(router).await?;
        Ok(Self { address, book })
    }

    pub(crate) fn is(&self, health: Health) {
        self.book.health.store(health as u8, SeqCst);
    }

    /// Requests that have arrived, by its own count.
    pub(crate) fn requests(&self) -> u64 {
        self.book.requests.load(SeqCst)
    }

    /// Until one more request has come that it is silent about.
    pub(crate) async fn keeps_one_waiting(&self) {
        // Never closed.
        if let Ok(one) = self.book.waiting.acquire().await {
            one.forget();
        }
    }
}

async fn answer(State(book): State<Arc<Book>>) -> (StatusCode, &'static str) {
    book.requests.fetch_add(1, SeqCst);
    match book.health.load(SeqCst) {
        health if health == Health::Well as u8 => (StatusCode::OK, "42\n"),
        health if health == Health::Ill as u8 => (StatusCode::SERVICE_UNAVAILABLE, "no\n"),
        _ => {
            book.waiting.add_permits(1);
            std::future::pending().await
        }
    }
}
