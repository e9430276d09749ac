//! Fallback.

mod backup;
mod core;
mod functions;
mod handle;
mod last_good;
mod layer;
mod remembered;
mod run;
mod service;
mod source;
mod steps;

pub use self::{
    backup::{Backup, BackupFuture},
    functions::{
        AsyncOfFailure, AsyncOfRequest, Call, Capture, Function, Nothing, OfFailure, OfRequest,
    },
    handle::FallbackPolicy,
    last_good::{LastGood, RunLastGood},
    layer::FallbackLayer,
    remembered::{AsServed, Marked, Remembered, Restored, Serve},
    run::Run,
    service::{Fallback, ResponseFuture},
    source::{Answer, Keep, Source, Value, WithTheCall},
};
