//! A thousand clients that go away at random, while others are served: nothing leaks.
#![allow(clippy::disallowed_methods, reason = "a test gives up after a while")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::State;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::{JoinHandle, JoinSet, yield_now},
    time::timeout,
};

use crate::served::{Framework, PROBES, Served, serve};

const LEAVE: usize = 1_000;
const AT_ONCE: usize = 8;
/// Slots of the server, and places to wait for one.
const PLACES: usize = 3;

/// Numbers that look random, and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

const REQUESTS: [&str; 3] = [
    "GET /by.Hand/churn HTTP/1.1\r\nhost: loopback\r\nconnection: close\r\n\r\n",
    "GET /by.Hand/fine HTTP/1.1\r\nhost: loopback\r\nconnection: close\r\n\r\n",
    "POST /by.Hand/upload HTTP/1.1\r\nhost: loopback\r\nconnection: close\r\ncontent-length: 20\r\n\r\n\
     01234567890123456789",
];

/// One client of HTTP/1 that leaves after a random part of its request, or of the answer.
async fn leaves_http1(api: &Served, random: &mut Random) {
    let mut stream = TcpStream::connect(api.address).await.expect("it listens");
    let request = REQUESTS[random.below(REQUESTS.len())].as_bytes();
    if random.below(3) == 0 {
        let part = random.below(request.len());
        stream.write_all(&request[..part]).await.expect("it reads");
        for _ in 0..random.below(4) {
            yield_now().await;
        }
    } else {
        stream.write_all(request).await.expect("it reads");
        let mut wanted = random.below(200);
        let mut buffer = [0; 200];
        while wanted > 0 {
            // An upload that is refused is not read, so that the end may come as a reset.
            match stream.read(&mut buffer[..wanted]).await {
                Ok(0) | Err(_) => break,
                Ok(read) => wanted -= read,
            }
        }
    }
    if random.below(2) == 0 {
        stream.set_zero_linger().expect("an option of every socket");
    }
}

