//! What servers and clients of HTTP need: see [`docs::frameworks`](crate::docs::frameworks).

mod idempotent;
pub mod replay;

pub use self::idempotent::{RequestHead, is_idempotent};
pub use self::replay::{ReplayBody, ReplayBodyLayer, ReplayRequest};
