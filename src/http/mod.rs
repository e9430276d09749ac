//! What servers and clients of HTTP need: see [`docs::clients`](crate::docs::clients) and
//! [`docs::frameworks`](crate::docs::frameworks).

mod classify;
#[cfg(feature = "reqwest")]
mod reqwest;
pub mod retry_after;

pub use self::classify::HttpClassifier;
pub(crate) use self::classify::{after, told_by, unseen};
