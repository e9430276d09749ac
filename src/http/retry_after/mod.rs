//! The field `Retry-After`: when a client may come back.

mod emit;

pub use self::emit::seconds;
