//! Bulkhead: so many calls at once, so that one slow dependency cannot take everything.

mod core;
mod handle;
mod layer;
mod permit;
mod queued;
mod wait;

pub use self::{
    handle::Bulkhead,
    layer::{BulkheadLayer, Bulkheaded, ResponseFuture},
    permit::BulkheadPermit,
    queued::{QueuedBulkhead, QueuedBulkheadLayer, QueuedResponseFuture},
    wait::{Acquire, Run},
};
