//! Real servers behind the standard stack of a server, and everything that could leak in them.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, serve::Listener};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::{
    Bulkhead, BulkheadConfig, Circuit, CircuitBreakerConfig, CircuitBreakerLayer, ErrorLayer,
    Event, HalfOpen, Options, QueuedBulkheadLayer, TimeoutConfig, TimeoutLayer,
    event::MetricsObserver, grpc::GrpcClassifier, health::Drain, http::HttpClassifier, stack,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, yield_now},
};
use tonic::{body::Body as TonicBody, server::NamedService, transport::server::Connected};
use tower::{Service, ServiceBuilder};

use crate::{
    clock::{Log, soon},
    text::Scrape,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// What the test and the handlers know of each other.
#[derive(Debug)]
pub(crate) struct Handlers {
    /// How many waiting handlers, or bodies, were begun.
    pub(crate) begun: watch::Sender<usize>,
    pub(crate) leave: Semaphore,
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The last part of the path says what is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Handler(Arc<Handlers>);

impl Handler {
    async fn answer<B>(self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data: Send, Error: Send> + Send,
    {
        let (head, body) = request.into_parts();
        let does = head.uri.path().rsplit('/').next().unwrap_or_default();
        match does {
            // Waits until it is let go.
            "wait" => self.wait().await,
            // Reads all that is sent, and answers even if that is not all there was to be.
            "upload" => {
                self.0.begun.send_modify(|begun| *begun += 1);
                drop(body.collect().await);
            }
            // A frame, and another when it is let go.
            "body" => {
                let handler = self.clone();
                let rest = async move {
                    handler.wait().await;
                    Ok(Frame::data(Bytes::from_static(b"rest")))
                };
                let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"part")))]);
                let frames = first.chain(stream::once(rest)).chain(stream::iter([trailers()]));
                return streams(StreamBody::new(frames).boxed_unsync());
            }
            // Lets others run in between, at its head and at each of its frames.
            "churn" => {
                for _ in 0..50 {
                    yield_now().await;
                }
                let frames = stream::iter(0..6).then(|_| async {
                    yield_now().await;
                    Ok(Frame::data(Bytes::from_static(b"churn")))
                });
                let frames = frames.chain(stream::iter([trailers()]));
                return streams(StreamBody::new(frames).boxed_unsync());
            }
            _ => {}
        }
        let frames = stream::iter([Ok(Frame::data(Bytes::from_static(b"fine"))), trailers()]);
        streams(StreamBody::new(frames).boxed_unsync())
    }

    async fn wait(&self) {
        self.0.begun.send_modify(|begun| *begun += 1);
        self.0.leave.acquire().await.expect("never closed").forget();
    }
}

fn trailers() -> Result<Frame<Bytes>, io::Error> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Ok(Frame::trailers(trailers))
}

fn streams(body: Body) -> Response<Body> {
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(body).expect("a response")
}

impl NamedService for Handler {
    const NAME: &'static str = "by.Hand";
}

type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

impl Service<Request<axum::body::Body>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering<Body>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<axum::body::Body>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move { Ok(handler.answer(request).await) })
    }
}

impl Service<Request<TonicBody>> for Handler {
    type Response = Response<TonicBody>;
    type Error = Infallible;
    type Future = Answering<TonicBody>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<TonicBody>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move { Ok(handler.answer(request).await.map(TonicBody::new)) })
    }
}

/// A server, and every handle of its stack.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) slots: Bulkhead,
    pub(crate) circuit: Circuit,
    pub(crate) drain: Drain,
    pub(crate) log: Log,
    open: Arc<watch::Sender<usize>>,
    metrics: PrometheusHandle,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Framework {
    Axum,
    Tonic,
}

/// Probes that close a half-open circuit of a server.
pub(crate) const PROBES: u32 = 2;

