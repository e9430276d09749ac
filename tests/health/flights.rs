//! One run of a check for all who ask: how often it runs, whom it wakes, and who goes away.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use portcullis::health::{Check, HealthRegistry, Probe, Query, Status};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, task::spawn};

use super::{MS, SECOND, counted, only, ready, registry};

/// It has no more checks to ask, and "all is well" would be the answer of a registry without any.
#[tokio::test(start_paused = true)]
#[should_panic(expected = "a report was polled after it had finished")]
async fn a_report_that_was_given_is_not_given_again() {
    let health = HealthRegistry::new();
    health.add(Check::new("db", || async { Err::<(), _>("down") })).unwrap();
    let mut report = std::pin::pin!(health.report(Probe::Readiness));
    assert!(!report.as_mut().await.is_ok());
    let _ = report.await;
}

/// A check that asks for the health that it is a part of waits for itself, and so for no longer than its timeout.
#[tokio::test(start_paused = true)]
async fn a_check_that_asks_for_itself_fails_at_its_timeout() {
    let health = HealthRegistry::new();
    let own = health.clone();
    let check = Check::new("circle", move || {
        let own = own.clone();
        async move {
            match own.report(Probe::Readiness).await.is_ok() {
                true => Ok(()),
                false => Err("not ready"),
            }
        }
    });
    health.add(check.ttl(Duration::ZERO)).unwrap();
    for _ in 0..2 {
        let report = health.report(Probe::Readiness).await;
        assert!(!report.is_ok());
        assert_eq!(report.items()[0].took(), Some(SECOND));
    }
    // Probes that go away while it does leave nothing behind that would answer the next one.
    drop(tokio_test::task::spawn(health.report(Probe::Readiness)).poll());
    assert!(health.remove("circle"));
    assert!(health.report(Probe::Readiness).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_answer_serves_all_within_its_ttl() {
    let (check, counts) = counted("db");
    counts.answers.store(true, SeqCst);
    let health = registry([check.ttl(5 * SECOND)]);
    for _ in 0..3 {
        assert_eq!(ready(&health).await, Status::Pass);
    }
    assert_eq!(counts.runs().0, 1);
    counts.ill.store(true, SeqCst);
    advance(5 * SECOND - MS).await;
    assert_eq!(ready(&health).await, Status::Pass);
    assert_eq!(counts.runs().0, 1);
    advance(MS).await;
    // A failure is an answer like any other.
    for _ in 0..3 {
        assert_eq!(ready(&health).await, Status::Fail);
    }
    assert_eq!(counts.runs().0, 2);
    counts.ill.store(false, SeqCst);
    advance(5 * SECOND).await;
    assert_eq!(ready(&health).await, Status::Pass);
    assert_eq!(counts.runs(), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn probes_at_the_same_time_share_one_run() {
    let (check, counts) = counted("db");
    let health = registry([check.ttl(Duration::ZERO)]);
    let mut probes: Vec<_> = (0..5).map(|_| spawn(health.report(Probe::Readiness))).collect();
    for probe in &mut probes {
        assert_pending!(probe.poll());
    }
    advance(300 * MS).await;
    counts.go.notify_one();
    for probe in &mut probes {
        assert!(probe.is_woken(), "whoever waits is woken");
        let report = assert_ready!(probe.poll());
        assert_eq!(report.items()[0].took(), Some(300 * MS));
    }
    assert_eq!(counts.runs(), (1, 1));

    // Nothing is kept, so the next one asks.
    let mut next = spawn(health.report(Probe::Readiness));
    assert_pending!(next.poll());
    assert_eq!(counts.runs(), (2, 1));
}

/// One who joins late has the answer of the run, and its time.
#[tokio::test(start_paused = true)]
async fn who_joins_a_run_has_its_timeout() {
    let (check, counts) = counted("db");
    let health = registry([check]);
    let mut first = spawn(health.report(Probe::Readiness));
    assert_pending!(first.poll());
    advance(900 * MS).await;
    let mut second = spawn(health.report(Probe::Readiness));
    assert_pending!(second.poll());
    advance(100 * MS).await;
    // Whichever of the two comes by first.
    assert_eq!(assert_ready!(second.poll()).status(), Status::Fail);
    assert!(first.is_woken());
    assert_eq!(assert_ready!(first.poll()).status(), Status::Fail);
    assert_eq!(counts.runs(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_takes_nothing_from_the_others() {
    // Whichever of three is dropped, before or after the run is woken.
    for (drops, woken_before) in [0, 1, 2].into_iter().flat_map(|at| [(at, false), (at, true)]) {
        let (check, counts) = counted("db");
        let health = registry([check]);
        let mut probes: Vec<_> = (0..3).map(|_| spawn(health.report(Probe::Readiness))).collect();
        for probe in &mut probes {
            assert_pending!(probe.poll());
        }
        if woken_before {
            counts.go.notify_one();
        }
        drop(probes.remove(drops));
        if !woken_before {
            counts.go.notify_one();
        }
        for probe in &mut probes {
            assert!(probe.is_woken(), "{drops} {woken_before}");
            assert_eq!(assert_ready!(probe.poll()).status(), Status::Pass);
        }
        assert_eq!(counts.runs(), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_who_leaves_ends_the_run_and_the_next_begins_another() {
    let (check, counts) = counted("db");
    let health = registry([check]);
    let mut first = spawn(health.report(Probe::Readiness));
    let mut second = spawn(health.report(Probe::Readiness));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    drop(first);
    assert_eq!(counts.runs(), (1, 0), "another waits for it");
    drop(second);
    assert_eq!(counts.runs(), (1, 1));

    // Much later: neither the old run nor its time has any part in this.
    advance(60 * SECOND).await;
    let mut third = spawn(health.report(Probe::Readiness));
    assert_pending!(third.poll());
    assert_eq!(counts.runs(), (2, 1));
    counts.go.notify_one();
    assert!(third.is_woken());
    assert_eq!(assert_ready!(third.poll()).status(), Status::Pass);
    drop(spawn(health.report(Probe::Readiness)));
    assert_eq!(counts.runs(), (2, 2), "a probe that was never polled asks nothing");
}

/// One probe has this check's answer and still waits for another: it is no longer one of those who keep
/// the next run of it.
#[tokio::test(start_paused = true)]
async fn who_has_an_answer_keeps_no_run() {
    let (quick, quick_counts) = counted("quick");
    let (slow, _) = counted("slow");
    let health = registry([quick.ttl(Duration::ZERO), slow.timeout(60 * SECOND)]);
    let mut first = spawn(health.report(Probe::Readiness));
    assert_pending!(first.poll());
    quick_counts.go.notify_one();
    assert_pending!(first.poll());
    assert_eq!(quick_counts.runs(), (1, 1));

    let mut second = spawn(health.report(Query::new(Probe::Readiness).only("quick")));
    assert_pending!(second.poll());
    assert_eq!(quick_counts.runs(), (2, 1));
    drop(second);
    assert_eq!(quick_counts.runs(), (2, 2));
}

/// A check that holds its thread holds nobody else: its time is over when it is over.
#[test]
fn a_check_that_blocks_bounds_whoever_else_waits() {
    let (begin, begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let mut holds = Some((begin, released));
    let runs = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&runs);
    let health = registry([Check::new("blocks", move || {
        count.fetch_add(1, SeqCst);
        let holds = holds.take();
        async move {
            if let Some((begin, released)) = holds {
                begin.send(()).expect("the test waits for it");
                released.recv().expect("the test lets it go");
            }
            Ok::<_, String>(())
        }
    })]);
    let runtime = || {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime")
    };
    let blocked = {
        let health = health.clone();
        thread::spawn(move || runtime().block_on(health.report(Probe::Readiness)))
    };
    begun.recv().expect("the check has begun");
    // This runtime's own clock runs ahead by itself, since everything waits.
    let (waited, late) = runtime().block_on(async {
        let waited = health.report(Probe::Readiness).await;
        advance(2 * SECOND).await;
        // Still away: whoever comes now has a time of its own.
        (waited, health.report(Probe::Readiness).await)
    });
    for report in [waited, late] {
        assert_eq!(only(&report), (Status::Fail, Some("no answer within 1s")));
    }
    assert_eq!(runs.load(SeqCst), 1);
    release.send(()).expect("the check waits for it");
    let blocked = blocked.join().expect("the probe ends");
    assert_eq!(only(&blocked).0, Status::Fail, "what it said too late changes nothing");
    let again = runtime().block_on(async {
        advance(60 * SECOND).await;
        health.report(Probe::Readiness).await
    });
    assert_eq!((only(&again).0, runs.load(SeqCst)), (Status::Pass, 2));
}

/// Its thread comes back when its time is over long since: whoever has come meanwhile goes on with a new run.
#[test]
fn a_check_that_comes_back_late_is_asked_anew_by_who_waits() {
    let (begin, begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let mut holds = Some((begin, released));
    let health = registry([Check::new("blocks", move || {
        let holds = holds.take();
        async move {
            if let Some((begin, released)) = holds {
                begin.send(()).expect("the test waits for it");
                released.recv().expect("the test lets it go");
            }
            Ok::<_, String>(())
        }
    })
    .timeout(60 * SECOND)
    .ttl(Duration::ZERO)]);
    let runtime = |paused| {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(paused).build().expect("a runtime")
    };
    let blocked = {
        let health = health.clone();
        thread::spawn(move || runtime(false).block_on(health.report(Probe::Readiness)))
    };
    begun.recv().expect("the check has begun");
    // Its clock runs ahead, and finds the time to be over.
    let over = runtime(true).block_on(health.report(Probe::Readiness));
    assert_eq!(over.status(), Status::Fail);
    let runtime = runtime(false);
    let _context = runtime.enter();
    let mut probe = spawn(health.report(Probe::Readiness));
    assert_pending!(probe.poll(), "the run is away");
    release.send(()).expect("the check waits for it");
    assert_eq!(blocked.join().expect("the probe ends").status(), Status::Fail);
    assert!(probe.is_woken());
    assert_eq!(assert_ready!(probe.poll()).status(), Status::Pass);
}

/// A probe that comes while another polls the run finds nothing to poll. If that other goes away then, with
/// a wake that was meant for it, this one has to be told.
#[tokio::test(start_paused = true)]
async fn a_wake_is_not_lost_with_who_got_it() {
    type Inside = Arc<Mutex<Option<Box<dyn FnMut() + Send>>>>;
    let inside = Inside::default();
    let (run, go) = (Arc::clone(&inside), Arc::<AtomicBool>::default());
    let gone = Arc::clone(&go);
    let health = registry([Check::new("db", move || {
        let (run, gone) = (Arc::clone(&run), Arc::clone(&gone));
        std::future::poll_fn(move |cx| {
            if gone.load(SeqCst) {
                return Poll::Ready(Ok::<_, String>(()));
            }
            cx.waker().wake_by_ref();
            if let Some(mut meanwhile) = run.lock().expect("not poisoned").take() {
                meanwhile();
            }
            Poll::Pending
        })
    })]);
    let other = Arc::new(Mutex::new(spawn(health.report(Probe::Readiness))));
    let comes = Arc::clone(&other);
    *inside.lock().expect("not poisoned") = Some(Box::new(move || {
        assert_pending!(comes.lock().expect("not poisoned").poll());
    }));
    let mut first = spawn(health.report(Probe::Readiness));
    assert_pending!(first.poll());
    assert!(first.is_woken());
    let mut other = other.lock().expect("not poisoned");
    assert!(!other.is_woken());
    go.store(true, SeqCst);
    drop(first);
    assert!(other.is_woken());
    assert_eq!(assert_ready!(other.poll()).status(), Status::Pass);
}

/// Many threads at once: no probe is lost, and no two runs overlap.
#[test]
fn probes_from_many_threads_share_runs_and_all_end() {
    let overlap = Arc::new(AtomicU32::new(0));
    let runs = Arc::new(AtomicU32::new(0));
    let (inside, count) = (Arc::clone(&overlap), Arc::clone(&runs));
    let health = registry([Check::new("db", move || {
        let (inside, count) = (Arc::clone(&inside), Arc::clone(&count));
        async move {
            assert_eq!(inside.fetch_add(1, SeqCst), 0, "one run at a time");
            count.fetch_add(1, SeqCst);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            inside.fetch_sub(1, SeqCst);
            Ok::<_, String>(())
        }
    })
    .ttl(Duration::ZERO)
    .timeout(60 * SECOND)]);
    const THREADS: u32 = 4;
    const EACH: u32 = 200;
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let health = health.clone();
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                runtime.expect("a runtime").block_on(async {
                    for _ in 0..EACH {
                        assert_eq!(ready(&health).await, Status::Pass);
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("every probe ends well");
    }
    let runs = runs.load(SeqCst);
    assert!((EACH..=THREADS * EACH).contains(&runs), "{runs}");
}
