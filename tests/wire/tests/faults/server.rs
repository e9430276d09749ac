//! A server that fails as it is told, one connection or one request at a time, and says what it saw.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use portcullis::grpc::Code;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};

use crate::http2;

/// What becomes of a connection, or of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Does {
    /// Resets the connection before it has read anything.
    ResetsAtOnce,
    /// Takes the connection, and neither reads nor says anything.
    Silent,
    /// Answers what is no HTTP at all.
    Garbage,
    /// Reads the request and resets the connection; over HTTP/2, the stream alone.
    Resets,
    /// Reads the request and closes its own half of the connection.
    Ends,
    /// Reads the request and never answers.
    Hangs,
    /// Writes a head byte by byte, and stops before its end.
    StopsInHead,
    /// A head that announces more, part of the body, and no more.
    StopsInBody,
    /// A head that announces more, part of the body, and a reset when the test lets go.
    ResetsInBody,
    /// A whole answer, and then it closes the connection without a word about that.
    AnswersAndCloses,
    /// Answers with 200 when the test lets go.
    Waits,
    /// Answers at once, perhaps with a `Retry-After`.
    Answers(u16, Option<&'static str>),
    /// gRPC: a head that is all of the answer, perhaps with a pushback.
    Says(Code, Option<&'static str>),
    /// gRPC: a head, and the code in trailers behind it.
    Trails(Code),
    /// HTTP/2: announces that the connection ends, and answers this request still.
    GoesAway,
    /// HTTP/2: resets the connection with every stream on it.
    Breaks,
}

pub(crate) const FINE: Does = Does::Answers(200, None);

/// What part of a body comes before it stops or is reset, of 100 bytes that are announced.
pub(crate) const PART: &str = "not a hundred bytes";

/// What the server saw so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Connections that were accepted.
    pub(crate) connections: usize,
    /// Those that are open.
    pub(crate) open: usize,
    /// Heads of requests, in order.
    pub(crate) requests: Vec<String>,
    /// How often a client was kept waiting.
    pub(crate) held: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

/// A server on a port that is its own even while nobody listens at it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) state: State,
    speaks: Speaks,
    accepting: Mutex<Option<JoinHandle<()>>>,
    /// Keeps the port: connections to it are refused all the same.
    _port: TcpSocket,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    script: Arc<Mutex<Script>>,
    pub(crate) seen: Arc<watch::Sender<Seen>>,
    leave: Arc<Semaphore>,
}

#[derive(Debug)]
struct Script {
    first: VecDeque<Does>,
    then: Does,
}

