#![doc = "portcullis"]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod circuit_breaker;
pub mod clock;
pub mod deadline;
mod error;
mod error_layer;
pub mod event;
mod guard;
mod options;
mod outcome;
pub mod policy;
mod registry;
mod sync;

#[cfg(any(doc, doctest))]
pub mod docs;

#[doc(inline)]
pub use self::{
    circuit_breaker::{
        Circuit, CircuitBreaker, CircuitBreakerLayer, Circuits, KeyedCircuitBreaker,
        KeyedCircuitBreakerLayer, StateWatch,
    },
    event::{Event, Observer},
    policy::{
        Cause, Explanation,
        breaker::{
            Command, Snapshot, State, Transition,
            config::{CircuitBreakerConfig, Decide, HalfOpen, Hung, Sleep},
        },
        window::Window,
    },
};
pub use self::{
    error::{BoxError, CarryRejection, ConfigError, Error, Reason, Rejection, intern},
    error_layer::{ErrorLayer, LiftError},
    options::Options,
    outcome::{Classify, DefaultClassifier, Hint, Outcome},
    registry::Registry,
};
