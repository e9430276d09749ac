//! A server that does as it is told with each request in turn, and notes every byte it got.

use std::{
    collections::VecDeque,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::watch};

/// What the server does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    /// Reads everything, then answers.
    Answers(u16),
    /// Answers when it has got so many bytes, and reads on.
    AnswersEarly(usize, u16),
    /// Breaks off when it has got so many bytes.
    Resets(usize),
}

/// What the server got of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// Whether it came to its end; none while it may.
    pub(crate) complete: Option<bool>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

/// A server on a port of its own.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) http: Http,
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<VecDeque<Does>>>,
    seen: watch::Sender<Vec<Seen>>,
}

impl Server {
    pub(crate) async fn start(http: Http, script: impl IntoIterator<Item = Does>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
        let server = Self {
            http,
            address: listener.local_addr().expect("a bound port"),
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            seen: watch::Sender::default(),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (io, server) = (TokioIo::new(stream), accepting.clone());
                let service = service_fn(move |request| server.clone().serve(request));
                tokio::spawn(async move {
                    // How it ends is the client's business, and noted by whoever reads a body.
                    let _ = match http {
                        Http::One => {
                            hyper::server::conn::http1::Builder::new()
                                .serve_connection(io, service)
                                .await
                        }
                        Http::Two => {
                            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                                .serve_connection(io, service)
                                .await
                        }
                    };
                });
            }
        });
        server
    }

    async fn serve(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, &'static str> {
        let does = self.script.lock().expect("whole").pop_front();
        let does = does.ok_or("more requests than are scripted")?;
        let (head, mut body) = request.into_parts();
        let mut nth = 0;
        self.seen.send_modify(|seen| {
            nth = seen.len();
            seen.push(Seen { method: head.method, headers: head.headers, ..Seen::default() });
        });
        let status = match does {
            Does::Answers(status) => {
                self.read(nth, &mut body, usize::MAX).await;
                status
            }
            Does::AnswersEarly(bytes, status) => {
                self.read(nth, &mut body, bytes).await;
                tokio::spawn(async move { self.read(nth, &mut body, usize::MAX).await });
                status
            }
            Does::Resets(bytes) => {
                self.read(nth, &mut body, bytes).await;
                return Err("broken off");
            }
        };
        let answer = Response::builder().status(status).header("x-attempt", nth + 1);
        Ok(answer.body(Full::from(format!("answer {}", nth + 1))).expect("a response"))
    }

    /// Reads until there were so many bytes, or to the end.
    async fn read(&self, nth: usize, body: &mut Incoming, bytes: usize) {
        while self.seen.borrow()[nth].data.len() < bytes {
            let frame = body.frame().await;
            self.seen.send_modify(|seen| {
                let seen = &mut seen[nth];
                match frame {
                    None => seen.complete = Some(true),
                    Some(Err(_)) => seen.complete = Some(false),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => seen.data.extend_from_slice(&data),
                        Err(frame) => seen.trailers = frame.into_trailers().ok(),
                    },
                }
            });
            if self.seen.borrow()[nth].complete.is_some() {
                break;
            }
        }
    }

    /// Waits until this holds of the requests so far.
    pub(crate) async fn until(&self, holds: impl FnMut(&Vec<Seen>) -> bool) -> Vec<Seen> {
        self.seen.subscribe().wait_for(holds).await.expect("a server").clone()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    pub(crate) fn uri(&self) -> String {
        format!("http://{}/orders/7", self.address)
    }
}

pub(crate) fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a status")
}

/// Nothing here waits for time; something that never comes is an error all the same.
#[expect(clippy::disallowed_methods, reason = "a bound on the whole test, not on what it tests")]
pub(crate) async fn bounded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test comes to its end")
}
