//! One TOML file configures a client's and a server's whole stack between real parts, and a file that is
//! read again changes what live policies do, and keeps what they know.

use std::{convert::Infallible, time::Duration};

use axum::{Router, error_handling::HandleErrorLayer, http::StatusCode, routing::get};
use portcullis::{
    BudgetConfig, BulkheadConfig, BulkheadLayer, CatchPanicConfig, CircuitBreakerConfig, Error,
    FallbackConfig, HalfOpen, Hung, Jitter, KeyedRateLimitLayer, Keys, LastGoodConfig, Outcome,
    RateLimitConfig, RateLimitLayer, Sleep, State, TimeoutConfig, Waits,
    http::{
        BodyTimeoutConfig,
        deadline::{DeadlineConfig, ForwardDeadlineConfig},
        key::ClientIp,
    },
    stack::{self, ClientConfig, ServerConfig},
};
use serde::Deserialize;
use tokio::{net::TcpListener, task::JoinHandle};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// The block of TOML in the guide: what its readers copy.
fn of_the_guide() -> &'static str {
    let page = include_str!("../../../src/docs/configuration.md");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    block.expect("the guide has a block of TOML")
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Guide {
    client: ClientConfig,
    server: ServerConfig,
    rate: RateLimitConfig,
    rate_waits: Waits,
    clients: Keys,
    bulkhead: BulkheadConfig,
    timeout: TimeoutConfig,
    body_timeout: BodyTimeoutConfig,
    deadline: DeadlineConfig,
    forward_deadline: ForwardDeadlineConfig,
    client_ip: ClientIp,
    budget: BudgetConfig,
    fallback: FallbackConfig,
    last_good: LastGoodConfig,
    catch_panic: CatchPanicConfig,
}

#[test]
fn the_file_in_the_guide_says_what_it_seems_to_say() {
    let guide: Guide = toml::from_str(of_the_guide()).unwrap_or_else(|error| panic!("{error}"));
    let breaker = CircuitBreakerConfig::new("payments")
        .slow_calls(2 * SECOND, 0.8)
        .consecutive_failures(50)
        .hung(Hung::default())
        .recovery_ramp(10 * SECOND)
        .seed(7);
    // What the file spells out besides is the default.
    assert_eq!((breaker.sleep, breaker.half_open), (Sleep::default(), HalfOpen::default()));
    assert_eq!(guide.client.circuit_breaker, breaker);
    assert_eq!(guide.client.retry.hints, portcullis::Hints::http());
    assert_eq!(guide.client.retry.backoff.jitter, Jitter::Full);
    assert_eq!(guide.client.attempt_timeout, Some(3 * SECOND));
    assert_eq!(guide.server, stack::server("api").max_in_flight(512));
    assert_eq!(guide.rate, RateLimitConfig::new("api", 5_000, 60 * SECOND).burst(100));
    assert_eq!(guide.rate_waits, Waits::up_to(SECOND / 4).queue(200));
    assert_eq!(guide.clients, Keys::at_most(10_000));
    let bulkhead = BulkheadConfig::new("reports", 20).queue(100).max_wait(SECOND / 4);
    assert_eq!(guide.bulkhead, bulkhead);
    let timeout = TimeoutConfig::new("reports", 5 * SECOND).min_remaining(SECOND / 20);
    assert_eq!(guide.timeout, timeout);
    let body = BodyTimeoutConfig::new("reports", 15 * SECOND).total(600 * SECOND);
    assert_eq!(guide.body_timeout, body);
    let deadline = DeadlineConfig::new("api").grpc_timeout().millis("x-timeout-ms");
    let deadline = deadline.max(30 * SECOND).margin(SECOND / 200).min_remaining(SECOND / 50);
    assert_eq!(guide.deadline, deadline);
    assert_eq!(guide.forward_deadline, ForwardDeadlineConfig::new("payments").grpc_timeout());
    let ip = ClientIp::trusted_proxies(["10.0.0.0/8", "fd00::/8"]).x_forwarded_for();
    assert_eq!(format!("{:?}", guide.client_ip), format!("{ip:?}"));
    assert_eq!(guide.budget, BudgetConfig::grpc(100, 0.1));
    assert_eq!(guide.fallback, FallbackConfig::new("prices"));
    assert_eq!(guide.last_good, LastGoodConfig::new("prices", 300 * SECOND));
    assert_eq!(guide.catch_panic, CatchPanicConfig::new("api"));
    assert!(guide.client.build().is_ok() && guide.server.build().is_ok());
}

