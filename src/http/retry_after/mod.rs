//! The field `Retry-After`: when a client may come back.

mod emit;
mod parse;

pub use self::{emit::seconds, parse::parse};
