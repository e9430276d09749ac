//! What each kind of policy counts.

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
};

use futures_util::FutureExt;
use portcullis::{
    AtCap, Backoff, Bulkhead, BulkheadConfig, CatchPanicConfig, Circuit, Circuits, Error, Event,
    FallbackConfig, FallbackPolicy, KeyedCircuitBreakerLayer, Keys, LastGood, LastGoodConfig,
    Observer, Options, Outcome, PanicGuard, RateLimitConfig, RateLimiter, RateLimiters,
    RetryConfig, RetryEnd, RetryPolicy, TimeLimit, TimeoutConfig, Waits, event::AnswerSource,
};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

use crate::{Answer, FAULT, OK, SECOND, assert_counted, book::Book, circuit_config};

#[tokio::test(start_paused = true)]
async fn a_circuit_counts_calls_by_outcome_changes_and_the_state_it_is_in() {
    let book = Book::default();
    let circuit = Circuit::with(circuit_config(), book.options()).unwrap();
    circuit.try_acquire().unwrap().success();
    circuit.try_acquire().unwrap().settle(Outcome::Ignored);
    drop(circuit.try_acquire());
    let slow = circuit.try_acquire().unwrap();
    advance(2 * SECOND).await;
    slow.success();
    circuit.try_acquire().unwrap().failure();
    circuit.try_acquire().unwrap().failure();
    for _ in 0..3 {
        assert!(circuit.try_acquire().is_err());
    }
    assert_counted(
        &book,
        &[
            ("breaker.calls{name=db,outcome=cancelled,shadow=false}", 1.0),
            ("breaker.calls{name=db,outcome=failure,shadow=false}", 2.0),
            ("breaker.calls{name=db,outcome=ignored,shadow=false}", 1.0),
            ("breaker.calls{name=db,outcome=rejected,shadow=false}", 3.0),
            ("breaker.calls{name=db,outcome=success,shadow=false}", 2.0),
            ("breaker.slow_calls{name=db}", 1.0),
            ("breaker.state{name=db,state=open}", 1.0),
            ("breaker.transitions{name=db,from=closed,to=open}", 1.0),
            ("rejections{name=db,kind=circuit_breaker,reason=circuit_open,shadow=false}", 3.0),
        ],
    );
    advance(10 * SECOND).await;
    let probe = circuit.try_acquire().unwrap();
    assert!(circuit.try_acquire().is_err());
    assert_eq!(book.get("breaker.state{name=db,state=half_open}"), Some(1.0));
    probe.success();
    assert_eq!(book.get("breaker.state{name=db,state=closed}"), Some(1.0));
    assert_eq!(book.get("breaker.state{name=db,state=open}"), Some(0.0));
    let refused = "rejections{name=db,kind=circuit_breaker,reason=probe_limit,shadow=false}";
    assert_eq!(book.get(refused), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_in_shadow_counts_what_it_would_refuse_apart() {
    let book = Book::default();
    let circuit = Circuit::with(circuit_config(), book.options()).unwrap();
    circuit.shadow();
    circuit.open();
    circuit.try_acquire().unwrap().success();
    assert_counted(
        &book,
        &[
            ("breaker.calls{name=db,outcome=rejected,shadow=true}", 1.0),
            ("breaker.calls{name=db,outcome=success,shadow=false}", 1.0),
            ("breaker.state{name=db,state=open}", 1.0),
            ("breaker.transitions{name=db,from=closed,to=closed}", 1.0),
            ("breaker.transitions{name=db,from=closed,to=open}", 1.0),
            ("rejections{name=db,kind=circuit_breaker,reason=circuit_open,shadow=true}", 1.0),
        ],
    );
}

/// So that the calls that opened a circuit are found where one looks for them.
#[tokio::test(start_paused = true)]
async fn a_drop_that_counts_as_a_failure_is_one() {
    let book = Book::default();
    let config = circuit_config().drops_are_failures(true);
    let circuit = Circuit::with(config, book.options()).unwrap();
    drop(circuit.try_acquire());
    assert_eq!(book.get("breaker.calls{name=db,outcome=failure,shadow=false}"), Some(1.0));
    assert_eq!(book.get("breaker.calls{name=db,outcome=cancelled,shadow=false}"), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn circuits_by_key_are_counted_together_and_have_no_one_state() {
    let book = Book::default();
    let observer = book.observer();
    let options = Options::new().observer(observer.clone());
    let circuits: Circuits<u32> = Circuits::new(circuit_config(), 2, options).unwrap();
    let layer = KeyedCircuitBreakerLayer::of(circuits.clone(), |key: &u32| *key);
    let service = layer.layer(service_fn(|_: u32| async { OK }));
    for key in 0..3 {
        service.clone().oneshot(key).await.unwrap();
    }
    for key in 1..3 {
        circuits.get(&key).unwrap().force_open();
    }
    service.clone().oneshot(3).await.unwrap();
    assert_counted(
        &book,
        &[
            ("breaker.calls{name=db,outcome=success,shadow=false}", 4.0),
            ("breaker.evictions{name=db}", 1.0),
            ("breaker.transitions{name=db,from=closed,to=forced_open}", 2.0),
            ("breaker.untracked{name=db}", 1.0),
        ],
    );
    assert_eq!(book.get("breaker.state{name=db,state=closed}"), None);
    circuits.get(&1).unwrap().close();
    let count = |expected: [f64; 3]| {
        observer.sample_circuits(circuits.name(), circuits.states());
        let shown =
            ["breaker.state{name=db,state=closed}", "breaker.state{name=db,state=forced_open}"];
        let shown = shown.map(|name| book.get(name).unwrap());
        assert_eq!([shown[0], shown[1], book.get("breaker.keys{name=db}").unwrap()], expected);
    };
    count([1.0, 1.0, 2.0]);
    circuits.remove(&2);
    count([1.0, 0.0, 1.0]);
}

#[tokio::test(start_paused = true)]
async fn a_limiter_counts_what_it_allows_and_what_it_limits() {
    let book = Book::default();
    let config = RateLimitConfig::per_second("api", 10).burst(2);
    let limiter = RateLimiter::with(config, book.options()).unwrap();
    for _ in 0..3 {
        let _ = limiter.try_acquire();
    }
    assert!(limiter.try_acquire_n(3).is_err());
    limiter.shadow();
    assert!(limiter.try_acquire().is_ok());
    limiter.disable();
    assert!(limiter.try_acquire().is_ok());
    assert_counted(
        &book,
        &[
            ("limiter.requests{name=api,outcome=allowed}", 3.0),
            ("limiter.requests{name=api,outcome=limited}", 2.0),
            ("rejections{name=api,kind=rate_limit,reason=over_burst,shadow=false}", 1.0),
            ("rejections{name=api,kind=rate_limit,reason=rate_limited,shadow=false}", 1.0),
            ("rejections{name=api,kind=rate_limit,reason=rate_limited,shadow=true}", 1.0),
        ],
    );
    assert_eq!(book.get("limiter.queued{name=api}"), None, "nobody ever waited");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_tokens_is_a_gauge_while_it_lasts_and_then_a_duration() {
    let book = Book::default();
    let config = RateLimitConfig::per_second("api", 10).burst(1);
    let limiter = RateLimiter::with(config, book.options()).unwrap();
    limiter.try_acquire().unwrap();
    let wait = limiter.acquire_within(1, Waits::default());
    assert_eq!(book.get("limiter.queued{name=api}"), Some(1.0));
    wait.await.unwrap();
    assert_eq!(book.get("limiter.queued{name=api}"), Some(0.0));
    assert_eq!(book.get("limiter.wait.duration{name=api}"), Some(1.0));
    assert_eq!(book.sum("limiter.wait.duration{name=api}"), 0.1);
}

#[tokio::test(start_paused = true)]
async fn limiters_by_key_count_calls_without_a_bucket() {
    let book = Book::default();
    let config = RateLimitConfig::per_second("clients", 1).burst(1);
    let keys = |at_cap| Keys::at_most(1).or(at_cap);
    let clients: RateLimiters<u32> =
        RateLimiters::new(config.clone(), keys(AtCap::Admit), book.options()).unwrap();
    for key in 0..2 {
        clients.try_acquire(&key).unwrap();
    }
    assert_eq!(book.get("limiter.untracked{name=clients}"), Some(1.0));
    let clients: RateLimiters<u32> =
        RateLimiters::new(config, keys(AtCap::Refuse), book.options()).unwrap();
    for key in 0..2 {
        let _ = clients.try_acquire(&key);
    }
    let full = "rejections{name=clients,kind=rate_limit,reason=keys_full,shadow=false}";
    assert_eq!(book.get(full), Some(1.0));
    assert_eq!(book.get("limiter.requests{name=clients,outcome=allowed}"), Some(3.0));
    assert_eq!(book.get("limiter.requests{name=clients,outcome=limited}"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_shows_who_is_in_who_waits_and_how_long_that_took() {
    let book = Book::default();
    let config = BulkheadConfig::new("pool", 1).queue(2).max_wait(5 * SECOND);
    let bulkhead = Bulkhead::with(config, book.options()).unwrap();
    let busy = bulkhead.try_acquire().unwrap();
    let (second, third) = (bulkhead.acquire(), bulkhead.acquire());
    assert!(bulkhead.acquire().await.is_err(), "the queue is full");
    let gauges = || {
        let of = |name: &str| book.get(&format!("bulkhead.{name}{{name=pool}}")).unwrap();
        (of("in_flight"), of("queued"))
    };
    assert_eq!(gauges(), (1.0, 2.0));
    advance(2 * SECOND).await;
    drop(busy);
    assert_eq!(gauges(), (1.0, 1.0), "the next one is in before it is polled");
    let second = second.await.unwrap();
    assert!(third.await.is_err(), "its wait is over");
    assert_eq!(gauges(), (1.0, 0.0));
    drop(second);
    assert_eq!(gauges(), (0.0, 0.0));
    assert_eq!(book.sum("bulkhead.wait.duration{name=pool}"), 2.0);
    assert_counted(
        &book,
        &[
            ("bulkhead.calls{name=pool,outcome=admitted}", 2.0),
            ("bulkhead.calls{name=pool,outcome=rejected}", 2.0),
            ("bulkhead.rejections{name=pool,reason=full}", 1.0),
            ("bulkhead.rejections{name=pool,reason=queue_timeout}", 1.0),
            ("bulkhead.wait.duration{name=pool}", 1.0),
            ("rejections{name=pool,kind=bulkhead,reason=bulkhead_full,shadow=false}", 1.0),
            ("rejections{name=pool,kind=bulkhead,reason=queue_timeout,shadow=false}", 1.0),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_in_shadow_counts_calls_without_a_slot_apart() {
    let book = Book::default();
    let bulkhead = Bulkhead::with(BulkheadConfig::new("pool", 1), book.options()).unwrap();
    bulkhead.shadow();
    let permits = [bulkhead.try_acquire().unwrap(), bulkhead.try_acquire().unwrap()];
    assert_eq!(book.get("bulkhead.in_flight{name=pool}"), Some(1.0));
    drop(permits);
    assert_counted(
        &book,
        &[
            ("bulkhead.calls{name=pool,outcome=admitted}", 1.0),
            ("rejections{name=pool,kind=bulkhead,reason=bulkhead_full,shadow=true}", 1.0),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_counts_calls_by_how_they_ended_and_the_attempts_they_took() {
    let book = Book::default();
    let config = RetryConfig::new("db").backoff(Backoff::constant(SECOND)).no_budget();
    let retry = RetryPolicy::with(config, book.options()).unwrap();
    let call = async |failures: u32| {
        let mut asked = 0;
        let _ = retry
            .run(|| {
                asked += 1;
                let fails = asked <= failures;
                async move { if fails { FAULT } else { OK } }
            })
            .await;
    };
    call(0).await;
    call(0).await;
    call(1).await;
    call(9).await;
    let never = retry.run(pending::<Answer>);
    drop(never);
    assert_counted(
        &book,
        &[
            ("retry.attempts{name=db}", 8.0),
            ("retry.calls{name=db,outcome=after_retry}", 1.0),
            ("retry.calls{name=db,outcome=cancelled}", 1.0),
            ("retry.calls{name=db,outcome=exhausted}", 1.0),
            ("retry.calls{name=db,outcome=first_try}", 2.0),
            ("retry.delay{name=db}", 3.0),
        ],
    );
    assert!(book.sum("retry.delay{name=db}") > 0.0);
}

/// Each end has its word, and those that cost a call an attempt are told as skipped as well.
#[test]
fn every_end_of_a_retry_has_its_outcome() {
    for (end, outcome, skipped) in [
        (RetryEnd::Success, "first_try", false),
        (RetryEnd::NotRetryable, "not_retryable", false),
        (RetryEnd::AttemptsExhausted, "exhausted", false),
        (RetryEnd::BudgetExhausted, "budget_exhausted", true),
        (RetryEnd::Deadline, "deadline", true),
        (RetryEnd::ToldToStop, "told_to_stop", true),
        (RetryEnd::HintTooLong, "hint_too_long", true),
        (RetryEnd::NotReplayable, "not_replayable", true),
        (RetryEnd::Nested, "nested", true),
        (RetryEnd::Abandoned, "cancelled", false),
        (RetryEnd::Shadow, "shadow", true),
    ] {
        let book = Book::default();
        book.observer().on_event(&Event::RetryEnded { policy: "db", attempts: 1, end });
        let mut expected = vec![
            ("retry.attempts{name=db}".to_owned(), 1.0),
            (format!("retry.calls{{name=db,outcome={outcome}}}"), 1.0),
        ];
        if skipped {
            expected.push((format!("retry.skipped{{name=db,reason={end}}}"), 1.0));
        }
        assert_eq!(book.counted(), expected, "{end}");
    }
    assert_eq!(RetryEnd::ALL.len(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_counts_calls_in_time_and_out_of_it() {
    let book = Book::default();
    let config = TimeoutConfig::new("db", SECOND).min_remaining(SECOND / 2);
    let limit = TimeLimit::with(config, book.options()).unwrap();
    limit.run(async { OK }).await.unwrap();
    let _ = limit.run(async { FAULT }).await;
    assert!(limit.run(pending::<Answer>()).await.is_err());
    assert!(limit.run_within(SECOND / 4, async { OK }).await.is_err());
    limit.shadow();
    let mut hangs = Box::pin(limit.run(pending::<Answer>()));
    assert!((&mut hangs).now_or_never().is_none());
    advance(2 * SECOND).await;
    assert!((&mut hangs).now_or_never().is_none());
    assert_counted(
        &book,
        &[
            ("rejections{name=db,kind=timeout,reason=deadline_too_short,shadow=false}", 1.0),
            ("rejections{name=db,kind=timeout,reason=timeout,shadow=false}", 1.0),
            ("rejections{name=db,kind=timeout,reason=timeout,shadow=true}", 1.0),
            ("timeout.calls{name=db,outcome=deadline_too_short,shadow=false}", 1.0),
            ("timeout.calls{name=db,outcome=in_time,shadow=false}", 2.0),
            ("timeout.calls{name=db,outcome=timeout,shadow=false}", 1.0),
            ("timeout.calls{name=db,outcome=timeout,shadow=true}", 1.0),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_fallback_counts_answers_by_where_they_came_from_and_failures_without_one() {
    let book = Book::default();
    let config = FallbackConfig::new("prices");
    let fallback = FallbackPolicy::with(config, book.options()).unwrap();
    let answers = fallback.value::<_, Error<()>>(()).layer(service_fn(|()| async { FAULT }));
    answers.oneshot(()).await.unwrap();
    fallback.call(|| FAULT, |_| OK).unwrap();
    assert!(fallback.call(|| FAULT, |_| FAULT).is_err());
    fallback.shadow();
    assert!(fallback.call(|| FAULT, |_| OK).is_err());

    let config = LastGoodConfig::new("stock", SECOND).max_keys(1);
    let kept = LastGood::with(config, book.options()).unwrap();
    for key in 0..2 {
        kept.call(key, || Ok::<_, ()>("tea")).unwrap();
    }
    kept.call(1, || Err(())).unwrap();
    advance(2 * SECOND).await;
    assert!(kept.call(1, || Err(())).is_err(), "too old");
    assert_counted(
        &book,
        &[
            ("fallback.calls{name=prices,outcome=function,shadow=false}", 1.0),
            ("fallback.calls{name=prices,outcome=function,shadow=true}", 1.0),
            ("fallback.calls{name=prices,outcome=unanswered,shadow=false}", 1.0),
            ("fallback.calls{name=prices,outcome=value,shadow=false}", 1.0),
            ("fallback.calls{name=stock,outcome=last_good,shadow=false}", 1.0),
            ("fallback.calls{name=stock,outcome=unanswered,shadow=false}", 1.0),
            ("fallback.evictions{name=stock}", 1.0),
        ],
    );
    let service = Event::FellBack { policy: "prices", source: AnswerSource::Service };
    book.observer().on_event(&service);
    let by_service = "fallback.calls{name=prices,outcome=service,shadow=false}";
    assert_eq!(book.get(by_service), Some(1.0));
}

#[test]
fn a_guard_counts_panics_that_it_caught_and_those_it_only_saw() {
    let book = Book::default();
    let guard = PanicGuard::with(CatchPanicConfig::new("db"), book.options()).unwrap();
    let panics = || guard.call(|| -> Answer { panic!("a bug") });
    assert!(panics().is_err());
    guard.shadow();
    let seen = catch_unwind(AssertUnwindSafe(panics));
    assert!(seen.is_err(), "it goes on");
    assert_counted(
        &book,
        &[
            ("catch_panic.panics{name=db,shadow=false}", 1.0),
            ("catch_panic.panics{name=db,shadow=true}", 1.0),
            ("rejections{name=db,kind=catch_panic,reason=panicked,shadow=false}", 1.0),
            ("rejections{name=db,kind=catch_panic,reason=panicked,shadow=true}", 1.0),
        ],
    );
}
