//! What servers and clients of gRPC need: see [`docs::clients`](crate::docs::clients) and
//! [`docs::frameworks`](crate::docs::frameworks).

mod attempt;
mod classify;
mod code;
mod peek;
pub mod pushback;
pub mod respond;
mod retry_info;
#[cfg(feature = "tonic")]
mod status;
pub mod timeout;

#[doc(inline)]
pub use self::respond::Grpc;
pub use self::{
    attempt::{AttemptLayer, TellAttempt},
    classify::GrpcClassifier,
    code::{Code, code_of_trailers},
    peek::{PeekTrailers, PeekTrailersLayer, Peeked, ResponseFuture},
};
