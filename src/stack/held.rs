//! Standard stacks over HTTP, whose permits are held to the end of the body.

use super::{
    operated::{Handles, Operated, sealed},
    server::Server,
};
use tower_layer::Identity;

use crate::{
    bulkhead::{BulkheadLayer, QueuedBulkheadLayer},
    http::{BodyTimeoutLayer, hold::HoldBody},
};

impl<L, T> sealed::Sealed for HoldBody<L, T> {}

/// The handles are those of the layer whose permits are held.
impl<L: Operated, T> Operated for HoldBody<L, T> {
    fn handle_into(&self, handles: &mut Handles) {
        self.get_ref().handle_into(handles);
    }
}

macro_rules! holds {
    ($($bulkhead:ty),+) => {
        $(
            #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
            impl<R, L, T, C, E> Server<R, L, $bulkhead, T, C, E> {
                /// Lets each request hold its slot of the bulkhead until the body of its response has ended,
                /// failed, or been dropped, as behind an HTTP server it should: see
                /// [`http::hold`](crate::http::hold). The timeout covers the head.
                ///
                /// ```
                /// use http_body_util::Full;
                /// use portcullis::stack;
                /// use tower::{ServiceBuilder, ServiceExt, service_fn};
                ///
                /// # #[tokio::main(flavor = "current_thread")]
                /// # async fn main() -> Result<(), portcullis::ConfigError> {
                /// let server = stack::server("api").build()?.hold_body();
                /// let slots = server.bulkhead().bulkhead().clone();
                /// let api = ServiceBuilder::new().layer(server).service(service_fn(|_: http::Request<()>| async {
                ///     Ok::<_, std::io::Error>(http::Response::new(Full::<&[u8]>::from(&b"hello"[..])))
                /// }));
                /// let response = api.oneshot(http::Request::new(())).await.unwrap();
                /// assert_eq!(slots.in_flight(), 1);
                /// drop(response);
                /// assert_eq!(slots.in_flight(), 0);
                /// # Ok(())
                /// # }
                /// ```
                pub fn hold_body(self) -> Server<R, L, HoldBody<$bulkhead>, T, C, E> {
                    self.map_bulkhead(<$bulkhead>::hold_body)
                }
            }

            impl ToBodyEnd for $bulkhead {
                type Held = HoldBody<Self>;

                fn to_body_end(self) -> HoldBody<Self> {
                    self.hold_body()
                }
            }
        )+
    };
}

/// What may stand in the place `bulkhead` of a server that answers over HTTP or gRPC: a bulkhead, whose slots are
/// held to the end of the body then, or nothing.
pub trait ToBodyEnd: sealed::Sealed {
    /// The layer that holds.
    type Held;

    /// Holds to the end of the body, if it does not yet.
    fn to_body_end(self) -> Self::Held;
}

impl<L, T> ToBodyEnd for HoldBody<L, T> {
    type Held = Self;

    fn to_body_end(self) -> Self {
        self
    }
}

impl ToBodyEnd for Identity {
    type Held = Self;

    fn to_body_end(self) -> Self {
        self
    }
}

holds!(BulkheadLayer, QueuedBulkheadLayer);

impl sealed::Sealed for BodyTimeoutLayer {}

impl Operated for BodyTimeoutLayer {
    fn handle_into(&self, handles: &mut Handles) {
        handles.push(self.body_time_limit());
    }
}
