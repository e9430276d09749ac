//! One service with one method, written as a generator would: its client, and a real server of tonic.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{Uri, uri::PathAndQuery};
use http_body_util::Full;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Status,
    body::Body,
    client::{Grpc, GrpcService},
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{NamedService, UnaryService},
    transport::{Channel, Endpoint, Server},
};
use tower::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Messages are texts, as they are.
#[derive(Clone, Default)]
pub(crate) struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let text = String::from_utf8(bytes.into());
        text.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// A message as it goes over the wire.
pub(crate) fn framed(text: &str) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(text.len().try_into().expect("a short text"));
    frame.put_slice(text.as_bytes());
    frame.freeze()
}

/// The one request of these tests.
pub(crate) fn request(uri: Uri) -> http::Request<Body> {
    http::Request::post(uri)
        .version(http::Version::HTTP_2)
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(Body::new(Full::new(framed("hello"))))
        .expect("a valid request")
}

#[derive(Clone)]
pub(crate) struct Client<T> {
    inner: Grpc<T>,
}

impl<T> Client<T>
where
    T: GrpcService<Body>,
    T::Error: Into<BoxError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
{
    pub(crate) fn new(inner: T) -> Self {
        Self { inner: Grpc::new(inner) }
    }

    pub(crate) async fn call(&mut self, text: &str) -> Result<tonic::Response<String>, Status> {
        let ready = self.inner.ready().await;
        ready.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static("/test.Echo/Say");
        self.inner.unary(tonic::Request::new(text.to_owned()), path, Text).await
    }

    pub(crate) async fn say(&mut self, text: &str) -> Result<String, Status> {
        self.call(text).await.map(tonic::Response::into_inner)
    }
}

type Script = Arc<dyn Fn(usize) -> Result<&'static str, Status> + Send + Sync>;

#[derive(Clone)]
struct Echo {
    script: Script,
    count: Arc<AtomicUsize>,
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl UnaryService<String> for Echo {
    type Response = String;
    type Future = Ready<Result<tonic::Response<String>, Status>>;

    fn call(&mut self, _: tonic::Request<String>) -> Self::Future {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        ready((self.script)(number).map(|text| tonic::Response::new(text.to_owned())))
    }
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(tonic::server::Grpc::new(Text).unary(service, request).await) })
    }
}

/// A server of tonic that runs until this is dropped.
pub(crate) struct TonicServer {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// Answers the n-th call, counted from one, with what the script says.
pub(crate) async fn tonic_server<S>(script: S) -> TonicServer
where
    S: Fn(usize) -> Result<&'static str, Status> + Send + Sync + 'static,
{
    let count = Arc::<AtomicUsize>::default();
    let echo = Echo { script: Arc::new(script), count: Arc::clone(&count) };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let serving =
        Server::builder().add_service(echo).serve_with_incoming(TcpListenerStream::new(listener));
    let task = tokio::spawn(async move { serving.await.expect("it serves until it is aborted") });
    TonicServer { address, count, task }
}

impl TonicServer {
    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        endpoint.expect("an address").connect().await.expect("it connects")
    }

    /// How many calls arrived.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for TonicServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
