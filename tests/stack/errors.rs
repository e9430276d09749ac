//! One error through the whole stack: whoever refuses, the caller learns who, why, when to come back, and
//! whether the service may have seen the request, whatever stands in between and whatever error type the
//! service has.

use std::{error::Error as StdError, fmt, time::Duration};

use portcullis::{
    BoxError, BulkheadConfig, BulkheadLayer, CarryRejection, CircuitBreakerConfig,
    CircuitBreakerLayer, Error, ErrorLayer, Outcome, PolicyKind, RateLimitConfig, Reason,
    Rejection, RetryEnd, State, clock, deadline, stack,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use crate::{
    backend::{
        Backend, DOWN, Down, HANGS, MS, OK, PANICS, SECOND, ask, failed, ok, refused, timed,
    },
    full::{Answers, Full, config, refusing},
    support::{Caller, panic_of},
};

/// An error of an application that knows the library by two short impls.
#[derive(Debug)]
enum AppError {
    Refused(Rejection),
    Down(Down),
}

impl From<Rejection> for AppError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl CarryRejection for AppError {
    fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Refused(rejection) => Some(rejection),
            Self::Down(_) => None,
        }
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the application failed")
    }
}

impl StdError for AppError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Refused(rejection) => Some(rejection),
            Self::Down(down) => Some(down),
        }
    }
}

fn typed() -> Full<impl Answers<Error<Down>>> {
    refusing(Error::Inner)
}

fn boxed() -> Full<impl Answers<BoxError>> {
    refusing(BoxError::from)
}

fn of_an_application() -> Full<impl Answers<AppError>> {
    refusing(AppError::Down)
}

/// Runs every test below over each kind of error.
macro_rules! whatever_error {
    ($($test:ident)*) => {
        $(
            mod $test {
                #[tokio::test(start_paused = true)]
                async fn typed() {
                    super::$test(super::typed()).await;
                }

                #[tokio::test(start_paused = true)]
                async fn boxed() {
                    super::$test(super::boxed()).await;
                }

                #[tokio::test(start_paused = true)]
                async fn of_an_application() {
                    super::$test(super::of_an_application()).await;
                }
            }
        )*
    };
}

whatever_error! {
    the_rate_limit_refuses
    the_bulkhead_refuses
    the_circuit_refuses
    the_attempt_timeout_cuts
    the_total_timeout_cuts
    the_total_timeout_refuses
    the_attempt_timeout_refuses
    the_retry_refuses_at_the_deadline
    a_panic_is_caught
    the_service_fails
    a_refusal_after_an_attempt_says_so
    an_open_circuit_burns_no_budget
}

/// Who, of what kind, why.
fn who(rejection: &Rejection) -> (&'static str, PolicyKind, Reason) {
    (rejection.policy(), rejection.kind(), rejection.reason())
}

async fn the_rate_limit_refuses<E: CarryRejection + fmt::Debug>(mut full: Full<impl Answers<E>>) {
    full.limiter.try_acquire_n(10).unwrap();
    advance(40 * MS).await;
    let (took, answer) = timed(ask(&mut full.service)).await;
    let refusal = refused(answer);
    assert_eq!(who(&refusal), ("db", PolicyKind::RateLimit, Reason::RateLimited));
    assert_eq!((refusal.retry_after(), refusal.attempted()), (Some(60 * MS), false));
    assert_eq!(refusal.to_string(), "db: the rate limit is used up; retry after 60ms");
    assert_eq!((took, full.backend.calls()), (0, 0));
    // It is so: at that time the same request passes, and not before.
    advance(59 * MS).await;
    refused(ask(&mut full.service).await);
    advance(MS).await;
    assert!(ask(&mut full.service).await.is_ok());

    // One that can never pass names no time.
    full.limiter.reconfigure(RateLimitConfig::per_second("db", 10).burst(0)).unwrap();
    let refusal = refused(ask(&mut full.service).await);
    assert_eq!(who(&refusal), ("db", PolicyKind::RateLimit, Reason::OverBurst));
    assert_eq!((refusal.retry_after(), refusal.attempted()), (None, false));
}

