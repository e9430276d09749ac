//! Clients that go away at every stage of a request, from real servers: what was theirs is given back, told by
//! every gauge there is, and whoever comes next is served.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::State;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use crate::{
    clock::{Clock, soon},
    served::{Framework, PROBES, Served, admitted, left_queue, queued, released, serve},
};

/// Where a client is when it goes away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// It has sent part of its head.
    InHead,
    /// It has sent its head and part of its body.
    InUpload,
    /// It waits for a slot.
    Queued,
    /// Its handler runs.
    InHandler,
    /// It has got a head and part of a body.
    InBody,
    /// It has got everything.
    AtTheEnd,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::InHead, Self::InUpload, Self::Queued, Self::InHandler, Self::InBody, Self::AtTheEnd];

    /// The request that gets there.
    fn path(self) -> &'static str {
        match self {
            Self::InUpload => "/by.Hand/upload",
            Self::InBody => "/by.Hand/body",
            Self::AtTheEnd => "/by.Hand/fine",
            Self::InHead | Self::Queued | Self::InHandler => "/by.Hand/wait",
        }
    }
}

/// How a client goes away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaves {
    /// HTTP/1: it closes the connection.
    Closes,
    /// HTTP/1: it resets the connection.
    Resets,
    /// HTTP/2: it resets the stream, and keeps the connection.
    Stream,
    /// HTTP/2: it closes the connection.
    Connection,
}

/// A client of one connection.
enum Client {
    One(TcpStream),
    Two(Two),
}

struct Two {
    send: SendRequest<BoxBody<Bytes, std::io::Error>>,
    driver: JoinHandle<()>,
}

impl Drop for Two {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Two {
    async fn open(api: &Served) -> Self {
        let stream = soon(TcpStream::connect(api.address)).await.expect("it listens");
        let shaken =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (send, connection) = soon(shaken).await.expect("HTTP/2");
        Self { send, driver: tokio::spawn(async move { drop(connection.await) }) }
    }

    /// Sends a request; unless it is whole, its body goes on for ever.
    fn begin(&mut self, path: &str, whole: bool) -> JoinHandle<hyper::Result<Response<Incoming>>> {
        let request = Request::post(format!("http://loopback{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let part = stream::iter([Ok(Frame::data(Bytes::from_static(b"part")))]);
        let body = if whole {
            BodyExt::boxed(StreamBody::new(part))
        } else {
            BodyExt::boxed(StreamBody::new(part.chain(stream::pending())))
        };
        tokio::spawn(self.send.send_request(request.body(body).expect("a request")))
    }
}

/// Reads until it has this.
async fn read_to(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.windows(end.len()).any(|part| part == end) {
        let byte = soon(stream.read_u8()).await;
        read.push(byte.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&read))));
    }
    read
}

async fn ask(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: loopback\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it listens");
}

