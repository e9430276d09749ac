//! The standard stacks: what they are made of, and how each part is changed, replaced, removed or shared.

use std::time::Duration;

use portcullis::{
    Backoff, BoxError, BulkheadConfig, CatchPanicConfig, CatchPanicLayer, Circuit,
    CircuitBreakerConfig, Command, Error, FallbackConfig, FallbackLayer, KeyedCircuitBreakerLayer,
    KeyedRateLimitLayer, LastGood, LastGoodConfig, Outcome, PolicyKind, QueuedBulkheadLayer,
    RateLimitConfig, Reason, Registry, RetryConfig, Served, State, TimeoutConfig, TimeoutLayer,
    WaitingRateLimitLayer, Waits,
    stack::{self, ClientConfig, ServerConfig},
};
use tower::{Layer, Service, ServiceExt};

use crate::{
    backend::{
        Backend, DOWN, Down, HANGS, MS, OK, PANICS, SECOND, ask, down, failed, refused, timed,
    },
    support::{Answer, Answered, Ask, Fault, strict},
};

fn client() -> stack::StandardClient {
    stack::client("db").retry(instantly()).build().unwrap()
}

fn instantly() -> RetryConfig {
    RetryConfig::default().backoff(Backoff::constant(Duration::ZERO))
}

fn server() -> stack::StandardServer {
    stack::server("api").build().unwrap()
}

#[test]
fn the_standard_client_is_sound_and_says_what_it_is() {
    let (_, report) = stack::check(|| stack::client("db").build().unwrap().layer(()));
    assert_eq!(
        report.to_string(),
        "timeout `db` (30s) > bulkhead `db` (256 at once) > retry `db` (3 attempts) > circuit breaker `db` \
         > timeout `db.attempt` (9s) > error layer\n\
         one call may become 3 calls of the service; while all fail, budgets hold it to 1.2 calls per call \
         and 10 more a second"
    );
    assert!(report.is_sound() && report.findings.is_empty());

    let last_good: LastGood<u32, u32> =
        LastGood::new(LastGoodConfig::new("db", 60 * SECOND)).unwrap();
    let last_good = last_good.layer::<_, _, Error<Down>>(|key: &u32| Some(*key));
    let full = client().with_rate(100, SECOND).unwrap().with_fallback(last_good);
    let (_, report) = stack::check(|| full.layer(()));
    assert_eq!(
        report.layers,
        [
            "fallback `db`",
            "timeout `db` (30s)",
            "rate limit `db`",
            "bulkhead `db` (256 at once)",
            "retry `db` (3 attempts)",
            "circuit breaker `db`",
            "timeout `db.attempt` (9s)",
            "error layer",
        ]
    );
    assert!(report.findings.is_empty(), "{report}");
    // So is one whose calls wait where they may.
    let waits = client()
        .with_rate_limit(WaitingRateLimitLayer::new(rate(), Waits::default()).unwrap())
        .with_bulkhead(QueuedBulkheadLayer::new(BulkheadConfig::new("db", 1).queue(9)).unwrap());
    let (_, report) = stack::check(|| waits.layer(()));
    assert!(report.findings.is_empty(), "{report}");
}

#[test]
fn the_standard_server_is_sound_and_says_what_it_is() {
    let server = server().with_rate(100, SECOND).unwrap();
    let (_, report) = stack::check(|| server.layer(()));
    assert_eq!(
        report.to_string(),
        "rate limit `api` > bulkhead `api` (256 at once) > timeout `api` (10s) > catch panic `api` > error \
         layer\none call is one call of the service"
    );
    assert!(report.findings.is_empty());
}

fn rate() -> RateLimitConfig {
    RateLimitConfig::per_second("db", 10)
}

