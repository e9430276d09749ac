//! Nor where refusals are answered: an admitted call passes, and a refusal takes no more than its response.

use http::{Request, Response};
use portcullis::{http::RespondLayer, stack};

use super::*;

/// Answers at once with what was asked.
#[derive(Clone)]
struct Echo;

impl Service<Request<()>> for Echo {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(String::new())))
    }
}

/// Readies, calls and polls a service that cannot fail.
fn get<S, B>(service: &mut S) -> Response<B>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    match pin!(service.call(Request::new(()))).poll(&mut cx) {
        Poll::Ready(Ok(response)) => response,
        Poll::Pending => panic!("the service answers at once"),
    }
}

#[test]
fn a_call_that_is_not_refused_is_answered_without_an_allocation() {
    let mut bare = RespondLayer::new().layer(ErrorLayer::new().layer(Echo));
    assert_none(1_000, || assert_eq!(get(&mut bare).status(), 200));
    let mut grpc = RespondLayer::grpc().layer(ErrorLayer::new().layer(Echo));
    assert_none(1_000, || assert_eq!(get(&mut grpc).status(), 200));
    // With functions of one's own, which are shared.
    let layer = RespondLayer::new().timeout_status(http::StatusCode::SERVICE_UNAVAILABLE);
    let mut told = layer.retry_after(|_| None).layer(ErrorLayer::new().layer(Echo));
    assert_none(1_000, || assert_eq!(get(&mut told).status(), 200));

    let server = stack::server("counted").build().unwrap();
    let mut server =
        server.with_rate(1_000_000_000, Duration::from_secs(1)).unwrap().http().layer(Echo);
    assert_none(1_000, || assert_eq!(get(&mut server).status(), 200));
    // As axum does it, for every request.
    assert_none(1_000, || assert_eq!(get(&mut server.clone()).status(), 200));
}

/// The table of the fields, the extensions, and the rejection in them.
#[test]
fn a_refusal_allocates_its_response() {
    let layer = CircuitBreakerLayer::new(CircuitBreakerConfig::new("counted")).unwrap();
    layer.circuit().open();
    let mut service = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(layer)
        .layer(ErrorLayer::new())
        .service(Echo);
    assert_eq!(get(&mut service).status(), 503);
    let counted = measure(|| (0..1_000).for_each(|_| drop(get(&mut service))));
    assert!(counted.count_total <= 8_000, "{} in 1000 refusals", counted.count_total);
    assert_eq!(counted.bytes_current, 0);
}
