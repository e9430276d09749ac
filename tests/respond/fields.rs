//! The fields that tell of quotas, over real limiters on a paused clock.
#![allow(clippy::disallowed_methods, reason = "it moves the paused clock")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use http::{Request, Response};
use portcullis::{
    BulkheadConfig, BulkheadLayer, ErrorLayer, KeyedRateLimitLayer, RateLimitConfig,
    RateLimitLayer, RateLimiter, Rejection,
    http::{RespondLayer, rate_limit_fields::Fields},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{field, lines};

const SECOND: Duration = Duration::from_secs(1);

async fn answers(request: Request<u32>) -> Result<Response<String>, Infallible> {
    let mut response = Response::new(String::new());
    if *request.body() == 99 {
        // A service that tells of a quota of its own.
        response.headers_mut().insert("x-ratelimit-remaining", 7.into());
        response.headers_mut().insert("ratelimit", "\"own\";r=7".parse().unwrap());
    }
    Ok(response)
}

async fn get<S, R>(service: &mut S, body: u32) -> Response<String>
where
    S: Service<Request<u32>, Response = Response<String>, Error = Infallible, Future = R>,
    R: Future<Output = Result<Response<String>, Infallible>>,
{
    let Ok(response) = service.ready().await.unwrap().call(Request::new(body)).await;
    response
}

/// One every 20 seconds, and three at once.
fn three() -> RateLimitConfig {
    RateLimitConfig::new("burst", 3, 60 * SECOND).burst(3)
}

/// A service may have filled the map of its response's headers: what finds no room is left out.
#[tokio::test]
async fn a_response_without_room_for_fields_is_passed_on_without_them() {
    use portcullis::health::Drain;

    let full = || {
        let mut response = Response::new(String::new());
        for number in 0.. {
            let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
            if response.headers_mut().try_insert(name, http::HeaderValue::from_static("")).is_err()
            {
                return response;
            }
        }
        response
    };
    let limiter = RateLimiter::new(RateLimitConfig::per_second("api", 5)).unwrap();
    let drain = Drain::new();
    drain.begin();
    let service = ServiceBuilder::new()
        .layer(
            RespondLayer::new()
                .rate_limit_fields(Fields::Draft10, &limiter)
                .rate_limit_fields(Fields::Legacy, &limiter),
        )
        .layer(drain.layer())
        .service(service_fn(move |_: Request<()>| {
            let response = full();
            async { Ok::<_, Rejection>(response) }
        }));
    let Ok(response) = service.oneshot(Request::new(())).await;
    assert!(response.headers().keys().all(|name| name.as_str().starts_with("x-")));
    assert!(!response.headers().contains_key("x-ratelimit-remaining"));
}

#[tokio::test(start_paused = true)]
async fn each_response_tells_what_is_left() {
    let limit = RateLimitLayer::new(three()).unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RespondLayer::new().rate_limit_fields(Fields::Draft10, limit.limiter()))
        .layer(&limit)
        .layer(ErrorLayer::new())
        .service(service_fn(answers));
    let mut told = async |status: u16, limit: &str| {
        let response = get(&mut service, 0).await;
        assert_eq!(response.status(), status);
        assert_eq!(field(&response, "ratelimit-policy"), Some(r#""burst";q=3;w=60"#));
        assert_eq!(field(&response, "ratelimit"), Some(limit));
        field(&response, "retry-after").map(str::to_owned)
    };
    assert_eq!(told(200, r#""burst";r=2;t=20"#).await, None);
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(told(200, r#""burst";r=1;t=20"#).await, None);
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(told(200, r#""burst";r=0;t=19"#).await, None);
    // `Retry-After` and `t` agree.
    assert_eq!(told(429, r#""burst";r=0;t=19"#).await.as_deref(), Some("19"));
    tokio::time::advance(19 * SECOND).await;
    assert_eq!(told(200, r#""burst";r=0;t=20"#).await, None);
    // Full again but for its own token.
    tokio::time::advance(600 * SECOND).await;
    assert_eq!(told(200, r#""burst";r=2;t=20"#).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_request_for_more_than_is_left_may_come_when_it_is_told() {
    let limit = RateLimitLayer::new(three()).unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RespondLayer::new().rate_limit_fields(Fields::Draft10, limit.limiter()))
        .layer(limit.clone().cost(|request: &Request<u32>| u64::from(*request.body())))
        .layer(ErrorLayer::new())
        .service(service_fn(answers));
    assert_eq!(get(&mut service, 1).await.status(), 200);
    // Two are left, and three are wanted: nothing for this one until then.
    let refused = get(&mut service, 3).await;
    assert_eq!(field(&refused, "ratelimit"), Some(r#""burst";r=0;t=20"#));
    assert_eq!(field(&refused, "retry-after"), Some("20"));
    // What can never pass says nothing of a time.
    let never = get(&mut service, 4).await;
    assert_eq!((never.status().as_u16(), field(&never, "retry-after")), (429, None));
    assert_eq!(field(&never, "ratelimit"), Some(r#""burst";r=2;t=20"#));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_does_not_hold_is_not_told() {
    let limit = RateLimitLayer::new(three()).unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RespondLayer::new().rate_limit_fields(Fields::Draft10, limit.limiter()))
        .layer(&limit)
        .layer(ErrorLayer::new())
        .service(service_fn(answers));
    limit.limiter().shadow();
    assert!(get(&mut service, 0).await.headers().is_empty());
    limit.limiter().disable();
    assert!(get(&mut service, 0).await.headers().is_empty());
    limit.limiter().enable();
    assert_eq!(get(&mut service, 0).await.headers().len(), 2);
    // New numbers are told at once.
    limit.limiter().reconfigure(three().burst(30)).unwrap();
    let response = get(&mut service, 0).await;
    assert_eq!(field(&response, "ratelimit-policy"), Some(r#""burst";q=30;w=600"#));
}

#[tokio::test(start_paused = true)]
async fn several_limits_are_told_one_after_the_other_whoever_refused() {
    let daily = RateLimitLayer::new(RateLimitConfig::new("daily", 1, 3_600 * SECOND).burst(9));
    let (burst, daily) = (RateLimitLayer::new(three()).unwrap(), daily.unwrap());
    let full = BulkheadLayer::new(BulkheadConfig::new("api", 1)).unwrap();
    let mut service = ServiceBuilder::new()
        .layer(
            RespondLayer::new()
                .rate_limit_fields(Fields::Draft10, burst.limiter())
                .rate_limit_fields(Fields::Draft10, daily.limiter()),
        )
        .layer(&burst)
        .layer(&daily)
        .layer(&full)
        .layer(ErrorLayer::new())
        .service(service_fn(answers));
    let policies = [r#""burst";q=3;w=60"#, r#""daily";q=9;w=32400"#];
    let response = get(&mut service, 0).await;
    assert_eq!(lines(&response, "ratelimit-policy"), policies);
    assert_eq!(lines(&response, "ratelimit"), [r#""burst";r=2;t=20"#, r#""daily";r=8;t=3600"#]);
    let _busy = full.bulkhead().try_acquire().unwrap();
    let shed = get(&mut service, 0).await;
    assert_eq!(shed.status(), 503);
    assert_eq!(lines(&shed, "ratelimit"), [r#""burst";r=1;t=20"#, r#""daily";r=7;t=3600"#]);
    drop(_busy);
    // Below what the service says of its own.
    let own = get(&mut service, 99).await;
    let told = [r#""own";r=7"#, r#""burst";r=0;t=20"#, r#""daily";r=6;t=3600"#];
    assert_eq!(lines(&own, "ratelimit"), told);
    let refused = get(&mut service, 0).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(lines(&refused, "ratelimit"), [r#""burst";r=0;t=20"#, r#""daily";r=6;t=3600"#]);
}

#[tokio::test(start_paused = true)]
async fn the_old_fields_are_told_once() {
    let limit = RateLimitLayer::new(three()).unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RespondLayer::new().rate_limit_fields(Fields::Legacy, limit.limiter()))
        .layer(&limit)
        .layer(ErrorLayer::new())
        .service(service_fn(answers));
    let told = |response: &Response<String>| {
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
            .map(|name| field(response, name).map(str::to_owned))
    };
    let some = |values: [&str; 3]| values.map(|value| Some(value.to_owned()));
    assert_eq!(told(&get(&mut service, 0).await), some(["3", "2", "20"]));
    // What the service itself said stays.
    assert_eq!(told(&get(&mut service, 99).await), [None, Some("7".into()), None]);
    assert_eq!(told(&get(&mut service, 0).await), some(["3", "0", "20"]));
    let refused = get(&mut service, 0).await;
    assert_eq!((refused.status().as_u16(), told(&refused)), (429, some(["3", "0", "20"])));
}

#[tokio::test(start_paused = true)]
async fn each_key_is_told_its_own() {
    let asked = Arc::new(AtomicU32::new(0));
    let keys = asked.clone();
    let key = move |request: &Request<u32>| {
        keys.fetch_add(1, SeqCst);
        *request.body()
    };
    let limit = KeyedRateLimitLayer::new(three(), 100, |request: &Request<u32>| *request.body());
    let limit = limit.unwrap();
    let layer =
        |fields| RespondLayer::new().rate_limit_fields_by(fields, limit.limiters(), key.clone());
    let mut service = ServiceBuilder::new()
        .layer(layer(Fields::Draft10))
        .layer(limit.clone())
        .layer(ErrorLayer::new())
        .service(service_fn(answers));
    for left in [2, 1, 0] {
        let response = get(&mut service, 1).await;
        let told = format!(r#""burst";r={left};t=20"#);
        assert_eq!(field(&response, "ratelimit"), Some(&told[..]));
        assert_eq!(field(&response, "ratelimit-policy"), Some(r#""burst";q=3;w=60"#));
    }
    let refused = get(&mut service, 1).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(field(&refused, "ratelimit"), Some(r#""burst";r=0;t=20"#));
    let other = get(&mut service, 2).await;
    assert_eq!(field(&other, "ratelimit"), Some(r#""burst";r=2;t=20"#));
    assert_eq!(asked.load(SeqCst), 5, "once for each call");

    // Where there is nothing to tell, nobody asks for keys.
    limit.limiters().shadow();
    assert!(get(&mut service, 1).await.headers().is_empty());
    limit.limiters().enable();
    let mut off = ServiceBuilder::new()
        .layer(layer(Fields::Off))
        .layer(limit.clone())
        .layer(ErrorLayer::new())
        .service(service_fn(answers));
    assert!(get(&mut off, 2).await.headers().is_empty());
    assert_eq!(asked.load(SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_tells_what_it_knows_by_itself() {
    let limit = RateLimitLayer::new(three()).unwrap();
    let full = BulkheadLayer::new(BulkheadConfig::new("api", 1)).unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RespondLayer::grpc().rate_limit_fields_of_refusals(Fields::Draft10))
        .layer(&limit)
        .layer(&full)
        .layer(ErrorLayer::new())
        .service(service_fn(answers));
    let busy = full.bulkhead().try_acquire().unwrap();
    let shed = get(&mut service, 0).await;
    assert_eq!((field(&shed, "grpc-status"), field(&shed, "ratelimit")), (Some("8"), None));
    drop(busy);
    for _ in 0..2 {
        assert!(get(&mut service, 0).await.headers().is_empty());
    }
    let refused = get(&mut service, 0).await;
    assert_eq!(field(&refused, "ratelimit"), Some(r#""burst";r=0;t=20"#));
    assert_eq!(field(&refused, "ratelimit-policy"), None);
    assert_eq!(field(&refused, "grpc-retry-pushback-ms"), Some("20000"));
}
