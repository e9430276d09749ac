//! What servers and clients of HTTP need: see [`docs::clients`](crate::docs::clients) and
//! [`docs::frameworks`](crate::docs::frameworks).

pub mod body_timeout;
mod classify;
pub mod deadline;
pub mod hold;
mod idempotent;
mod inner;
pub(crate) mod json;
pub mod key;
pub mod problem;
pub mod rate_limit_fields;
pub mod replay;
#[cfg(feature = "reqwest")]
mod reqwest;
pub mod respond;
pub mod retry_after;

#[doc(inline)]
pub use self::{
    body_timeout::{BodyError, BodyTimeLimit, BodyTimeout, BodyTimeoutConfig, BodyTimeoutLayer},
    classify::HttpClassifier,
    idempotent::{RequestHead, is_idempotent},
    replay::{ReplayBody, ReplayBodyLayer, ReplayRequest},
    respond::{Http, Peel, Respond, RespondLayer, Shape, rejection_of},
};
pub(crate) use self::{
    classify::{after, told_by, unseen},
    inner::inner,
};