/// The guide's TOML, any one line of it left out or spoilt: it is read or refused, never a panic, and what
/// is refused is told by its line.
#[test]
fn whatever_becomes_of_a_line_of_it_is_told_by_its_line() {
    let lines: Vec<&str> = of_the_guide().lines().collect();
    let mut refused = 0;
    for at in 0..lines.len() {
        let Some((field, _)) = lines[at].split_once(" = ") else { continue };
        let spoilt = format!("{field} = [[[\"nothing takes this\"]]]");
        let text: Vec<&str> =
            (0..lines.len()).map(|n| if n == at { spoilt.as_str() } else { lines[n] }).collect();
        let error = toml::from_str::<Guide>(&text.join("\n")).expect_err(&spoilt);
        let told = error.to_string();
        assert!(
            told.starts_with(&format!("TOML parse error at line {}, column", at + 1)),
            "{told}"
        );
        assert!(told.contains(&format!("{field}` to be ")), "{told}");
        refused += 1;

        let without: Vec<&str> = (0..lines.len()).filter(|n| *n != at).map(|n| lines[n]).collect();
        if let Err(error) = toml::from_str::<Guide>(&without.join("\n")) {
            let told = error.message();
            let missing =
                told.starts_with("missing field `") && told.ends_with(&format!("{field}`"));
            // Some may be left out, but not beside what else stands there.
            let empty = told.starts_with(&format!("`{field}` = "));
            let needed = told.contains("needs `slow_call_after`");
            assert!(missing || empty || needed, "{field}: {error}");
        }
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn what_toml_can_say_and_json_cannot_is_refused_by_its_field() {
    let error = |text| match toml::from_str::<CircuitBreakerConfig>(text) {
        Ok(config) => panic!("{text} is read as {config:?}"),
        Err(error) => error.message().to_owned(),
    };
    assert!(error("failure_rate = nan").starts_with("`failure_rate` = NaN: must be a share"));
    assert!(error("failure_rate = inf").starts_with("`failure_rate` = inf: must be a share"));
    assert!(error("failure_rate = -inf").starts_with("`failure_rate` = -inf: must be a share"));
    assert!(error("sleep.multiplier = nan").starts_with("`sleep.multiplier` = NaN: must be"));
    assert!(error("probe_lease = 07:32:00").contains("`probe_lease` to be a duration"));
    assert!(error("minimum_calls = 1979-05-27").contains("`minimum_calls` to be a whole number"));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    client: ClientConfig,
    client_rate: RateLimitConfig,
    server: ServerConfig,
    server_rate: RateLimitConfig,
    server_keys: Keys,
}

const FILE: &str = r#"
    server_keys = { most = 100, at_cap = "refuse" }

    [client]
    name = "reports"
    total_timeout = "1m"
    retry = { attempts = 1 }

    [client.circuit_breaker]
    failure_rate = "none"
    consecutive_failures = 3
    sleep = { base = "1h", max = "1h" }

    [client_rate]
    name = "reports"
    permits = 4
    per = "1h"
    burst = 4

    [server]
    name = "api"
    timeout = "1m"
    max_in_flight = 16

    [server_rate]
    name = "api"
    permits = 1_000
    per = "1h"
    burst = 1_000
"#;

/// A server whose whole stack is the file's, and its address.
async fn server(file: &File) -> (String, JoinHandle<()>) {
    let keyed = KeyedRateLimitLayer::new(
        file.server_rate.clone(),
        file.server_keys,
        |request: &axum::extract::Request| request.uri().path().to_owned(),
    );
    let stack = file.server.clone().build().expect("a valid stack");
    let stack = stack.with_rate_limit(keyed.expect("a valid limit"));
    let refused = |refused: Error<Infallible>| async move {
        (StatusCode::SERVICE_UNAVAILABLE, refused.to_string())
    };
    let layers = ServiceBuilder::new().layer(HandleErrorLayer::new(refused)).layer(stack);
    let app = Router::new()
        .route("/", get(|| async { "a report" }))
        .route("/broken", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .layer(layers);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    (url, tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") }))
}

#[tokio::test]
async fn a_reload_changes_live_stacks_and_keeps_what_they_know() {
    let file: File = toml::from_str(FILE).unwrap_or_else(|error| panic!("{error}"));
    let (url, serving) = server(&file).await;

    let limit = RateLimitLayer::new(file.client_rate).expect("a valid limit");
    let limiter = limit.limiter().clone();
    let layers = file.client.build().expect("a valid stack");
    let layers = layers.with_rate_limit(limit).map_circuit_breaker(|breaker| {
        breaker.classify(|result: &Result<StatusCode, Error<reqwest::Error>>| match result {
            Ok(status) if status.is_server_error() => Outcome::Failure,
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Ignored,
        })
    });
    let circuit = layers.circuit_breaker().circuit().clone();
    let retry = layers.retry().policy().clone();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut client = ServiceBuilder::new().layer(layers).service(service_fn(move |path: &str| {
        let call = http.get(format!("{url}{path}")).send();
        async move { call.await.map(|response| response.status()) }
    }));
    let mut ask = async |path: &'static str| {
        let ready = client.ready().await.expect("always ready");
        ready.call(path).await.map(|status| status.as_u16()).map_err(|error| match error {
            Error::Rejected(refusal) => refusal.to_string(),
            Error::Inner(error) => panic!("{error}"),
        })
    };

    // Four tokens, of which two go for failures.
    assert_eq!(ask("/").await, Ok(200));
    assert_eq!(ask("/").await, Ok(200));
    assert_eq!(ask("/broken").await, Ok(500));
    assert_eq!(ask("/broken").await, Ok(500));
    let refused = ask("/").await.expect_err("the tokens are used up");
    assert!(refused.starts_with("reports: the rate limit is used up"), "{refused}");
    assert_eq!((circuit.state(), circuit.snapshot().consecutive_failures), (State::Closed, 2));

    // A file that cannot work changes nothing, and says what is wrong with it.
    let broken = FILE.replace("consecutive_failures = 3", "consecutive_failures = 0");
    let Err(error) = toml::from_str::<File>(&broken) else { panic!("zero in a row is no rule") };
    assert_eq!(error.message(), "`consecutive_failures` = 0: must be at least 1");
    assert_eq!(circuit.config().consecutive_failures, Some(3));

    // Another burst gives no tokens away, and a reset fills the new one.
    let more = FILE
        .replace(
            "permits = 4\n    per = \"1h\"\n    burst = 4",
            "permits = 1_000\n    per = \"1h\"\n    burst = 6",
        )
        .replace("attempts = 1", "attempts = 2");
    let new: File = toml::from_str(&more).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(new.client_rate.burst, Some(6));
    limiter.reconfigure(new.client_rate).expect("it keeps its name");
    circuit.reconfigure(new.client.circuit_breaker).expect("it keeps its name");
    retry.reconfigure(new.client.retry).expect("it keeps its name and budget");
    assert_eq!(limiter.remaining(), 0);
    assert_eq!(retry.config().attempts, 2);
    limiter.reset();
    assert_eq!(limiter.remaining(), 6);

    // The two failures from before the reload count: this is the third in a row.
    assert_eq!(ask("/broken").await, Ok(500));
    assert_eq!(circuit.state(), State::Open);
    let refused = ask("/").await.expect_err("the circuit is open");
    assert!(refused.starts_with("reports: the circuit is open"), "{refused}");

    // Another name is another policy.
    let renamed = FILE.replace("\"reports\"", "\"other\"");
    let new: File = toml::from_str(&renamed).unwrap_or_else(|error| panic!("{error}"));
    let error = limiter.reconfigure(new.client_rate).expect_err("a limiter keeps its name");
    assert_eq!((error.field(), limiter.config().burst), ("name", Some(6)));
    serving.abort();
}

/// What a live policy is told is written as it would be read.
#[test]
fn the_live_configuration_can_be_shown_and_read_again() {
    let file: File = toml::from_str(FILE).unwrap_or_else(|error| panic!("{error}"));
    let bulkhead = BulkheadLayer::new(BulkheadConfig::new("reports", 20)).expect("a bulkhead");
    let shown = serde_json::to_string(&bulkhead.bulkhead().config()).expect("it is written");
    let read: BulkheadConfig = serde_json::from_str(&shown).expect("it is read");
    assert_eq!(read, bulkhead.bulkhead().config());
    let shown = serde_json::to_string(&file.client).expect("it is written");
    assert_eq!(serde_json::from_str::<ClientConfig>(&shown).expect("it is read"), file.client);
}
