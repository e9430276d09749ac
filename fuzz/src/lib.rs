//! What each fuzz target does with its bytes, a file each. It needs no fuzzer: `tests/fuzzed.rs` of the
//! library has the same files as a module, and runs them over seeds, whatever was found, and chance.

pub mod breaker_ops;
mod bytes;
pub mod configs;
pub mod forwarded;
pub mod grpc_pushback;
pub mod grpc_timeout;
pub mod http_status;
pub mod limiter_ops;
pub mod retry_after;