/// The attempt timeout follows the total one, so that one number alone makes no bad stack.
#[test]
fn a_shorter_total_timeout_is_still_a_sound_stack() {
    for total in [MS, 70 * MS, SECOND, 30 * SECOND, 3_600 * SECOND] {
        let client = stack::client("db").total_timeout(total).build().unwrap();
        let attempt = client.attempt_timeout().time_limit().config();
        assert_eq!((attempt.name, attempt.limit), ("db.attempt", Some(total / 10 * 3)));
        let (_, report) = stack::check(|| client.layer(()));
        assert!(total > SECOND || report.is_sound(), "{report}");
    }
    // Times that are no times: they work, or say why not.
    assert!(stack::client("db").total_timeout(Duration::from_nanos(1)).build().is_ok());
    let endless = stack::client("db").total_timeout(Duration::MAX).build().unwrap();
    assert!(stack::check(|| endless.layer(())).1.layers[0].ends_with("(any time)"));
}

#[test]
fn a_value_that_cannot_work_is_named_by_the_field_that_it_is_set_by() {
    let field = |config: ClientConfig| config.build().unwrap_err().field();
    let client = || stack::client("db");
    assert_eq!(field(stack::client("")), "name");
    assert_eq!(field(client().total_timeout(Duration::ZERO)), "total_timeout");
    assert_eq!(field(client().attempt_timeout(Duration::ZERO)), "attempt_timeout");
    assert_eq!(field(client().max_in_flight(0)), "max_in_flight");
    assert_eq!(field(client().retry(RetryConfig::default().attempts(0))), "attempts");
    let breaker = CircuitBreakerConfig::default().failure_rate(f64::NAN);
    assert_eq!(field(client().circuit_breaker(breaker)), "failure_rate");
    // One that is no shorter than the total timeout.
    let error = client().total_timeout(SECOND).attempt_timeout(SECOND).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`attempt_timeout` = 1s: must be shorter than `total_timeout`, or one slow attempt takes all of it"
    );
    assert!(client().total_timeout(SECOND).attempt_timeout(999 * MS).build().is_ok());
    assert_eq!(client().build().unwrap().with_rate(1, Duration::ZERO).unwrap_err().field(), "per");

    let field = |config: ServerConfig| config.build().unwrap_err().field();
    assert_eq!(field(stack::server("")), "name");
    assert_eq!(field(stack::server("api").timeout(Duration::ZERO)), "timeout");
    assert_eq!(field(stack::server("api").max_in_flight(0)), "max_in_flight");
    assert_eq!(server().with_rate(1, Duration::ZERO).unwrap_err().field(), "per");
}

/// Whatever name the parts' own configurations have.
#[test]
fn one_name_is_the_name_of_all_its_policies() {
    let config = stack::client("db")
        .retry(RetryConfig::new("other"))
        .circuit_breaker(CircuitBreakerConfig::new("other"));
    let client = config.build().unwrap().with_rate(10, SECOND).unwrap();
    assert_eq!((client.name(), client.rate_limit().limiter().name()), ("db", "db"));
    let registry = Registry::new();
    client.register(&registry).unwrap();
    assert_eq!(
        registry.names(),
        [
            ("db", PolicyKind::CircuitBreaker),
            ("db", PolicyKind::RateLimit),
            ("db", PolicyKind::Bulkhead),
            ("db", PolicyKind::Timeout),
            ("db", PolicyKind::Retry),
            ("db.attempt", PolicyKind::Timeout),
        ]
    );
    // One command for all of them, and each by its handle.
    registry.command("db", Command::ForceOpen).unwrap();
    assert!(!client.circuit_breaker().circuit().explain().admits);
    assert!(registry.get::<Circuit>("db").is_some());
}

