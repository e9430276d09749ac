//! Probes and draining over the wire: a real axum server that ends in good order, with what its clients and
//! the server itself saw of it.
#![expect(clippy::disallowed_methods, reason = "nothing here may hang, whatever is wrong")]

use std::{
    convert::Infallible,
    future::{Future, pending},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use portcullis::health::{Check, Detail, Drain, Finished, HealthRegistry, HealthService};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};

const BOUND: Duration = Duration::from_secs(60);

async fn bounded<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(BOUND, future).await.expect("it ends by itself")
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
    let address = listener.local_addr().expect("a bound port");
    (listener, address)
}

/// One response as it came over the wire.
#[derive(Debug)]
struct Got {
    status: u16,
    head: String,
    body: String,
}

impl Got {
    fn brief(&self) -> (u16, &str) {
        (self.status, self.body.as_str())
    }

    fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }
}

/// A kept connection, by hand: what is sent and what comes is for the test to see.
#[derive(Debug)]
struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.expect("the server listens")))
    }

    async fn send(&mut self, method: &str, path: &str) {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: loopback\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.expect("the connection is open");
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.expect("the server answers");
        line
    }

    async fn head(&mut self) -> (u16, String) {
        let mut head = String::new();
        loop {
            let line = self.line().await.to_ascii_lowercase();
            assert!(!line.is_empty(), "the connection ended within a head: {head}");
            if line == "\r\n" {
                break;
            }
            head += &line;
        }
        (head[9..12].parse().expect("a status"), head)
    }

    /// The next chunk of a body in chunks; empty at its end.
    async fn chunk(&mut self) -> String {
        let length = usize::from_str_radix(self.line().await.trim_end(), 16).expect("a length");
        let mut chunk = vec![0; length + 2];
        self.0.read_exact(&mut chunk).await.expect("a whole chunk");
        chunk.truncate(length);
        String::from_utf8(chunk).expect("a text")
    }

    async fn ask(&mut self, method: &str, path: &str) -> Got {
        self.send(method, path).await;
        let (status, head) = self.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = match (method, length) {
            ("HEAD", _) | (_, None) => 0,
            (_, Some(length)) => length.parse().expect("a length"),
        };
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("the whole body");
        Got { status, head, body: String::from_utf8(body).expect("a text") }
    }

    /// Whether the server has closed it without another word.
    async fn has_ended(mut self) -> bool {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.is_ok() && rest.is_empty()
    }
}

async fn get_once(address: SocketAddr, path: &str) -> Got {
    Connection::open(address).await.ask("GET", path).await
}

/// What the server itself saw.
#[derive(Debug, Default)]
struct Seen {
    begun: AtomicU32,
    ended: AtomicU32,
    quick: AtomicU32,
    checks: AtomicU32,
}

struct Server {
    address: SocketAddr,
    drain: Drain,
    seen: Arc<Seen>,
    /// Told of each long response that is under way, with what feeds its body.
    long: mpsc::Receiver<mpsc::Sender<Bytes>>,
    stop_accepting: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
}