struct Http2 {
    send: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Http2 {
    async fn open(api: &Served) -> Self {
        let stream = TcpStream::connect(api.address).await.expect("it listens");
        let io = TokioIo::new(stream);
        let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
        let (send, connection) = shaken.expect("HTTP/2");
        Self { send, driver: tokio::spawn(async move { drop(connection.await) }) }
    }

    fn request(path: &str) -> Request<Full<Bytes>> {
        let request = Request::post(format!("http://loopback/by.Hand/{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        request.body(Full::from("a message")).expect("a request")
    }

    /// Status and code of an answer that was read to its end.
    async fn ask(&mut self, path: &str) -> (u16, String) {
        self.send.ready().await.expect("the connection is open");
        let answer = self.send.send_request(Self::request(path)).await.expect("an answer");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a body");
        let end = head
            .headers
            .get("grpc-status")
            .or(body.trailers().and_then(|trailers| trailers.get("grpc-status")));
        let code = end.map(|code| code.to_str().expect("a number").to_owned());
        (head.status.as_u16(), code.unwrap_or_default())
    }
}

/// One client of HTTP/2 that leaves some streams, and then its connection.
async fn leaves_http2(api: &Served, random: &mut Random) {
    let mut client = Http2::open(api).await;
    for _ in 0..=random.below(3) {
        let path = ["churn", "fine", "upload"][random.below(3)];
        client.send.ready().await.expect("the connection is open");
        let answering = tokio::spawn(client.send.send_request(Http2::request(path)));
        for _ in 0..random.below(12) {
            yield_now().await;
        }
        if random.below(2) == 0 {
            answering.abort();
            drop(answering.await);
        } else if let Ok(Ok(answer)) = answering.await {
            let mut body = answer.into_body();
            for _ in 0..random.below(4) {
                drop(body.frame().await);
            }
        }
    }
}

async fn leaves(framework: Framework, api: &Served, random: &mut Random) {
    match framework {
        Framework::Axum if random.below(4) > 0 => leaves_http1(api, random).await,
        _ => leaves_http2(api, random).await,
    }
}

/// A stream of HTTP/2 is a task of its own, and may outlive its connection by a moment.
async fn comes_to_rest(api: &Served) {
    api.open(0).await;
    while api.drain.in_flight() > 0 {
        yield_now().await;
    }
    api.is_at_rest();
}

async fn storm(framework: Framework) {
    let api = Arc::new(serve(framework, PLACES).await);
    let over = Arc::new(AtomicBool::new(false));

    // Those who stay: each has an answer to each request, if only that there is no room.
    let mut stay = JoinSet::new();
    for _ in 0..4 {
        let (api, over) = (Arc::clone(&api), Arc::clone(&over));
        stay.spawn(async move {
            let mut client = Http2::open(&api).await;
            let mut served = 0;
            while !over.load(SeqCst) || served == 0 {
                let (status, code) = client.ask("churn").await;
                match (status, code.as_str()) {
                    (200, "0") => served += 1,
                    // Shed, or beside the probes of a half-open circuit.
                    (503, _) | (200, "8" | "14") => yield_now().await,
                    other => panic!("{other:?}"),
                }
            }
            served
        });
    }

    let mut leave = JoinSet::new();
    for client in 0..AT_ONCE {
        let api = Arc::clone(&api);
        leave.spawn(async move {
            let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (client as u64 + 1));
            for turn in 0..LEAVE / AT_ONCE {
                leaves(framework, &api, &mut random).await;
                // Some of them leave as probes.
                if turn % 10 == 0 {
                    api.circuit.half_open();
                }
            }
        });
    }
    while let Some(done) = leave.join_next().await {
        done.expect("no panic");
    }
    over.store(true, SeqCst);
    while let Some(served) = stay.join_next().await {
        assert!(served.expect("no panic") > 0);
    }
    comes_to_rest(&api).await;
    assert_eq!(api.circuit.snapshot().failures, 0);

    // Whoever leaves as a probe keeps nobody else from it: as many as ever close the circuit.
    let mut client = Http2::open(&api).await;
    for round in 0..20 {
        api.circuit.half_open();
        for one in 0..3 {
            let api = Arc::clone(&api);
            leave.spawn(async move {
                leaves(framework, &api, &mut Random(0xD1B5_4A32_D192_ED03 ^ (round * 3 + one)))
                    .await;
            });
        }
        while let Some(done) = leave.join_next().await {
            done.expect("no panic");
        }
        api.open(1).await;
        while api.drain.in_flight() > 0 {
            yield_now().await;
        }
        for _ in 0..PROBES {
            assert_eq!(client.ask("fine").await, (200, "0".to_owned()), "round {round}");
        }
        assert_eq!(api.circuit.state(), State::Closed, "round {round}");
    }

    // Every slot and every place is still there.
    let mut full = JoinSet::new();
    for _ in 0..2 * PLACES {
        let api = Arc::clone(&api);
        full.spawn(async move { Http2::open(&api).await.ask("wait").await });
    }
    api.begun(PLACES).await;
    let mut told = api.log.subscribe();
    told.wait_for(|_| api.slots.queued() == PLACES).await.expect("the log lives");
    let (status, code) = client.ask("fine").await;
    assert!(status == 503 || code == "8", "{status} {code}");
    api.handlers.leave.add_permits(2 * PLACES);
    while let Some(answer) = full.join_next().await {
        assert_eq!(answer.expect("no panic"), (200, "0".to_owned()));
    }
    drop(client);
    comes_to_rest(&api).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_axum_leave_at_random() {
    timeout(Duration::from_secs(60), storm(Framework::Axum)).await.expect("it ends by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_tonic_leave_at_random() {
    timeout(Duration::from_secs(60), storm(Framework::Tonic)).await.expect("it ends by itself");
}
