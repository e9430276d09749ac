//! Events as metrics: every event in its metric, gauges that equal what is, and nothing allocated.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "metrics_bridge/book.rs"]
mod book;
#[path = "metrics_bridge/cancellation.rs"]
mod cancellation;
#[path = "metrics_bridge/histories.rs"]
mod histories;
#[path = "metrics_bridge/policies.rs"]
mod policies;
#[path = "metrics_bridge/samples.rs"]
mod samples;

use std::{collections::BTreeSet, time::Duration};

use allocation_counter::measure;
use futures_util::FutureExt;
use portcullis::{
    Bulkhead, BulkheadConfig, Circuit, CircuitBreakerConfig, Error, Event, HalfOpen, Observer,
    Options, Outcome, PolicyKind, RateLimitConfig, RateLimiter, Reason, Rejection, RetryConfig,
    RetryEnd, RetryPolicy, Sleep, TimeLimit, TimeoutConfig,
    event::{AnswerSource, MetricsObserver},
};

use crate::book::Book;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) type Answer = Result<(), Error<()>>;
pub(crate) const OK: Answer = Ok(());
pub(crate) const FAULT: Answer = Err(Error::Inner(()));

/// Opens at the second failure in a row, waits 10 s exactly, and closes after one good probe.
pub(crate) fn circuit_config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new("db")
        .no_failure_rate()
        .consecutive_failures(2)
        .slow_calls(SECOND, 1.0)
        .sleep(Sleep::fixed(10 * SECOND))
        .half_open(HalfOpen::counts(1, 1))
}

#[track_caller]
pub(crate) fn assert_counted(book: &Book, expected: &[(&str, f64)]) {
    let counted = book.counted();
    let found: Vec<_> = counted.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(found, expected);
}

#[test]
fn policies_are_told_apart_by_kind_and_name() {
    let book = Book::default();
    let observer = book.observer();
    for policy in ["a", "b"] {
        for kind in [PolicyKind::RateLimit, PolicyKind::Bulkhead] {
            observer.on_event(&Event::Admitted { policy, kind, waited: Duration::ZERO });
        }
    }
    assert_counted(
        &book,
        &[
            ("bulkhead.calls{name=a,outcome=admitted}", 1.0),
            ("bulkhead.calls{name=b,outcome=admitted}", 1.0),
            ("bulkhead.in_flight{name=a}", 1.0),
            ("bulkhead.in_flight{name=b}", 1.0),
            ("limiter.requests{name=a,outcome=allowed}", 1.0),
            ("limiter.requests{name=b,outcome=allowed}", 1.0),
        ],
    );
}

/// The policies of a stack have one name: each timeout is counted as its own kind.
#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn a_body_that_ends_in_time_is_no_call_of_a_timeout() {
    use http_body_util::{BodyExt, Full};
    use portcullis::http::{BodyTimeoutConfig, BodyTimeoutLayer};
    use tower::{Layer, ServiceExt, service_fn};

    let book = Book::default();
    let bodies = BodyTimeoutLayer::with(BodyTimeoutConfig::new("api", SECOND), book.options());
    let timeout = TimeLimit::with(TimeoutConfig::new("api", SECOND), book.options()).unwrap();
    let download = bodies.unwrap().layer(service_fn(|()| async {
        Ok::<_, Rejection>(http::Response::new(Full::<&[u8]>::from(&b"a film"[..])))
    }));
    for _ in 0..2 {
        let response = timeout.run(download.clone().oneshot(())).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(book.get("timeout.calls{name=api,outcome=in_time,shadow=false}"), Some(2.0));
    assert_eq!(book.get("body_timeout.cuts{name=api,shadow=false}"), Some(0.0));
}

