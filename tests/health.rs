//! Liveness, readiness and draining: what a probe finds. How often a check runs for how many probes, and what
//! becomes of those that go away, is in `health/flights.rs`. How answers are written is in `health/formats.rs`, policies are in
//! `health/policies.rs`, draining is in `health/drain.rs`, paths and methods are in `health/service.rs`.
#![cfg(feature = "http")]

#[path = "health/drain.rs"]
mod drain;
#[path = "health/flights.rs"]
mod flights;
#[path = "health/formats.rs"]
mod formats;
#[path = "health/policies.rs"]
mod policies;
#[path = "health/service.rs"]
mod service;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use portcullis::{
    Circuit, CircuitBreakerConfig, ConfigError, deadline,
    health::{Check, Found, HealthRegistry, PolicyCheck, Probe, Query, Report, Status},
};
use tokio::{sync::Notify, time::advance};
use tokio_test::{assert_pending, assert_ready, task::spawn};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// tokio's timers tell milliseconds apart, and round up.
const TICK: Duration = MS;

fn registry(checks: impl IntoIterator<Item = Check>) -> HealthRegistry {
    let health = HealthRegistry::new();
    for check in checks {
        health.add(check).expect("a valid check");
    }
    health
}

/// A check that counts its runs and then does as it is told.
fn counted(name: &'static str) -> (Check, Arc<Counted>) {
    let counted = Arc::new(Counted::default());
    let inside = Arc::clone(&counted);
    let check = Check::new(name, move || {
        let inside = Arc::clone(&inside);
        inside.begun.fetch_add(1, SeqCst);
        let running = Running(Arc::clone(&inside));
        async move {
            let _running = running;
            if !inside.answers.load(SeqCst) {
                inside.go.notified().await;
            }
            if inside.ill.load(SeqCst) { Err("ill") } else { Ok(()) }
        }
    });
    (check, counted)
}

#[derive(Debug, Default)]
struct Counted {
    begun: AtomicU32,
    dropped: AtomicU32,
    /// Whether it answers at once, or when `go` is told.
    answers: AtomicBool,
    go: Notify,
    ill: AtomicBool,
}

impl Counted {
    fn runs(&self) -> (u32, u32) {
        (self.begun.load(SeqCst), self.dropped.load(SeqCst))
    }
}

struct Running(Arc<Counted>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, SeqCst);
    }
}

async fn ready(health: &HealthRegistry) -> Status {
    health.report(Probe::Readiness).await.status()
}

fn only(report: &Report) -> (Status, Option<&str>) {
    let [item] = report.items() else { panic!("one part: {report:?}") };
    (item.status(), item.output())
}