fn port(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Server {
    /// Begins by answering each request as it should.
    pub(crate) fn start(speaks: Speaks) -> Self {
        let reserved = port((Ipv4Addr::LOCALHOST, 0).into()).expect("a loopback port");
        let address = reserved.local_addr().expect("a bound port");
        let script = Script { first: VecDeque::new(), then: FINE };
        let state = State {
            script: Arc::new(Mutex::new(script)),
            seen: Arc::default(),
            leave: Arc::new(Semaphore::new(0)),
        };
        let server = Self { address, state, speaks, accepting: Mutex::default(), _port: reserved };
        server.up();
        server
    }

    pub(crate) fn up(&self) {
        let listener = port(self.address).and_then(|socket| socket.listen(64)).expect("its port");
        let (state, speaks) = (self.state.clone(), self.speaks);
        let accepting = tokio::spawn(async move {
            // Ends with this task.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                state.note(|seen| seen.connections += 1);
                connections.spawn(state.clone().connection(stream, speaks));
            }
        });
        *self.accepting.lock().expect("whole") = Some(accepting);
    }

    /// As when its process dies: nobody listens, and every connection is closed.
    pub(crate) async fn down(&self) {
        let accepting = self.accepting.lock().expect("whole").take();
        let accepting = accepting.expect("it is up");
        accepting.abort();
        assert!(accepting.await.expect_err("it does not end by itself").is_cancelled());
    }

    /// What it does from now on.
    pub(crate) fn now(&self, does: Does) {
        *self.state.script.lock().expect("whole") = Script { first: VecDeque::new(), then: does };
    }

    /// What it does with the next ones, before what it does from now on.
    pub(crate) fn first(&self, does: impl IntoIterator<Item = Does>) {
        self.state.script.lock().expect("whole").first.extend(does);
    }

    /// Lets so many go that are kept waiting, or will be.
    pub(crate) fn let_go(&self, clients: usize) {
        self.state.leave.add_permits(clients);
    }

    pub(crate) fn seen(&self) -> Seen {
        self.state.seen.borrow().clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.seen.borrow().requests.len()
    }

    #[track_caller]
    pub(crate) fn until(&self, holds: impl FnMut(&Seen) -> bool) -> impl Future<Output = ()> {
        let mut seen = self.state.seen.subscribe();
        crate::clock::soon(async move {
            seen.wait_for(holds).await.expect("the server lives");
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.get_mut().expect("whole").take() {
            accepting.abort();
        }
    }
}

/// Counts a connection as open.
struct Open(State);

impl Open {
    fn new(state: &State) -> Self {
        state.note(|seen| seen.open += 1);
        Self(state.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.note(|seen| seen.open -= 1);
    }
}

impl State {
    pub(crate) fn note(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(change);
    }

    pub(crate) fn next(&self) -> Does {
        let mut script = self.script.lock().expect("whole");
        script.first.pop_front().unwrap_or(script.then)
    }

    /// The next one, if it is about a connection.
    fn of_connection(&self, speaks: Speaks) -> Option<Does> {
        let next = {
            let script = self.script.lock().expect("whole");
            *script.first.front().unwrap_or(&script.then)
        };
        let is = match next {
            Does::ResetsAtOnce | Does::Silent => true,
            // To begin with, the client of HTTP/2 waits for nothing.
            Does::Garbage => speaks == Speaks::Http2,
            _ => false,
        };
        is.then(|| self.next())
    }

    /// Waits until the test lets go.
    pub(crate) async fn wait(&self) {
        self.note(|seen| seen.held += 1);
        self.leave.acquire().await.expect("never closed").forget();
    }

    async fn connection(self, mut stream: TcpStream, speaks: Speaks) {
        let _open = Open::new(&self);
        match self.of_connection(speaks) {
            Some(Does::ResetsAtOnce) => reset(&stream),
            Some(Does::Garbage) => {
                let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
                to_its_end(&mut stream).await;
            }
            Some(_) => {
                self.note(|seen| seen.held += 1);
                to_its_end(&mut stream).await;
            }
            // Whatever becomes of the client is no failure of this server.
            None => match speaks {
                Speaks::Http1 => drop(self.http1(&mut stream).await),
                Speaks::Http2 => http2::serve(&self, stream).await,
            },
        }
    }

    async fn http1(&self, stream: &mut TcpStream) -> io::Result<()> {
        loop {
            let Some(head) = head(stream).await? else { return Ok(()) };
            self.note(|seen| seen.requests.push(head));
            match self.next() {
                Does::Answers(status, retry_after) => answer(stream, status, retry_after).await?,
                Does::Waits => {
                    self.wait().await;
                    answer(stream, 200, None).await?;
                }
                Does::AnswersAndCloses => return answer(stream, 200, None).await,
                Does::Resets => {
                    reset(stream);
                    return Ok(());
                }
                Does::Ends => {
                    stream.shutdown().await?;
                    to_its_end(stream).await;
                    return Ok(());
                }
                Does::Garbage => {
                    stream.write_all(b"220 mail.example.com ESMTP\r\n").await?;
                    to_its_end(stream).await;
                    return Ok(());
                }
                Does::Hangs => {
                    self.note(|seen| seen.held += 1);
                    to_its_end(stream).await;
                    return Ok(());
                }
                Does::StopsInHead => {
                    for byte in b"HTTP/1.1 200 OK\r\ncontent-len" {
                        stream.write_all(&[*byte]).await?;
                        tokio::task::yield_now().await;
                    }
                    self.note(|seen| seen.held += 1);
                    to_its_end(stream).await;
                    return Ok(());
                }
                Does::StopsInBody => {
                    part(stream).await?;
                    self.note(|seen| seen.held += 1);
                    to_its_end(stream).await;
                    return Ok(());
                }
                Does::ResetsInBody => {
                    part(stream).await?;
                    self.wait().await;
                    reset(stream);
                    return Ok(());
                }
                other => panic!("not over HTTP/1: {other:?}"),
            }
        }
    }
}

/// The head of a request; none at the end of the connection.
async fn head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && head.is_empty() => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(String::from_utf8(head).expect("a head of ASCII")))
}

async fn answer(stream: &mut TcpStream, status: u16, after: Option<&str>) -> io::Result<()> {
    let after = after.map(|after| format!("retry-after: {after}\r\n")).unwrap_or_default();
    let answer = format!("HTTP/1.1 {status} so\r\n{after}content-length: 5\r\n\r\nhello");
    stream.write_all(answer.as_bytes()).await
}

async fn part(stream: &mut TcpStream) -> io::Result<()> {
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{PART}");
    stream.write_all(answer.as_bytes()).await
}

/// To be dropped next.
pub(crate) fn reset(stream: &TcpStream) {
    stream.set_zero_linger().expect("an option of every socket");
}

/// Reads until the client has gone.
async fn to_its_end(stream: &mut TcpStream) {
    let mut buffer = [0; 256];
    while stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
}