async fn the_bulkhead_refuses<E: CarryRejection + fmt::Debug>(mut full: Full<impl Answers<E>>) {
    let _busy = [(); 2].map(|()| full.slots.try_acquire().unwrap());
    let (took, answer) = timed(ask(&mut full.service)).await;
    let refusal = refused(answer);
    assert_eq!(who(&refusal), ("db", PolicyKind::Bulkhead, Reason::BulkheadFull));
    assert_eq!((refusal.retry_after(), refusal.attempted()), (None, false));
    assert_eq!((took, full.backend.calls()), (0, 0));
}

async fn the_circuit_refuses<E: CarryRejection + fmt::Debug>(mut full: Full<impl Answers<E>>) {
    full.circuit.open();
    advance(SECOND).await;
    let refusal = refused(ask(&mut full.service).await);
    assert_eq!(who(&refusal), ("db", PolicyKind::CircuitBreaker, Reason::CircuitOpen));
    assert_eq!((refusal.retry_after(), refusal.attempted()), (Some(4 * SECOND), false));
    assert_eq!(refusal.to_string(), "db: the circuit is open; retry after 4s");

    full.circuit.half_open();
    let probe = full.circuit.try_acquire().unwrap();
    let refusal = refused(ask(&mut full.service).await);
    assert_eq!(who(&refusal), ("db", PolicyKind::CircuitBreaker, Reason::ProbeLimit));
    assert!(!refusal.attempted());
    drop(probe);
    full.circuit.force_open();
    let (took, answer) = timed(ask(&mut full.service)).await;
    let refusal = refused(answer);
    assert_eq!(who(&refusal), ("db", PolicyKind::CircuitBreaker, Reason::ForcedOpen));
    assert_eq!((refusal.retry_after(), refusal.attempted()), (None, false));
    assert_eq!((took, full.backend.calls()), (0, 0));
    assert_eq!(full.policy.snapshot().ends.of(RetryEnd::NotRetryable), 3);
}

async fn the_attempt_timeout_cuts<E: CarryRejection + fmt::Debug>(mut full: Full<impl Answers<E>>) {
    full.backend.script([HANGS]);
    let (took, answer) = timed(ask(&mut full.service)).await;
    let refusal = refused(answer);
    assert_eq!(who(&refusal), ("db.attempt", PolicyKind::Timeout, Reason::Timeout));
    assert_eq!((refusal.retry_after(), refusal.attempted()), (None, true));
    assert_eq!(refusal.to_string(), "db.attempt: the service did not answer in time");
    // A failure as any other: tried again, and counted.
    assert_eq!((took, full.backend.times()), (6_200, vec![0, 2_100, 4_200]));
    assert_eq!((full.circuit.snapshot().failures, full.backend.live()), (3, 0));
}

async fn the_total_timeout_cuts<E: CarryRejection + fmt::Debug>(mut full: Full<impl Answers<E>>) {
    full.backend.script([HANGS]);
    full.attempt.disable();
    let (took, answer) = timed(ask(&mut full.service)).await;
    let refusal = refused(answer);
    assert_eq!(who(&refusal), ("db", PolicyKind::Timeout, Reason::Timeout));
    assert_eq!((refusal.retry_after(), refusal.attempted()), (None, true));
    assert_eq!((took, full.backend.calls(), full.backend.live()), (10_000, 1, 0));
    // Dropped past its deadline, it is a failure for the circuit, though no timeout stood below.
    assert_eq!(full.circuit.snapshot().failures, 1);
    assert_eq!((full.slots.in_flight(), full.total.snapshot().timed_out), (0, 1));
}

async fn the_total_timeout_refuses<E: CarryRejection + fmt::Debug>(
    mut full: Full<impl Answers<E>>,
) {
    let caller = Caller::new();
    let past = clock::tokio_now();
    assert!(caller.ready(&mut full.service).is_ready());
    let answer = deadline::enter(past, || caller.finish(&mut Box::pin(full.service.call(7))));
    let refusal = refused(answer);
    assert_eq!(who(&refusal), ("db", PolicyKind::Timeout, Reason::DeadlineTooShort));
    assert_eq!((refusal.retry_after(), refusal.attempted()), (None, false));
    // Nothing further in has been asked.
    assert_eq!((full.limiter.snapshot().available, full.backend.calls()), (10, 0));
}