#[test]
fn whatever_stands_in_its_places_is_registered_or_none_of_it() {
    let registry = Registry::new();
    let keyed =
        KeyedRateLimitLayer::new(RateLimitConfig::per_second("api", 1), 8, |key: &u32| *key);
    let server = server().with_rate_limit(keyed.unwrap());
    server.register(&registry).unwrap();
    let of_server = registry.names();
    assert_eq!(
        of_server.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(),
        [PolicyKind::RateLimit, PolicyKind::Bulkhead, PolicyKind::Timeout, PolicyKind::CatchPanic]
    );
    // Every kind of layer in the places of a client, and a second time.
    let fallback = FallbackLayer::<_, Error<Down>>::value(FallbackConfig::new("db"), 0).unwrap();
    let full = client()
        .with_fallback(fallback)
        .with_rate_limit(WaitingRateLimitLayer::new(rate(), Waits::default()).unwrap())
        .with_bulkhead(QueuedBulkheadLayer::new(BulkheadConfig::new("db", 1)).unwrap())
        .map_retry(|retry| retry.replay(|_: &u32| None));
    full.register(&registry).unwrap();
    assert_eq!(registry.names().len(), of_server.len() + 7);
    let error = full.register(&registry).unwrap_err();
    assert_eq!(error.to_string(), "`name` = db: is registered already");

    // One name twice within the stack: none of it.
    let twice = stack::client("other").build().unwrap();
    let same = TimeoutLayer::new(TimeoutConfig::new("other", SECOND)).unwrap();
    let before = registry.names();
    assert_eq!(twice.with_attempt_timeout(same).register(&registry).unwrap_err().field(), "name");
    assert_eq!(registry.names(), before);
    // What is left out is not there, and keyed circuits have no handle of this kind.
    let keyed = KeyedCircuitBreakerLayer::new(CircuitBreakerConfig::new("x"), 8, |key: &u32| *key);
    let bare = stack::client("bare").build().unwrap().without_retry().without_bulkhead();
    let bare = bare.with_circuit_breaker(keyed.unwrap()).without_total_timeout().without_error();
    bare.register(&registry).unwrap();
    assert!(registry.remove("bare.attempt") && !registry.remove("bare"));
}

#[tokio::test(start_paused = true)]
async fn each_place_can_be_left_empty() {
    let backend = Backend::new([OK]);
    let nothing = client()
        .without_fallback()
        .without_total_timeout()
        .without_rate_limit()
        .without_bulkhead()
        .without_retry()
        .without_circuit_breaker()
        .without_attempt_timeout()
        .without_error();
    // Over whatever error: nothing is left that asks for more.
    let (mut service, report) = stack::check(|| nothing.layer(backend.clone()));
    assert!(report.layers.is_empty());
    backend.script([DOWN]);
    assert_eq!(ask(&mut service).await, Err(failed("down")));

    let server = server()
        .without_rate_limit()
        .without_bulkhead()
        .without_timeout()
        .without_catch_panic()
        .without_error();
    assert!(stack::check(|| server.layer(backend)).1.layers.is_empty());
}

/// A request that is not `Clone`: it is said how it is made once more, or nothing is tried again.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_clone_can_be_replayed_or_not_retried() {
    let (service, probe) = strict();
    let replays = client().without_error().map_retry(|retry| {
        retry.replay(|Ask(key): &Ask| if *key == 0 { None } else { Some(Ask(*key)) })
    });
    let mut service = replays.layer(service);
    probe.answer(Answer::FAULT);
    for (key, calls) in [(1, 3), (0, 4)] {
        let answer = service.ready().await.unwrap().call(Ask(key)).await;
        assert_eq!(answer, Err(Error::Inner(Fault("fault"))));
        assert_eq!(probe.calls(), calls);
    }

    let (service, probe) = strict();
    let mut service = client().without_error().without_retry().layer(service);
    assert_eq!(service.ready().await.unwrap().call(Ask(1)).await, Ok(Answered));
    probe.answer(Answer::FAULT);
    service.ready().await.unwrap().call(Ask(1)).await.unwrap_err();
    assert_eq!(probe.calls(), 2);
}

