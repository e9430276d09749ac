//! Circuit breaker
mod core;
mod handle;
mod keyed;
mod layer;
mod permit;
mod watch;

pub use self::{
    handle::{Circuit, Run},
    keyed::{
        Circuits, KeyedCircuitBreaker, KeyedCircuitBreakerLayer,
        ResponseFuture as KeyedResponseFuture,
    },
    layer::{CircuitBreaker, CircuitBreakerLayer, ResponseFuture},
    permit::Permit,
    watch::StateWatch,
};