#[tokio::test(start_paused = true)]
async fn without_checks_all_is_well() {
    let health = HealthRegistry::new();
    for probe in [Probe::Liveness, Probe::Readiness, Probe::Startup, Probe::Overall] {
        let report = health.report(probe).await;
        assert_eq!(
            (report.status(), report.items().len(), report.is_ok()),
            (Status::Pass, 0, true)
        );
        assert_eq!(report.probe(), probe);
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_does_not_answer_fails_at_its_timeout_and_not_before() {
    let (check, counts) = counted("db");
    let health = registry([check.timeout(300 * MS).ttl(Duration::ZERO)]);
    let mut probe = spawn(health.report(Probe::Readiness));
    assert_pending!(probe.poll());
    advance(300 * MS - TICK).await;
    assert!(!probe.is_woken());
    assert_pending!(probe.poll());
    advance(TICK).await;
    assert!(probe.is_woken(), "the timer wakes it");
    let report = assert_ready!(probe.poll());
    assert_eq!(only(&report), (Status::Fail, Some("no answer within 300ms")));
    assert_eq!(report.items()[0].took(), Some(300 * MS));
    assert_eq!(counts.runs(), (1, 1), "the run is dropped");

    // What is asked next begins anew.
    counts.answers.store(true, SeqCst);
    assert_eq!(ready(&health).await, Status::Pass);
    assert_eq!(counts.runs(), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_ready_at_the_timeout_counts() {
    let (check, counts) = counted("db");
    let health = registry([check]);
    let mut probe = spawn(health.report(Probe::Readiness));
    assert_pending!(probe.poll());
    advance(SECOND).await;
    counts.go.notify_one();
    assert_eq!(assert_ready!(probe.poll()).status(), Status::Pass);
}

#[tokio::test(start_paused = true)]
async fn the_longest_timeout_bounds_the_whole_and_each_check_has_its_own() {
    let (slow, _) = counted("slow");
    let (slower, _) = counted("slower");
    let health = registry([
        slower.timeout(2 * SECOND),
        slow.timeout(SECOND),
        Check::new("never", || async { pending::<Result<(), String>>().await })
            .timeout(Duration::MAX)
            .liveness(),
    ]);
    let mut probe = spawn(health.report(Probe::Readiness));
    assert_pending!(probe.poll());
    advance(SECOND).await;
    assert_pending!(probe.poll());
    advance(SECOND).await;
    let report = assert_ready!(probe.poll());
    let took: Vec<_> = report.items().iter().map(|item| (item.name(), item.took())).collect();
    assert_eq!(took, [("slower", Some(2 * SECOND)), ("slow", Some(SECOND))]);

    let mut never = spawn(health.report(Probe::Liveness));
    assert_pending!(never.poll());
    advance(Duration::from_secs(365 * 86_400)).await;
    assert_pending!(never.poll());
}

#[tokio::test(start_paused = true)]
async fn a_panic_anywhere_in_a_check_is_its_failure() {
    struct PanicsInText;
    impl std::fmt::Display for PanicsInText {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("no words")
        }
    }
    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("in drop")
        }
    }
    let calls = AtomicU32::new(0);
    let health = registry([
        Check::new("closure", move || {
            assert!(calls.fetch_add(1, SeqCst) > 0, "the first time");
            async { Ok::<_, String>(()) }
        })
        .ttl(Duration::ZERO),
        Check::new("future", || async {
            let none: Option<()> = None;
            none.map(Ok::<_, String>).expect("a number: 7")
        }),
        Check::new("text", || async { Err::<(), _>(PanicsInText) }),
        Check::new("any", || async {
            if true {
                std::panic::panic_any(7);
            }
            Ok::<_, String>(())
        }),
        Check::new("drop", || async {
            let _dropped_late = PanicsInDrop;
            pending::<Result<(), String>>().await
        })
        .liveness(),
        Check::new("well", || async { Ok::<_, String>(()) }),
    ]);
    let report = health.report(Probe::Readiness).await;
    let found: Vec<_> =
        report.items().iter().map(|item| (item.name(), item.status(), item.output())).collect();
    assert_eq!(
        found,
        [
            ("closure", Status::Fail, Some("the check panicked: the first time")),
            ("future", Status::Fail, Some("the check panicked: a number: 7")),
            ("text", Status::Fail, Some("the check panicked: no words")),
            ("any", Status::Fail, Some("the check panicked")),
            ("well", Status::Pass, None),
        ]
    );
    // It is asked again, as any other.
    let again = health.report(Query::new(Probe::Readiness).only("closure")).await;
    assert_eq!(again.status(), Status::Pass);
    assert_eq!(
        only(&health.report(Probe::Liveness).await).0,
        Status::Fail,
        "and its drop is contained"
    );
}

#[tokio::test(start_paused = true)]
async fn only_what_is_critical_fails_the_whole() {
    let check = |name, answer: Result<Found, &'static str>| {
        Check::new(name, move || {
            let answer = answer.clone();
            async move { answer }
        })
    };
    let ill = || Err("ill");
    let limps = || Ok(Found::degraded("limps"));
    let well = || Ok(Found::ok());
    for (critical, other, whole) in [
        (well(), well(), Status::Pass),
        (well(), ill(), Status::Warn),
        (well(), limps(), Status::Warn),
        (limps(), well(), Status::Warn),
        (ill(), well(), Status::Fail),
        (ill(), ill(), Status::Fail),
    ] {
        let health =
            registry([check("main", critical), check("extra", other.clone()).critical(false)]);
        let report = health.report(Probe::Readiness).await;
        assert_eq!((report.status(), report.is_ok()), (whole, whole != Status::Fail));
        // By itself it is what it is.
        let alone = health.report(Query::new(Probe::Readiness).only("extra")).await;
        assert_eq!(alone.is_ok(), other.is_ok());
        let without = health.report(Query::new(Probe::Readiness).exclude("extra")).await;
        assert_eq!((without.items().len(), without.unknown().len()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn each_probe_asks_its_own_checks() {
    let check = |name| Check::new(name, || async { Ok::<_, String>(()) });
    let health = registry([
        check("ready"),
        check("live").liveness(),
        check("both").liveness_and_readiness(),
    ]);
    for (probe, asks) in [
        (Probe::Readiness, &["ready", "both"][..]),
        (Probe::Liveness, &["live", "both"]),
        (Probe::Startup, &[]),
        (Probe::Overall, &["ready", "live", "both"]),
    ] {
        let report = health.report(probe).await;
        let names: Vec<_> = report.items().iter().map(|item| item.name().to_owned()).collect();
        assert_eq!(names, asks);
        assert_eq!(health.names(probe), asks);
    }
    let query = Query::new(Probe::Liveness).exclude("ready").exclude("nobody").exclude("drain");
    assert_eq!(health.report(query).await.unknown(), ["ready", "nobody"]);
    assert!(health.remove("ready") && !health.remove("ready"));
    assert_eq!(health.names(Probe::Readiness), ["both"]);
}

/// What the checks took so long to find is told along with how policies are by then.
#[tokio::test(start_paused = true)]
async fn policies_are_read_when_the_checks_have_answered() {
    let (check, counts) = counted("db");
    let health = registry([check]);
    let config = CircuitBreakerConfig::new("payments");
    let circuit = Circuit::new(config).expect("a valid config");
    health.add_policy(PolicyCheck::of(&circuit)).expect("a new policy");
    let mut probe = spawn(health.report(Probe::Readiness));
    assert_pending!(probe.poll());
    circuit.force_open();
    counts.go.notify_one();
    assert_eq!(assert_ready!(probe.poll()).status(), Status::Warn);
}

#[tokio::test(start_paused = true)]
async fn a_check_sees_its_own_deadline_and_not_that_of_who_asks() {
    let health = registry([Check::new("db", || async {
        let left = deadline::remaining().ok_or("no deadline")?;
        if left == 3 * SECOND { Ok(()) } else { Err("another's") }
    })
    .timeout(3 * SECOND)]);
    let report = deadline::within(SECOND, health.report(Probe::Readiness)).await;
    assert_eq!(only(&report), (Status::Pass, None));
}

#[tokio::test(start_paused = true)]
async fn a_check_may_wake_itself_while_it_runs() {
    let mut polls = 0;
    let health = registry([Check::new("db", move || {
        std::future::poll_fn(move |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls < 50 { Poll::Pending } else { Poll::Ready(Ok::<_, String>(())) }
        })
    })]);
    assert_eq!(ready(&health).await, Status::Pass);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_ready_before_the_start_is_over() {
    let (check, counts) = counted("db");
    counts.answers.store(true, SeqCst);
    let health = registry([check]);
    assert_eq!(
        health.report(Probe::Startup).await.status(),
        Status::Pass,
        "nobody asked for a gate"
    );
    let (startup, same) = (health.startup(), health.startup());
    for (probe, status) in [
        (Probe::Startup, Status::Fail),
        (Probe::Readiness, Status::Fail),
        (Probe::Overall, Status::Fail),
        (Probe::Liveness, Status::Pass),
    ] {
        assert_eq!(health.report(probe).await.status(), status, "{probe}");
    }
    assert_eq!(
        health.report(Query::new(Probe::Readiness).exclude("startup")).await.status(),
        Status::Fail
    );
    assert_eq!(counts.runs().0, 1, "only for the overall view");
    drop(same);
    assert!(!startup.is_finished());
    startup.finish();
    // Asked for once more, it stays open.
    assert!(health.startup().is_finished());
    for probe in [Probe::Startup, Probe::Readiness, Probe::Overall, Probe::Liveness] {
        assert_eq!(health.report(probe).await.status(), Status::Pass, "{probe}");
    }
}

#[test]
fn what_cannot_work_is_named() {
    let well = || async { Ok::<_, String>(()) };
    let health = registry([Check::new("db", well)]);
    let complaint = |check| {
        let error: ConfigError = health.add(check).expect_err("it cannot work");
        (error.field(), error.value().to_owned())
    };
    assert_eq!(complaint(Check::new("", well)), ("name", "\"\"".to_owned()));
    assert_eq!(complaint(Check::new("db", well)), ("name", "db".to_owned()));
    assert_eq!(complaint(Check::new("drain", well)), ("name", "drain".to_owned()));
    assert_eq!(complaint(Check::new("startup", well)), ("name", "startup".to_owned()));
    let zero = complaint(Check::new("x", well).timeout(Duration::ZERO));
    assert_eq!(zero, ("timeout", "0ns".to_owned()));
    assert_eq!(complaint(Check::new("x", well).component_type("")).0, "component_type");
    assert_eq!(health.names(Probe::Overall), ["db"]);
}