/// Without the error layer, over an error that can carry a refusal by itself.
#[tokio::test(start_paused = true)]
async fn an_error_that_carries_refusals_needs_no_error_layer() {
    let backend = Backend::new([DOWN]);
    let stack = client().without_error();
    let circuit = stack.circuit_breaker().circuit().clone();
    let mut service = stack.layer(backend.clone().map_err(BoxError::from));
    let error: BoxError = ask(&mut service).await.unwrap_err();
    assert_eq!((error.downcast_ref(), backend.calls()), (Some(&failed("down")), 3));
    circuit.force_open();
    let error: BoxError = ask(&mut service).await.unwrap_err();
    let refusal = error.downcast_ref::<portcullis::Rejection>().unwrap();
    assert_eq!(refusal.reason(), Reason::ForcedOpen);
}

/// Changing a layer keeps its state: the handle is the one from before.
#[tokio::test(start_paused = true)]
async fn a_changed_layer_is_the_same_policy() {
    let backend = Backend::new([crate::backend::ok(503)]);
    let bad = |result: &Result<u32, Error<Down>>| match result {
        Ok(500..) | Err(_) => Outcome::Failure,
        Ok(_) => Outcome::Success,
    };
    let fallback = FallbackLayer::value(FallbackConfig::new("db"), 0).unwrap();
    let stack = client().with_rate(10, SECOND).unwrap().with_fallback(fallback);
    let (circuit, policy) =
        (stack.circuit_breaker().circuit().clone(), stack.retry().policy().clone());
    let (limiter, limit) =
        (stack.rate_limit().limiter().clone(), stack.total_timeout().time_limit().clone());
    let mut service = stack
        .map_retry(|retry| retry.classify(bad))
        .map_circuit_breaker(|breaker| breaker.classify(bad))
        .map_fallback(|fallback| fallback.classify(bad))
        .map_rate_limit(|limit| limit.cost(|cost: &u32| u64::from(*cost)))
        .map_total_timeout(|timeout| timeout.limit_from(|_: &u32| Some(Duration::ZERO)))
        .layer(backend.clone());
    limit.disable();
    assert_eq!(ask(&mut service).await, Ok(0), "a bad response, tried again and answered");
    assert_eq!((backend.calls(), circuit.snapshot().failures), (3, 3));
    assert_eq!((policy.snapshot().attempts, limiter.snapshot().available), (3, 3));
    limit.enable();
    assert_eq!(ask(&mut service).await, Ok(0));
    assert_eq!((backend.calls(), limit.snapshot().refused), (3, 1));
}

/// One circuit for two clients, and one bulkhead by its handle.
#[tokio::test(start_paused = true)]
async fn a_part_can_be_shared_between_stacks() {
    let reads = client();
    let slots = reads.bulkhead().bulkhead().clone();
    let writes = stack::client("writes")
        .build()
        .unwrap()
        .with_circuit_breaker(reads.circuit_breaker().clone())
        .with_bulkhead(slots.queued_layer());
    let circuit = reads.circuit_breaker().circuit().clone();
    let mut reads = reads.layer(Backend::new([DOWN]));
    let mut writes = writes.layer(Backend::new([OK.after(SECOND)]));
    let writing = tokio::spawn(writes.clone().oneshot(7));
    tokio::task::yield_now().await;
    assert_eq!((slots.in_flight(), circuit.snapshot().calls), (1, 0));
    assert_eq!(writing.await.unwrap(), Ok(200));
    while circuit.state() == State::Closed {
        ask(&mut reads).await.unwrap_err();
    }
    assert_eq!(refused(ask(&mut writes).await).reason(), Reason::CircuitOpen);

    // All clones of a stack, and all services that it is put in front of, are one.
    let stack = client();
    let circuit = stack.circuit_breaker().circuit().clone();
    let mut one = stack.clone().layer(Backend::new([OK]));
    let mut other = stack.layer(Backend::new([OK]));
    circuit.force_open();
    refused(ask(&mut one).await);
    refused(ask(&mut other).await);
    assert_eq!(circuit.snapshot().rejected, 2);
}

