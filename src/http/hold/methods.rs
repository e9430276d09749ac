//! `hold_body()` of each layer that has it, and what each of them keeps showing.

use http::HeaderMap;

use super::{layer::HoldBody, trailers::ClassifyTrailers};
use crate::{
    bulkhead::{Bulkhead, BulkheadLayer, Bulkheaded, QueuedBulkhead, QueuedBulkheadLayer},
    circuit_breaker::{
        Circuit, CircuitBreaker, CircuitBreakerLayer, Circuits, KeyedCircuitBreaker,
        KeyedCircuitBreakerLayer,
    },
    outcome::Outcome,
};

/// The handle of a layer and of its service, in their words.
macro_rules! shows {
    ($($held:ty $([$($parameters:ident),+])?: $handle:ident -> $type:ty, $doc:literal;)+) => {
        $(
            impl<$($($parameters,)+)? T> HoldBody<$held, T> {
                #[doc = $doc]
                pub fn $handle(&self) -> &$type {
                    self.get_ref().$handle()
                }
            }
        )+
    };
}

shows! {
    BulkheadLayer: bulkhead -> Bulkhead, "The bulkhead, to inspect or command it.";
    Bulkheaded<S> [S]: bulkhead -> Bulkhead, "The bulkhead, to inspect or command it.";
    QueuedBulkheadLayer: bulkhead -> Bulkhead, "The bulkhead, to inspect or command it.";
    QueuedBulkhead<S> [S]: bulkhead -> Bulkhead, "The bulkhead, to inspect or command it.";
    CircuitBreakerLayer<C> [C]: circuit -> Circuit, "The circuit, to inspect or command it.";
    CircuitBreaker<S, C> [S, C]: circuit -> Circuit, "The circuit, to inspect or command it.";
    KeyedCircuitBreakerLayer<K, F, C> [K, F, C]: circuits -> Circuits<K>, "The circuits, to inspect or command them.";
    KeyedCircuitBreaker<S, K, F, C> [S, K, F, C]: circuits -> Circuits<K>, "The circuits, to inspect or command them.";
}

macro_rules! holds {
    ($($layer:ty $([$($parameters:ident),+])?: $why:literal;)+) => {
        $(
            #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
            impl $(<$($parameters),+>)? $layer {
                #[doc = $why]
                /// to the end of the response's body, and not to its head: see [`http::hold`](crate::http::hold).
                /// The state, and the handle, stay the same.
                pub fn hold_body(self) -> HoldBody<Self> {
                    HoldBody::of(self)
                }
            }
        )+
    };
}

holds! {
    BulkheadLayer: "Holds slots";
    QueuedBulkheadLayer: "Holds slots";
    CircuitBreakerLayer<C> [C]: "Waits for the outcome";
    KeyedCircuitBreakerLayer<K, F, C> [K, F, C]: "Waits for the outcome";
}

/// What only breakers have.
macro_rules! judges {
    ($($layer:ident<$($parameters:ident),+>;)+) => {
        $(
            impl<$($parameters,)+ T> HoldBody<$layer<$($parameters),+>, T> {
                /// Judges trailers by a closure, where the head was no failure: gRPC has its status there.
                pub fn classify_trailers<D>(self, classify: D) -> HoldBody<$layer<$($parameters),+>, D>
                where
                    D: Fn(&HeaderMap) -> Outcome,
                {
                    self.judging(classify)
                }

                /// Judges trailers by a named classifier.
                pub fn classify_trailers_with<D>(self, classify: D) -> HoldBody<$layer<$($parameters),+>, D>
                where
                    D: ClassifyTrailers,
                {
                    self.judging(classify)
                }
            }
        )+
    };
}

judges! {
    CircuitBreakerLayer<C>;
    KeyedCircuitBreakerLayer<K, F, C>;
}
