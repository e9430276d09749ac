//! A gRPC service with one method, written as a generator would write it from this; it saves the examples
//! the compiler for protocol buffers.
//!
//! ```text
//! package shop;
//! service Stock { rpc Count(Item) returns (Number); }     // both are texts, as they are
//! ```

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use portcullis::BoxError;
use tonic::{
    Request, Response, Status,
    body::Body,
    client::{Grpc as Client, GrpcService},
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc as Server, NamedService, UnaryService},
};
use tower::Service;

/// What the server of this service has to do.
pub trait Stock: Send + Sync + 'static {
    /// How many there are of an item.
    fn count(
        &self,
        request: Request<String>,
    ) -> impl Future<Output = Result<Response<String>, Status>> + Send;
}

/// The client, over a channel or whatever stands in front of one.
#[derive(Clone, Debug)]
pub struct StockClient<T> {
    inner: Client<T>,
}

impl<T> StockClient<T>
where
    T: GrpcService<Body>,
    T::Error: Into<BoxError>,
    T::ResponseBody: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<BoxError> + Send,
{
    /// A client over this.
    pub fn new(inner: T) -> Self {
        Self { inner: Client::new(inner) }
    }

    /// Asks how many there are of an item.
    ///
    /// # Errors
    /// What the service says, or what kept it from being asked.
    pub async fn count(&mut self, request: Request<String>) -> Result<Response<String>, Status> {
        let ready = self.inner.ready().await;
        ready.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static("/shop.Stock/Count");
        self.inner.unary(request, path, Text).await
    }
}

/// The service that a tonic server serves.
#[derive(Debug)]
pub struct StockServer<T> {
    inner: Arc<T>,
}

impl<T> StockServer<T> {
    /// Lets this do the work.
    pub fn new(inner: Arc<T>) -> Self {
        Self { inner }
    }
}

impl<T> Clone for StockServer<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T> NamedService for StockServer<T> {
    const NAME: &'static str = "shop.Stock";
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<T: Stock> UnaryService<String> for StockServer<T> {
    type Response = String;
    type Future = Answer<Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let stock = Arc::clone(&self.inner);
        Box::pin(async move { stock.count(request).await })
    }
}

impl<T: Stock> Service<http::Request<Body>> for StockServer<T> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/shop.Stock/Count" => Server::new(Text).unary(service, request).await,
                _ => Status::unimplemented("there is one method").into_http(),
            })
        })
    }
}

/// Messages that are texts, as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Text;

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

    fn encode(&mut self, text: String, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        let text = String::from_utf8(bytes.into());
        text.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
