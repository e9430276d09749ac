//! The service that is called: a real HTTP server that is busy, loses an answer, and falls ill.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::net::TcpListener;

/// A shop, and what it has seen.
#[derive(Clone, Debug)]
pub(crate) struct Shop {
    pub(crate) address: SocketAddr,
    book: Arc<Book>,
}

#[derive(Debug, Default)]
struct Book {
    ill: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    reports: u32,
    /// Requests for an order, without and with a key.
    posts: [u32; 2],
    /// Orders that were made of those.
    orders: [u32; 2],
    /// The order that a key stands for.
    keys: HashMap<String, u32>,
    stock: u32,
}

impl Shop {
    pub(crate) async fn open() -> io::Result<Self> {
        let book = Arc::<Book>::default();
        let router = Router::new()
            .route("/report", get(report))
            .route("/orders", post(order))
            .route("/stock", get(stock))
            .with_state(Arc::clone(&book));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, book })
    }

    pub(crate) fn is_ill(&self, ill: bool) {
        self.book.ill.store(ill, SeqCst);
    }

    /// Requests for a report that have arrived.
    pub(crate) fn reports(&self) -> u32 {
        self.book.seen().reports
    }

    /// Requests for an order that have arrived, and orders that were made.
    pub(crate) fn orders(&self, with_key: bool) -> (u32, u32) {
        let (seen, which) = (self.book.seen(), usize::from(with_key));
        (seen.posts[which], seen.orders[which])
    }

    /// Requests for the stock that have arrived.
    pub(crate) fn stock(&self) -> u32 {
        self.book.seen().stock
    }
}

impl Book {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Busy at first, and says for how long.
async fn report(State(book): State<Arc<Book>>) -> Response {
    let mut seen = book.seen();
    seen.reports += 1;
    match seen.reports {
        1 => (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")]).into_response(),
        _ => "all is well\n".into_response(),
    }
}

/// Makes an order, and its first answer does not come through: a proxy on the way says 503. A key that it
/// knows makes no other order.
async fn order(State(book): State<Arc<Book>>, headers: HeaderMap) -> Response {
    let mut seen = book.seen();
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let which = usize::from(key.is_some());
    seen.posts[which] += 1;
    let known = key.and_then(|key| seen.keys.get(key).copied());
    let number = known.unwrap_or_else(|| {
        seen.orders[which] += 1;
        seen.orders.iter().sum()
    });
    if let Some(key) = key {
        seen.keys.insert(key.to_owned(), number);
    }
    match seen.posts[which] {
        1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => (StatusCode::CREATED, format!("order {number}\n")).into_response(),
    }
}

async fn stock(State(book): State<Arc<Book>>) -> Response {
    book.seen().stock += 1;
    match book.ill.load(SeqCst) {
        true => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        false => "42\n".into_response(),
    }
}
