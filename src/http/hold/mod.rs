//! Permits and outcomes that are held to the end of a response's body.
//!
//! A response future resolves when the head of a response is there. The body follows: for a moment, or for as
//! long as a download or a stream of events lasts. A bulkhead that gives its slot back at the head counts none
//! of those; a breaker that judges the head never hears of the connection that is reset half-way, nor of the
//! status that gRPC puts into the trailers. `hold_body()` moves what the layer holds into the body:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::{BodyExt, Full};
//! use portcullis::{BulkheadConfig, BulkheadLayer, ErrorLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! let layer = BulkheadLayer::new(BulkheadConfig::new("downloads", 100))?.hold_body();
//! let bulkhead = layer.bulkhead().clone();
//! let service = ServiceBuilder::new().layer(layer).layer(ErrorLayer::new()).service(service_fn(
//!     |_: http::Request<()>| async {
//!         Ok::<_, std::io::Error>(http::Response::new(Full::new(Bytes::from("a long film"))))
//!     },
//! ));
//!
//! let response = service.oneshot(http::Request::new(())).await.unwrap();
//! assert_eq!(bulkhead.in_flight(), 1);
//! let film = response.into_body().collect().await.unwrap();
//! assert_eq!((bulkhead.in_flight(), &*film.to_bytes()), (0, &b"a long film"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! A breaker whose service is judged by the trailers of gRPC, too:
//!
//! ```
//! use portcullis::{CircuitBreakerConfig, CircuitBreakerLayer, grpc::GrpcClassifier};
//!
//! let judge = GrpcClassifier::breaker();
//! let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::new("search"))?
//!     .classify_with(judge)
//!     .hold_body()
//!     .classify_trailers_with(judge);
//! println!("{}", breaker.circuit().explain());
//! # Ok::<(), portcullis::ConfigError>(())
//! ```
//!
//! Four layers have it: [`BulkheadLayer`], [`QueuedBulkheadLayer`], [`CircuitBreakerLayer`] and
//! [`KeyedCircuitBreakerLayer`]. It is for services whose response is an [`http::Response`], and changes the
//! type of its body to [`HeldBody`]. Everything else is the layer's own: its state, its handle, where it
//! refuses, and what [`stack::check`](crate::stack::check) is told.
//!
//! # What ends a call
//!
//! | | a bulkhead's slot | a breaker's permit |
//! |---|---|---|
//! | the call fails before there is a head: error, drop, panic | free, as without holding | settled, as without holding |
//! | the head, and the body [says](http_body::Body::is_end_stream) that it has ended | free | the head's outcome |
//! | the head is a failure | held until the body ends | failure, at once |
//! | the head, where the call is a probe, or goes unrecorded in shadow or disabled | held until the body ends | the head's outcome, at once |
//! | the body ends | free | the head's outcome |
//! | trailers | free | what [`classify_trailers`](HoldBody::classify_trailers) says; else the head's outcome |
//! | the body fails | free | failure |
//! | the body panics when it is polled | free | failure; the panic goes on |
//! | the body is dropped before that | free | ignored; a failure with [`drops_are_failures`](crate::CircuitBreakerConfig::drops_are_failures), and slow if the head was |
//! | the body is dropped when all the length that it announced is there | free | the head's outcome |
//!
//! Each call ends once. A body ends with the frame after which [`is_end_stream`](http_body::Body::is_end_stream)
//! says so, since servers ask no further then; or with trailers; or when there is no other frame.
//!
//! # Semantics, where holding differs
//!
//! 1. **Slow means time to the head**, and so does hanging: a stream that lasts for an hour is neither. For
//!    the time to the end take a bulkhead's [`Released`](crate::Event::Released) less its
//!    [`Admitted`](crate::Event::Admitted), or the moment of the breaker's [`Settled`](crate::Event::Settled):
//!    both are told at the end.
//! 2. **A probe settles at the head**: its lease, and the callers that a half-open circuit refuses, would wait
//!    for a stream.
//! 3. **A dropped body says nothing about the service**: whoever reads it has had enough, or has gone. The
//!    deadline of the call is no matter either: it covered the head.
//! 4. **Generations hold**: a body that ends when the circuit has opened and closed in the meantime changes
//!    nothing.
//! 5. **A hint** to stay away is taken from the head of a failure, or from its trailers by
//!    [`ClassifyTrailers::hint`].
//! 6. **What is never polled holds**: a response that lies about keeps its slot, as a call that is not polled
//!    does. [`BodyTimeoutLayer`](super::BodyTimeoutLayer) cuts bodies that stall.
//! 7. **An upgraded connection is no body**: a response that switches protocols ends with its head, however long
//!    a web socket lives on. Take a permit by hand there, with [`Bulkhead::acquire`](crate::Bulkhead::acquire).
//!
//! # Clients
//!
//! For a client the slot of a bulkhead stands for a connection in use, and that is in use until the body ends.
//! Whoever looks at the head alone must drop the response, not keep it. reqwest answers with a type of its own,
//! which becomes an [`http::Response`] below the layer, by tower's `map_response(http::Response::from)`.
//!
//! # Cancellation, readiness, cost
//!
//! Dropping the response, the body, or the future at any point gives everything back. Readiness is the
//! layer's. No call allocates: what is held moves from the future into the body, which grows by 64 bytes.
//! A frame costs a branch, and one question whether it was the last.

mod body;
mod kept;
mod layer;
mod methods;
mod trailers;

#[cfg(doc)]
use crate::{BulkheadLayer, CircuitBreakerLayer, KeyedCircuitBreakerLayer, QueuedBulkheadLayer};

pub use self::{
    body::HeldBody,
    kept::HoldsPermit,
    layer::{HoldBody, HoldBodyFuture},
    trailers::{ClassifyTrailers, HeadDecides},
};
