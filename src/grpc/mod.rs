//! What servers and clients of gRPC need: see [`docs::frameworks`](crate::docs::frameworks).

pub mod respond;

#[doc(inline)]
pub use self::respond::Grpc;