async fn the_attempt_timeout_refuses<E>(mut full: Full<impl Answers<E>>)
where
    E: CarryRejection + fmt::Debug,
{
    let config = full.attempt.config();
    full.attempt.reconfigure(config.min_remaining(2 * SECOND)).unwrap();
    let (took, answer) =
        timed(deadline::within(SECOND, async { ask(&mut full.service).await })).await;
    let refusal = refused(answer);
    assert_eq!(who(&refusal), ("db.attempt", PolicyKind::Timeout, Reason::DeadlineTooShort));
    assert_eq!((refusal.attempted(), took, full.backend.calls()), (false, 0, 0));
    // It says nothing about the service.
    assert_eq!((full.circuit.snapshot().calls, full.budget.balance()), (0, 100));
}

/// Only responses have failed, so that there is no error to give.
async fn the_retry_refuses_at_the_deadline<E>(full: Full<impl Answers<E>>)
where
    E: CarryRejection + fmt::Debug,
{
    let backend = full.backend.clone();
    backend.script([ok(503)]);
    let bad = |result: &Result<u32, E>| match result {
        Ok(503) | Err(_) => Outcome::Failure,
        Ok(_) => Outcome::Success,
    };
    // The same stack once more around it, since a classifier is the layer's own.
    let client = config().build().unwrap().without_error().map_retry(|retry| retry.classify(bad));
    full.policy.disable();
    let mut service = client.layer(full.service);
    let caller = Caller::new();
    assert!(caller.ready(&mut service).is_ready());
    let mut response = Box::pin(service.call(7));
    assert!(caller.poll(&mut response).is_pending());
    // A deadline that comes nearer while it waits to try again.
    let soon = clock::tokio_now() + 50 * MS;
    assert!(deadline::enter(soon, || caller.poll(&mut response)).is_pending());
    advance(50 * MS).await;
    let refusal = refused(deadline::enter(soon, || caller.finish(&mut response)));
    assert_eq!(who(&refusal), ("db", PolicyKind::Retry, Reason::DeadlineTooShort));
    assert_eq!((refusal.attempted(), backend.calls()), (true, 1));
}

async fn a_panic_is_caught<E: CarryRejection + fmt::Debug>(mut full: Full<impl Answers<E>>) {
    full.backend.script([PANICS]);
    let (took, answer) = timed(ask(&mut full.service)).await;
    let refusal = refused(answer);
    assert_eq!(who(&refusal), ("db", PolicyKind::CatchPanic, Reason::Panicked));
    assert_eq!((refusal.retry_after(), refusal.attempted()), (None, true));
    assert_eq!((took, full.backend.calls(), full.backend.live()), (200, 3, 0));
    assert_eq!(full.circuit.snapshot().failures, 3);
    assert_eq!(full.slots.in_flight(), 0);
}

/// The service's own error is no refusal, and reaches the caller as it is.
async fn the_service_fails<E>(mut full: Full<impl Answers<E>>)
where
    E: CarryRejection + fmt::Debug,
{
    full.backend.script([DOWN]);
    let error = ask(&mut full.service).await.unwrap_err();
    assert!(error.rejection().is_none(), "{error:?}");
    assert!(format!("{error:?}").contains("Down(\"down\", Error)"), "{error:?}");
    assert_eq!((full.backend.calls(), full.circuit.snapshot().failures), (3, 3));
}

/// The first attempt was a response that failed, and is gone; the second was refused.
async fn a_refusal_after_an_attempt_says_so<E>(full: Full<impl Answers<E>>)
where
    E: CarryRejection + fmt::Debug,
{
    full.backend.script([ok(503)]);
    let circuit = full.circuit.clone();
    let bad = move |result: &Result<u32, E>| match result {
        Ok(_) => {
            circuit.force_open();
            Outcome::Failure
        }
        Err(_) => Outcome::Failure,
    };
    full.policy.disable();
    let client = config().build().unwrap().without_error().map_retry(|retry| retry.classify(bad));
    let refusal = refused(ask(&mut client.layer(full.service)).await);
    assert_eq!(who(&refusal), ("db", PolicyKind::CircuitBreaker, Reason::ForcedOpen));
    assert_eq!((refusal.attempted(), full.backend.calls()), (true, 1));
}

