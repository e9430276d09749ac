//! What both sides are made of: bodies that a test writes, a log that a test waits for, a server and its clients.

#![allow(clippy::disallowed_methods, reason = "a test gives up after a while")]

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{Empty, StreamBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use portcullis::{Error, Event, Options};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tower::Layer;

/// No event here takes so long; a test that waits for longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must come.
#[track_caller]
pub(crate) fn soon<F: Future>(what: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, what).await {
            Ok(output) => output,
            Err(_) => panic!("nothing came of what was awaited at {place}"),
        }
    }
}

/// The writing end of a body: frames, or an error. Dropping it ends the body.
pub(crate) type Writer = mpsc::Sender<Result<Frame<Bytes>, io::Error>>;

/// A body that a test writes.
pub(crate) fn written() -> (Writer, Body) {
    let (writer, frames) = mpsc::channel(4);
    let frames =
        stream::unfold(frames, |mut frames| async move { Some((frames.recv().await?, frames)) });
    (writer, Body::new(StreamBody::new(frames)))
}

pub(crate) fn data(text: &'static str) -> Result<Frame<Bytes>, io::Error> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// Everything a policy told, for a test to wait for.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    told: Arc<watch::Sender<Vec<Event>>>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { told: Arc::new(watch::Sender::new(Vec::new())) }
    }

    pub(crate) fn options(&self) -> Options {
        let log = self.clone();
        Options::new().observer(move |event: &Event| log.told.send_modify(|told| told.push(*event)))
    }

    /// Waits until something like this has been told so often.
    #[track_caller]
    pub(crate) fn until(&self, times: usize, like: fn(&Event) -> bool) -> impl Future<Output = ()> {
        let mut told = self.told.subscribe();
        soon(async move {
            let enough =
                |told: &Vec<Event>| told.iter().filter(|event| like(event)).count() >= times;
            told.wait_for(enough).await.expect("the log lives");
        })
    }
}

pub(crate) fn released(event: &Event) -> bool {
    matches!(event, Event::Released { .. })
}

/// A server of one route, `/`, which answers with the bodies that a test hands out.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    bodies: mpsc::UnboundedSender<Response>,
    task: JoinHandle<()>,
}

impl Server {
    /// Stands behind `layer`.
    pub(crate) async fn start<L>(layer: L) -> Self
    where
        L: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
        L::Service:
            tower::Service<Request<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        <L::Service as tower::Service<Request<Body>>>::Response:
            axum::response::IntoResponse + 'static,
        <L::Service as tower::Service<Request<Body>>>::Future: Send + 'static,
    {
        let (bodies, waiting) = mpsc::unbounded_channel::<Response>();
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        let answer = move || {
            let waiting = Arc::clone(&waiting);
            async move { waiting.lock().await.recv().await.expect("the test hands one out") }
        };
        let app = Router::new().route("/", axum::routing::get(answer)).layer(layer);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { address, bodies, task }
    }

    /// The next request is answered with this.
    pub(crate) fn answers(&self, body: Body) {
        self.bodies.send(Response::new(body)).expect("the server lives");
    }

    pub(crate) fn request(&self) -> Request<Empty<Bytes>> {
        let uri = format!("http://{}/", self.address);
        Request::get(uri).body(Empty::new()).expect("a request")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) type Http = Client<HttpConnector, Empty<Bytes>>;

/// A client with connections of its own, of either version.
pub(crate) fn client(http2: bool) -> Http {
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

pub(crate) async fn get(client: &Http, server: &Server) -> http::Response<Incoming> {
    soon(client.request(server.request())).await.expect("a head")
}

/// Refusals as a 503, in the place where a server turns its errors into responses.
pub(crate) fn refused() -> axum::error_handling::HandleErrorLayer<
    impl Fn(Error<Infallible>) -> std::future::Ready<http::StatusCode> + Clone + Send + Sync + 'static,
    (),
> {
    axum::error_handling::HandleErrorLayer::new(|_: Error<Infallible>| {
        std::future::ready(http::StatusCode::SERVICE_UNAVAILABLE)
    })
}

/// What a hyper-level server does with a connection: see [`raw`].
pub(crate) type Script = &'static [&'static str];

/// A server below HTTP: it answers each connection's first request with these bytes and closes it.
pub(crate) async fn raw(answer: Script) -> (SocketAddr, JoinHandle<()>, Arc<Mutex<u32>>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let served = Arc::new(Mutex::new(0));
    let count = Arc::clone(&served);
    let task = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if socket.read(&mut byte).await.unwrap_or(0) == 0 {
                    break;
                }
                request.extend(byte);
            }
            *count.lock().expect("whole") += 1;
            for part in answer {
                let _ = socket.write_all(part.as_bytes()).await;
            }
        }
    });
    (address, task, served)
}
