//! What servers and clients of HTTP need: see [`docs::frameworks`](crate::docs::frameworks).

pub mod body_timeout;
pub mod deadline;
pub mod hold;
mod idempotent;
pub mod key;
pub mod replay;

pub use self::body_timeout::{
    BodyError, BodyTimeLimit, BodyTimeout, BodyTimeoutConfig, BodyTimeoutLayer,
};
pub use self::idempotent::{RequestHead, is_idempotent};
pub use self::replay::{ReplayBody, ReplayBodyLayer, ReplayRequest};
