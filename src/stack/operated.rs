//! The handles of the layers in a stack's places.

use tower_layer::Identity;

use crate::{
    bulkhead::{BulkheadLayer, QueuedBulkheadLayer},
    catch_panic::CatchPanicLayer,
    circuit_breaker::{CircuitBreakerLayer, KeyedCircuitBreakerLayer},
    error_layer::ErrorLayer,
    fallback::{FallbackLayer, Source},
    rate_limit::{KeyedRateLimitLayer, RateLimitLayer, WaitingRateLimitLayer},
    registry::{Entry, Managed},
    retry::RetryLayer,
    timeout::TimeoutLayer,
};

/// A layer of this crate in a place of a stack, or none: what
/// [`register`](super::Client::register) can put into a registry. Not to be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no handle that a registry could hold",
    note = "register the handles of the layers of this crate one by one, with `Registry::add`"
)]
pub trait Operated: sealed::Sealed {
    #[doc(hidden)]
    fn handle_into(&self, handles: &mut Handles);
}

/// The handles of a stack, for a registry.
#[derive(Debug, Default)]
pub struct Handles(Vec<Entry>);

impl Handles {
    pub(super) fn push<H: Managed + Clone>(&mut self, handle: &H) {
        self.0.push(Entry::of(handle));
    }

    pub(super) fn of(layers: &[&dyn Operated]) -> Vec<Entry> {
        let mut handles = Self::default();
        layers.iter().for_each(|layer| layer.handle_into(&mut handles));
        handles.0
    }
}

pub(super) mod sealed {
    pub trait Sealed {}
}

/// How each layer gives its handle. Keyed circuits share one name and have none.
macro_rules! operated {
    ($($layer:ty $([$($parameters:tt)+])? => $($handle:ident)?;)+) => {
        $(
            impl $(<$($parameters)+>)? sealed::Sealed for $layer {}

            impl $(<$($parameters)+>)? Operated for $layer {
                fn handle_into(&self, _handles: &mut Handles) {
                    $(_handles.push(self.$handle());)?
                }
            }
        )+
    };
}

operated! {
    Identity => ;
    ErrorLayer => ;
    BulkheadLayer => bulkhead;
    QueuedBulkheadLayer => bulkhead;
    CatchPanicLayer => panic_guard;
    CircuitBreakerLayer<C> [C] => circuit;
    KeyedCircuitBreakerLayer<K, F, C> [K, F, C] => ;
    RateLimitLayer<C> [C] => limiter;
    WaitingRateLimitLayer<C> [C] => limiter;
    KeyedRateLimitLayer<K, F, W> [K: Send + 'static, F, W] => limiters;
    RetryLayer<C, R> [C, R] => policy;
    TimeoutLayer<L> [L] => time_limit;
    FallbackLayer<A, E, C> [A: Source<Handle: Managed + Clone> + 'static, E, C] => handle;
}

/// Neither of the layers that gRPC adds to the error layer's place has a handle.
#[cfg(feature = "http")]
impl<E: Operated> sealed::Sealed for super::GrpcEdge<E> {}

#[cfg(feature = "http")]
impl<E: Operated> Operated for super::GrpcEdge<E> {
    fn handle_into(&self, handles: &mut Handles) {
        self.error().handle_into(handles);
    }
}
