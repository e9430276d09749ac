//! Stacks with layers that hold.

use http::Response;
use portcullis::{
    BulkheadConfig, BulkheadLayer, CircuitBreakerConfig, CircuitBreakerLayer, Error, ErrorLayer,
    QueuedBulkheadLayer, Registry, http::hold::HeldBody, stack,
};
use tower::{Layer, Service, ServiceBuilder};

use super::script::{Ask, Left, Script, Server, Step::Data, poll, read};
use crate::support::Fault;

#[test]
fn a_check_is_told_of_what_stands_in_the_wrapper() {
    let breaker =
        || CircuitBreakerLayer::new(CircuitBreakerConfig::new("db")).expect("a valid config");
    let slots = || BulkheadLayer::new(BulkheadConfig::new("db", 1)).expect("a valid config");
    let (_, plain) = stack::check(|| {
        ServiceBuilder::new().layer(breaker()).layer(slots()).layer(ErrorLayer::new()).service(())
    });
    let (_, held) = stack::check(|| {
        ServiceBuilder::new()
            .layer(breaker().hold_body())
            .layer(slots().hold_body())
            .layer(ErrorLayer::new())
            .service(())
    });
    assert_eq!(plain.to_string(), held.to_string());
    assert!(held.to_string().contains("bulkhead `db`"), "{held}");
}

/// What stands above sees a body that holds, and may hold as well: each is released by the same end.
#[test]
fn layers_hold_one_above_another() {
    let breaker =
        CircuitBreakerLayer::new(CircuitBreakerConfig::new("db")).expect("a valid config");
    let slots = BulkheadLayer::new(BulkheadConfig::new("db", 1)).expect("a valid config");
    let (circuit, bulkhead) = (breaker.circuit().clone(), slots.bulkhead().clone());
    let mut service = ServiceBuilder::new()
        .layer(slots.hold_body())
        .layer(breaker.hold_body())
        .service(Server::default());
    let std::task::Poll::Ready(Ok(response)) = poll(service.call(Ask::new(&[Data("a")]))) else {
        panic!("no head")
    };
    assert_eq!((bulkhead.in_flight(), circuit.snapshot().calls), (1, 0));
    assert_eq!(read(response.into_body(), 9), Left::Ended);
    assert_eq!((bulkhead.in_flight(), circuit.snapshot().successes), (0, 1));
}

fn begin<S>(mut service: S) -> Response<HeldBody<Script>>
where
    S: Service<Ask, Response = Response<HeldBody<Script>>, Error = Error<Error<Fault>>>,
{
    assert!(
        service
            .poll_ready(&mut std::task::Context::from_waker(std::task::Waker::noop()))
            .is_ready()
    );
    match poll(service.call(Ask::new(&[Data("a")]))) {
        std::task::Poll::Ready(Ok(response)) => response,
        _ => panic!("no head"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_standard_server_holds_its_slots() {
    let registry = Registry::new();
    let server = stack::server("api").max_in_flight(1).build().expect("a valid config").hold_body();
    server.register(&registry).expect("nobody else has the name");
    let slots =
        registry.get::<portcullis::Bulkhead>("api").expect("registered through the wrapper");
    let response = begin(server.layer(Server::default()));
    assert_eq!(slots.in_flight(), 1);
    drop(response);
    assert_eq!(slots.in_flight(), 0);

    let waits =
        QueuedBulkheadLayer::new(BulkheadConfig::new("api", 1).queue(1)).expect("a valid config");
    let server =
        stack::server("api").build().expect("a valid config").with_bulkhead(waits).hold_body();
    let slots = server.bulkhead().bulkhead().clone();
    let response = begin(server.layer(Server::default()));
    assert_eq!(slots.in_flight(), 1);
    assert_eq!(read(response.into_body(), 9), Left::Ended);
    assert_eq!(slots.in_flight(), 0);
}
