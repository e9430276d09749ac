//! One error through the whole stack: whoever refuses, the caller learns who, why, when to come back, and
//! whether the service may have seen the request, whatever stands in between and whatever error type the
//! service has.

use std::{error::Error as StdError, fmt};

use portcullis::{
    BoxError, CarryRejection, Error, Outcome, PolicyKind, RateLimitConfig, Reason, Rejection,
    RetryEnd, State, clock, deadline,
};
use tokio::time::advance;
use tower::{Layer, Service};

use crate::{
    backend::{DOWN, Down, HANGS, MS, PANICS, SECOND, ask, ok, refused, timed},
    full::{Answers, Full, config, refusing},
    support::Caller,
};

/// An error of an application that knows the library by two short impls.
#[derive(Debug)]
pub(crate) enum AppError {
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

pub(crate) fn typed() -> Full<impl Answers<Error<Down>>> {
    refusing(Error::Inner)
}

pub(crate) fn boxed() -> Full<impl Answers<BoxError>> {
    refusing(BoxError::from)
}

pub(crate) fn of_an_application() -> Full<impl Answers<AppError>> {
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
