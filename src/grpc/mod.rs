//! What servers and clients of gRPC need: see [`docs::frameworks`](crate::docs::frameworks).

pub mod respond;
pub mod timeout;

#[doc(inline)]
pub use self::respond::Grpc;