async fn an_open_circuit_burns_no_budget<E>(mut full: Full<impl Answers<E>>)
where
    E: CarryRejection + fmt::Debug,
{
    full.limiter.disable();
    full.circuit.force_open();
    for _ in 0..1_000 {
        refused(ask(&mut full.service).await);
    }
    assert_eq!((full.budget.balance(), full.backend.calls()), (100, 0));
    assert_eq!(full.circuit.snapshot().rejected, 1_000, "nor was any tried again");
    // Over one that opens between two attempts, the refused attempt costs nothing either.
    full.circuit.enable();
    full.backend.script([DOWN]);
    while full.circuit.state() == State::Closed {
        ask(&mut full.service).await.unwrap_err();
    }
    let retries = full.backend.calls() as u64 - (full.policy.snapshot().calls - 1_000);
    assert_eq!(100 - full.budget.balance(), retries);
}

/// A refusal further in says nothing about the service, so no circuit over it opens.
#[tokio::test(start_paused = true)]
async fn a_breaker_over_a_full_bulkhead_stays_closed() {
    let full = BulkheadLayer::new(BulkheadConfig::new("db", 1)).unwrap();
    let config = CircuitBreakerConfig::new("db").consecutive_failures(1).failure_rate(0.01);
    let breaker = CircuitBreakerLayer::new(config.minimum_calls(1)).unwrap();
    let circuit = breaker.circuit().clone();
    let _busy = full.bulkhead().try_acquire().unwrap();
    let backend = Backend::new([OK]);
    let mut service = ServiceBuilder::new()
        .layer(breaker)
        .layer(&full)
        .layer(ErrorLayer::new())
        .service(backend.clone());
    for _ in 0..100 {
        assert_eq!(refused(ask(&mut service).await).reason(), Reason::BulkheadFull);
    }
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.state, snapshot.calls, backend.calls()), (State::Closed, 0, 0));
    // Nor does a probe that is refused further in decide anything: its slot is free again.
    circuit.half_open();
    for _ in 0..10 {
        assert_eq!(refused(ask(&mut service).await).reason(), Reason::BulkheadFull);
    }
    assert_eq!((circuit.state(), circuit.snapshot().probes_in_flight), (State::HalfOpen, 0));
}

