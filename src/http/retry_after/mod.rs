//! The header `Retry-After`: when to come back.

mod parse;

pub use self::parse::parse;
