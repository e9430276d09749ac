//! Standard servers that answer for their refusals.

use super::{
    Server,
    held::ToBodyEnd,
    operated::{Handles, Operated, sealed::Sealed},
};
use crate::{grpc::Grpc, http::RespondLayer};

impl<R, L, B: ToBodyEnd, T, C, E> Server<R, L, B, T, C, E> {
    /// Answers for refusals as HTTP servers do, by [`RespondLayer::new`], and lets each request hold its slot of the
    /// bulkhead until the body of its response has ended, as `hold_body` does.
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use http::{Request, Response, StatusCode};
    /// use portcullis::stack;
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), portcullis::ConfigError> {
    /// let server = stack::server("api").max_in_flight(100).build()?.http();
    /// let slots = server.bulkhead().bulkhead().clone();
    /// let api = ServiceBuilder::new().layer(server).service(service_fn(|_: Request<()>| async {
    ///     Ok::<_, Infallible>(Response::new(String::from("hello")))
    /// }));
    /// let _busy: Vec<_> = (0..100).map(|_| slots.try_acquire().unwrap()).collect();
    /// let Ok(shed) = api.oneshot(Request::new(())).await;
    /// assert_eq!(shed.status(), StatusCode::SERVICE_UNAVAILABLE);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// To answer otherwise: `.map_respond(|respond| respond.problem_json())`. To give the slot back with the
    /// head already, or around a bulkhead of another crate: [`with_respond`](Self::with_respond).
    pub fn http(self) -> Server<RespondLayer, L, B::Held, T, C, E> {
        self.map_bulkhead(B::to_body_end).with_respond(RespondLayer::new())
    }

    /// Answers for refusals as gRPC servers do, by [`RespondLayer::grpc`], and holds slots as
    /// [`http`](Self::http) does: a stream is in flight for as long as it lasts.
    pub fn grpc(self) -> Server<RespondLayer<Grpc>, L, B::Held, T, C, E> {
        self.map_bulkhead(B::to_body_end).with_respond(RespondLayer::grpc())
    }
}

impl<S, Q> Sealed for RespondLayer<S, Q> {}

/// It has no state that anybody could operate.
impl<S, Q> Operated for RespondLayer<S, Q> {
    fn handle_into(&self, _: &mut Handles) {}
}