/// An application with a long and a quick route, with probes beside it.
async fn serve() -> Server {
    let (listener, address) = listener().await;
    let seen = Arc::new(Seen::default());
    let health = HealthRegistry::new();
    let counts = Arc::clone(&seen);
    let check = Check::new("db", move || {
        counts.checks.fetch_add(1, SeqCst);
        async { Ok::<_, Infallible>(()) }
    });
    // What it found stays good for the whole test.
    health.add(check.ttl(Duration::MAX)).expect("a valid check");

    let (told, long) = mpsc::channel(4);
    let counts = Arc::clone(&seen);
    let long_route = async move || {
        counts.begun.fetch_add(1, SeqCst);
        let (feed, mut fed) = mpsc::channel::<Bytes>(4);
        told.send(feed).await.expect("the test listens");
        let counts = Arc::clone(&counts);
        Body::new(StreamBody::new(futures_util::stream::poll_fn(move |cx| {
            let next = fed.poll_recv(cx);
            if let std::task::Poll::Ready(None) = next {
                counts.ended.fetch_add(1, SeqCst);
            }
            next.map(|data| data.map(|data| Ok::<_, Infallible>(Frame::data(data))))
        })))
    };
    let counts = Arc::clone(&seen);
    let quick_route = async move || {
        counts.quick.fetch_add(1, SeqCst);
        "quick"
    };
    let drain = health.drain().clone();
    let probes = HealthService::new(&health).reveal(Detail::Full);
    let app = Router::new()
        .route("/long", get(long_route))
        .route("/quick", get(quick_route))
        .layer(drain.layer())
        .route_service("/livez", probes.clone())
        .route_service("/readyz", probes.clone())
        .nest_service("/internal", probes);
    let (stop_accepting, stop) = oneshot::channel::<()>();
    let begun = drain.begun_for(Duration::ZERO);
    // A real one waits for a while between the two; here the test says for how long.
    let ends = async move {
        begun.await;
        drop(stop.await);
    };
    let serving =
        tokio::spawn(async move { axum::serve(listener, app).with_graceful_shutdown(ends).await });
    Server { address, drain, seen, long, stop_accepting, serving }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_drains_serves_on_and_ends() {
    bounded(async {
        let mut server = serve().await;
        let address = server.address;
        assert_eq!(get_once(address, "/readyz").await.brief(), (200, "ok"));
        let mut kept = Connection::open(address).await;
        let before = kept.ask("GET", "/quick").await;
        assert_eq!((before.brief(), before.closes()), ((200, "quick"), false));

        // A request that will be under way all the time.
        let mut long = Connection::open(address).await;
        long.send("GET", "/long").await;
        let feed = server.long.recv().await.expect("it has arrived");
        assert_eq!(long.head().await.0, 200);
        feed.send(Bytes::from_static(b"one")).await.expect("its body is there");
        assert_eq!(long.chunk().await, "one");
        assert_eq!(server.drain.in_flight(), 1);

        // Unready at once, whatever was found before; alive; and whoever comes is served.
        server.drain.begin();
        assert_eq!(get_once(address, "/readyz").await.brief(), (503, "draining"));
        assert_eq!(get_once(address, "/livez").await.brief(), (200, "ok"));
        let new = get_once(address, "/quick").await;
        assert_eq!((new.brief(), new.closes()), ((200, "quick"), true));
        let last = kept.ask("GET", "/quick").await;
        assert_eq!((last.brief(), last.closes()), ((200, "quick"), true));
        assert!(kept.has_ended().await, "a kept connection is let go of");
        assert_eq!(server.seen.checks.load(SeqCst), 1);
        let left = server.drain.finish(Duration::ZERO).await;
        assert_eq!(left, Finished::TimedOut { left: 1 });
        assert!(!server.serving.is_finished());

        // It stops accepting, and what is under way goes on.
        server.stop_accepting.send(()).expect("the server waits for it");
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        feed.send(Bytes::from_static(b"two")).await.expect("its body is there");
        assert_eq!(long.chunk().await, "two");
        assert!(!server.serving.is_finished());
        let drain = server.drain.clone();
        let finishing = tokio::spawn(async move { drain.finish(BOUND).await });
        drop(feed);
        assert_eq!(long.chunk().await, "", "the body has its end");
        assert_eq!(finishing.await.expect("it does not panic"), Finished::All);
        server.serving.await.expect("it does not panic").expect("it ends well");
        assert_eq!(server.drain.in_flight(), 0);
        let seen = server.seen;
        let counts = [&seen.begun, &seen.ended, &seen.quick].map(|count| count.load(SeqCst));
        assert_eq!(counts, [1, 1, 3]);
    })
    .await;
}

/// A client that goes away is in flight no more, and neither is its response.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_does_not_hold_the_drain() {
    bounded(async {
        let mut server = serve().await;
        let mut long = Connection::open(server.address).await;
        long.send("GET", "/long").await;
        let feed = server.long.recv().await.expect("it has arrived");
        assert_eq!(long.head().await.0, 200);
        let drain = server.drain.clone();
        let finishing = tokio::spawn(async move { drain.finish(BOUND).await });
        server.drain.begun().await;
        assert_eq!(server.drain.in_flight(), 1);
        drop(long);
        // The server finds out when it writes.
        while feed.send(Bytes::from_static(b"more")).await.is_ok() {}
        assert_eq!(finishing.await.expect("it does not panic"), Finished::All);
        server.stop_accepting.send(()).expect("the server waits for it");
        server.serving.await.expect("it does not panic").expect("it ends well");
        let seen = server.seen;
        assert_eq!((seen.begun.load(SeqCst), seen.ended.load(SeqCst)), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn head_has_the_length_and_no_body_in_axum() {
    bounded(async {
        let server = serve().await;
        let mut kept = Connection::open(server.address).await;
        let said = "[+]db ok\nreadyz check passed\n";
        for path in ["/readyz?verbose", "/internal/readyz?verbose", "/internal/readyz/db?verbose"] {
            assert_eq!(kept.ask("GET", path).await.brief(), (200, said));
            let head = kept.ask("HEAD", path).await;
            assert_eq!(head.status, 200);
            let length = format!("content-length: {}\r\n", said.len());
            assert_eq!(head.head.matches("content-length").count(), 1, "{}", head.head);
            assert!(head.head.contains(&length), "{}", head.head);
        }
        // Nothing was left on the connection in between.
        let refused = kept.ask("POST", "/readyz").await;
        assert_eq!(refused.brief(), (405, "method not allowed"));
        assert!(refused.head.contains("allow: get, head\r\n"), "{}", refused.head);
        assert_eq!(kept.ask("GET", "/internal/nothing").await.status, 404);
        assert_eq!(server.seen.checks.load(SeqCst), 1);
    })
    .await;
}

/// Over HTTP/2 by hyper alone, with another client's view of it.
#[tokio::test]
async fn hyper_serves_it_as_it_is() {
    bounded(async {
        let (listener, address) = listener().await;
        let health = HealthRegistry::new();
        let service = TowerToHyperService::new(HealthService::new(&health));
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let server = auto::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build_http::<http_body_util::Empty<Bytes>>();
        let ask = async |method: &str, path: &str| {
            let uri = format!("http://{address}{path}");
            let request = http::Request::builder().method(method).uri(uri);
            let request = request.body(Default::default()).expect("a request");
            let answer = client.request(request).await.expect("an answer");
            assert_eq!(answer.version(), http::Version::HTTP_2);
            let (head, body) = answer.into_parts();
            let body = body.collect().await.expect("the whole body").to_bytes();
            let length = head.headers["content-length"].to_str().expect("a number").to_owned();
            (head.status.as_u16(), length, String::from_utf8(body.into()).expect("a text"))
        };
        let says = |status: u16, body: &str| (status, body.len().to_string(), body.to_owned());
        assert_eq!(ask("GET", "/readyz").await, says(200, "ok"));
        health.drain().begin();
        assert_eq!(ask("GET", "/readyz").await, says(503, "draining"));
        let json = r#"{"status":"fail","output":"draining"}"#;
        assert_eq!(ask("GET", "/health").await, says(503, json));
        assert_eq!(ask("HEAD", "/readyz").await, (503, "8".to_owned(), String::new()));
        drop(client);
        serving.abort();
    })
    .await;
}

/// A prober that gives up takes its run with it, and the next one has a run of its own.
#[tokio::test]
async fn a_probe_that_hangs_up_ends_its_run() {
    struct Gone(Arc<Notify>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    bounded(async {
        let (begun, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let runs = Arc::new(AtomicU32::new(0));
        let health = HealthRegistry::new();
        let (tell, held, count) = (Arc::clone(&begun), Arc::clone(&gone), Arc::clone(&runs));
        let check = Check::new("hangs", move || {
            let gone = Gone(Arc::clone(&held));
            let first = count.fetch_add(1, SeqCst) == 0;
            tell.notify_one();
            async move {
                let _gone = gone;
                if first { pending().await } else { Ok::<_, Infallible>(()) }
            }
        });
        health.add(check.timeout(Duration::MAX)).expect("a valid check");
        let (listener, address) = listener().await;
        let app = Router::new().fallback_service(HealthService::new(&health));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        let mut prober = Connection::open(address).await;
        prober.send("GET", "/readyz").await;
        begun.notified().await;
        drop(prober);
        gone.notified().await;
        assert_eq!(get_once(address, "/readyz").await.brief(), (200, "ok"));
        assert_eq!(runs.load(SeqCst), 2);
        serving.abort();
    })
    .await;
}