/// The edges in their order, by what happens: an attempt is cut and tried again, a panic is neither lost
/// nor passed on where it is caught, and the whole is cut at its end.
#[tokio::test(start_paused = true)]
async fn the_client_does_what_its_order_is_for() {
    let backend = Backend::new([HANGS, down("once"), OK]);
    let stack = client();
    let circuit = stack.circuit_breaker().circuit().clone();
    let mut service = stack.layer(backend.clone());
    assert_eq!(timed(ask(&mut service)).await, (9_000, Ok(200)));
    assert_eq!((circuit.snapshot().calls, circuit.snapshot().failures), (3, 2));

    backend.script([HANGS]);
    let (took, answer) = timed(ask(&mut service)).await;
    assert_eq!((took, refused(answer).policy()), (27_000, "db.attempt"));

    let catches = CatchPanicLayer::new(CatchPanicConfig::new("db")).unwrap();
    let backend = Backend::new([PANICS, OK]);
    let mut service = client()
        .map_error(|error| tower::layer::util::Stack::new(error, catches))
        .layer(backend.clone());
    assert_eq!((ask(&mut service).await, backend.calls()), (Ok(200), 2));
}

#[tokio::test(start_paused = true)]
async fn the_server_refuses_bounds_and_catches() {
    let backend = Backend::new([HANGS, PANICS, OK]);
    let stack = stack::server("api").max_in_flight(1).timeout(SECOND).build().unwrap();
    let slots = stack.bulkhead().bulkhead().clone();
    let stack = stack.with_rate(3, 60 * SECOND).unwrap();
    let limiter = stack.rate_limit().limiter().clone();
    limiter.reconfigure(RateLimitConfig::new("api", 3, 60 * SECOND).burst(4)).unwrap();
    let mut service = stack.layer(backend.clone());

    let slow = tokio::spawn(service.clone().oneshot(7));
    tokio::task::yield_now().await;
    let limited = refused(ask(&mut service).await);
    assert_eq!((limited.reason(), limited.policy()), (Reason::RateLimited, "api"));
    limiter.reset();
    assert_eq!(refused(ask(&mut service).await).reason(), Reason::BulkheadFull);
    assert_eq!(refused(slow.await.unwrap()).reason(), Reason::Timeout);
    assert_eq!(slots.in_flight(), 0);
    assert_eq!(refused(ask(&mut service).await).reason(), Reason::Panicked);
    assert_eq!(ask(&mut service).await, Ok(200));
    assert_eq!(backend.calls(), 3);
}

/// A good answer of before takes the place of a failure, through the whole stack.
#[tokio::test(start_paused = true)]
async fn the_last_good_answer_outlives_an_outage() {
    let backend = Backend::new([OK, DOWN]);
    let last_good = LastGoodConfig::new("db", 60 * SECOND);
    let mut service = client()
        .with_fallback(FallbackLayer::last_good(last_good, |key: &u32| Some(*key)).unwrap())
        .layer(backend);
    assert_eq!(ask(&mut service).await, Ok(Served::Fresh(200)));
    tokio::time::advance(SECOND).await;
    let answer: Result<_, Error<Down>> = ask(&mut service).await;
    assert_eq!(answer, Ok(Served::LastGood { value: 200, age: SECOND }));
}

#[test]
fn they_print_and_clone() {
    let text = format!("{:?}", client().clone());
    for part in ["Client", "Timeout", "Bulkhead", "Retry", "CircuitBreaker", "ErrorLayer", "\"db\""]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = format!("{:?}", server().with_rate(1, SECOND).unwrap().clone());
    assert!(
        text.starts_with("Server { name: \"api\", respond: Identity, rate_limit: RateLimitLayer"),
        "{text}"
    );
    fn thread_safe<T: Send + Sync + 'static>(_: &T) {}
    thread_safe(&client());
    thread_safe(&server());
}
