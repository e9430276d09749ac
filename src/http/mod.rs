//! What servers and clients of HTTP need: see [`docs::frameworks`](crate::docs::frameworks).

pub mod body_timeout;
pub mod deadline;
pub mod hold;
pub mod key;

pub use self::body_timeout::{
    BodyError, BodyTimeLimit, BodyTimeout, BodyTimeoutConfig, BodyTimeoutLayer,
};
