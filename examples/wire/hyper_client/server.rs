//! The server that is called: real HTTP/1, which takes uploads and gives downloads, and notes every byte.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::ReceiverStream;
use wire_examples::claims;

/// An upload comes in so many pieces of this length; at its first attempt the server is busy after so many of
/// them. A download promises as much, and stalls after its first piece.
pub(crate) const PIECE: usize = 8 * 1024;
pub(crate) const PIECES: usize = 32;
pub(crate) const BUSY_AFTER: usize = 5;

/// One piece of an upload or a download: no two are alike.
pub(crate) fn piece(number: usize) -> Bytes {
    (0..PIECE).map(|at| (number * 31 + at * 7) as u8).collect()
}

/// FNV-1a, as far as these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum(pub(crate) u64);

impl Sum {
    pub(crate) const fn of_nothing() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, data: &[u8]) {
        for byte in data {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// What has come of one attempt at an upload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upload {
    pub(crate) bytes: usize,
    pub(crate) sum: Sum,
    pub(crate) answered: Option<u16>,
    /// Whether the body has come to its end; none while it may.
    pub(crate) whole: Option<bool>,
}

/// The server's book.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) uploads: Vec<Upload>,
    pub(crate) downloads: u32,
    /// Downloads that nobody waits for any longer.
    pub(crate) gone: u32,
    pub(crate) quotes: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<watch::Sender<Seen>>,
}

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// A body, and what writes it.
pub(crate) fn written() -> (mpsc::Sender<Result<Frame<Bytes>, Infallible>>, Body) {
    let (writer, frames) = mpsc::channel(1);
    (writer, StreamBody::new(ReceiverStream::new(frames)).boxed())
}

fn status(status: u16) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}

impl Server {
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = Self { address: listener.local_addr()?, seen: Arc::default() };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = accepting.clone();
                let service = service_fn(move |request| server.clone().serve(request));
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // How it ends is the client's business, and noted by whoever reads or writes a body.
                tokio::spawn(serving);
            }
        });
        Ok(server)
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until this holds of what it has seen.
    pub(crate) async fn until(
        &self,
        what: &str,
        holds: impl FnMut(&Seen) -> bool,
    ) -> Result<Seen, portcullis::BoxError> {
        let mut book = self.seen.subscribe();
        Ok(claims::soon(what, book.wait_for(holds)).await??.clone())
    }

    async fn serve(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        Ok(match request.uri().path() {
            "/upload" => self.take(request.into_body()).await,
            "/film" => self.give(),
            "/quote" => self.quote(),
            _ => status(404),
        })
    }

    /// Busy at the first attempt, which it says while the upload is still coming in.
    async fn take(self, mut body: Incoming) -> Response<Body> {
        let mut attempt = 0;
        self.seen.send_modify(|seen| {
            attempt = seen.uploads.len();
            let sum = Sum::of_nothing();
            seen.uploads.push(Upload { bytes: 0, sum, answered: None, whole: None });
        });
        let early = attempt == 0;
        self.read(attempt, &mut body, if early { BUSY_AFTER * PIECE } else { usize::MAX }).await;
        let answer = if early { 503 } else { 201 };
        self.seen.send_modify(|seen| seen.uploads[attempt].answered = Some(answer));
        if early {
            tokio::spawn(async move { self.read(attempt, &mut body, usize::MAX).await });
        }
        status(answer)
    }

    /// Reads until there were so many bytes, or to the end.
    async fn read(&self, attempt: usize, body: &mut Incoming, bytes: usize) {
        loop {
            let Upload { bytes: now, whole, .. } = self.seen.borrow().uploads[attempt];
            if now >= bytes || whole.is_some() {
                break;
            }
            let frame = body.frame().await;
            self.seen.send_modify(|seen| {
                let upload = &mut seen.uploads[attempt];
                match frame {
                    None => upload.whole = Some(true),
                    Some(Err(_)) => upload.whole = Some(false),
                    Some(Ok(frame)) => {
                        let data = frame.into_data().unwrap_or_default();
                        upload.bytes += data.len();
                        upload.sum.add(&data);
                    }
                }
            });
        }
    }

    /// Sends the first piece, and then nothing for as long as anybody waits.
    fn give(self) -> Response<Body> {
        self.seen.send_modify(|seen| seen.downloads += 1);
        let (film, body) = written();
        tokio::spawn(async move {
            if film.send(Ok(Frame::data(piece(0)))).await.is_ok() {
                film.closed().await;
            }
            self.seen.send_modify(|seen| seen.gone += 1);
        });
        Response::new(body)
    }

    /// Overloaded at first, which it says in words of its own.
    fn quote(self) -> Response<Body> {
        let mut first = false;
        self.seen.send_modify(|seen| {
            seen.quotes += 1;
            first = seen.quotes == 1;
        });
        if !first {
            return status(200);
        }
        let mut busy = status(529);
        busy.headers_mut().insert("retry-after-ms", http::HeaderValue::from_static("30"));
        busy
    }
}