/// From any error of the stack, boxed or not, the way down reaches the cause.
#[tokio::test(start_paused = true)]
async fn the_chain_of_sources_reaches_the_cause() {
    fn chain(error: &(dyn StdError + 'static)) -> Vec<String> {
        let mut texts = vec![error.to_string()];
        let mut next = error.source();
        while let Some(error) = next {
            texts.push(error.to_string());
            next = error.source();
        }
        texts
    }
    let cause = "an error occurred when formatting an argument";

    let mut full = typed();
    full.backend.script([DOWN]);
    let error = ask(&mut full.service).await.unwrap_err();
    assert_eq!(chain(&error), ["down", "down", cause]);
    assert_eq!(error.into_inner(), Some(failed("down")));
    full.circuit.force_open();
    let error = ask(&mut full.service).await.unwrap_err();
    let refused = "db: the circuit was forced open by an operator";
    assert_eq!(chain(&error), [refused, refused]);
    let boxed: BoxError = error.into();
    assert_eq!(Rejection::find(&*boxed).unwrap().reason(), Reason::ForcedOpen);

    let mut full = super::errors::boxed();
    full.backend.script([DOWN]);
    let error = ask(&mut full.service).await.unwrap_err();
    assert_eq!(chain(&*error), ["down", cause]);
    assert_eq!(error.downcast_ref(), Some(&failed("down")));
    full.circuit.force_open();
    assert_eq!(chain(&*ask(&mut full.service).await.unwrap_err()), [refused]);

    let mut full = of_an_application();
    full.backend.script([DOWN]);
    let error = ask(&mut full.service).await.unwrap_err();
    assert_eq!(chain(&error), ["the application failed", "down", cause]);
    full.circuit.force_open();
    let error: BoxError = ask(&mut full.service).await.unwrap_err().into();
    assert_eq!(chain(&*error), ["the application failed", refused]);
    assert_eq!(Rejection::find(&*error).unwrap().kind(), PolicyKind::CircuitBreaker);
}

/// A stack over a stack is a service over a service; over `BoxError` the inner one's refusal is seen as well.
#[tokio::test(start_paused = true)]
async fn a_nested_stacks_refusal_is_a_failure_or_a_refusal_as_its_error_says() {
    let inner = boxed();
    inner.circuit.force_open();
    let outer = config().build().unwrap();
    let budget = outer.retry().policy().budget().unwrap().clone();
    let mut seen = outer.clone().without_error().layer(inner.service.clone());
    let refusal = refused(ask(&mut seen).await);
    assert_eq!((refusal.reason(), budget.balance()), (Reason::ForcedOpen, 100));

    let mut wrapped = outer.layer(inner.service);
    let Error::Inner(error) = ask(&mut wrapped).await.unwrap_err() else { panic!("of a service") };
    assert_eq!(error.rejection().unwrap().reason(), Reason::ForcedOpen);
    assert_eq!(budget.balance(), 98, "a failure, tried again");
}

/// Where nothing catches it, a panic goes through all layers, counts as a failure, and leaves nothing
/// behind.
#[tokio::test(start_paused = true)]
async fn a_panic_that_nobody_catches_leaves_nothing_behind() {
    let backend = Backend::new([PANICS]);
    let client = config().build().unwrap().with_rate(10, SECOND).unwrap();
    let (slots, circuit) =
        (client.bulkhead().bulkhead().clone(), client.circuit_breaker().circuit().clone());
    let policy = client.retry().policy().clone();
    let mut service = client.layer(backend.clone());
    let caller = Caller::new();
    for nth in 1..=50 {
        assert!(caller.ready(&mut service).is_ready());
        let text = panic_of(|| caller.finish(&mut Box::pin(service.call(7))));
        assert_eq!((text.as_str(), backend.live()), ("the backend panics", 0));
        assert_eq!((slots.in_flight(), policy.snapshot().calls), (0, nth));
        assert_eq!(deadline::current(), None);
        advance(100 * MS).await;
    }
    assert_eq!((circuit.state(), backend.calls()), (State::Open, 50));
    assert_eq!(policy.budget().unwrap().balance(), 100, "a panic is not tried again");
}

/// What a caller may rely on to send the same request elsewhere: it says `attempted` whenever the service
/// was called, for every way in which a call can end without an answer of the service's.
#[tokio::test(start_paused = true)]
async fn what_is_not_attempted_was_never_seen_by_the_service() {
    let server = stack::server("api").max_in_flight(1).timeout(SECOND).build().unwrap();
    let slots = server.bulkhead().bulkhead().clone();
    let backend = Backend::new([OK]);
    let mut service = server.with_rate(2, 3_600 * SECOND).unwrap().layer(backend.clone());
    let mut seen = Vec::new();
    for (line, full, wait) in [
        (HANGS, false, 0),
        (PANICS, false, 1_800),
        (OK, true, 1_800),
        (OK, false, 0),
        (OK, false, 1_800),
    ] {
        advance(Duration::from_secs(wait)).await;
        backend.script([line]);
        let busy = full.then(|| slots.try_acquire().unwrap());
        let before = backend.calls();
        if let Err(error) = service.ready().await.unwrap().call(7).await {
            let refusal = error.rejection().copied().unwrap();
            assert_eq!(refusal.attempted(), backend.calls() > before, "{refusal}");
            seen.push(refusal.reason());
        }
        drop(busy);
    }
    use Reason::{BulkheadFull, Panicked, RateLimited, Timeout};
    assert_eq!(seen, [Timeout, Panicked, BulkheadFull, RateLimited]);
}
