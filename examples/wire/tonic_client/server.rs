//! The service that is called: a real tonic server, whose answers depend on what it is asked for, and how
//! often it was before.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use portcullis::{BoxError, grpc::pushback};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server as TonicServer, server::TcpIncoming},
};
use wire_examples::{
    claims::soon,
    stock::{Stock, StockServer},
};

/// What it is asked for, and what it makes of that.
pub(crate) const ITEMS: [(&str, &str); 4] = [
    ("apples", "UNAVAILABLE, the first time"),
    ("figs", "RESOURCE_EXHAUSTED with a pushback, the first time"),
    ("grapes", "UNAVAILABLE with a pushback of -1"),
    ("kiwis", "NOT_FOUND"),
];

/// When it says to come back.
pub(crate) const PUSHBACK: Duration = Duration::from_millis(120);

/// A server, and what it has seen.
#[derive(Debug)]
pub(crate) struct Server {
    book: Arc<Book>,
    endpoint: Endpoint,
    end: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

#[derive(Debug, Default)]
struct Book {
    ill: AtomicBool,
    /// For each item, what each request said of the attempts before it.
    asked: Mutex<HashMap<String, Vec<Option<String>>>>,
}

impl Server {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr()?))?;
        let book = Arc::<Book>::default();
        let router = TonicServer::builder().add_service(StockServer::new(Arc::clone(&book)));
        let (end, ends) = oneshot::channel();
        let until = async { ends.await.unwrap_or(()) };
        let serving = router.serve_with_incoming_shutdown(TcpIncoming::from(listener), until);
        Ok(Self { book, endpoint, end, serving: tokio::spawn(serving) })
    }

    pub(crate) async fn channel(&self) -> Result<Channel, BoxError> {
        Ok(self.endpoint.connect().await?)
    }

    pub(crate) fn is_ill(&self, ill: bool) {
        self.book.ill.store(ill, SeqCst);
    }

    /// What each request for an item said of the attempts before it.
    pub(crate) fn asked(&self, item: &str) -> Vec<Option<String>> {
        let asked = self.book.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get(item).cloned().unwrap_or_default()
    }

    /// Lets it finish, which it does when its clients are gone.
    pub(crate) async fn stop(self) -> Result<(), BoxError> {
        // Nobody listens only where it has ended already.
        let _ = self.end.send(());
        Ok(soon("the end of the server", self.serving).await???)
    }
}

/// Puts a pushback into a status.
fn pushing(mut status: Status, value: &'static str) -> Status {
    let value = tonic::metadata::MetadataValue::from_static(value);
    status.metadata_mut().insert(pushback::NAME, value);
    status
}

impl Stock for Book {
    async fn count(&self, request: Request<String>) -> Result<Response<String>, Status> {
        let before = request.metadata().get("grpc-previous-rpc-attempts");
        let before = before.and_then(|before| before.to_str().ok()).map(str::to_owned);
        let item = request.into_inner();
        let first = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let asked = asked.entry(item.clone()).or_default();
            asked.push(before);
            asked.len() == 1
        };
        if self.ill.load(SeqCst) {
            return Err(Status::unavailable("the stock is being counted"));
        }
        match (item.as_str(), first) {
            ("apples", true) => Err(Status::unavailable("a moment")),
            ("figs", true) => Err(pushing(Status::resource_exhausted("a crowd"), "120")),
            ("grapes", _) => Err(pushing(Status::unavailable("not today"), "-1")),
            ("kiwis", _) => Err(Status::not_found("never heard of them")),
            _ => Ok(Response::new("7".to_owned())),
        }
    }
}