/// Serves behind `drain > respond > bulkhead > timeout > catch panic > breaker > error layer`, with so many slots
/// and as many places to wait.
pub(crate) async fn serve(framework: Framework, places: usize) -> Served {
    let log = Log::new();
    let recorder = PrometheusBuilder::new().with_recommended_naming(true).build_recorder();
    let metrics = recorder.handle();
    let observer = MetricsObserver::with_recorder(recorder);
    let options = || {
        let (log, observer) = (log.clone(), observer.clone());
        Options::new().observer(move |event: &Event| {
            portcullis::Observer::on_event(&observer, event);
            log.note(event);
        })
    };
    let waits = BulkheadConfig::new("api", places).queue(places).max_wait(HOUR);
    let bulkhead = QueuedBulkheadLayer::with(waits, options()).expect("valid numbers");
    let limit = TimeoutLayer::with(TimeoutConfig::new("api", HOUR), options()).expect("valid");
    let breaker = CircuitBreakerConfig::new("api").half_open(HalfOpen::counts(PROBES, 1));
    let breaker = CircuitBreakerLayer::with(breaker, options()).expect("valid numbers");
    let (slots, circuit) = (bulkhead.bulkhead().clone(), breaker.circuit().clone());
    let server = stack::server("api").build().expect("valid numbers");
    let server = server.with_bulkhead(bulkhead).with_timeout(limit).without_error();
    let drain = Drain::new();

    let handlers = Arc::new(Handlers { begun: watch::Sender::default(), leave: Semaphore::new(0) });
    let handler = Handler(Arc::clone(&handlers));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("a bound port");
    let open = Arc::<watch::Sender<usize>>::default();
    let listener = Counting { listener, open: Arc::clone(&open) };
    let task = match framework {
        Framework::Axum => {
            let layers = ServiceBuilder::new()
                .layer(drain.layer())
                .layer(server.http())
                .layer(breaker.classify_with(HttpClassifier::breaker()))
                .layer(ErrorLayer::new());
            let app = Router::new().fallback_service(handler).layer(layers);
            tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") })
        }
        Framework::Tonic => {
            let layers = ServiceBuilder::new()
                .layer(drain.layer())
                .layer(server.grpc())
                .layer(breaker.classify_with(GrpcClassifier::breaker()))
                .layer(ErrorLayer::new());
            let incoming = stream::unfold(listener, |mut listener| async move {
                let (io, _) = listener.accept().await;
                Some((Ok::<_, io::Error>(io), listener))
            });
            let server = tonic::transport::Server::builder().layer(layers).add_service(handler);
            let serving = server.serve_with_incoming(incoming);
            tokio::spawn(async move { serving.await.expect("it serves") })
        }
    };
    Served { address, handlers, slots, circuit, drain, log, open, metrics, task }
}

impl Served {
    /// Waits until so many handlers or bodies wait, or have waited.
    #[track_caller]
    pub(crate) fn begun(&self, times: usize) -> impl Future<Output = ()> {
        let mut begun = self.handlers.begun.subscribe();
        soon(async move { drop(begun.wait_for(|begun| *begun >= times).await.expect("it lives")) })
    }

    /// Waits until so many connections are open.
    #[track_caller]
    pub(crate) fn open(&self, connections: usize) -> impl Future<Output = ()> {
        let mut open = self.open.subscribe();
        soon(
            async move { drop(open.wait_for(|open| *open == connections).await.expect("it lives")) },
        )
    }

    /// Waits until something like this has been told so often.
    #[track_caller]
    pub(crate) fn told(&self, times: usize, like: fn(&Event) -> bool) -> impl Future<Output = ()> {
        let mut told = self.log.subscribe();
        soon(async move {
            let often =
                |told: &Vec<Event>| told.iter().filter(|event| like(event)).count() >= times;
            drop(told.wait_for(often).await.expect("the log lives"));
        })
    }

    fn gauge(&self, name: &str) -> Option<f64> {
        let text = self.metrics.render();
        // Before the first call there is no text, and no gauge.
        if text.is_empty() {
            return None;
        }
        let scrape = Scrape::read(&text).expect("a valid text");
        scrape.get(&format!("portcullis_{name}{{name=\"api\"}}"))
    }

    /// What is in flight: by the bulkhead's handle, by its metrics, and by the drain.
    pub(crate) fn in_flight(&self) -> (usize, Option<f64>, u64) {
        (self.slots.in_flight(), self.gauge("bulkhead_in_flight"), self.drain.in_flight())
    }

    /// Nothing is in flight, waits or probes, whomever one asks; and whoever came has gone.
    #[track_caller]
    pub(crate) fn is_at_rest(&self) {
        let slots = self.slots.snapshot();
        assert_eq!((slots.in_flight, slots.queued, self.drain.in_flight()), (0, 0, 0));
        assert_eq!(self.circuit.snapshot().probes_in_flight, 0);
        for gauge in ["bulkhead_in_flight", "bulkhead_queued"] {
            assert_eq!(self.gauge(gauge).unwrap_or_default(), 0.0, "{gauge}");
        }
        assert_eq!(self.log.count(admitted), self.log.count(released));
    }
}

pub(crate) fn admitted(event: &Event) -> bool {
    matches!(event, Event::Admitted { .. })
}

pub(crate) fn released(event: &Event) -> bool {
    matches!(event, Event::Released { .. })
}

pub(crate) fn queued(event: &Event) -> bool {
    matches!(event, Event::Queued { .. })
}

pub(crate) fn left_queue(event: &Event) -> bool {
    matches!(event, Event::LeftQueue { .. })
}

/// A listener whose connections are counted while they are open.
struct Counting {
    listener: TcpListener,
    open: Arc<watch::Sender<usize>>,
}

impl Listener for Counting {
    type Io = Counted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Counted, SocketAddr) {
        let (stream, address) = self.listener.accept().await.expect("a connection");
        self.open.send_modify(|open| *open += 1);
        (Counted { stream, open: Arc::clone(&self.open) }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

struct Counted {
    stream: TcpStream,
    open: Arc<watch::Sender<usize>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.send_modify(|open| *open -= 1);
    }
}

impl Connected for Counted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
