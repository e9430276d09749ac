//! What servers and clients of HTTP need: see [`docs::frameworks`](crate::docs::frameworks).

pub mod body_timeout;
pub mod deadline;
pub mod hold;
mod idempotent;
pub mod key;
pub mod problem;
pub mod rate_limit_fields;
pub mod replay;
pub mod respond;
pub mod retry_after;

pub use self::body_timeout::{
    BodyError, BodyTimeLimit, BodyTimeout, BodyTimeoutConfig, BodyTimeoutLayer,
};
pub use self::idempotent::{RequestHead, is_idempotent};
pub use self::replay::{ReplayBody, ReplayBodyLayer, ReplayRequest};
#[doc(inline)]
pub use self::respond::{Http, Peel, Respond, RespondLayer, Shape, rejection_of};
