//! The server's side of HTTP/2, for gRPC.

use std::{convert::Infallible, future::ready, io, pin::pin};

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::grpc::{Code, pushback};
use tokio::{net::TcpStream, sync::watch};

use crate::{
    echo::framed,
    server::{Does, State, reset},
};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a request can do to its connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Open,
    GoesAway,
    Breaks,
}

pub(crate) async fn serve(state: &State, stream: TcpStream) {
    // So that it is reset when it is dropped while it still has something to send: only if it breaks.
    let (fate, mut changes) = watch::channel(Fate::Open);
    let service = service_fn(|request| answer(state.clone(), request, fate.clone()));
    let socket = std::os::fd::AsFd::as_fd(&stream).try_clone_to_owned().expect("a descriptor");
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            _ = &mut connection => return,
            _ = changes.changed() => {}
        }
        let now = *changes.borrow_and_update();
        match now {
            Fate::Open => {}
            Fate::GoesAway => connection.as_mut().graceful_shutdown(),
            Fate::Breaks => {
                let socket = std::net::TcpStream::from(socket);
                let socket = TcpStream::from_std(socket).expect("the same socket");
                reset(&socket);
                return;
            }
        }
    }
}

async fn answer(
    state: State,
    request: Request<Incoming>,
    fate: watch::Sender<Fate>,
) -> Result<Response<Body>, &'static str> {
    let previous = request.headers().get("grpc-previous-rpc-attempts");
    let previous = previous.map_or("0", |previous| previous.to_str().expect("a number"));
    let head = format!("{} {previous}", request.uri().path());
    // A unary call is sent with its message.
    let _ = request.into_body().collect().await;
    state.note(|seen| seen.requests.push(head));
    match state.next() {
        Does::Answers(200, None) => Ok(fine()),
        Does::Answers(status, _) => {
            let response = Response::builder().status(status);
            Ok(response.body(Empty::new().map_err(never).boxed_unsync()).expect("a response"))
        }
        Does::Says(code, pushback) => {
            let mut response = grpc(Empty::new().map_err(never).boxed_unsync());
            response.headers_mut().extend(end(code, pushback));
            Ok(response)
        }
        Does::Trails(code) => {
            let trailers = ready(Some(Ok(end(code, None))));
            Ok(grpc(Empty::new().with_trailers(trailers).map_err(never).boxed_unsync()))
        }
        Does::Waits => {
            state.wait().await;
            Ok(fine())
        }
        Does::Hangs => {
            state.note(|seen| seen.held += 1);
            std::future::pending().await
        }
        Does::Resets => Err("the stream is reset"),
        Does::ResetsInBody => {
            let frames = stream::iter([Ok(Frame::data(framed("hello").split_to(4)))]);
            let torn = async move {
                state.wait().await;
                Err(io::Error::other("torn"))
            };
            let body = futures_util::StreamExt::chain(frames, torn.into_stream());
            Ok(grpc(StreamBody::new(body).boxed_unsync()))
        }
        Does::GoesAway => {
            fate.send_replace(Fate::GoesAway);
            Ok(fine())
        }
        Does::Breaks => {
            fate.send_replace(Fate::Breaks);
            std::future::pending().await
        }
        other => panic!("not over HTTP/2: {other:?}"),
    }
}

fn never(never: Infallible) -> io::Error {
    match never {}
}

fn grpc(body: Body) -> Response<Body> {
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(body).expect("a response")
}

fn fine() -> Response<Body> {
    let trailers = ready(Some(Ok(end(Code::Ok, None))));
    grpc(Full::new(framed("hello")).with_trailers(trailers).map_err(never).boxed_unsync())
}

fn end(code: Code, pushback: Option<&'static str>) -> HeaderMap {
    let mut end = HeaderMap::new();
    end.insert("grpc-status", code.to_header_value());
    if let Some(pushback) = pushback {
        end.insert(pushback::NAME, HeaderValue::from_static(pushback));
    }
    end
}