/// A rate of something that has never been is unknown, and the first of it would be missed.
#[test]
fn what_usually_happens_is_there_before_it_does() {
    let book = Book::default();
    let observer = book.observer();
    observer.on_event(&Event::InTime { policy: "db", kind: PolicyKind::Timeout });
    assert_eq!(book.get("timeout.calls{name=db,outcome=timeout,shadow=false}"), Some(0.0));
    let settled = Event::Settled { policy: "db", outcome: Outcome::Success, slow: false };
    observer.on_event(&settled);
    assert_eq!(book.get("breaker.calls{name=db,outcome=rejected,shadow=false}"), Some(0.0));
    let end = RetryEnd::Success;
    observer.on_event(&Event::RetryEnded { policy: "db", attempts: 1, end });
    assert_eq!(book.get("retry.calls{name=db,outcome=budget_exhausted}"), Some(0.0));
    let kind = PolicyKind::Bulkhead;
    observer.on_event(&Event::Released { policy: "db", kind });
    assert_eq!(book.get("bulkhead.rejections{name=db,reason=full}"), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn after_the_first_of_its_kind_an_event_registers_and_allocates_nothing() {
    let book = Book::default();
    let circuit = Circuit::with(circuit_config(), book.options()).unwrap();
    let bulkhead = Bulkhead::with(BulkheadConfig::new("pool", 1), book.options()).unwrap();
    let limit = RateLimitConfig::per_second("api", 10).burst(1_000_000);
    let limiter = RateLimiter::with(limit, book.options()).unwrap();
    let retry = RetryPolicy::with(RetryConfig::new("db"), book.options()).unwrap();
    let timeout = TimeLimit::with(TimeoutConfig::new("db", SECOND), book.options()).unwrap();
    let broken = Circuit::with(circuit_config().name("broken"), book.options()).unwrap();
    broken.force_open();
    let call = || {
        let slot = bulkhead.try_acquire().unwrap();
        assert!(bulkhead.try_acquire().is_err());
        limiter.try_acquire().unwrap();
        drop(slot);
        circuit.try_acquire().unwrap().success();
        drop(circuit.try_acquire());
        assert!(broken.try_acquire().is_err());
        let _ = timeout.run(async { OK }).now_or_never().unwrap();
        let _ = retry.run(|| async { OK }).now_or_never().unwrap();
    };
    call();
    let registered = book.registered();
    let counted = measure(|| (0..100).for_each(|_| call()));
    assert_eq!(counted.count_total, 0);
    assert_eq!(book.registered(), registered);
    assert_eq!(book.get("timeout.calls{name=db,outcome=in_time,shadow=false}"), Some(101.0));
}

#[test]
fn without_a_recorder_of_its_own_it_takes_the_one_in_force() {
    let book = Book::default();
    let observer = metrics::with_local_recorder(&book, || {
        let observer = MetricsObserver::default();
        observer.on_event(&Event::InTime { policy: "db", kind: PolicyKind::Timeout });
        observer
    });
    assert_eq!(format!("{observer:?}"), "MetricsObserver { .. }");
    // What was registered stays where it was.
    observer.on_event(&Event::InTime { policy: "db", kind: PolicyKind::Timeout });
    assert_eq!(book.get("timeout.calls{name=db,outcome=in_time,shadow=false}"), Some(2.0));
    assert!(!book.described().is_empty());
    let later = Book::default();
    metrics::with_local_recorder(&later, || observer.describe());
    assert_eq!(later.described(), book.described());
    // Nobody to tell: nothing happens.
    MetricsObserver::new().on_event(&Event::InTime { policy: "db", kind: PolicyKind::Timeout });
}

/// The documentation's table names exactly what there is, each with its kind and labels.
#[test]
fn the_documented_table_is_what_is_registered() {
    let table = include_str!("../src/docs/metrics.md");
    let rows = table.lines().filter(|line| line.starts_with("| `portcullis."));
    let cells = rows.map(|row| row.split(" | ").map(str::trim).collect::<Vec<_>>());
    let documented: BTreeSet<_> = cells
        .map(|cells| {
            let name = cells[0].trim_start_matches("| ").trim_matches('`').to_owned();
            (name, cells[2].split(',').next().unwrap().to_owned(), cells[2].ends_with(", s"))
        })
        .collect();
    let book = Book::default();
    drop(book.observer());
    let described: BTreeSet<_> = book
        .described()
        .into_iter()
        .map(|(name, (kind, unit, text))| {
            assert!(!text.is_empty() && !text.ends_with('.'), "{name}: {text}");
            let seconds = unit == metrics::Unit::Seconds;
            assert!(seconds || unit == metrics::Unit::Count, "{name} in {unit:?}");
            (name, kind.to_owned(), seconds)
        })
        .collect();
    assert_eq!(documented, described);
}

/// The documentation's words for labels are those that there are: what real policies and every event
/// register is in the table.
#[test]
fn every_word_of_a_label_is_documented() {
    let book = Book::default();
    let observer = book.observer();
    let reasons = [
        (PolicyKind::CircuitBreaker, &[Reason::CircuitOpen, Reason::Recovering][..]),
        (PolicyKind::RateLimit, &[Reason::RateLimited, Reason::KeysFull]),
        (
            PolicyKind::Bulkhead,
            &[Reason::BulkheadFull, Reason::QueueTimeout, Reason::DeadlineTooShort],
        ),
        (PolicyKind::Timeout, &[Reason::Timeout, Reason::DeadlineTooShort]),
        (PolicyKind::Retry, &[Reason::DeadlineTooShort]),
        (PolicyKind::BodyTimeout, &[Reason::Timeout]),
        (PolicyKind::CatchPanic, &[Reason::Panicked]),
    ];
    let policy = "db";
    for (kind, reasons) in reasons {
        for reason in reasons {
            let rejection = Rejection::new(*reason, policy).with_kind(kind);
            observer.on_event(&Event::Rejected(rejection));
            observer.on_event(&Event::WouldReject { policy, kind, reason: *reason });
        }
    }
    for end in RetryEnd::ALL {
        for attempts in 1..=2 {
            observer.on_event(&Event::RetryEnded { policy, attempts, end });
        }
    }
    let age = SECOND;
    for source in [
        AnswerSource::Value,
        AnswerSource::Function,
        AnswerSource::Service,
        AnswerSource::LastGood { age },
    ] {
        observer.on_event(&Event::FellBack { policy, source });
    }
    let table = include_str!("../src/docs/metrics.md");
    for name in book.all().keys() {
        let (metric, labels) = name.trim_end_matches('}').split_once('{').unwrap();
        let row = table.lines().find(|row| row.starts_with(&format!("| `{metric}`"))).unwrap();
        for label in labels.split(',').skip(1) {
            let (label, word) = label.split_once('=').unwrap();
            assert!(row.contains(&format!("`{label}`")), "{name}: {row}");
            if label == "outcome" || (label == "reason" && metric != "portcullis.rejections") {
                assert!(row.contains(&format!("`{word}`")), "{name}: {row}");
            }
        }
    }
}

/// Somebody else's recorder may do anything; it is no business of the call.
#[test]
fn a_recorder_that_panics_is_in_nobodys_way() {
    struct Panics;
    impl metrics::Recorder for Panics {
        fn describe_counter(
            &self,
            _: metrics::KeyName,
            _: Option<metrics::Unit>,
            _: metrics::SharedString,
        ) {
        }
        fn describe_gauge(
            &self,
            _: metrics::KeyName,
            _: Option<metrics::Unit>,
            _: metrics::SharedString,
        ) {
        }
        fn describe_histogram(
            &self,
            _: metrics::KeyName,
            _: Option<metrics::Unit>,
            _: metrics::SharedString,
        ) {
        }
        fn register_counter(
            &self,
            _: &metrics::Key,
            _: &metrics::Metadata<'_>,
        ) -> metrics::Counter {
            panic!("no more metrics")
        }
        fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
            panic!("no more metrics")
        }
        fn register_histogram(
            &self,
            _: &metrics::Key,
            _: &metrics::Metadata<'_>,
        ) -> metrics::Histogram {
            panic!("no more metrics")
        }
    }
    let options = Options::new().observer(MetricsObserver::with_recorder(Panics));
    let bulkhead = Bulkhead::with(BulkheadConfig::new("pool", 1), options).unwrap();
    for _ in 0..3 {
        let slot = bulkhead.try_acquire().unwrap();
        assert!(bulkhead.try_acquire().is_err());
        drop(slot);
    }
    assert_eq!(bulkhead.in_flight(), 0);
}