/// Whoever comes next is served, over connections of its own.
async fn is_served(api: &Served, framework: Framework) {
    if framework == Framework::Axum {
        let mut stream = soon(TcpStream::connect(api.address)).await.expect("it listens");
        ask(&mut stream, "/by.Hand/fine").await;
        let answer = read_to(&mut stream, b"\r\n0\r\n\r\n").await;
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
    }
    let mut client = Two::open(api).await;
    let answer = soon(client.begin("/by.Hand/fine", true)).await.expect("no panic");
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200);
    let body = soon(answer.into_body().collect()).await.expect("a body");
    assert_eq!(body.trailers().expect("there are some")["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "fine");
}

/// Gets to a stage and leaves from there. Whoever is told of it in between has it in flight.
async fn leaves(api: &Served, stage: Stage, how: Leaves) {
    let begun = *api.handlers.begun.borrow();
    let (was_admitted, was_queued) = (api.log.count(admitted), api.log.count(queued));
    let had_left = api.log.count(left_queue);
    // Somebody has the only slot.
    let first = match stage {
        Stage::Queued => {
            let mut first = Two::open(api).await;
            let answer = first.begin("/by.Hand/wait", true);
            api.begun(begun + 1).await;
            Some((first, answer))
        }
        _ => None,
    };
    let opened = usize::from(first.is_some()) + 1;
    let mut client = match how {
        Leaves::Closes | Leaves::Resets => {
            Client::One(soon(TcpStream::connect(api.address)).await.expect("it listens"))
        }
        Leaves::Stream | Leaves::Connection => Client::Two(Two::open(api).await),
    };
    let mut answering = None;
    match &mut client {
        Client::One(stream) => match stage {
            Stage::InHead => {
                stream.write_all(b"GET /by.Hand/wait HTTP/1.1\r\nho").await.expect("it listens");
                api.open(opened).await;
            }
            Stage::InUpload => {
                let head = "POST /by.Hand/upload HTTP/1.1\r\nhost: loopback\r\n\
                            content-length: 100\r\n\r\npart";
                stream.write_all(head.as_bytes()).await.expect("it listens");
            }
            _ => ask(stream, stage.path()).await,
        },
        // Part of a head is not what a client of HTTP/2 has in its power to send.
        Client::Two(_) if stage == Stage::InHead => api.open(opened).await,
        Client::Two(client) => {
            answering = Some(client.begin(stage.path(), stage != Stage::InUpload));
        }
    }

    // So far it has come, and is known of.
    let mut body = None;
    match stage {
        Stage::InHead => assert_eq!(api.log.count(admitted), was_admitted),
        Stage::Queued => {
            api.told(was_queued + 1, queued).await;
            assert_eq!(api.slots.queued(), 1);
            assert_eq!(api.drain.in_flight(), 2);
        }
        Stage::InUpload | Stage::InHandler => {
            api.begun(begun + 1).await;
            assert_eq!(api.in_flight(), (1, Some(1.0), 1));
        }
        Stage::InBody => {
            match (&mut client, &mut answering) {
                (Client::One(stream), _) => drop(read_to(stream, b"part").await),
                (Client::Two(_), Some(answer)) => {
                    let answer = soon(answer).await.expect("no panic").expect("a head");
                    let mut incoming = answer.into_body();
                    let frame = soon(incoming.frame()).await.expect("a frame").expect("whole");
                    assert_eq!(frame.into_data().expect("data"), "part");
                    body = Some(incoming);
                    answering = None;
                }
                _ => unreachable!("a client of HTTP/2 waits for its answer"),
            }
            api.begun(begun + 1).await;
            assert_eq!(api.in_flight(), (1, Some(1.0), 1));
        }
        Stage::AtTheEnd => {
            match (&mut client, &mut answering) {
                (Client::One(stream), _) => drop(read_to(stream, b"\r\n0\r\n\r\n").await),
                (Client::Two(_), Some(answer)) => {
                    let answer = soon(answer).await.expect("no panic").expect("a head");
                    soon(answer.into_body().collect()).await.expect("a body");
                    answering = None;
                }
                _ => unreachable!("a client of HTTP/2 waits for its answer"),
            }
            api.told(was_admitted + 1, released).await;
        }
    }

    // It leaves.
    let kept = match (client, how) {
        (Client::One(stream), Leaves::Resets) => {
            stream.set_zero_linger().expect("an option of every socket");
            None
        }
        (Client::Two(client), Leaves::Stream) => Some(client),
        _ => None,
    };
    if let Some(answering) = answering {
        answering.abort();
        assert!(
            soon(answering)
                .await
                .map_or_else(|error| error.is_cancelled(), |answer| answer.is_err())
        );
    }
    drop(body);
    match stage {
        Stage::Queued => api.told(had_left + 1, left_queue).await,
        Stage::InHead => {}
        _ => api.told(was_admitted + 1, released).await,
    }
    if let Some((first, answer)) = first {
        // It left alone: nobody waits, and the slot is still the first one's.
        assert_eq!(api.slots.queued(), 0);
        assert_eq!(api.in_flight(), (1, Some(1.0), 1));
        api.handlers.leave.add_permits(1);
        let answer = soon(answer).await.expect("no panic").expect("an answer");
        assert_eq!(soon(answer.into_body().collect()).await.expect("a body").to_bytes(), "fine");
        drop(first);
    }
    drop(kept);
    api.open(0).await;
}

async fn every_stage(framework: Framework, how: Leaves) {
    let api = serve(framework, 1).await;
    for stage in Stage::ALL {
        leaves(&api, stage, how).await;
        api.is_at_rest();
        assert_eq!(api.circuit.snapshot().failures, 0, "{stage:?}, {how:?}");
        is_served(&api, framework).await;
        api.open(0).await;
        api.is_at_rest();
    }

    // As the probe of a half-open circuit: what it took is given back, and others recover.
    for stage in [Stage::InUpload, Stage::InHandler, Stage::InBody] {
        api.circuit.half_open();
        leaves(&api, stage, how).await;
        api.is_at_rest();
        let now = api.circuit.snapshot();
        assert_eq!((now.state, now.failures), (State::HalfOpen, 0));
        match stage {
            Stage::InHandler => assert_eq!(now.successes, 0),
            // A probe's head settles it.
            Stage::InBody => assert_eq!(now.successes, 1),
            // Its handler may come to answer an upload that broke off.
            _ => assert!(now.successes <= 1),
        }
        for _ in 0..PROBES {
            is_served(&api, framework).await;
        }
        api.open(0).await;
        assert_eq!(api.circuit.state(), State::Closed);
        api.is_at_rest();
    }
}

#[tokio::test(start_paused = true)]
async fn clients_of_http1_close_their_connections() {
    let _clock = Clock::stop();
    every_stage(Framework::Axum, Leaves::Closes).await;
}

#[tokio::test(start_paused = true)]
async fn clients_of_http1_reset_their_connections() {
    let _clock = Clock::stop();
    every_stage(Framework::Axum, Leaves::Resets).await;
}

#[tokio::test(start_paused = true)]
async fn clients_of_http2_reset_their_streams() {
    let _clock = Clock::stop();
    every_stage(Framework::Axum, Leaves::Stream).await;
}

#[tokio::test(start_paused = true)]
async fn clients_of_http2_close_their_connections() {
    let _clock = Clock::stop();
    every_stage(Framework::Axum, Leaves::Connection).await;
}

#[tokio::test(start_paused = true)]
async fn clients_of_grpc_reset_their_streams() {
    let _clock = Clock::stop();
    every_stage(Framework::Tonic, Leaves::Stream).await;
}

#[tokio::test(start_paused = true)]
async fn clients_of_grpc_close_their_connections() {
    let _clock = Clock::stop();
    every_stage(Framework::Tonic, Leaves::Connection).await;
}
