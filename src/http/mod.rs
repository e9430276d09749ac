//! What servers and clients of HTTP need: see [`docs::frameworks`](crate::docs::frameworks).

pub mod problem;
pub mod rate_limit_fields;
pub mod respond;
pub mod retry_after;

#[doc(inline)]
pub use self::respond::{Http, Peel, Respond, RespondLayer, Shape, rejection_of};
