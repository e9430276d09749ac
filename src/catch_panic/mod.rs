//! Catch panic.
mod core;
mod future;
mod handle;
mod layer;

use std::any::Any;

pub use self::{
    handle::{PanicGuard, Run},
    layer::{CatchPanic, CatchPanicLayer, ResponseFuture},
};

/// What a panic says: the text of `panic!`, `assert!`, `unwrap` and their like; `None` for another value,
/// as [`panic_any`](std::panic::panic_any) throws it.
pub fn message(payload: &(dyn Any + Send)) -> Option<&str> {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => Some(text),
        None => payload.downcast_ref::<String>().map(String::as_str),
    }
}
