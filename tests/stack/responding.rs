//! Servers that answer for refusals: the rule of where that is done, and the standard server with it.
#![cfg(feature = "http")]

use std::convert::Infallible;

use http::{Request, Response};
use portcullis::{
    BulkheadConfig, BulkheadLayer, Error, ErrorLayer, Failed, FallbackConfig, FallbackLayer,
    RateLimitConfig, RateLimitLayer, Reason, Registry,
    http::{RespondLayer, rejection_of},
    stack::{self, Rule, Severity},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{
    backend::SECOND,
    rules::{assert_told, within},
};

type Body = String;

async fn answers(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new("answered".into()))
}

fn request() -> Request<Body> {
    Request::new(Body::new())
}

/// Refusals that are answered halfway up are answers to whatever stands above, and what refuses there is
/// answered for by nobody.
#[tokio::test(start_paused = true)]
async fn respond_inside_others() {
    let rule = (Rule::RespondInsideOthers, Severity::Warning);
    let full = BulkheadLayer::new(BulkheadConfig::new("api", 1)).unwrap();
    let _busy = full.bulkhead().try_acquire().unwrap();
    let instead = FallbackLayer::function(
        FallbackConfig::new("api"),
        |_: Failed<Response<Body>, Error<Infallible>>| {
            Ok::<_, Error<Infallible>>(Response::new(Body::from("instead")))
        },
    )
    .unwrap();

    let (service, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(instead.clone())
            .layer(ErrorLayer::new())
            .layer(RespondLayer::new())
            .layer(&full)
            .layer(ErrorLayer::new())
            .service(service_fn(answers))
    });
    let shed = service.oneshot(request()).await.unwrap();
    assert_eq!(shed.status(), 503, "the fallback has seen an answer");
    let (service, right) = stack::check(|| {
        ServiceBuilder::new()
            .layer(RespondLayer::new())
            .layer(instead)
            .layer(&full)
            .layer(ErrorLayer::new())
            .service(service_fn(answers))
    });
    let Ok(answer) = service.oneshot(request()).await;
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, "instead"));
    assert_told(
        &wrong,
        &right,
        rule,
        "the respond layer stands inside fallback `api`, which takes answered refusals for answers of the \
         service, and whose own refusals it does not answer; put it outermost",
    );

    let limit = RateLimitLayer::new(RateLimitConfig::per_second("api", 1).burst(0)).unwrap();
    let (service, wrong) = stack::check(|| {
        ServiceBuilder::new()
            .layer(&limit)
            .layer(ErrorLayer::new())
            .layer(RespondLayer::new())
            .service(ErrorLayer::new().layer(service_fn(answers)))
    });
    let refused = service.oneshot(request()).await.unwrap_err();
    assert!(refused.is_rejected(), "nobody answered for it");
    let (service, right) = stack::check(|| {
        ServiceBuilder::new()
            .layer(RespondLayer::new())
            .layer(&limit)
            .service(ErrorLayer::new().layer(service_fn(answers)))
    });
    let Ok(answer) = service.oneshot(request()).await;
    assert_eq!(answer.status(), 429);
    assert_told(
        &wrong,
        &right,
        rule,
        "the respond layer stands inside rate limit `api`, which takes answered refusals for answers of \
         the service, and whose own refusals it does not answer; put it outermost",
    );
}

/// What stands over an error layer over a respond layer sees no refusal of it: that is told once, and an error
/// layer with nothing but that below wraps nothing.
#[test]
fn an_error_layer_over_answers_wraps_nothing() {
    let (_, report) = stack::check(|| {
        ServiceBuilder::new()
            .layer(ErrorLayer::new())
            .layer(RespondLayer::new())
            .layer(within(SECOND))
            .layer(ErrorLayer::new())
            .service(())
    });
    assert!(report.findings.is_empty(), "{report}");
    // Two in a row differ in nothing.
    let (_, report) = stack::check(|| RespondLayer::new().layer(RespondLayer::grpc().layer(())));
    assert!(report.findings.is_empty(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn the_standard_server_answers_where_it_is_told_to() {
    let server = || stack::server("api").max_in_flight(1).timeout(SECOND).build().unwrap();
    let http = server().with_rate(2, SECOND).unwrap().http();
    let (service, report) = stack::check(|| http.layer(service_fn(answers)));
    assert_eq!(
        report.to_string(),
        "respond layer > rate limit `api` > bulkhead `api` (1 at once) > timeout `api` (1s) > catch panic \
         `api` > error layer\none call is one call of the service"
    );
    let registry = Registry::new();
    http.register(&registry).unwrap();
    assert_eq!(registry.names().len(), 4, "it has no handle of its own");

    let status = async |reason: Reason| {
        let Ok(response) = service.clone().oneshot(request()).await;
        assert_eq!(rejection_of(&response).map(|by| by.reason()), Some(reason));
        response.status().as_u16()
    };
    let busy = http.bulkhead().bulkhead().try_acquire().unwrap();
    assert_eq!(status(Reason::BulkheadFull).await, 503);
    drop(busy);
    let Ok(well) = service.clone().oneshot(request()).await;
    assert_eq!(well.status(), 200);
    assert_eq!(status(Reason::RateLimited).await, 429);

    let hangs =
        service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let problem = server().http().map_respond(RespondLayer::problem_json).layer(hangs);
    let Ok(late) = problem.oneshot(request()).await;
    assert_eq!((late.status().as_u16(), late.headers().len()), (504, 1));

    let panics =
        service_fn(|_: Request<Body>| -> std::future::Ready<Result<Response<Body>, Infallible>> {
            panic!("a bug")
        });
    let mut grpc = server().grpc().layer(panics);
    for _ in 0..2 {
        let Ok(caught) = grpc.ready().await.unwrap().call(request()).await;
        assert_eq!(
            (caught.status().as_u16(), caught.headers()["grpc-status"].as_bytes()),
            (200, &b"13"[..])
        );
    }
    // Without it, the stack is as it was.
    let Err(error) = server().http().without_respond().layer(panics).oneshot(request()).await
    else {
        panic!("nobody answers")
    };
    assert!(error.is_rejected());
}
